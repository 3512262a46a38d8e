"""One helper at a time: a lock that ends with its process, and a pid file beside it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from nftrtsp.errors import BusyError, NftrtspError, PrivilegeError, StateError
from nftrtsp.ruleset import disk


class Lock:
    """The lock ``NAME.lock`` and the pid file ``NAME.pid`` in the run directory, which is made if need be.

    Raises :class:`BusyError` with the other process's pid when it is held.
    """

    def __init__(self, run_dir: Path, name: str = "helper") -> None:
        self.pid_file = run_dir / f"{name}.pid"
        path = run_dir / f"{name}.lock"
        try:
            run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
            # Never unlinked: two processes that lock two files of one name would both hold it.
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except PermissionError:
            raise PrivilegeError("may not be written", place=str(run_dir), remedy="run it as root") from None
        except OSError as error:
            text = (error.strerror or str(error)).lower()
            place, remedy = str(run_dir), disk.remedy(error, run_dir)
            raise StateError(f"cannot be used: {text}", place=place, remedy=remedy) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise BusyError(
                f"a {name} is running already{self._other()}", place=str(path), remedy="stop that one first"
            ) from None
        try:
            with disk.telling(self.pid_file):
                self.pid_file.write_text(f"{os.getpid()}\n")
        except NftrtspError:
            self.release()
            raise

    def _other(self) -> str:
        try:
            return f" (process {int(self.pid_file.read_text())})"
        except (OSError, ValueError):
            return ""

    def release(self) -> None:
        """Give the lock back and take the pid file away."""
        with contextlib.suppress(OSError):
            self.pid_file.unlink()
        os.close(self._fd)
