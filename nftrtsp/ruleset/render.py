"""Table to nft text (pure): what ``nft -f`` accepts, in one transaction, and what a person can read."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import msgspec

from nftrtsp.ruleset.model import Chain, CtHelper, CtTimeout, Map, Object, Rule, Set, Table

_WIDTH = 110
_KINDS: dict[type, str] = {CtHelper: "ct helper", CtTimeout: "ct timeout", Set: "set", Map: "map"}
_NO_COUNTERS: Mapping[str, tuple[int, int]] = {}


def render(
    table: Table, *, counters: Mapping[str, tuple[int, int]] = _NO_COUNTERS, notes: bool = True
) -> str:
    """Return ``table`` as a file for ``nft -f``, which replaces our table in one transaction.

    ``table``, ``delete table``, ``table {…}`` rather than ``flush table``: a flush keeps base chains hooked
    that the new ruleset no longer has. ``counters`` gives rule ids the packets and bytes to go on from;
    without ``notes`` the ``#`` comments are left out.
    """
    lines = _note(table.note, "") if notes else []
    name = f"{table.family} {table.name}"
    lines += [f"table {name}", f"delete table {name}", f"table {name} {{"]
    blocks = [_object(item, notes) for item in table.objects]
    blocks += [_chain(chain, counters, notes) for chain in table.chains]
    for index, block in enumerate(blocks):
        lines += ([""] if index else []) + [f"\t{line}" if line else "" for line in block]
    return "\n".join([*lines, "}"]) + "\n"


def as_lines(table: Table) -> str:
    """Return ``table`` as JSON, one object a line: table, objects, chains, and their rules in order."""
    rows: list[dict[str, object]] = [{"object": "table", "family": table.family, "name": table.name}]
    rows += [{"object": _KINDS[type(item)], **msgspec.structs.asdict(item)} for item in table.objects]
    for chain in table.chains:
        hook = msgspec.structs.asdict(chain.hook) if chain.hook else None
        rows.append({"object": "chain", "name": chain.name, "hook": hook, "note": chain.note})
        for rule in chain.rules:
            row = {"object": "rule", "chain": chain.name, "text": rule_text(rule)}
            rows.append(row | msgspec.structs.asdict(rule))
    return "".join(msgspec.json.encode(row).decode() + "\n" for row in rows)


def rule_text(rule: Rule, counted: tuple[int, int] | None = None) -> str:
    """Return one rule as nft writes it, with its id as comment and its counter set to packets, bytes."""
    counter = ""
    if rule.counter:
        counter = f"counter packets {counted[0]} bytes {counted[1]}" if counted else "counter"
    return " ".join(part for part in (rule.match, counter, rule.action, f'comment "{rule.comment}"') if part)


def _note(text: str, indent: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.splitlines():
        lines += textwrap.wrap(
            paragraph, _WIDTH - 8, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
        ) or [f"{indent}#"]
    return lines


def _object(item: Object, notes: bool) -> list[str]:
    head = _note(item.note, "") if notes else []
    match item:
        case CtHelper():
            # In one line these would need their own separators before the brace; newlines read better.
            body = [f'type "{item.type}" protocol {item.protocol}', f"l3proto {item.l3proto}"]
            return [*head, f"ct helper {item.name} {{", *(f"\t{line}" for line in body), "}"]
        case CtTimeout():
            policy = ", ".join(f"{state} : {seconds}" for state, seconds in item.policy)
            body = [f"protocol {item.protocol}", f"l3proto {item.l3proto}", f"policy = {{ {policy} }}"]
            return [*head, f"ct timeout {item.name} {{", *(f"\t{line}" for line in body), "}"]
        case Set():
            body = [f"type {item.type}"]
            body += [f"flags {','.join(item.flags)}"] if item.flags else []
            body += [f"elements = {{ {', '.join(item.elements)} }}"] if item.elements else []
            return [*head, f"set {item.name} {{", *(f"\t{line}" for line in body), "}"]
        case Map():
            body = [f"type {item.key} : {item.value}"]
            body += [f"size {item.size}"] if item.size else []
            body += [f"flags {','.join(item.flags)}"] if item.flags else []
            return [*head, f"map {item.name} {{", *(f"\t{line}" for line in body), "}"]


def _chain(chain: Chain, counters: Mapping[str, tuple[int, int]], notes: bool) -> list[str]:
    lines = _note(chain.note, "") if notes else []
    lines.append(f"chain {chain.name} {{")
    if chain.hook:
        hook = chain.hook
        lines.append(f"\ttype {hook.type} hook {hook.hook} priority {hook.priority}; policy {hook.policy};")
    for index, rule in enumerate(chain.rules):
        if notes and rule.note:
            lines += ([""] if index or chain.hook else []) + _note(rule.note, "\t")
        lines.append("\t" + rule_text(rule, counters.get(rule.id)))
    return [*lines, "}"]
