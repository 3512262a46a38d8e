"""Text in aligned columns, coloured where a person looks at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from nftrtsp.terminal import Channel, paint

#: Rows that are looked at to find the widths; a longer list streams with the widths of its beginning.
SAMPLE = 500

#: How far the second line of a row stands in.
INDENT = 4

#: A cell: its text, and the name of its style.
Cell = tuple[str, str]


def aligned(
    head: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    to: Channel,
) -> Iterator[str]:
    """Yield the lines of a table; nothing at all, not even ``head``, when there are no rows.

    A head that begins with ``>`` stands over a column of numbers, aligned to the right. What a terminal has
    no room for stands on a second line of each row, indented.
    """
    coloured, columns = to.coloured, to.columns
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
            cells.append(padded.replace(text, paint(text, style, coloured=coloured), 1) if text else padded)
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
