"""What people and programs get to read: data on stdout, messages on stderr; colours, width and JSON.

All of nftrtsp asks here whether there are colours. They are for terminals, and for a pipe only where
``FORCE_COLOR`` says so; with ``NO_COLOR`` (https://no-color.org) or ``TERM=dumb`` there are none anywhere.
An empty variable says nothing.
"""

from __future__ import annotations

import functools
import os
import re
import select
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TextIO

from nftrtsp.errors import NftrtspError

if TYPE_CHECKING:
    import msgspec

#: Columns of a terminal that does not say.
USUAL = 80

#: Before each warning on stderr, for programs that read it.
WARNING = "warning:"
#: The second lines of an error, a warning or a note stand in so far.
HANG = 4

STYLES = {
    "": "",
    "head": "\x1b[1m",
    "dim": "\x1b[2m",
    "good": "\x1b[32m",
    "warn": "\x1b[33m",
    "bad": "\x1b[31m",
    "unknown": "\x1b[34m",
    "name": "\x1b[36m",
    "changed": "\x1b[7m",
}
RESET = "\x1b[0m"


def colourless(environ: Mapping[str, str]) -> bool:
    """Whether there are to be no colours, wherever it goes."""
    return bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"


def paint(text: str, *styles: str, coloured: bool) -> str:
    """Return ``text`` in ``styles`` if ``coloured``."""
    codes = "".join(STYLES[style] for style in styles)
    return f"{codes}{text}{RESET}" if coloured and codes and text else text


def slices(text: str, columns: int, hang: int) -> list[tuple[int, int]]:
    """Return where to cut ``text`` so that no line is wider than ``columns``; the later ones hang in.

    It is cut at spaces only, which stay with neither line; a word that is too long stays whole.
    """
    found: list[tuple[int, int]] = []
    start = end = 0
    for word in re.finditer(r"\s*\S+", text):
        if end > start and word.end() - start > columns - (hang if found else 0):
            found.append((start, end))
            start = word.end() - len(word[0].lstrip())
        end = word.end()
    return [*found, (start, end)]


def hung(text: str, columns: int | None, hang: int) -> str:
    """Return ``text`` in as many lines as ``columns`` need (None: one); the later ones hang in."""
    if columns is None or len(text) <= columns:
        return text
    return f"\n{' ' * hang}".join(text[start:end] for start, end in slices(text, columns, hang))


@functools.cache
def _encoder() -> msgspec.json.Encoder:
    import msgspec

    return msgspec.json.Encoder()


def json_line(value: object) -> str:
    """Return a value as one line of JSON, without its end."""
    return _encoder().encode(value).decode()


class Channel:
    """One of the two ways out. ``stream`` returns it, looked up at each use: tests and shells exchange it."""

    def __init__(self, stream: Callable[[], TextIO | None], environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._environ = environ
        self._standing = 0  # columns of a line that is to be written over

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks on."""
        stream = self._stream()
        return stream is not None and stream.isatty()

    @property
    def moves(self) -> bool:
        """Whether the cursor can be moved: for what is drawn anew in its place."""
        return self.is_terminal and self._environ.get("TERM") != "dumb"

    @property
    def coloured(self) -> bool:
        """Whether it gets colours."""
        forced = bool(self._environ.get("FORCE_COLOR"))
        return not colourless(self._environ) and (forced or self.is_terminal)

    @property
    def columns(self) -> int | None:
        """How wide the terminal is; None where there is none, and no limit."""
        stream = self._stream()
        if stream is None or not stream.isatty():
            return None
        try:
            return os.get_terminal_size(stream.fileno()).columns or USUAL
        except OSError:
            return USUAL

    def paint(self, text: str, *styles: str) -> str:
        """Return ``text`` in ``styles`` if there are colours."""
        return paint(text, *styles, coloured=self.coloured)

    def raw(self, text: str) -> None:
        """Write ``text`` as it is, line ends and all; it is flushed with the next line, or at the end."""
        stream = self._stream()
        if stream is not None:
            stream.write(text)

    def flush(self) -> None:
        """Let a reader have what was written."""
        stream = self._stream()
        if stream is not None:
            stream.flush()

    def line(self, text: str = "", *styles: str, hang: int = 0) -> None:
        """Write ``text`` in as many lines as the terminal needs for it; the later ones hang in."""
        self._wipe()
        columns = self.columns
        for part in text.split("\n"):
            wrapped = hung(part, columns, hang).split("\n")
            self.raw("".join(f"{self.paint(piece, *styles)}\n" for piece in wrapped))
        self.flush()

    def lines(self, lines: Iterable[str]) -> bool:
        """Write lines that are laid out already, then flush; return whether there were any."""
        any_line = False
        for line in lines:
            self.raw(f"{line}\n")
            any_line = True
        self.flush()
        return any_line

    def over(self, text: str) -> None:
        """Write ``text`` in the place of the last text that was written so, where the cursor can move."""
        if self.moves:
            self.raw(f"\r{text.ljust(self._standing)}")
            self._standing = len(text)
            self.flush()

    def _wipe(self) -> None:
        if self._standing:
            self.raw(f"\r{' ' * self._standing}\r")
            self._standing = 0

    def require_reader(self) -> None:
        """Raise BrokenPipeError when the reader of a pipe has gone, as the next line to it would."""
        stream = self._stream()
        try:
            poll = select.poll()
            poll.register(stream.fileno() if stream is not None else -1, 0)  # POLLERR, POLLHUP: always told
            closed = bool(poll.poll(0))
        except (OSError, ValueError):
            return
        if closed:
            raise BrokenPipeError


class Terminal:
    """Where a command writes and asks: data to :attr:`out`, messages to :attr:`err`."""

    def __init__(
        self,
        out: Callable[[], TextIO | None] = lambda: sys.stdout,
        err: Callable[[], TextIO | None] = lambda: sys.stderr,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.out = Channel(out, environ)
        self.err = Channel(err, environ)

    def json(self, value: object) -> None:
        """Write a value (a dict, a struct) to stdout as one JSON object on a line."""
        self.out.raw(json_line(value) + "\n")
        self.out.flush()

    def say(self, text: str, *, hang: int = 0) -> None:
        """Write a message to stderr."""
        self.err.line(text, hang=hang)

    def warn(self, text: str) -> None:
        """Write a warning to stderr."""
        told = hung(f"{WARNING} {text}", self.err.columns, HANG).removeprefix(WARNING)
        self.err.lines([self.err.paint(WARNING, "warn", "head") + told])

    @property
    def interactive(self) -> bool:
        """Whether a person reads stdout and can answer."""
        return sys.stdin is not None and sys.stdin.isatty() and self.out.moves

    def confirm(self, question: str) -> bool:
        """Ask on stderr and return whether the answer is yes; an end of input is a no.

        Raises :class:`NftrtspError` where nobody can answer.
        """
        if sys.stdin is None or not sys.stdin.isatty():
            raise NftrtspError("this is no terminal to ask on", remedy="add --yes to go on without asking")
        while True:
            self.err.raw(f"{question} [y/N]: ")
            self.err.flush()
            answer = sys.stdin.readline()
            if not answer:
                self.err.line()
            if answer.strip().lower() in ("y", "yes"):
                return True
            if answer.strip().lower() in ("", "n", "no"):
                return False


#: The one of this process.
TERMINAL = Terminal()
