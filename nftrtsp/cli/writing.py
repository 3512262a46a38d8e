"""Lines to stdout: a pipe that was closed ends the command quietly, a reader gets each batch at once."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any


def json_lines(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield one JSON object a line."""
    import msgspec

    encode = msgspec.json.Encoder().encode
    for record in records:
        yield encode(record).decode()


def write(lines: Iterable[str]) -> bool:
    """Write lines to stdout and flush it; return whether there were any.

    A closed pipe is raised here and ends the command quietly.
    """
    out, line = sys.stdout.write, ""
    for line in lines:
        out(line + "\n")
    sys.stdout.flush()
    return bool(line)


def require_reader() -> None:
    """Raise BrokenPipeError when the reader of stdout has gone, as the next line to it would."""
    if _closed():
        raise BrokenPipeError


def _closed() -> bool:
    import select

    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # POLLERR and POLLHUP are always told
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return False
