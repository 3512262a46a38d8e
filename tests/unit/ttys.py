"""Real terminals and pipes for what is written to them."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import struct
import termios
from typing import TextIO

from nftrtsp.terminal import Channel


def screen(columns: int, **environ: str) -> Channel:
    """Return a channel to a terminal of so many columns, with these variables only."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    stream = Tty(os.fdopen(slave, "wb", buffering=0), write_through=True)
    stream.master = master
    return Channel(lambda: stream, {"TERM": "xterm", **environ})


class Tty(io.TextIOWrapper):
    """The program's end of a terminal; what it writes is read from the other end."""

    master = -1

    def close(self) -> None:
        """Close both ends."""
        super().close()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


def shown(channel: Channel) -> str:
    """Return what has come to the screen."""
    stream = channel._stream()
    assert isinstance(stream, Tty)
    told = b""
    while select.select([stream.master], [], [], 0.05)[0]:
        told += os.read(stream.master, 1 << 16)
    return told.decode().replace("\r\n", "\n")


def pipe(stream: TextIO | None = None, /, **environ: str) -> Channel:
    """Return a channel to what is no terminal."""
    into = stream or io.StringIO()
    return Channel(lambda: into, {"TERM": "xterm", **environ})
