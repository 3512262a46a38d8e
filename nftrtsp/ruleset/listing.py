"""Our table as nft lists it, read into values that can be compared and written again. Pure.

Only what the kernel prints is compared with what the kernel prints: the wanted ruleset is loaded in a
scratch namespace (:mod:`nftrtsp.ruleset.scratch`) and listed there, the live one is listed where it lives,
both without state (``nft -s``) and by the same nft. So a rule is one line of text here, and its grammar is
nobody's business. Handles, counters and the elements of timed sets and maps are not part of the form.

This is text, not libnftables' JSON, because what is read here is loaded again: JSON leaves out comments of
tables and chains before nft 1.0.8, and does not print all of ``dnat … map``. What is only looked at is
read as JSON: :mod:`nftrtsp.ruleset.contents`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec.structs import replace

from nftrtsp.errors import MalformedError
from nftrtsp.ruleset import names
from nftrtsp.ruleset.model import Chain, Hook, ListedObject, Object, Rule, Table

_TABLE = re.compile(r"^table (?P<family>\S+) (?P<name>\S+) \{")
_BLOCK = re.compile(
    r"^\t(?P<kind>chain|set|map|flowtable|counter|quota|limit|secmark|synproxy|ct helper|ct timeout"
    r"|ct expectation) (?P<name>\S+) \{"
)
_HOOK = re.compile(
    r"^type (?P<type>\S+) hook (?P<hook>.+?) priority (?P<priority>.+?); policy (?P<policy>\w+);$"
)
_RULE = re.compile(r'^(?P<text>.*?)(?: comment "(?P<comment>[^"]*)")?(?: # handle (?P<handle>\d+))?$')
_STATE = re.compile(r"\bcounter packets \d+ bytes \d+|(?<=bytes) used \d+ \w+")
_TRAILER = re.compile(r"\s+# (?:handle|count) \d+$")


def read_table(listing: str | None, *, timed: bool = False) -> Table | None:
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
    hook: Hook | None = None
    comment = ""
    for line in body:
        head = _HOOK.match(line)
        if head:
            hook = Hook(**head.groupdict())
        elif line.startswith('comment "') and not rules:
            comment = line
        elif line:
            match = _RULE.match(line)
            assert match is not None  # noqa: S101 - the expression matches any line
            rules.append(Rule(match["text"], match["comment"] or ""))
    return Chain(name, tuple(rules), hook, comment)


def _object(kind: str, name: str, body: Iterator[str], *, timed: bool) -> Object:
    definition: list[str] = []
    elements: list[str] = []
    for line in body:
        if line.startswith("elements = {"):
            elements = _elements(line.removeprefix("elements = {"), body)
        elif line:
            definition.append(line)
    found = ListedObject(name, kind, tuple(definition), tuple(sorted(elements)))
    return replace(found, elements=()) if found.timed and not timed else found


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
