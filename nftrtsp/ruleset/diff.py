"""What is listed against what is listed: the plan, a list of additions, removals, changes and moves. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from nftrtsp.ruleset.model import Chain, Object, Rule, Table


class Op(StrEnum):
    """What happens to a thing."""

    ADD = "add"
    REMOVE = "remove"
    CHANGE = "change"
    MOVE = "move"


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that the plan does.

    ``kind`` is ``table``, ``chain``, ``rule``, ``set``, ``map``, ``ct helper`` or ``ct timeout``; ``name`` is
    its name, for a rule its id. ``old`` and ``new`` are what nft prints of it. ``added`` and ``removed`` are
    elements of a set. ``chain`` is the rule's chain and ``after`` the id of the rule before it, empty for the
    first.
    """

    op: Op
    kind: str
    name: str
    chain: str = ""
    old: str = ""
    new: str = ""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    after: str = ""


class Plan(msgspec.Struct, frozen=True):
    """What ``apply`` would do to get from ``old`` to ``new``; None is no table at all."""

    old: Table | None
    new: Table | None
    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.changes)

    def count(self, op: Op) -> int:
        """Return how many changes are of that kind."""
        return sum(change.op is op for change in self.changes)

    @property
    def summary(self) -> str:
        """``3 to add, 1 to change, 0 to remove``, and moves where there are any."""
        parts = [f"{self.count(op)} to {op}" for op in (Op.ADD, Op.CHANGE, Op.REMOVE)]
        moves = self.count(Op.MOVE)
        return ", ".join([*parts, f"{moves} to move"] if moves else parts)


def compare(old: Table | None, new: Table | None) -> Plan:
    """Return the plan that leads from ``old`` to ``new``."""
    return Plan(old, new, tuple(_changes(old, new)))


def _changes(old: Table | None, new: Table | None) -> Iterator[Change]:
    table = old or new
    if table is None:
        return
    name = f"{table.family} {table.name}"
    empty = Table(table.family, table.name)
    if old is None or new is None:
        yield Change(Op.ADD if old is None else Op.REMOVE, "table", name)
    elif old.extra != new.extra:
        yield Change(Op.CHANGE, "table", name, old="; ".join(old.extra), new="; ".join(new.extra))
    yield from _objects((old or empty).objects, (new or empty).objects)
    yield from _chains(old or empty, new or empty)


def _objects(old: Sequence[Object], new: Sequence[Object]) -> Iterator[Change]:
    before = {(item.kind, item.name): item for item in old}
    after = {(item.kind, item.name): item for item in new}
    for key, item in before.items():
        if key not in after:
            yield Change(Op.REMOVE, *key, old="; ".join(item.body), removed=item.elements)
    for key, item in after.items():
        was = before.get(key)
        if was is None:
            yield Change(Op.ADD, *key, new="; ".join(item.body), added=item.elements)
        elif (was.body, was.elements) != (item.body, item.elements):
            yield Change(
                Op.CHANGE,
                *key,
                old="; ".join(was.body) if was.body != item.body else "",
                new="; ".join(item.body) if was.body != item.body else "",
                added=_without(item.elements, was.elements),
                removed=_without(was.elements, item.elements),
            )


def _without(elements: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    absent = set(others)
    return tuple(element for element in elements if element not in absent)


def _chains(old: Table, new: Table) -> Iterator[Change]:
    """Yield removed chains, then the others in the order of ``new``."""
    for chain in old.chains:
        if new.chain(chain.name) is None:
            yield Change(Op.REMOVE, "chain", chain.name, old=chain.head)
            yield from _rules(chain, Chain(chain.name))
    for chain in new.chains:
        was = old.chain(chain.name)
        if was is None:
            yield Change(Op.ADD, "chain", chain.name, new=chain.head)
        elif _frame(was) != _frame(chain):
            yield Change(Op.CHANGE, "chain", chain.name, old=_frame(was), new=_frame(chain))
        yield from _rules(was or Chain(chain.name), chain)


def _frame(chain: Chain) -> str:
    return " ".join(part for part in (chain.head, chain.comment) if part)


def _rules(old: Chain, new: Chain) -> Iterator[Change]:
    """Yield what happens to the rules of one chain, told apart by their ids and kept in order."""
    before, after = _numbered(old.rules), _numbered(new.rules)
    stays = _longest_in_order([key for key in after if key in before], list(before))
    for key, rule in before.items():
        if key not in after:
            yield Change(Op.REMOVE, "rule", rule.id, chain=new.name, old=rule.line)
    previous = ""
    for key, rule in after.items():
        was = before.get(key)
        if was is None:
            yield Change(Op.ADD, "rule", rule.id, chain=new.name, new=rule.line, after=previous)
        elif key not in stays:
            yield Change(
                Op.MOVE, "rule", rule.id, chain=new.name, old=was.line, new=rule.line, after=previous
            )
        if was is not None and was != rule:
            yield Change(Op.CHANGE, "rule", rule.id, chain=new.name, old=was.line, new=rule.line)
        previous = rule.id


def _numbered(rules: Sequence[Rule]) -> dict[tuple[str, int], Rule]:
    """Key rules by id, and by their turn where one id is there more than once."""
    seen: dict[str, int] = {}
    keyed: dict[tuple[str, int], Rule] = {}
    for rule in rules:
        turn = seen[rule.key] = seen.get(rule.key, 0) + 1
        keyed[rule.key, turn] = rule
    return keyed


def _longest_in_order(
    common: Sequence[tuple[str, int]], old: Sequence[tuple[str, int]]
) -> set[tuple[str, int]]:
    """Return the largest set of ``common`` that has the same order in ``old``: the others have moved.

    Longest increasing subsequence, quadratic; chains here have tens of rules.
    """
    place = {key: index for index, key in enumerate(old)}
    best: list[list[tuple[str, int]]] = []
    for key in common:
        heads = [run for run in best if place[run[-1]] < place[key]]
        best.append([*_longest(heads), key])
    return set(_longest(best))


def _longest(runs: Sequence[list[tuple[str, int]]]) -> list[tuple[str, int]]:
    return max(runs, key=len) if runs else []
