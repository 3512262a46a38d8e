"""The dashboard in a real terminal, on the running lab: what plays there is what the screen says."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nftrtsp import netns
from nftrtsp.events.news import Heard, Told
from nftrtsp.events.recording import Recording
from nftrtsp.lab.network import Lab
from tests.integration.demo_recording import prepare, record

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed"),
]

Mbit = 1e6
PATIENCE = 20.0

#: What runs in the pane: the command, then its exit code where the command has left the screen. tmux's own
#: "Pane is dead" is no witness: libutempter puts its handler of SIGCHLD over tmux's while a pane closes, so
#: tmux now and then never hears of the end and shows nothing (github.com/tmux/tmux/issues/311).
PANE = ("sh", "-c", '"$@"; echo "ended with exit code $?"; read -r _', "sh")


class Terminal:
    """A terminal that a test can type into and read."""

    def __init__(self, lab: Lab, *words: str, size: tuple[int, int] = (120, 36)) -> None:
        name = f"terminal-{uuid.uuid4().hex[:8]}"
        self._config, self._socket = lab.folder / f"{name}.conf", lab.folder / f"{name}.sock"
        self._config.write_text(f"set-option -g default-size {size[0]}x{size[1]}\n")
        variables = [f"{name}={value}" for name, value in lab.variables().items()]
        command = [*netns.words(lab.router.name), "env", "-u", "COLUMNS", "-u", "LINES"]
        command += ["TERM=tmux-256color", *variables, *PANE, *words]
        self._tmux("new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), "-s", "t", *command)

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-f", str(self._config), "-S", str(self._socket), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-t", "t")

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", "-t", "t", *keys)

    def wait(self, condition: Callable[[str], object], what: str) -> str:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if condition(screen := self.screen()):
                return screen
            time.sleep(0.1)
        raise AssertionError(f"never came: {what}\n{self.screen()}")

    def close(self) -> None:
        command = ["tmux", "-S", str(self._socket), "kill-server"]
        subprocess.run(command, check=False, capture_output=True)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.build(stbs=2, media_servers=2, helper="pinhole") as lab:
        prepare(lab)
        with lab.provider():
            yield lab


@pytest.fixture
def terminal(lab: Lab, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(lab, "nftrtsp", "monitor", "--record", str(tmp_path / "lab.nftr"))
    try:
        terminal.wait(
            lambda screen: "vlan2" in screen and "pinhole helper" in screen, "the first full screen"
        )
        yield terminal
    finally:
        terminal.close()


def test_the_film_that_plays_is_on_the_screen(lab: Lab, terminal: Terminal, tmp_path: Path) -> None:
    provider = lab.standing_provider()
    with lab.stbs[0].player() as player:
        film = player.watch(27336, mbps=5.0)
        first, begun = provider.sent(film), time.monotonic()
        screen = terminal.wait(
            lambda screen: re.search(r"▶ Living room\s+playing", screen) and "playing 5" in screen,
            "the living room playing",
        )
        time.sleep(4)
        screen = terminal.screen()
        sent, passed = provider.sent(film), time.monotonic() - begun
        line = next(line for line in screen.splitlines() if "now" in line and "playing" in line)
        shown = re.search(r"playing ([\d.]+) Mbit/s from ([\d.]+):(\d+)", line)
        assert shown, line
        # Conntrack counts IP packets: 28 bytes of headers more than the payload that the server counts.
        payload = sent.bytes - first.bytes
        truth = (payload + 28 * (sent.datagrams - first.datagrams)) * 8 / passed
        assert float(shown[1]) * Mbit == pytest.approx(truth, rel=0.10)
        assert f"{shown[2]}:{shown[3]}" in sent.sources
        assert "port 27336" in screen
        assert re.search(r"SETUP\s+port 27336", screen)
        assert re.search(r"port open\s+any source, port 27336", screen)
        terminal.press("2")
        row = re.compile(r"media\s+Living room\s+playing\s+[\d.]+ Mbit/s\s+172\.26\.83\.13\d:")
        terminal.wait(row.search, "the media flow in the table")
        terminal.press("1")
        film.teardown()
        terminal.wait(
            lambda screen: "TEARDOWN" in screen and re.search(r"Living room\s+idle", screen), "the end"
        )
    terminal.press("q")
    terminal.wait(lambda screen: "ended with exit code 0" in screen, "a clean end")
    news = [news for _, news in Recording(tmp_path / "lab.nftr").read()]
    assert any(isinstance(each, Heard) for each in news)
    assert {"setup", "way-open", "teardown"} <= {each.line.event for each in news if isinstance(each, Told)}


def test_a_film_that_does_not_come_says_where_it_broke(lab: Lab, terminal: Terminal) -> None:
    with lab.stbs[1].player() as player:
        film = player.watch(27400, mute=1)
        screen = terminal.wait(lambda screen: "✗ no film" in screen, "the step that failed")
        assert re.search(r"✗ Bedroom\s+no film", screen)
        assert "the port is open, but no packet of the film came" in " ".join(screen.split())
        film.teardown()


def test_a_killed_monitor_leaves_a_recording_to_read(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "killed.nftr"
    process = record(lab, file)
    with lab.stbs[0].player() as player:
        film = player.watch(27336)
        time.sleep(4)
        process.kill()
        process.wait(5)
        film.teardown()
    assert any(isinstance(news, Told) for _, news in Recording(file).read())


def test_without_rights_it_is_one_sentence(lab: Lab) -> None:
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "nftrtsp", "monitor"]
    result = lab.router.run(command, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1
