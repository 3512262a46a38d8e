"""The canonical form: a table as the kernel prints it, read into values that can be compared. Pure.

Only what the kernel prints is compared with what the kernel prints: the wanted ruleset is loaded in a
scratch namespace (:mod:`nftrtsp.ruleset.scratch`) and listed there, the live one is listed where it lives,
both without state (``nft -s``) and by the same nft. So a rule is one line of text here, and its grammar is
nobody's business. Handles, counters and the elements of timed sets and maps are not part of the form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from nftrtsp.errors import MalformedError
from nftrtsp.ruleset import names
from nftrtsp.ruleset.model import ID_PREFIX

_TABLE = re.compile(r"^table (?P<family>\S+) (?P<name>\S+) \{")
_BLOCK = re.compile(
    r"^\t(?P<kind>chain|set|map|flowtable|counter|quota|limit|secmark|synproxy|ct helper|ct timeout"
    r"|ct expectation) (?P<name>\S+) \{"
)
_HOOK = re.compile(r"^type \S+ hook .*?; policy (?P<policy>\w+);$")
_RULE = re.compile(r'^(?P<text>.*?)(?: comment "(?P<comment>[^"]*)")?(?: # handle (?P<handle>\d+))?$')
_STATE = re.compile(r"\bcounter packets \d+ bytes \d+|(?<=bytes) used \d+ \w+")
_TRAILER = re.compile(r"\s+# (?:handle|count) \d+$")


class Rule(msgspec.Struct, frozen=True):
    """One rule: its statements, and its comment, which is its stable id."""

    text: str
    comment: str = ""

    @property
    def key(self) -> str:
        """What tells this rule from its neighbours: its id, or its text where it has none."""
        return self.comment or self.text

    @property
    def id(self) -> str:
        """The id as people read it, without our prefix; the text where there is none."""
        return self.comment.removeprefix(ID_PREFIX) or self.text

    @property
    def line(self) -> str:
        """The rule as nft writes it."""
        return f'{self.text} comment "{self.comment}"' if self.comment else self.text


class Chain(msgspec.Struct, frozen=True):
    """A chain; ``hook`` is the ``type … hook … priority …`` of a base chain, ``policy`` what it ends with."""

    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    policy: str = ""
    comment: str = ""

    @property
    def head(self) -> str:
        """The line that makes it a base chain, or nothing."""
        return f"{self.hook}; policy {self.policy};" if self.hook else ""


class Object(msgspec.Struct, frozen=True):
    """A named object: set, map, ``ct helper``, ``ct timeout``, …; ``body`` are its lines.

    ``elements`` are unordered and those of a set or map; ``timed`` ones come and go by themselves and are
    left out.
    """

    kind: str
    name: str
    body: tuple[str, ...]
    elements: tuple[str, ...] = ()
    timed: bool = False

    @property
    def definition(self) -> tuple[str, str, tuple[str, ...]]:
        """What cannot be changed without making it anew."""
        return self.kind, self.name, self.body


class Table(msgspec.Struct, frozen=True):
    """A table as the kernel prints it. ``extra`` are lines of the table itself: comment, flags."""

    family: str
    name: str
    objects: tuple[Object, ...] = ()
    chains: tuple[Chain, ...] = ()
    extra: tuple[str, ...] = ()

    def chain(self, name: str) -> Chain | None:
        """Return the chain of that name."""
        return next((chain for chain in self.chains if chain.name == name), None)

    def object(self, name: str) -> Object | None:
        """Return the set, map or object of that name."""
        return next((item for item in self.objects if item.name == name), None)


def parse(listing: str | None, *, timed: bool = False) -> Table | None:
    """Read the listing of our table (``nft list table``, or ``list ruleset``); None where it is absent.

    With ``timed``, the elements of timed sets and maps are kept, for carrying them over. Raises
    :class:`MalformedError` on what no nft prints.
    """
    lines = iter((listing or "").splitlines())
    for line in lines:
        match = _TABLE.match(line)
        if match and (match["family"], match["name"]) == (names.TABLE_FAMILY, names.TABLE_NAME):
            return _table(match, lines, timed=timed)
    return None


def stateless(text: str) -> str:
    """Return a rule's text without the state of its counters and quotas."""
    return _STATE.sub(lambda match: "counter" if match[0].startswith("counter") else "", text)


def _table(match: re.Match[str], lines: Iterator[str], *, timed: bool) -> Table:
    objects: list[Object] = []
    chains: list[Chain] = []
    extra: list[str] = []
    for line in lines:
        block = _BLOCK.match(line)
        if line == "}":
            return Table(match["family"], match["name"], tuple(objects), tuple(chains), tuple(extra))
        if block and block["kind"] == "chain":
            chains.append(_chain(block["name"], _body(lines)))
        elif block:
            objects.append(_object(block["kind"], block["name"], _body(lines), timed=timed))
        elif line.strip():
            extra.append(line.strip())
    raise MalformedError("the listing of the table has no end")


def _body(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line == "\t}":
            return
        yield _TRAILER.sub("", line.strip())


def _chain(name: str, body: Iterator[str]) -> Chain:
    rules: list[Rule] = []
    hook = policy = comment = ""
    for line in body:
        head = _HOOK.match(line)
        if head:
            hook, policy = line.rpartition("; policy ")[0], head["policy"]
        elif line.startswith('comment "') and not rules:
            comment = line
        elif line:
            match = _RULE.match(line)
            assert match is not None  # noqa: S101 - the expression matches any line
            rules.append(Rule(match["text"], match["comment"] or ""))
    return Chain(name, tuple(rules), hook, policy, comment)


def _object(kind: str, name: str, body: Iterator[str], *, timed: bool) -> Object:
    definition: list[str] = []
    elements: list[str] = []
    for line in body:
        if line.startswith("elements = {"):
            elements = _elements(line.removeprefix("elements = {"), body)
        elif line:
            definition.append(line)
    lives = kind in ("set", "map") and any(_is_timed(line) for line in definition)
    kept = () if lives and not timed else tuple(sorted(elements))
    return Object(kind, name, tuple(definition), kept, lives)


def _is_timed(line: str) -> bool:
    flags = line.removeprefix("flags ").split(",") if line.startswith("flags ") else []
    return "timeout" in flags or "dynamic" in flags or line.startswith("timeout ")


def _elements(rest: str, body: Iterator[str]) -> list[str]:
    """Split ``a, b, c }``, which may go on over the lines that follow, at the commas of its own level."""
    elements: list[str] = []
    word: list[str] = []
    depth, quoted = 1, False
    while True:
        for letter in rest:
            quoted ^= letter == '"'
            depth += 0 if quoted else (letter == "{") - (letter == "}")
            if depth == 0 or (letter == "," and depth == 1 and not quoted):
                elements.append(" ".join("".join(word).split()))
                word.clear()
            else:
                word.append(letter)
            if depth == 0:
                return [element for element in elements if element]
        following = next(body, None)
        if following is None:
            raise MalformedError("the elements of a set have no end")
        rest = " " + following
