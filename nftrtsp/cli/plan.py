"""A plan on the terminal: in colours where there are any, with carets below changed words where not."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from nftrtsp.cli.columns import hung, room, slices

if TYPE_CHECKING:
    from nftrtsp.ruleset.diff import Plan
    from nftrtsp.ruleset.review import Line

#: How far the rest of a rule stands in that is too long for the terminal.
_HANG = 4

_COLOURS = {"+": "green", "-": "red", "~": "yellow", ">": "cyan", " ": None}


def show_plan(plan: Plan) -> None:
    """Print the plan and its summary on stdout."""
    from nftrtsp.ruleset.review import consequences, plain, review

    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    columns = room(sys.stdout)
    for line in review(plan):
        for part in _parts(line, columns):
            click.echo(_colour(part, line.sign) if coloured else plain(part))
    for sentence in consequences(plan):
        click.echo(hung(f"note: {sentence}", room(sys.stderr), 4), err=True)
    summary = plan.summary
    click.echo(click.style(summary, bold=True) if coloured else summary)


def _parts(line: Line, columns: int | None) -> Iterator[Line]:
    """Yield the line as a terminal of ``columns`` has room for it: the sign once, what follows hanging in."""
    from nftrtsp.ruleset.review import Line

    if columns is None or len(line.text) + 2 <= columns:
        yield line
        return
    hang = len(line.text) - len(line.text.lstrip()) + _HANG
    for start, end in slices(line.text, columns - 2, hang):
        shift = hang - start if start else 0
        marks = ((max(a, start) + shift, min(b, end) + shift) for a, b in line.marks if a < end and b > start)
        text = f"{' ' * hang if start else ''}{line.text[start:end]}"
        yield Line(" " if start else line.sign, text, tuple(marks))


def _colour(line: Line, sign: str) -> str:
    """Write one line in the colour of ``sign``, the words that changed in reverse video."""
    colour = _COLOURS[sign]
    parts = [click.style(f"{line.sign} ", fg=colour)]
    position = 0
    for start, end in line.marks:
        parts.append(click.style(line.text[position:start], fg=colour))
        parts.append(click.style(line.text[start:end], fg=colour, reverse=True))
        position = end
    parts.append(click.style(line.text[position:], fg=colour, dim=sign == " "))
    return "".join(parts)


def print_plan(plan: Plan) -> None:
    """Print the plan as JSON, one change a line, and a last line with the counts."""
    import msgspec

    from nftrtsp.ruleset.diff import Op

    for change in plan.changes:
        click.echo(msgspec.json.encode(change).decode())
    click.echo(json.dumps({"summary": {str(op): plan.count(op) for op in Op}, "same": not plan}))
