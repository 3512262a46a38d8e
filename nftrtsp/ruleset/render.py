"""Table to nft text (pure): what ``nft -f`` accepts, in one transaction, and what a person can read."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import msgspec

from nftrtsp.ruleset import names
from nftrtsp.ruleset.model import Chain, Object, Table

_WIDTH = 110
_NAME = f"{names.TABLE_FAMILY} {names.TABLE_NAME}"


def render(table: Table | None, *, notes: bool = True) -> str:
    """Return ``table`` as a file for ``nft -f``, which replaces our table in one transaction.

    ``table``, ``delete table``, ``table {…}`` rather than ``flush table``: a flush keeps base chains hooked
    that the new ruleset no longer has. None takes our table away. Without ``notes`` the ``#`` comments are
    left out.
    """
    lines = _note(table.note, "") if table and notes else []
    lines += [f"table {_NAME}", f"delete table {_NAME}"]
    lines += block(table, table.objects, table.chains, notes=notes) if table else []
    return "\n".join(lines) + "\n"


def block(
    table: Table, objects: Iterable[Object], chains: Iterable[Chain], *, notes: bool = False
) -> list[str]:
    """Return the lines of a ``table … { }`` with those of its objects and chains, in their order.

    nft makes the chains before the rules, so a rule may jump to a chain further down.
    """
    lines = [f"table {table.family} {table.name} {{", *(f"\t{line}" for line in table.extra)]
    blocks = [_object(item, notes) for item in objects] + [_chain(chain, notes) for chain in chains]
    for index, inner in enumerate(blocks):
        lines += ([""] if index else []) + [f"\t{line}" if line else "" for line in inner]
    return [*lines, "}"]


def as_lines(table: Table) -> str:
    """Return ``table`` as JSON, one object a line: table, objects, chains, and their rules in order."""
    rows: list[dict[str, object]] = [{"object": "table", "family": table.family, "name": table.name}]
    rows += [{"object": item.kind, **msgspec.structs.asdict(item)} for item in table.objects]
    for chain in table.chains:
        hook = msgspec.structs.asdict(chain.hook) if chain.hook else None
        rows.append({"object": "chain", "name": chain.name, "hook": hook, "note": chain.note})
        rows += [
            {
                "object": "rule",
                "chain": chain.name,
                "text": rule.line,
                "id": rule.id,
                "match": rule.match,
                "action": rule.action,
                "note": rule.note,
                "counter": rule.counter,
            }
            for rule in chain.rules
        ]
    return "".join(msgspec.json.encode(row).decode() + "\n" for row in rows)


def _note(text: str, indent: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.splitlines():
        lines += textwrap.wrap(
            paragraph, _WIDTH - 8, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
        ) or [f"{indent}#"]
    return lines


def _object(item: Object, notes: bool) -> list[str]:
    body = [*item.body]
    body += [f"elements = {{ {', '.join(item.elements)} }}"] if item.elements else []
    head = _note(item.note, "") if notes else []
    return [*head, f"{item.kind} {item.name} {{", *(f"\t{line}" for line in body), "}"]


def _chain(chain: Chain, notes: bool) -> list[str]:
    lines = _note(chain.note, "") if notes else []
    lines.append(f"chain {chain.name} {{")
    lines += [f"\t{line}" for line in (chain.comment, chain.head) if line]
    for index, rule in enumerate(chain.rules):
        if notes and rule.note:
            lines += ([""] if index or chain.hook else []) + _note(rule.note, "\t")
        lines.append(f"\t{rule.line}")
    return [*lines, "}"]
