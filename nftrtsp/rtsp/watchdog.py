"""A watchdog for a process that packets wait for: when it is stuck, they go on without it.

NFQUEUE fails open when nobody reads (the process is gone) or when its queue is full, but a process that is
stopped or hangs holds the few packets of a set-top box for ever. So a second, tiny process shares its netlink
socket, waits for a heartbeat, and when that fails for a while sends what the first one prepared: accept what
waits, unbind the queue. The kernel acknowledges on the shared socket, so the first process learns of it when
it runs again. This file is both: the class for the first process, and the program of the second one, which
imports next to nothing.
"""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

#: Seconds without a heartbeat until the queue is taken from a process.
PATIENCE = 2.0


class Watchdog:
    """Watches this process on behalf of the socket ``fd``; ``rescue`` is what is sent to it.

    Call :meth:`beat` several times in each ``patience`` seconds.
    """

    def __init__(self, fd: int, rescue: bytes, *, patience: float = PATIENCE) -> None:
        self._fd = fd
        self._rescue = rescue
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._start()

    @property
    def pid(self) -> int:
        """The process id of the second process."""
        return self._process.pid if self._process else 0

    def beat(self) -> None:
        """Say that we are alive; a watchdog that has died is replaced."""
        try:
            os.write(self._pipe, b".")
        except BlockingIOError:
            pass  # it is the slow one: the pipe is full of heartbeats
        except BrokenPipeError:
            self.close()
            self._start()

    def close(self) -> None:
        """End the second process."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        import subprocess

        read, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            self._process = subprocess.Popen(
                # -I and -S: no site packages, so that it is small and starts at once.
                [
                    sys.executable,
                    "-I",
                    "-S",
                    __file__,
                    str(self._patience),
                    str(read),
                    str(self._fd),
                    self._rescue.hex(),
                ],
                pass_fds=(read, self._fd),
                stdin=subprocess.DEVNULL,
                # A signal to our process group (Ctrl-C) is for us; the end of our pipe is for it.
                start_new_session=True,
            )
        finally:
            os.close(read)


def watch(patience: float, pipe: int, fd: int, rescue: bytes) -> None:
    """Wait for heartbeats on ``pipe`` until its end; write ``rescue`` to ``fd`` each time they fail."""
    armed = True
    while True:
        ready, _, _ = select.select([pipe], [], [], patience if armed else None)
        if ready:
            if not os.read(pipe, 4096):
                return
            armed = True
        else:
            os.write(fd, rescue)
            armed = False


if __name__ == "__main__":
    watch(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), bytes.fromhex(sys.argv[4]))
