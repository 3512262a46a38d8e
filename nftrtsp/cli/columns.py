"""Text in aligned columns, coloured where a person looks at it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TextIO

#: Rows that are looked at to find the widths; a longer list streams with the widths of its beginning.
SAMPLE = 500

STYLES = {
    "": "",
    "head": "\x1b[1m",
    "dim": "\x1b[2m",
    "good": "\x1b[32m",
    "warn": "\x1b[33m",
    "bad": "\x1b[31m",
    "name": "\x1b[36m",
}
RESET = "\x1b[0m"

#: A cell: its text, and the name of its style.
Cell = tuple[str, str]


def colours(stream: TextIO) -> bool:
    """Whether ``stream`` gets colours: a terminal, and NO_COLOR not set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, coloured: bool) -> str:
    """Return ``text`` in ``style`` if ``coloured``."""
    return f"{STYLES[style]}{text}{RESET}" if coloured and style and text else text


def aligned(
    head: Sequence[str], rows: Iterable[Sequence[Cell]], *, coloured: bool | None = None
) -> Iterator[str]:
    """Yield the lines of a table; nothing at all, not even ``head``, when there are no rows.

    A head that begins with ``>`` stands over a column of numbers, aligned to the right.
    """
    coloured = colours(sys.stdout) if coloured is None else coloured
    several = iter(rows)
    sample = list(islice(several, SAMPLE))
    if not sample:
        return
    right = [title.startswith(">") for title in head]
    titles = [title.lstrip(">") for title in head]
    widths = [max(len(title), *(len(row[index][0]) for row in sample)) for index, title in enumerate(titles)]
    for row in chain([[(title, "head") for title in titles]], sample, several):
        cells = []
        for (text, style), width, is_number in zip(row, widths, right, strict=True):
            padded = text.rjust(width) if is_number else text.ljust(width)
            cells.append(padded.replace(text, paint(text, style, coloured), 1) if text else padded)
        yield "  ".join(cells).rstrip()
