"""`nftrtsp lab demo`: its story, its verdict, and that nothing of it stays."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from rich.console import Console

from nftrtsp.lab import demo, registry
from nftrtsp.lab.telling import Telling

pytestmark = [pytest.mark.root, pytest.mark.slow]

_NFTRTSP = [sys.executable, "-c", "from nftrtsp.cli import main; main()"]


#: Labs of these tests only: others may run their own meanwhile.
_LABS = Path(f"/run/nftrtsp-demo-{os.getpid()}")


def _start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*_NFTRTSP, "lab", "demo", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NFTRTSP_LAB_DIR": str(_LABS)},
        start_new_session=True,  # a process group of its own, to press Ctrl-C in
    )


def _wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"the demo ended before {text!r}")


def _spaces(lab: str) -> list[Path]:
    return list(Path("/run/netns").glob(f"nftrtsp-{lab}-*"))


@pytest.fixture(scope="module")
def story() -> str:
    """A whole demo as people run it, its output."""
    process = _start("--seconds", "4")
    out, err = process.communicate(timeout=60 * registry.patience())
    assert process.returncode == 0, out + err
    assert not _LABS.exists()
    return out


def test_without_us_nothing_arrives(story: str) -> None:
    sent, arrived = re.search(r"after \d+ s: ([\d,]+) TS packets sent, ([\d,]+) arrived", story).groups()  # type: ignore[union-attr]
    assert int(sent.replace(",", "")) > 10_000
    assert arrived == "0"


def test_the_commands_are_shown_as_typed(story: str) -> None:
    assert [line.strip() for line in story.splitlines() if line.startswith("   # ")] == [
        "# nftrtsp generate",
        "# nftrtsp apply --yes",
        "# nftrtsp helper &",
    ]


@pytest.mark.parametrize("what", ["asks", "opens", "gets", "ends", "closes"])
def test_each_box_is_told_of(story: str, what: str) -> None:
    told = [line for line in story.splitlines() if re.match(rf"\s+[\d.]+ s  .{{11}} {what} ", line)]
    assert len(told) == 3


@pytest.mark.parametrize("what", ["pauses", "resumes", "seeks"])
def test_one_box_pauses_and_resumes_and_one_seeks(story: str, what: str) -> None:
    assert len(re.findall(rf"^ +[\d.]+ s  .{{11}} {what} ", story, re.MULTILINE)) == 1


def test_what_opens_follows_what_is_asked_and_comes_before_the_film(story: str) -> None:
    for address, name in (("200", "Living room"), ("201", "Bedroom"), ("202", "Kitchen")):
        second = story.partition("3  With nftrtsp")[2]
        asks = second.index(f"{name:<11} asks")
        opens = second.index(f"to 192.168.1.{address}, any source")
        assert asks < opens < second.index(f"{name:<11} gets")


def test_the_summary_has_every_box_whole(story: str) -> None:
    table = story.partition("Summary")[2]
    for name in ("Living room", "Bedroom", "Kitchen"):
        row = next(line for line in table.splitlines() if line.startswith(name))
        share = float(re.search(r"([\d.]+) %", row)[1])  # type: ignore[index]
        assert share >= 99.9
        assert re.search(r" 0 of [\d,]+$", row)
    assert "OK: without nftrtsp no film arrived; with it all 3 did." in table
    assert "no namespace, process or file of it is left" in table


def test_no_line_is_wider_than_a_terminal(story: str) -> None:
    assert max(len(line) for line in story.splitlines()) <= 80


def test_no_colour_goes_into_a_log(story: str) -> None:
    assert "\x1b" not in story


def test_films_that_do_not_arrive_fail_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_set_up", lambda lab, telling: None)
    heard = io.StringIO()
    outcome = demo.play(Telling(Console(file=heard)), seconds=2.0, dashboard=False, stbs=2)
    assert not outcome.good
    assert "FAILED: Living room got 0.00 % of its film." in heard.getvalue()


@pytest.mark.parametrize("when", ["1  Without nftrtsp", "# nftrtsp apply", "gets", "now"])
def test_ctrl_c_leaves_nothing(when: str) -> None:
    with _start("--seconds", "20") as process:
        _wait_for(process, when)
        lab = next(_LABS.iterdir()).name
        assert _spaces(lab)
        os.killpg(process.pid, signal.SIGINT)
        _out, err = process.communicate(timeout=30 * registry.patience())
        assert process.returncode == 130
        assert "stopped; the lab is gone" in err
        assert "Traceback" not in err
    assert not _spaces(lab)
    assert not _LABS.exists()
    assert not _processes_of_group(process.pid)


def _processes_of_group(group: int) -> list[str]:
    """Name the processes of a session that still run, those that pid 1 has yet to reap left out."""
    found = subprocess.run(
        ["ps", "-o", "stat=,args=", "-s", str(group)], capture_output=True, text=True, check=False
    )
    return [line for line in found.stdout.splitlines() if line.strip() and not line.startswith("Z")]


def test_on_a_terminal_the_dashboard_opens_and_q_leads_to_the_summary() -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    process = subprocess.Popen(
        [*_NFTRTSP, "lab", "demo"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "NFTRTSP_LAB_DIR": str(_LABS), "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(slave)
    try:
        screen = _read_until(master, "\x1b[?1049h")  # the alternate screen
        assert "The dashboard opens" in screen
        _read_until(master, "192.168.1.202")
        _read_until(master, "playing")
        os.write(master, b"q")
        told = _read_until(master, "no namespace, process or file of it is left")
        assert "\x1b[?1049l" in told
        assert "Summary" in told
        assert process.wait(10 * registry.patience()) == 0, told
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert not _LABS.exists()


def _read_until(fd: int, text: str) -> str:
    """Read a terminal until ``text`` is on it."""
    got = ""
    end = time.monotonic() + 40 * registry.patience()
    while text not in got:
        ready, _, _ = select.select([fd], [], [], 1.0)
        try:
            got += os.read(fd, 65536).decode(errors="replace") if ready else ""
        except OSError:  # EIO: the program has ended
            break
        if time.monotonic() > end:
            break
    assert text in got, got[-2000:]
    return got


def test_somebody_without_root_gets_one_sentence() -> None:
    try:
        refused = subprocess.run(
            [*_NFTRTSP, "lab", "demo"],
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
        )
    except PermissionError:
        pytest.skip("nobody may not run this checkout's Python")
    if "Permission denied" in refused.stderr and "Traceback" in refused.stderr:
        pytest.skip("nobody may not read this checkout")
    assert refused.returncode == 2
    assert refused.stderr.startswith("nftrtsp: lab: ")
    assert "run it as root or with sudo" in refused.stderr
    assert "Traceback" not in refused.stderr
