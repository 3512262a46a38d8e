"""Text in aligned columns, coloured where a person looks at it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TextIO

#: Rows that are looked at to find the widths; a longer list streams with the widths of its beginning.
SAMPLE = 500

#: What a terminal is taken to have that does not say.
USUAL = 80

#: How far the second line of a row stands in.
INDENT = 4

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


def room(stream: TextIO) -> int | None:
    """Return the columns of the terminal behind ``stream``; None where there is none, and no limit."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL
    except OSError:
        return USUAL


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
    """Return ``text`` in as many lines as a terminal of ``columns`` needs (None: one)."""
    if columns is None or len(text) <= columns:
        return text
    return f"\n{' ' * hang}".join(text[start:end] for start, end in slices(text, columns, hang))


def aligned(
    head: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    coloured: bool | None = None,
    columns: int | None = None,
) -> Iterator[str]:
    """Yield the lines of a table; nothing at all, not even ``head``, when there are no rows.

    A head that begins with ``>`` stands over a column of numbers, aligned to the right. What a terminal of
    ``columns`` has no room for stands on a second line of each row, indented (None: one line a row).
    """
    coloured = colours(sys.stdout) if coloured is None else coloured
    several = iter(rows)
    sample = list(islice(several, SAMPLE))
    if not sample:
        return
    right = [title.startswith(">") for title in head]
    titles = [title.lstrip(">") for title in head]
    widths = [max(len(title), *(len(row[index][0]) for row in sample)) for index, title in enumerate(titles)]
    first = _first_line(widths, columns)
    for row in chain([[(title, "head") for title in titles]], sample, several):
        cells = []
        for (text, style), width, is_number in zip(row, widths, right, strict=True):
            padded = text.rjust(width) if is_number else text.ljust(width)
            cells.append(padded.replace(text, paint(text, style, coloured), 1) if text else padded)
        yield "  ".join(cells[:first]).rstrip()
        if first < len(cells):
            yield f"{' ' * INDENT}{'  '.join(cells[first:])}".rstrip()


def _first_line(widths: Sequence[int], columns: int | None) -> int:
    """Return how many columns of the table the first line of a row holds."""
    if columns is None or sum(widths) + 2 * (len(widths) - 1) <= columns:
        return len(widths)
    taken = -2
    for index, width in enumerate(widths[:-1]):
        taken += width + 2
        if taken > columns:
            return max(1, index)
    return len(widths) - 1
