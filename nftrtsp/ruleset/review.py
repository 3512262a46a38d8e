"""A plan as lines that read like a good code review. Pure; colours are the business of who prints them.

The first column says what happens: ``+`` added, ``-`` removed, ``~`` changed, ``>`` moved. Of a changed rule
the words that changed are marked below it, so that it reads without colours too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

import msgspec

from nftrtsp.ruleset import names
from nftrtsp.ruleset.diff import Change, Op, Plan

SIGN = {Op.ADD: "+", Op.REMOVE: "-", Op.CHANGE: "~", Op.MOVE: ">"}
_WORD = re.compile(r'"[^"]*"|[{},]|[^\s{},]+')
_COMMENT = re.compile(r' comment "[^"]*"$')


class PlanLine(msgspec.Struct, frozen=True):
    """One line: its sign, its text, and the parts of the text ``[start, end)`` that changed."""

    sign: str
    text: str
    marks: tuple[tuple[int, int], ...] = ()


def review(plan: Plan) -> Iterator[PlanLine]:
    """Yield the lines of ``plan``, chain by chain; nothing where there is nothing to do."""
    chain = ""
    for change in plan.changes:
        if change.kind == "rule" and change.chain != chain:
            if not _announced(plan, change.chain):
                yield PlanLine(" ", f"  chain {change.chain}")
            chain = change.chain
        yield from _lines(change, new=_is_new(plan, change.chain))


def _announced(plan: Plan, chain: str) -> bool:
    """Whether a line of its own already names the chain: it is new, goes, or is changed itself."""
    return any(change.kind == "chain" and change.name == chain for change in plan.changes)


def _is_new(plan: Plan, chain: str) -> bool:
    return plan.old is None or plan.old.chain(chain) is None


def _lines(change: Change, *, new: bool) -> Iterator[PlanLine]:
    sign = SIGN[change.op]
    if change.kind == "rule":
        yield from _rule(change, sign, new=new)
        return
    title = f"{'' if change.kind == 'table' else '  '}{change.kind} {change.name}"
    if change.old and change.new:
        yield PlanLine(sign, title)
        yield from _pair(change.old, change.new, "      ")
    else:
        body = change.new or change.old
        shown = f"{title}  {body}" if body else title
        yield PlanLine(sign, shown)
    yield from (PlanLine("-", f"      {element}") for element in change.removed)
    yield from (PlanLine("+", f"      {element}") for element in change.added)


def _rule(change: Change, sign: str, *, new: bool) -> Iterator[PlanLine]:
    """Yield the lines of a rule; where it comes into a chain that is there, also its place."""
    title = f"    {change.name}"
    if change.op is Op.CHANGE:
        yield PlanLine(sign, f"{title}:")
        yield from _pair(_statements(change.old), _statements(change.new), "      ")
    elif change.op is Op.MOVE:
        where = f"after {change.after}" if change.after else "to the start"
        yield PlanLine(sign, f"{title}: moved {where}")
    else:
        text = _statements(change.new or change.old)
        place = ""
        if change.op is Op.ADD and not new:
            place = f"   (after {change.after})" if change.after else "   (first)"
        yield PlanLine(sign, f"    {text}{place}" if text == change.name else f"{title}: {text}{place}")


def _statements(rule: str) -> str:
    """Return a rule without its comment, which is its title."""
    return _COMMENT.sub("", rule)


def _pair(old: str, new: str, indent: str) -> Iterator[PlanLine]:
    """Yield the old and the new text, with what changed inside them."""
    before, after = list(_WORD.finditer(old)), list(_WORD.finditer(new))
    matcher = difflib.SequenceMatcher(None, [m[0] for m in before], [m[0] for m in after], autojunk=False)
    gone, come = [], []
    for tag, a_from, a_to, b_from, b_to in matcher.get_opcodes():
        if tag != "equal" and a_from < a_to:
            gone.append((before[a_from].start() + len(indent), before[a_to - 1].end() + len(indent)))
        if tag != "equal" and b_from < b_to:
            come.append((after[b_from].start() + len(indent), after[b_to - 1].end() + len(indent)))
    yield PlanLine("-", indent + old, tuple(gone))
    yield PlanLine("+", indent + new, tuple(come))


def consequences(plan: Plan) -> list[str]:
    """Return what the plan does to films that play now, beyond the rules themselves."""
    hit = {(change.kind, change.name) for change in plan.changes if change.op is not Op.ADD}
    said = []
    if ("ct timeout", names.PAUSE_TIMEOUT) in hit:
        said.append("films that play now go on, but keep conntrack's own timeout if they are paused")
    if ("map", names.PINHOLE_MAP) in hit:
        said.append("pinholes that are open now close: films stop, and must be asked for again")
    return said


def plain(line: PlanLine) -> str:
    """Return the line without colours; marks stand below it as carets."""
    text = f"{line.sign} {line.text}".rstrip()
    if not line.marks:
        return text
    carets = [" "] * (line.marks[-1][1] + 2)
    for start, end in line.marks:
        carets[start + 2 : end + 2] = "^" * (end - start)
    return f"{text}\n{''.join(carets)}"
