"""A plan on the terminal: in colours where there are any, with carets below changed words where not."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nftrtsp.ruleset.diff import Plan
    from nftrtsp.ruleset.review import Line

_COLOURS = {"+": "green", "-": "red", "~": "yellow", ">": "cyan", " ": None}


def show_plan(plan: Plan) -> None:
    """Print the plan and its summary on stdout."""
    from nftrtsp.ruleset.review import consequences, plain, review

    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in review(plan):
        click.echo(_colour(line) if coloured else plain(line))
    for sentence in consequences(plan):
        click.echo(f"note: {sentence}", err=True)
    summary = plan.summary
    click.echo(click.style(summary, bold=True) if coloured else summary)


def _colour(line: Line) -> str:
    """Write one line in its colour, the words that changed in reverse video."""
    colour = _COLOURS[line.sign]
    parts = [click.style(f"{line.sign} ", fg=colour)]
    position = 0
    for start, end in line.marks:
        parts.append(click.style(line.text[position:start], fg=colour))
        parts.append(click.style(line.text[start:end], fg=colour, reverse=True))
        position = end
    parts.append(click.style(line.text[position:], fg=colour, dim=line.sign == " "))
    return "".join(parts)


def print_plan(plan: Plan) -> None:
    """Print the plan as JSON, one change a line, and a last line with the counts."""
    import msgspec

    from nftrtsp.ruleset.diff import Op

    for change in plan.changes:
        click.echo(msgspec.json.encode(change).decode())
    click.echo(json.dumps({"summary": {str(op): plan.count(op) for op in Op}, "same": not plan}))
