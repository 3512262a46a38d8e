"""Files that survive a power cut: written beside their place, synced, then renamed into it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nftrtsp.errors import PrivilegeError, StateError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_IN_THE_WAY = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR})


def remedy(error: OSError, path: Path) -> str:
    """Return what to do about ``error``, met at ``path``."""
    if error.errno in _FULL:
        return "make room there"
    if error.errno == errno.EROFS:
        return "mount that file system writable, or name another directory"
    if error.errno in _IN_THE_WAY:
        return f"{_in_the_way(path)} is in the way: move it, or name another directory"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "raise the limit of open files"
    return "repair the file system, or name another directory"


def _in_the_way(path: Path) -> str:
    """Return the file where a directory should be, or the directory where a file should be."""
    for parent in reversed(path.parents):
        if parent.exists() and not parent.is_dir():
            return f"the file {parent}"
    return f"{'the directory' if path.is_dir() else 'the file'} {path}"


@contextmanager
def telling(path: Path, verb: str = "written") -> Iterator[None]:
    """Turn an OSError about ``path`` into one of our sentences."""
    try:
        yield
    except PermissionError:
        raise PrivilegeError(f"may not be {verb}", place=str(path), remedy="run it as root") from None
    except OSError as error:
        text = (error.strerror or str(error)).lower()
        raise StateError(f"cannot be {verb}: {text}", place=str(path), remedy=remedy(error, path)) from None


def write(path: Path, text: str) -> None:
    """Write ``text`` to ``path``: the old content or the new one, never a half; 0600, synced to disk.

    Raises :class:`StateError` when it cannot be written (no space left, read-only), nothing changed.
    """
    beside = path.with_name(f".{path.name}.new")
    with telling(path):
        try:
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            rename(beside, path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise


def rename(old: Path, new: Path) -> None:
    """Rename in one step and sync the directory, so that it is so after a power cut too."""
    old.rename(new)
    sync(new.parent)


def sync(folder: Path) -> None:
    """Sync a directory: its renames and deletions."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def require_writable(folder: Path) -> None:
    """Raise :class:`StateError` where nothing in ``folder`` can be renamed or removed; it may be full."""
    with telling(folder):
        if not os.access(folder, os.W_OK):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def make_folder(path: Path, mode: int = 0o700) -> None:
    """Make a directory and its parents, if they are not there."""
    with telling(path):
        path.mkdir(mode=mode, parents=True, exist_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a directory of plain files, if it is there."""
    with telling(path, "removed"):
        if not path.is_dir():
            return
        for file in path.iterdir():
            file.unlink(missing_ok=True)
        path.rmdir()
        sync(path.parent)


def read(path: Path) -> str | None:
    """Return the text of a file, None where there is none; damaged bytes are replaced, not refused."""
    with telling(path, "read"):
        try:
            return path.read_bytes().decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
