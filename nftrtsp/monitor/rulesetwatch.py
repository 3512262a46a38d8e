"""Says how the kernel's ruleset stands: asks `nftrtsp diff` in a process of its own, when nftables changes.

libnftables may not be used by two threads of one process, so none of it runs in this one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from nftrtsp.events.news import Checked

_NETLINK_NETFILTER = 12
_GROUP_NFTABLES = 7  # NFNLGRP_NFTABLES
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
#: Tables, chains, rules, sets and objects that come and go; elements of sets (12-14) are everyday life.
_STRUCTURAL = frozenset({0, 2, 3, 5, 6, 8, 9, 11, 18, 20})
_SETTLE = 1.0  # seconds that must pass after a change: transactions are many messages
_ANYWAY = 300.0  # seconds until it is looked at even if nothing was heard
_LONGEST = 60.0  # seconds that a comparison may take

_SIGNS = {"add": "+", "remove": "-", "change": "~", "move": ">"}


class RulesetWatch(threading.Thread):
    """Compares at the start, after each change of the ruleset and when asked; ``tell`` gets the result."""

    def __init__(self, config_path: Path, tell: Callable[[Checked], None]) -> None:
        super().__init__(name="ruleset", daemon=True)
        self._path = config_path
        self._tell = tell
        self._stopped = False
        self._asked = True
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._process: subprocess.Popen[str] | None = None

    def ask(self) -> None:
        """Compare soon."""
        self._asked = True
        with contextlib.suppress(OSError):
            os.write(self._waker, b"x")

    def stop(self) -> None:
        """End, a running comparison too."""
        self._stopped = True
        self.ask()
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        if self.is_alive():
            self.join()
        os.close(self._wake)
        os.close(self._waker)

    def run(self) -> None:
        """The thread."""
        listener = _listen()
        try:
            due = 0.0
            while not self._stopped:
                now = time.monotonic()
                if self._asked or now >= due:
                    self._asked = False
                    due = now + _ANYWAY
                    result = self._compare()
                    if result is not None and not self._stopped:
                        self._tell(result)
                elif self._wait(listener, due - now):
                    due = time.monotonic() + _SETTLE
        finally:
            if listener is not None:
                listener.close()

    def _wait(self, listener: socket.socket | None, seconds: float) -> bool:
        """Wait; return whether the ruleset has changed."""
        import select

        watched: list[Any] = [self._wake, *([listener] if listener else [])]
        ready, _, _ = select.select(watched, [], [], max(0.0, seconds))
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        if listener is None or listener not in ready:
            return False
        changed = False
        with contextlib.suppress(BlockingIOError):
            for _ in range(1000):
                try:
                    data = listener.recv(1 << 16)
                except OSError as error:
                    if isinstance(error, BlockingIOError):
                        raise
                    return True  # messages were lost: it may have changed
                changed = changed or any(kind in _STRUCTURAL for kind in _kinds(data))
        return changed

    def _compare(self) -> Checked | None:
        code = "from nftrtsp.cli import main; main()"
        command = [sys.executable, "-c", code, "diff", "--json", "-c", str(self._path)]
        env = {**os.environ, "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=env,
            )
            if self._stopped:  # it began while stop() looked for it: nobody else will end it
                self._process.terminate()
            out, err = self._process.communicate(timeout=_LONGEST)
        except (OSError, subprocess.TimeoutExpired) as error:
            if self._process is not None:
                self._process.kill()
                self._process.communicate()
            return Checked(time.time(), "unknown", why=str(error))
        status, self._process = self._process.returncode, None
        return read_answer(status, out, err, time.time())


def read_answer(status: int, out: str, err: str, now: float) -> Checked:
    """Return what `nftrtsp diff --json` said: its exit status, its lines, its complaint."""
    changes: list[str] = []
    warnings: list[tuple[str, ...]] = []
    absent = False
    for line in out.splitlines():
        try:
            told = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if not isinstance(told, dict):
            continue
        if isinstance(warning := told.get("warning"), dict):
            texts = (warning.get(key) for key in ("place", "message", "remedy", "state"))
            warnings.append(tuple(str(text) for text in texts if text is not None))
        elif "op" in told:
            absent = absent or (told["op"] == "add" and told.get("kind") == "table")
            changes.append(change_text(told))
    if status == 0:
        return Checked(now, "in sync", warnings=tuple(warnings))
    if status == 1:
        state = "absent" if absent else "drifted"
        return Checked(now, state, tuple(changes), warnings=tuple(warnings))
    why = err.strip().splitlines()[-1] if err.strip() else f"nftrtsp diff ended with {status}"
    return Checked(now, "unknown", why=why.removeprefix("nftrtsp: "))


def change_text(told: dict[str, object]) -> str:
    """Return one change of a plan on one line, its sign first."""
    sign = _SIGNS.get(str(told.get("op")), "?")
    where = f" in {told['chain']}" if told.get("chain") else ""
    text = f"{sign} {told.get('kind')} {told.get('name')}{where}"
    old, new = str(told.get("old") or ""), str(told.get("new") or "")
    if old and new:
        return f"{text}: {old} → {new}"
    return f"{text}: {old or new}" if old or new else text


def _listen() -> socket.socket | None:
    """Return a socket that hears of changes, or None where that is not allowed."""
    try:
        listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        listener.setblocking(False)
        listener.bind((0, 0))
        listener.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
    except OSError:
        return None
    return listener


def _kinds(data: bytes) -> list[int]:
    """Return the NFT_MSG_* numbers of the messages in a datagram."""
    kinds, place = [], 0
    while place + 16 <= len(data):
        length = int.from_bytes(data[place : place + 4], sys.byteorder)
        kind = int.from_bytes(data[place + 4 : place + 6], sys.byteorder)
        if length < 16:
            break
        if kind >> 8 == _SUBSYSTEM:
            kinds.append(kind & 0xFF)
        place += length + 3 & ~3
    return kinds
