"""A plan on the terminal: in colours where there are any, with carets below changed words where not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nftrtsp.terminal import HANG, TERMINAL, Channel, slices

if TYPE_CHECKING:
    from nftrtsp.ruleset.diff import Plan
    from nftrtsp.ruleset.review import PlanLine

#: How far the rest of a rule stands in that is too long for the terminal.
_HANG = 4

_STYLES = {"+": "good", "-": "bad", "~": "warn", ">": "name", " ": ""}


def show_plan(plan: Plan) -> None:
    """Print the plan and its summary on stdout."""
    from nftrtsp.ruleset.review import consequences, plain, review

    out = TERMINAL.out
    columns = out.columns
    for line in review(plan):
        out.lines(
            _colour(part, line.sign, out) if out.coloured else plain(part) for part in _parts(line, columns)
        )
    for sentence in consequences(plan):
        TERMINAL.say(f"note: {sentence}", hang=HANG)
    out.line(plan.summary, "head")


def _parts(line: PlanLine, columns: int | None) -> Iterator[PlanLine]:
    """Yield the line as a terminal of ``columns`` has room for it: the sign once, what follows hanging in."""
    from nftrtsp.ruleset.review import PlanLine

    if columns is None or len(line.text) + 2 <= columns:
        yield line
        return
    hang = len(line.text) - len(line.text.lstrip()) + _HANG
    for start, end in slices(line.text, columns - 2, hang):
        shift = hang - start if start else 0
        marks = ((max(a, start) + shift, min(b, end) + shift) for a, b in line.marks if a < end and b > start)
        text = f"{' ' * hang if start else ''}{line.text[start:end]}"
        yield PlanLine(" " if start else line.sign, text, tuple(marks))


def _colour(line: PlanLine, sign: str, out: Channel) -> str:
    """Return one line in the colour of ``sign``, the words that changed in reverse video."""
    style = _STYLES[sign]
    parts = [out.paint(f"{line.sign} ", style)]
    position = 0
    for start, end in line.marks:
        parts.append(out.paint(line.text[position:start], style))
        parts.append(out.paint(line.text[start:end], style, "changed"))
        position = end
    parts.append(out.paint(line.text[position:], style or "dim"))
    return "".join(parts)


def print_plan(plan: Plan) -> None:
    """Print the plan as JSON, one change a line, and a last line with the counts."""
    from nftrtsp.ruleset.diff import Op

    for change in plan.changes:
        TERMINAL.json(change)
    TERMINAL.json({"summary": {str(op): plan.count(op) for op in Op}, "same": not plan})
