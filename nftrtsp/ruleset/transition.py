"""A plan as nft commands: one transaction from the live table to the wanted one. Pure.

Deleting our table and writing it anew would be simpler, and it is what :func:`replacement` does. But it
also deletes the ``ct timeout`` object, and with it the pause timeout of films that play (seen on Linux 6.18:
from 3600 s to conntrack's own 30 s with the next packet), and it loses pinholes opened between the listing
and the load. So :func:`transition` touches only what differs: chains that differ are emptied and filled anew,
counters go on, and what stays the same is not mentioned.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from nftrtsp.ruleset import names
from nftrtsp.ruleset.listing import stateless
from nftrtsp.ruleset.model import Chain, Object, Rule, Table
from nftrtsp.ruleset.render import block, render

_NAME = f"{names.TABLE_FAMILY} {names.TABLE_NAME}"


def replacement(table: Table | None) -> str:
    """Return commands that replace whatever table of ours is there by ``table``, or take it away."""
    return render(table, notes=False)


def transition(live: Table | None, wanted: Table | None, counted: Table | None = None) -> str:
    """Return commands that lead from ``live`` to ``wanted`` and leave what is the same untouched.

    ``counted`` is the live table with its state: rules that stay take their counters along. The commands also
    lead to ``wanted`` from a table in between, as what they touch they first empty.
    """
    if live is None or wanted is None or live.extra != wanted.extra:
        return replacement(with_counters(wanted, counted) if wanted else None)
    fresh, gone = _turned_over(live.objects, wanted.objects)
    rebuilt = {chain.name for chain in live.chains if _needs_deletion(chain, wanted.chain(chain.name))}
    # Whatever may refer to what goes must let go of it first.
    all_of_them = gone or any(not chain.hook and chain.name in rebuilt for chain in live.chains)
    touched = [chain for chain in live.chains if all_of_them or wanted.chain(chain.name) != chain]
    framed = [chain for chain in wanted.chains if _frame(live.chain(chain.name)) != _frame(chain)]
    refilled = [chain for chain in wanted.chains if live.chain(chain.name) in (None, *touched)]
    lines = [f"flush chain {_NAME} {chain.name}" for chain in touched]
    lines += [f"delete chain {_NAME} {name}" for name in sorted(rebuilt)]
    lines += [f"delete {item.kind} {_NAME} {item.name}" for item in gone]
    lines += block(wanted, fresh, [replace(chain, rules=()) for chain in framed])
    lines += _elements(live, wanted)
    states = _states(counted)
    for chain in refilled:
        lines += [
            f"add rule {_NAME} {chain.name} {_counted(chain.name, rule, states).line}" for rule in chain.rules
        ]
    return "\n".join(lines) + "\n"


def with_counters(wanted: Table, counted: Table | None) -> Table:
    """Return ``wanted`` with the counters and the timed elements that ``counted`` has for the same things."""
    states = _states(counted)
    chains = tuple(
        replace(chain, rules=tuple(_counted(chain.name, rule, states) for rule in chain.rules))
        for chain in wanted.chains
    )
    objects = tuple(_with_elements(item, counted) for item in wanted.objects)
    return replace(wanted, objects=objects, chains=chains)


def _with_elements(item: Object, counted: Table | None) -> Object:
    was = counted.object(item.name) if counted and item.timed else None
    return was if was is not None and was.definition == item.definition else item


def _turned_over(live: Sequence[Object], wanted: Sequence[Object]) -> tuple[list[Object], list[Object]]:
    """Return the objects to make and those to delete; one that is defined otherwise is in both."""
    before = {item.definition for item in live}
    after = {item.definition for item in wanted}
    fresh = [item for item in wanted if item.definition not in before]
    gone = [item for item in live if item.definition not in after]
    return fresh, gone


def _needs_deletion(chain: Chain, wanted: Chain | None) -> bool:
    """Whether the kernel cannot turn ``chain`` into ``wanted``: only a base chain's policy can be changed."""
    return wanted is None or (_place(chain), chain.comment) != (_place(wanted), wanted.comment)


def _place(chain: Chain) -> str:
    return chain.hook.place if chain.hook else ""


def _frame(chain: Chain | None) -> tuple[str, str] | None:
    return (chain.head, chain.comment) if chain else None


def _elements(live: Table, wanted: Table) -> list[str]:
    """Return commands for sets that keep their definition and change their elements."""
    lines = []
    for item in wanted.objects:
        was = live.object(item.name)
        if was is None or was.definition != item.definition or was.elements == item.elements:
            continue
        lines.append(f"flush {item.kind} {_NAME} {item.name}")
        if item.elements:
            lines.append(f"add element {_NAME} {item.name} {{ {', '.join(item.elements)} }}")
    return lines


def _states(counted: Table | None) -> dict[tuple[str, str], Rule]:
    """Map chain and stateless rule to the rule with its state."""
    if counted is None:
        return {}
    return {(chain.name, stateless(rule.line)): rule for chain in counted.chains for rule in chain.rules}


def _counted(chain: str, rule: Rule, states: dict[tuple[str, str], Rule]) -> Rule:
    return states.get((chain, rule.line), rule)
