"""Files in the helper's run directory, which belongs to the user that the service runs as.

Root may run a helper there too, by hand. It follows no link that lies there, closes only what is a plain file
of the directory's owner or its own, and leaves what it makes to the directory's owner, so that the service
can go on with it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from nftrtsp.errors import StateError


def open_private(path: Path) -> int:
    """Open ``path`` for reading and writing, made if need be, and 0600 from now on; return the descriptor.

    Who can open a lock can hold it: what let others in is closed. Raises :class:`StateError` for a file that
    neither we nor the directory's owner made, and OSError.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        _adopt(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write ``path``, whole at any time. Raises OSError."""
    part = path.with_name(f".{path.name}.part")
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fchmod(fd, mode)
        _leave(fd, path.parent.stat())
    finally:
        os.close(fd)
    part.replace(path)


def _adopt(fd: int, path: Path) -> None:
    status, folder = os.fstat(fd), path.parent.stat()
    # A second name of a file that is elsewhere would give that one away.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise _stranger(path, "is not a plain file")
    if status.st_uid not in (os.geteuid(), folder.st_uid):
        raise _stranger(path, f"belongs to another user ({status.st_uid})")
    if stat.S_IMODE(status.st_mode) != 0o600:
        os.fchmod(fd, 0o600)
    _leave(fd, folder)


def _leave(fd: int, folder: os.stat_result) -> None:
    """As root, leave a file of ours to the directory's owner."""
    if os.geteuid() == 0 != folder.st_uid and os.fstat(fd).st_uid == 0:
        os.fchown(fd, folder.st_uid, folder.st_gid)


def _stranger(path: Path, what: str) -> StateError:
    return StateError(f"{what}, so it is not used", place=str(path), remedy=f"remove it: rm {path}")
