"""One helper at a time: a lock that ends with its process, and a pid file beside it.

Nobody else can open the lock, for who can open it can hold it. The pid file is for all to read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from nftrtsp.errors import BusyError, NftrtspError, PrivilegeError, StateError
from nftrtsp.helper import run_directory
from nftrtsp.ruleset import disk

_STEP = 0.1


class Lock:
    """The lock ``NAME.lock`` and the pid file ``NAME.pid`` in the run directory, which is made if need be.

    Raises :class:`BusyError` with the other process's pid when it is still held after ``patience`` seconds.
    Its exit code is 1: another try may do.
    """

    def __init__(self, run_dir: Path, name: str = "helper", *, patience: float = 0.0) -> None:
        self.pid_file = run_dir / f"{name}.pid"
        path = run_dir / f"{name}.lock"
        try:
            run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
            # Never unlinked: two processes that lock two files of one name would both hold it.
            self._fd = run_directory.open_private(path)
        except PermissionError:
            raise PrivilegeError("may not be written", place=str(run_dir), remedy="run it as root") from None
        except OSError as error:
            text = (error.strerror or str(error)).lower()
            place, remedy = str(run_dir), disk.remedy(error, run_dir)
            raise StateError(f"cannot be used: {text}", place=place, remedy=remedy) from None
        if not self._take(patience):
            os.close(self._fd)
            busy = BusyError(
                f"a {name} is running already{self._other()}", place=str(path), remedy="stop that one first"
            )
            busy.exit_code = 1
            raise busy
        try:
            with disk.telling(self.pid_file):
                run_directory.write(self.pid_file, f"{os.getpid()}\n".encode(), 0o644)
        except NftrtspError:
            self.release()
            raise

    def _take(self, patience: float) -> bool:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() >= end:
                    return False
                time.sleep(_STEP)
            else:
                return True

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
