"""What the userspace helper knows of its ways beyond what the kernel keeps: which session each belongs to.

The kernel keeps the expectations when the helper is gone, but not the RTSP session, which a TEARDOWN names.
A small file in the run directory does, so that a restarted helper goes on where its forerunner was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from nftrtsp.helper import run_directory
from nftrtsp.helper.ways import Way

_FILE = "userspace-ways.json"
_LARGEST = 8 << 20  # bytes; of 65,535 ways with long sessions


class SavedSession(msgspec.Struct, frozen=True):
    """One way: its public port, and the session (None: not known) with its timeout in seconds."""

    port: int
    session: str | None = None
    timeout: int | None = None


class SavedSessions:
    """The file. A missing, damaged or unwritable one costs knowledge, never the service."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / _FILE
        self._written: bytes | None = None

    def read(self) -> dict[int, SavedSession]:
        """Return what was remembered, by public port."""
        try:
            with self.path.open("rb") as file:
                known = msgspec.json.decode(file.read(_LARGEST), type=list[SavedSession])
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return {}
        return {one.port: one for one in known}

    def write(self, ways: Iterable[Way]) -> None:
        """Remember ``ways``, if anything has changed; the file is whole at any time."""
        known = []
        for way in ways:
            if way.claims:
                claim = way.claims[-1]
                known.append(SavedSession(way.port, claim.session, claim.timeout))
        data = msgspec.json.encode(known)
        if data == self._written:
            return
        with contextlib.suppress(OSError):
            run_directory.write(self.path, data)
            self._written = data
