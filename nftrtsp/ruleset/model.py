"""A table of nftables as plain data: what :mod:`build` makes, what :mod:`listing` reads, what is written.

Nothing here knows nft's grammar beyond the words that stand in a rule; nothing here does I/O. Every rule of
ours has an id that stays the same from run to run and stands in the rule's comment in the kernel, so that a
rule of the live ruleset can be told from its neighbours, and its counter found again.
"""

from __future__ import annotations

import msgspec

#: Before every rule id in the kernel's comments: ``comment "nftrtsp:forward-media"``.
ID_PREFIX = "nftrtsp:"


class Hook(msgspec.Struct, frozen=True):
    """Where a base chain hangs. ``priority`` is written as nft does: ``filter``, ``filter - 1``."""

    type: str
    hook: str
    priority: str
    policy: str = "accept"

    @property
    def place(self) -> str:
        """The hook without its policy, which is all of it that can be changed later."""
        return f"type {self.type} hook {self.hook} priority {self.priority}"

    @property
    def line(self) -> str:
        """The line that makes a chain a base chain."""
        return f"{self.place}; policy {self.policy};"


class Rule(msgspec.Struct, frozen=True):
    """One rule: what it matches, whether it counts, what it does, and its comment in the kernel.

    Where a listed rule's match ends nft alone could tell, so ``action`` is the whole of its text. ``note`` is
    for people and stands above the rule as a ``#`` comment; the kernel never sees it.
    """

    action: str
    comment: str = ""
    match: str = ""
    counter: bool = False
    note: str = ""

    @classmethod
    def named(cls, name: str, match: str, action: str, *, note: str = "", counter: bool = True) -> Rule:
        """Return a rule of ours, with the id ``name``."""
        return cls(action, ID_PREFIX + name, match, counter, note)

    @property
    def text(self) -> str:
        """The statements, as nft writes them."""
        return " ".join(part for part in (self.match, "counter" if self.counter else "", self.action) if part)

    @property
    def line(self) -> str:
        """The rule as nft writes it."""
        return f'{self.text} comment "{self.comment}"' if self.comment else self.text

    @property
    def id(self) -> str:
        """The id as people read it, without our prefix; the text where there is none."""
        return self.comment.removeprefix(ID_PREFIX) or self.text

    @property
    def key(self) -> str:
        """What tells this rule from its neighbours: its comment, or its text where it has none."""
        return self.comment or self.text


class Chain(msgspec.Struct, frozen=True):
    """A base chain, or without ``hook`` one that others jump to. ``comment`` is a line of nft's, whole."""

    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None
    comment: str = ""
    note: str = ""

    @property
    def head(self) -> str:
        """The line that makes it a base chain, or nothing."""
        return self.hook.line if self.hook else ""


class Object(msgspec.Struct, frozen=True):
    """A named object: set, map, ``ct helper``, ``ct timeout``, …

    ``elements`` are those of a set or map, in no order that counts.
    """

    name: str

    @property
    def kind(self) -> str:
        """What nft calls it: ``set``, ``ct helper``, …."""
        raise NotImplementedError

    @property
    def body(self) -> tuple[str, ...]:
        """The lines that define it, without its elements."""
        raise NotImplementedError

    @property
    def elements(self) -> tuple[str, ...]:
        """The elements, as nft writes them."""
        return ()

    @property
    def note(self) -> str:
        """What people should know of it; stands above it as a ``#`` comment."""
        return ""

    @property
    def timed(self) -> bool:
        """Whether its elements come and go by themselves."""
        return self.kind in ("set", "map") and any(_is_timed(line) for line in self.body)

    @property
    def definition(self) -> tuple[str, str, tuple[str, ...]]:
        """What cannot be changed without making it anew."""
        return self.kind, self.name, self.body


class ListedObject(Object, frozen=True):
    """An object of any kind as nft prints it: we make four kinds, and others may have added more."""

    kind: str
    body: tuple[str, ...]
    elements: tuple[str, ...] = ()


class Set(Object, frozen=True):
    """A named set with its elements, as nft writes them."""

    type: str
    elements: tuple[str, ...]
    flags: tuple[str, ...] = ()
    note: str = ""

    @property
    def kind(self) -> str:
        """``set``."""
        return "set"

    @property
    def body(self) -> tuple[str, ...]:
        """The lines that define it."""
        return f"type {self.type}", *_flags(self.flags)


class Map(Object, frozen=True):
    """A named map, filled at run time: by a helper or by the packet path. ``size`` 0: no limit."""

    key: str
    value: str
    flags: tuple[str, ...] = ()
    size: int = 0
    note: str = ""

    @property
    def kind(self) -> str:
        """``map``."""
        return "map"

    @property
    def body(self) -> tuple[str, ...]:
        """The lines that define it."""
        size = (f"size {self.size}",) if self.size else ()
        return f"type {self.key} : {self.value}", *size, *_flags(self.flags)


class CtHelper(Object, frozen=True):
    """A ``ct helper`` object: ``type`` is the helper's name in the kernel."""

    type: str
    protocol: str = "tcp"
    l3proto: str = "ip"
    note: str = ""

    @property
    def kind(self) -> str:
        """``ct helper``."""
        return "ct helper"

    @property
    def body(self) -> tuple[str, ...]:
        """The lines that define it. In one line these would need their own separators before the brace."""
        return f'type "{self.type}" protocol {self.protocol}', f"l3proto {self.l3proto}"


class CtTimeout(Object, frozen=True):
    """A ``ct timeout`` object; ``policy`` pairs conntrack's state names with seconds."""

    protocol: str
    policy: tuple[tuple[str, int], ...]
    l3proto: str = "ip"
    note: str = ""

    @property
    def kind(self) -> str:
        """``ct timeout``."""
        return "ct timeout"

    @property
    def body(self) -> tuple[str, ...]:
        """The lines that define it."""
        policy = ", ".join(f"{state} : {seconds}" for state, seconds in self.policy)
        return f"protocol {self.protocol}", f"l3proto {self.l3proto}", f"policy = {{ {policy} }}"


class Table(msgspec.Struct, frozen=True):
    """A whole table, objects before the chains that use them. ``extra`` are lines of the table itself."""

    family: str
    name: str
    objects: tuple[Object, ...] = ()
    chains: tuple[Chain, ...] = ()
    extra: tuple[str, ...] = ()
    note: str = ""

    def rules(self) -> dict[str, Rule]:
        """Return the rules by id; ids are unique in a table of ours."""
        return {rule.id: rule for chain in self.chains for rule in chain.rules}

    def chain(self, name: str) -> Chain | None:
        """Return the chain of that name."""
        return next((chain for chain in self.chains if chain.name == name), None)

    def object(self, name: str) -> Object | None:
        """Return the set, map or object of that name."""
        return next((item for item in self.objects if item.name == name), None)

    def with_helper_type(self, kind: str) -> Table:
        """Return this table with its ``ct helper`` objects of type ``kind``.

        For a scratch load where no helper ``rtsp`` is registered: ``ftp`` stands in.
        """
        objects = tuple(
            msgspec.structs.replace(item, type=kind) if isinstance(item, CtHelper) else item
            for item in self.objects
        )
        return msgspec.structs.replace(self, objects=objects)


def _flags(flags: tuple[str, ...]) -> tuple[str, ...]:
    return (f"flags {','.join(flags)}",) if flags else ()


def _is_timed(line: str) -> bool:
    flags = line.removeprefix("flags ").split(",") if line.startswith("flags ") else []
    return "timeout" in flags or "dynamic" in flags or line.startswith("timeout ")
