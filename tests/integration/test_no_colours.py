"""Who asks for no colours gets not one escape byte, from no command."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from collections.abc import Iterator
from itertools import count

import pytest

from nftrtsp import netns
from nftrtsp.cli.group import COMMANDS
from tests.integration.stand import NFTRTSP, SECOND_BOX, Stand, config, stand

pytestmark = pytest.mark.root

ESCAPE = b"\x1b"
ECHO = b"n\r\n"  # what the terminal shows of our answer

#: Each command as it has most to say. All of them leave the router as it is: who is asked says no.
CALLS: dict[str, list[list[str]]] = {
    "init": [["init", "-o", "-"]],
    "generate": [["generate"], ["generate", "--json"], ["generate", "--helper", "auto"]],
    "check": [["check"]],
    "diff": [["diff"], ["diff", "--json"]],
    "apply": [["apply"]],
    "confirm": [["confirm"]],
    "rollback": [["rollback"]],
    "history": [["history"]],
    "restore": [["restore"]],
    "status": [["status"], ["status", "--json"]],
    "remove": [["remove"]],
    "flows": [["flows", "--all"]],
    "expectations": [["expectations"]],
    "events": [["events", "--all"]],
    "monitor": [["monitor", "--demo"]],
    "helper": [["helper"]],
    "doctor": [["doctor"], ["doctor", "--json"]],
    "lab": [["lab", "break"], ["lab", "play"]],
}
#: These run until they are told to stop.
ENDLESS = {"events", "helper"}
#: `flows --watch` draws its list in its place; only a dumb terminal is in its way.
SCREENS = [["flows", "--all", "--watch"]]

MODES = {"NO_COLOR": {"NO_COLOR": "1", "TERM": "xterm"}, "dumb": {"TERM": "dumb"}, "pipe": {"TERM": "xterm"}}


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with stand(tmp_path_factory.mktemp("router")) as built:
        built.nftrtsp("apply", "--yes")
        built.config.write_text(config(more=SECOND_BOX))
        built.nftrtsp("apply", "--yes")
        built.config.write_text(config(iptv='multicast = ["239.1.0.0/16"]'))
        yield built


def told(router: Stand, words: list[str], mode: str, *, endless: bool) -> bytes:
    """Return all that a command writes, to a terminal or to a pipe."""
    environ = {
        key: value for key, value in router.environment.items() if key not in ("NO_COLOR", "FORCE_COLOR")
    }
    read, write = os.pipe() if mode == "pipe" else pty.openpty()
    process = subprocess.Popen(
        [*netns.words(router.name), *NFTRTSP, *words],
        stdin=subprocess.DEVNULL if mode == "pipe" else write,
        stdout=write,
        stderr=write,
        env={**environ, **MODES[mode]},
        start_new_session=True,
    )
    os.close(write)
    if mode != "pipe":
        os.write(read, b"n\n")
    try:
        return b"".join(_pieces(router, process, read, endless=endless))
    finally:
        process.kill()
        process.wait()
        os.close(read)


def _pieces(router: Stand, process: subprocess.Popen[bytes], read: int, *, endless: bool) -> Iterator[bytes]:
    """Yield what is written until the end; what is endless is ended once it has said something."""
    ports = count(4000)
    while True:
        ready, _, _ = select.select([read], [], [], 0.4 if endless else 60)
        if not ready and endless:
            router.send(router.stb, "192.168.1.1", 4000, source=next(ports))  # something for `events` to tell
            continue
        try:
            piece = os.read(read, 1 << 16)
        except OSError:  # a terminal whose program has ended
            return
        if not piece:
            return
        yield piece
        if endless and piece != ECHO:
            process.terminate()
            endless = False


def test_no_command_is_missing() -> None:
    assert CALLS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("command", CALLS)
def test_no_escape_byte_is_written(router: Stand, command: str, mode: str) -> None:
    if command == "monitor" and mode == "NO_COLOR":
        pytest.skip("the dashboard is a screen that is drawn; without colours it is tested as a picture")
    for words in [*CALLS[command], [command, "--help"], [command, "--no-such-option"]]:
        text = told(router, words, mode, endless=words[0] in ENDLESS and words in CALLS[command])
        assert text.removeprefix(ECHO), f"{words} said nothing"
        assert ESCAPE not in text, words


@pytest.mark.parametrize("words", SCREENS)
def test_what_is_drawn_in_its_place_is_a_list_after_the_other_on_a_dumb_terminal(
    router: Stand, words: list[str]
) -> None:
    assert ESCAPE not in told(router, words, "dumb", endless=True)


@pytest.mark.parametrize("command", ["diff", "doctor", "flows", "events"])
def test_a_terminal_that_said_nothing_gets_colours(router: Stand, command: str) -> None:
    MODES["colours"] = {"TERM": "xterm"}
    try:
        assert ESCAPE in told(router, CALLS[command][0], "colours", endless=command in ENDLESS)
    finally:
        del MODES["colours"]
