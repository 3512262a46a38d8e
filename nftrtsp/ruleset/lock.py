"""One change at a time: a lock file that the kernel releases when its holder ends, however it ends.

It lies in the state directory, where nobody but root can open it: who can open a lock can hold it. The run
directory belongs to the helper's user.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nftrtsp import paths
from nftrtsp.errors import BusyError
from nftrtsp.ruleset import disk, ownership

NAME = "lock"
#: How long a second command waits for the first, in seconds.
PATIENCE = 10.0
_STEP = 0.05
_NOT_WRITABLE = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT})


@contextmanager
def changing(what: str, *, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of this router (of its state directory) while the ruleset changes.

    Raises :class:`BusyError`, naming who holds it, when it is not free within ``patience`` seconds,
    and :class:`StateError` where others than root (or this user) may write the state directory.
    """
    fd = _open(paths.state_dir() / NAME)
    try:
        _take(fd, patience)
        with contextlib.suppress(OSError):  # only to be named by others
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{what} (process {os.getpid()})\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    disk.make_folder(path.parent)
    ownership.require(path.parent)
    with disk.telling(path):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.fchmod(fd, 0o600)
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise
            # At boot, rulesets are loaded from a full or read-only disk too: lock the directory itself.
            fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return fd


def _take(fd: int, patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise BusyError(
                    f"{_holder(fd)} is changing the ruleset", remedy="wait for it, then try again"
                ) from None
            time.sleep(_STEP)
        else:
            return


def _holder(fd: int) -> str:
    with contextlib.suppress(OSError):
        return os.pread(fd, 200, 0).decode("utf-8", "replace").strip() or "another nftrtsp"
    return "another nftrtsp"
