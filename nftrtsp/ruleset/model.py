"""A table of nftables as plain data: what :mod:`build` makes, :mod:`render` writes and the diff names.

Nothing here knows nft's grammar beyond the words that stand in ``match`` and ``action``; nothing here does
I/O. Every rule has an id that stays the same from run to run and stands in the rule's comment in the kernel,
so that a rule of the live ruleset can be told from its neighbours, and its counter found again.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

#: Before every rule id in the kernel's comments: ``comment "nftrtsp:forward-media"``.
ID_PREFIX = "nftrtsp:"


class Hook(msgspec.Struct, frozen=True):
    """Where a base chain hangs. ``priority`` is written as nft does: ``filter``, ``filter - 1``."""

    type: str
    hook: str
    priority: str
    policy: str = "accept"


class Rule(msgspec.Struct, frozen=True):
    """One rule. ``note`` is for people and stands above it as a ``#`` comment; the kernel never sees it."""

    id: str
    match: str
    action: str
    note: str = ""
    counter: bool = True

    @property
    def comment(self) -> str:
        """The rule's comment in the kernel."""
        return ID_PREFIX + self.id


class Chain(msgspec.Struct, frozen=True):
    """A base chain, or without ``hook`` one that others jump to."""

    name: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None
    note: str = ""


class Set(msgspec.Struct, frozen=True):
    """A named set with its elements, as nft writes them."""

    name: str
    type: str
    elements: tuple[str, ...]
    flags: tuple[str, ...] = ()
    note: str = ""


class Map(msgspec.Struct, frozen=True):
    """A named map, filled at run time: by a helper or by the packet path. ``size`` 0: no limit."""

    name: str
    key: str
    value: str
    flags: tuple[str, ...] = ()
    size: int = 0
    note: str = ""


class CtHelper(msgspec.Struct, frozen=True):
    """A ``ct helper`` object: ``type`` is the helper's name in the kernel."""

    name: str
    type: str
    protocol: str = "tcp"
    l3proto: str = "ip"
    note: str = ""


class CtTimeout(msgspec.Struct, frozen=True):
    """A ``ct timeout`` object; ``policy`` pairs conntrack's state names with seconds."""

    name: str
    protocol: str
    policy: tuple[tuple[str, int], ...]
    l3proto: str = "ip"
    note: str = ""


Object: TypeAlias = CtHelper | CtTimeout | Set | Map


class Table(msgspec.Struct, frozen=True):
    """The whole table, objects before the chains that use them."""

    family: str
    name: str
    objects: tuple[Object, ...]
    chains: tuple[Chain, ...]
    note: str = ""

    def rules(self) -> dict[str, Rule]:
        """Return the rules by id; ids are unique in a table."""
        return {rule.id: rule for chain in self.chains for rule in chain.rules}

    def with_helper_type(self, kind: str) -> Table:
        """Return this table with its ``ct helper`` objects of type ``kind``.

        For a scratch load where no helper ``rtsp`` is registered: ``ftp`` stands in.
        """
        objects = tuple(
            msgspec.structs.replace(item, type=kind) if isinstance(item, CtHelper) else item
            for item in self.objects
        )
        return msgspec.structs.replace(self, objects=objects)
