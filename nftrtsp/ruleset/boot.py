"""The usual case at boot: a good ruleset, and nothing under way.

nft(8) loads it; libnftables, ctypes, msgspec and the config stay out, which cost more than all the rest.
Every other case is for :func:`nftrtsp.ruleset.apply.restore`.
"""

from __future__ import annotations

import os

from nftrtsp import paths
from nftrtsp.errors import StateError
from nftrtsp.ruleset import archive, lock

_UNDER_WAY = ("trial.loading", "trial.armed", "trial.confirmed")


def restore() -> archive.Saved | None:
    """Load the good ruleset and return it; None where that is not so simple, and nothing is changed then.

    Raises :class:`BusyError` when another process is changing the ruleset.
    """
    with lock.changing("`nftrtsp restore`"):
        state = paths.state_dir()
        if any((state / name).exists() for name in _UNDER_WAY):
            return None
        try:
            saved = archive.good()
        except StateError:
            return None
        return saved if saved is not None and _load(str(saved.path)) else None


def _load(path: str) -> bool:
    """Have nft load a file; what it may say about it is said again, in plain words, by the long way."""
    quiet = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    try:
        pid = os.posix_spawnp("nft", ["nft", "-f", path], os.environ, file_actions=quiet)
    except OSError:
        return False
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
