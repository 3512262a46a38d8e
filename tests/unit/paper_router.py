"""A router on paper: its state directory, its nf_tables in a file, and our own libnftables over that.

Also what befalls it: a process that is killed at any of its steps, a disk that is full from any of them on.
"""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nftrtsp import config
from nftrtsp.config import HelperKind
from nftrtsp.ruleset import lifeline, trial
from nftrtsp.ruleset.apply import Wanted
from nftrtsp.ruleset.build import build
from nftrtsp.ruleset.kernel import Nft
from nftrtsp.ruleset.listing import read_table
from nftrtsp.ruleset.model import Table
from nftrtsp.ruleset.refusal import explain
from nftrtsp.ruleset.render import render
from tests.unit.paper_nftables import Paper


class PaperNft(Nft):
    """Our libnftables context on paper: what it is told goes to the file, what is refused is explained."""

    def __init__(self, paper: Paper) -> None:
        self._paper = paper

    def close(self) -> None:
        """There is nothing to free."""

    def run(
        self,
        text: str,
        *,
        stateless: bool = False,
        handles: bool = False,
        terse: bool = False,
        json: bool = False,
        source: str | None = None,
    ) -> str:
        """Carry out nft commands as one transaction and return what they print."""
        assert not handles, "paper has no handles"
        assert not terse, "paper lists all elements"
        assert not json, "paper speaks no JSON"
        code, printed, error = self._paper.carry_out(text, stateless=stateless)
        if code != 0:
            raise explain(error, text, source)
        return printed


class PaperRouter:
    """The router. Everything of it lies below ``folder``; use :func:`stand` to make one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.clock = 1000.0
        self.boot = folder / "boot_id"
        self.paper = Paper(folder / "kernel.nft")
        self.nft = PaperNft(self.paper)
        self.reboot("first")

    def reboot(self, name: str) -> None:
        """Start anew: the kernel holds nothing, and the boot has another name."""
        self.paper.wipe()
        self.boot.write_text(name + "\n")

    def want(self, *boxes: str, ports: tuple[int, ...] = (554,)) -> Wanted:
        """Return the ruleset for these boxes and ports, as a kernel of its own lists it."""
        data = {
            "profile": "movistar",
            "iptv": {"interface": "vlan2"},
            "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
            "rtsp": {"ports": list(ports)},
            "stb": [{"address": box} for box in boxes],
        }
        text = render(build(config.parse(data), HelperKind.PINHOLE))
        scratch = PaperNft(Paper(self.folder / "scratch.nft"))
        scratch.load(text)
        table = read_table(scratch.list_table(stateless=True))
        assert table is not None
        return Wanted(text, table, "pinhole")

    def table(self) -> Table | None:
        """Return our table as it is now."""
        return read_table(self.nft.list_table(stateless=True))

    def let_the_deadline_pass(self) -> None:
        """Let the time of a trial run out, and return when its way back has been taken."""
        self.clock += 10_000
        (self.folder / "late").touch()
        ends = time.monotonic() + 30
        while trial.folder(trial.TrialState.ARMED).is_dir():
            assert time.monotonic() < ends, (self.state / lifeline.LOG).read_text()
            time.sleep(0.02)


#: sleep(1) for the way back: it wakes when the test says that it is late, and goes with the router.
_SLEEP = """\
#!/bin/sh
until [ -e {folder}/late ]; do
  if ! [ -e {folder}/stands ]; then
    [ "$(cut -d ' ' -f 4 /proc/$$/stat)" != $PPID ] || kill -9 $PPID
    exit 1
  fi
  /bin/sleep 0.1
done
"""


@contextmanager
def stand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PaperRouter]:
    """Yield a router that everything in this process, and what it starts, takes for its own."""
    router = PaperRouter(folder)
    router.paper.install(folder / "bin")
    sleep = folder / "bin" / "sleep"
    sleep.write_text(_SLEEP.format(folder=folder))
    sleep.chmod(0o755)
    (folder / "stands").touch()
    monkeypatch.setenv("NFTRTSP_STATE_DIR", str(router.state))
    monkeypatch.setenv("NFTRTSP_RUN_DIR", str(folder / "run"))
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setattr(trial, "BOOT_ID", router.boot)
    monkeypatch.setattr(trial, "boottime", lambda: router.clock)
    monkeypatch.setattr(lifeline, "_by_systemd", lambda *_: None)  # it would run in another world
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the power is never cut here, and a disk may be slow
    yield router
    (folder / "stands").unlink()


#: What a process does to the world, by Python's audit events.
_STEPS = frozenset(
    {"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.truncate"}
    | {"subprocess.Popen", "os.posix_spawn"}
)
#: Those of them for which a disk needs room.
_NEED_ROOM = frozenset({"open", "os.link", "os.mkdir"})


def _writes(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        path, _, flags = arguments
        return isinstance(path, str | Path) and bool(flags & (os.O_WRONLY | os.O_RDWR))
    return event in _STEPS


def _in_child(act: Callable[[], object], hook: Callable[[str, tuple[Any, ...]], None]) -> int:
    """Do ``act`` in a process of its own, with an audit hook; return its exit code: 1 where it raised."""
    pid = os.fork()
    if pid == 0:
        try:
            sys.addaudithook(hook)
            act()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_before(step: int, act: Callable[[], object]) -> bool:
    """Have a process do ``act`` and be killed before its ``step``-th step; return whether it came so far."""
    steps = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        if _writes(event, arguments):
            steps += 1
            if steps == step:
                os._exit(9)

    code = _in_child(act, hook)
    assert code in (0, 9)
    return code == 9


def full_from(step: int, disk: Path, act: Callable[[], object]) -> int:
    """Have a process do ``act`` while ``disk`` is full from the ``step``-th step on that needs room there.

    Return its exit code, or -1 where no step met a full disk.
    """
    steps = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        if event in _NEED_ROOM and _writes(event, arguments):
            place = arguments[1] if event == "os.link" else arguments[0]
            if str(place).startswith(str(disk)):
                steps += 1
                if steps >= step:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def all_of_it() -> None:
        act()
        if steps < step:
            os._exit(99)

    code = _in_child(all_of_it, hook)
    return -1 if code == 99 else code
