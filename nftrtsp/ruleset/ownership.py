"""Who may write what root runs or loads: root, or whoever runs this, and nobody else.

What lies in the state directory is run (the way back) and loaded (the rulesets) as root. So before either,
its owner and its mode are looked at: the directory first, for who may write that may put anything into it.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from nftrtsp import paths
from nftrtsp.errors import StateError
from nftrtsp.ruleset import disk

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def require(*places: Path) -> None:
    """Raise :class:`StateError` unless only root or this user may write each of ``places``; absent ones pass.

    Name a directory before what is in it. Lists of access rights count too: their mask shows as the group's.
    """
    for path in places:
        with disk.telling(path, "read"):
            try:
                # The state directory may be a link: who made it could as well have named another place.
                _judge(path, path.stat() if path == paths.state_dir() else path.lstat())
            except (FileNotFoundError, NotADirectoryError):
                continue


def require_folder(*folders: Path) -> None:
    """The same of nested directories, outermost first, and of every file in the last one."""
    require(*folders)
    last = folders[-1]
    with disk.telling(last, "read"):
        files = sorted(last.iterdir()) if last.is_dir() else []
    require(*files)


def _judge(path: Path, status: os.stat_result) -> None:
    kind = "directory" if stat.S_ISDIR(status.st_mode) else "file"
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        raise _unsafe(path, "is neither a file nor a directory", f"remove it: rm {path}")
    if status.st_uid not in (0, os.geteuid()):
        raise _unsafe(
            path,
            f"belongs to {_user(status.st_uid)}, who could have put anything there",
            f"look at that {kind}; if all is well, chown root: {path}, else remove it",
        )
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise _unsafe(
            path,
            f"may be written by others (mode {stat.S_IMODE(status.st_mode):04o})",
            f"look at that {kind}; if all is well, chmod go-w {path}, else remove it",
        )


def _unsafe(path: Path, what: str, remedy: str) -> StateError:
    return StateError(f"{what}, so it is neither run nor loaded", place=str(path), remedy=remedy)


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"
