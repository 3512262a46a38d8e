"""One change at a time: a lock file that the kernel releases when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nftrtsp import paths
from nftrtsp.errors import BusyError
from nftrtsp.ruleset import disk

NAME = "lock"
#: How long a second command waits for the first, in seconds.
PATIENCE = 10.0
_STEP = 0.05


@contextmanager
def changing(what: str, *, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of this router (of its run directory) while the ruleset changes.

    Raises :class:`BusyError`, naming who holds it, when it is not free within ``patience`` seconds.
    """
    path = paths.run_dir() / NAME
    disk.make_folder(path.parent, 0o755)
    with disk.telling(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(fd, patience)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{what} (process {os.getpid()})\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _take(fd: int, patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                holder = os.pread(fd, 200, 0).decode("utf-8", "replace").strip() or "another nftrtsp"
                raise BusyError(
                    f"{holder} is changing the ruleset", remedy="wait for it, then try again"
                ) from None
            time.sleep(_STEP)
        else:
            return
