"""nf_tables on paper: a ruleset in a file, which takes nft's commands and refuses what the kernel refuses.

For tests of what leads from one ruleset to another and back: no root, no namespace, shared by processes
that are killed, and nft(8) on PATH for the script of the way back. It knows the commands that this project
writes, one a line as it writes them. A rule is one line of text whose grammar is nobody's business; only what
it refers to is read from it, and its counters. No packets pass. tests/integration/test_paper_nftables.py
holds it to the truth: what is asked of it there is asked of the kernel too.

As a program (``paper_nftables.py FILE [-s] -f RULESET | [-s] list …``) it imports nothing but the standard
library, to start fast.
"""

from __future__ import annotations

import copy
import errno
import fcntl
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Types of conntrack helper that are registered in every kernel here; ``rtsp`` is not, until a test says so.
HELPERS = frozenset({"ftp", "irc"})

_KINDS = "set|map|counter|quota|limit|ct helper|ct timeout|ct expectation"
_TABLE = re.compile(r"^(?:add )?table (\S+) (\S+)( \{)?$")
_BLOCK = re.compile(rf"^(chain|{_KINDS}) (\S+) \{{$")
_DROP = re.compile(rf"^(delete|flush) (table|chain|{_KINDS}) (\S+) (\S+)(?: (\S+))?$")
_ELEMENTS = re.compile(r"^(add|delete) element (\S+) (\S+) (\S+) \{ (.*) \}$")
_RULE = re.compile(r"^(add|insert) rule (\S+) (\S+) (\S+) (.+)$")
_LIST = re.compile(r"^list (?:ruleset|table (\S+) (\S+))$")
_HOOK = re.compile(r"^(type \S+ hook .*?);(?: policy (\w+);)?$")
_COMMENT = re.compile(r' comment "[^"]*"$')
_BARE_COUNTER = re.compile(r"\bcounter\b(?! packets| name)")
_COUNTED = re.compile(r"\bcounter packets \d+ bytes \d+")
_EXPIRES = re.compile(r" expires \S+")
_TIMEOUT = re.compile(r" timeout (\S+)(?! expires)(?= |$)")
_OF_ELEMENT = re.compile(r' (?:timeout \S+|expires \S+|comment "[^"]*")')
_REFERENCES = (
    ("chain", re.compile(r"\b(?:jump|goto) (\S+)")),
    ("set", re.compile(r"@(\S+)")),
    ("ct helper", re.compile(r'\bct helper set "([^"]+)"')),
    ("ct timeout", re.compile(r'\bct timeout set "([^"]+)"')),
)


class Refused(Exception):  # noqa: N818 - the kernel's word, not a fault of ours
    """What the kernel answers: an errno, and the line that it is about."""

    def __init__(self, number: int, line: int = 0, words: str = "") -> None:
        super().__init__(words or f"Could not process rule: {os.strerror(number)}")
        self.number, self.line = number, line


class Thing:
    """A chain, or a set, a map or an object: its lines, and its rules or elements."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        self.hook = self.policy = self.comment = ""
        self.body: list[str] = []
        self.rules: list[str] = []
        self.elements: dict[str, str] = {}

    @property
    def timed(self) -> bool:
        """Whether its elements go by themselves."""
        return any(line.startswith("timeout ") or "timeout" in line.split("flags ")[-1] for line in self.body)

    def listed(self, stateless: bool) -> list[str]:
        """Return its block as nft prints it."""
        lines = [self.comment, f"{self.hook}; policy {self.policy};" if self.hook else "", *self.body]
        if self.elements:
            texts = [self.elements[key] for key in sorted(self.elements, key=_natural)]
            lines.append(f"elements = {{ {', '.join(_stateless(t) if stateless else t for t in texts)} }}")
        if self.kind == "counter" and stateless:
            lines = []
        lines += [_stateless(rule) if stateless else rule for rule in self.rules]
        return [f"\t{self.kind} {self.name} {{", *(f"\t\t{line}" for line in lines if line), "\t}"]


class Table:
    """A table; nft lists its objects, its sets, then its chains."""

    def __init__(self, family: str, name: str) -> None:
        self.family, self.name = family, name
        self.extra: list[str] = []
        self.things: dict[tuple[str, str], Thing] = {}

    def find(self, kind: str, name: str) -> Thing | None:
        """Return what bears that name; sets and maps share theirs."""
        kinds = ("set", "map") if kind in ("set", "map") else (kind,)
        return next((self.things[k, name] for k in kinds if (k, name) in self.things), None)

    def listed(self, stateless: bool) -> str:
        """Return the table as nft prints it."""
        order = {"set": 1, "map": 1, "chain": 2}
        things = sorted(self.things.values(), key=lambda thing: order.get(thing.kind, 0))
        blocks = ["\n".join(thing.listed(stateless)) for thing in things]
        head = [f"table {self.family} {self.name} {{", *(f"\t{line}" for line in self.extra)]
        return "\n".join([*head, "\n\n".join(blocks), "}"]) + "\n"


class Ruleset:
    """Every table, in memory. A command that is refused raises :class:`Refused` half-way: work on a copy."""

    def __init__(self, helpers: frozenset[str] = HELPERS) -> None:
        self.helpers = helpers
        self.tables: dict[tuple[str, str], Table] = {}

    def carry_out(self, text: str, *, stateless: bool = False) -> str:
        """Carry out commands, one a line or a block; return what they print."""
        printed = ""
        lines = iter([(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)])
        for number, line in lines:
            if not line or line.startswith("#"):
                continue
            if match := _TABLE.match(line):
                table = self.tables.setdefault((match[1], match[2]), Table(match[1], match[2]))
                if match[3]:
                    for at, chain, rule in self._block(table, lines):  # all they refer to is there now
                        self._add_rule(at, table, chain, rule)
            elif match := _LIST.match(line):
                printed += self._list(match[1], match[2], stateless)
            else:
                self._one(number, line)
        return printed

    def _list(self, family: str | None, name: str | None, stateless: bool) -> str:
        if family is None:
            return "".join(table.listed(stateless) for table in self.tables.values())
        if (family, name) not in self.tables:
            raise Refused(errno.ENOENT, words="No such file or directory")
        return self.tables[family, name or ""].listed(stateless)

    def _one(self, number: int, line: str) -> None:
        if match := _DROP.match(line):
            self._drop(number, match)
        elif match := _RULE.match(line):
            table = self._table(number, match[2], match[3])
            chain = self._thing(number, table, "chain", match[4])
            self._add_rule(number, table, chain, match[5], first=match[1] == "insert")
        elif match := _ELEMENTS.match(line):
            into = self._thing(number, self._table(number, match[2], match[3]), "set", match[4])
            for element in _split(match[5]):
                _change(number, into, element, add=match[1] == "add")
        else:
            raise Refused(errno.EINVAL, number, "syntax error, unexpected string")

    def _drop(self, number: int, match: re.Match[str]) -> None:
        verb, kind, family, name, of = match.groups()
        table = self._table(number, family, name)
        if kind == "table":
            if verb == "delete":
                del self.tables[family, name]
            else:
                for thing in table.things.values():
                    thing.rules.clear()
            return
        thing = self._thing(number, table, kind, of or "")
        if verb == "flush":
            thing.rules.clear()
            thing.elements.clear()
            return
        others = [rule for chain in table.things.values() if chain is not thing for rule in chain.rules]
        if any(table.find(*reference) is thing for rule in others for reference in _references(rule)):
            raise Refused(errno.EBUSY, number)
        del table.things[thing.kind, thing.name]

    def _block(self, table: Table, lines: Iterator[tuple[int, str]]) -> list[tuple[int, Thing, str]]:
        """Take in ``table … { … }`` up to its end; return its rules, which come after all else."""
        rules: list[tuple[int, Thing, str]] = []
        for number, line in lines:
            if line == "}":
                return rules
            if match := _BLOCK.match(line):
                thing, found = self._read(number, match[1], match[2], lines)
                there = self._settle(number, table, thing)
                rules += [(at, there, rule) for at, rule in found]
            elif line and not line.startswith("#"):
                table.extra = [*(extra for extra in table.extra if extra != line), line]
        raise Refused(errno.EINVAL, 0, "syntax error, unexpected end of file")

    def _read(
        self, number: int, kind: str, name: str, lines: Iterator[tuple[int, str]]
    ) -> tuple[Thing, list[tuple[int, str]]]:
        thing = Thing(kind, name)
        rules: list[tuple[int, str]] = []
        for at, line in lines:
            if line == "}":
                return thing, rules
            if line.startswith("elements = {"):
                text = line.removeprefix("elements = {")
                while not text.endswith("}"):  # nft breaks long lines
                    text += " " + next(lines)[1]
                for element in _split(text.removesuffix("}")):
                    _change(at, thing, element, add=True)
            elif kind == "chain" and (hook := _HOOK.match(line)):
                thing.hook, thing.policy = hook[1], hook[2] or "accept"
            elif kind == "chain" and line.startswith('comment "') and not rules:
                thing.comment = line
            elif kind == "chain" and line and not line.startswith("#"):
                rules.append((at, line))
            elif line and not line.startswith("#"):
                thing.body.append(line)
        raise Refused(errno.EINVAL, number, "syntax error, unexpected end of file")

    def _settle(self, number: int, table: Table, thing: Thing) -> Thing:
        """Add what a block defines, or see whether it fits what is there; return what is there then."""
        there = table.find(thing.kind, thing.name)
        if there is None:
            if thing.kind == "ct helper":
                kind = next((line.split('"')[1] for line in thing.body if line.startswith('type "')), "")
                if kind not in self.helpers:
                    raise Refused(errno.ENOENT, number)
            table.things[thing.kind, thing.name] = thing
            return thing
        if thing.kind == "chain" and thing.hook:
            if there.hook != thing.hook:
                raise Refused(errno.EOPNOTSUPP, number)
            there.policy = thing.policy
        if thing.kind in ("set", "map"):
            if (there.kind, there.body) != (thing.kind, thing.body):
                raise Refused(errno.EEXIST, number)
            for element in thing.elements.values():
                _change(number, there, element, add=True)
        return there  # the kernel takes another definition of an object in silence, and changes nothing

    def _add_rule(self, number: int, table: Table, chain: Thing, rule: str, *, first: bool = False) -> None:
        for kind, name in _references(rule):
            if table.find(kind, name) is None:
                raise Refused(errno.ENOENT, number)
        text = _COMMENT.sub("", rule)
        counted = _BARE_COUNTER.sub("counter packets 0 bytes 0", text) + rule[len(text) :]
        chain.rules.insert(0 if first else len(chain.rules), counted)

    def _table(self, number: int, family: str, name: str) -> Table:
        if (family, name) not in self.tables:
            raise Refused(errno.ENOENT, number)
        return self.tables[family, name]

    def _thing(self, number: int, table: Table, kind: str, name: str) -> Thing:
        thing = table.find(kind, name)
        if thing is None:
            raise Refused(errno.ENOENT, number)
        return thing


class Paper:
    """The ruleset of a router in the file ``path``: what several processes share, as they do the kernel."""

    def __init__(self, path: Path, helpers: frozenset[str] = HELPERS) -> None:
        self.path, self.helpers = path, helpers

    def carry_out(self, text: str, *, stateless: bool = False) -> tuple[int, str, str]:
        """Carry out commands as one transaction; return an exit code, the output and the error of nft."""
        try:
            with self._locked():
                before = self._read()
                after = copy.deepcopy(before)
                printed = after.carry_out(text, stateless=stateless)
                if (written := after.carry_out("list ruleset")) != before.carry_out("list ruleset"):
                    beside = self.path.with_suffix(".new")
                    beside.write_text(written)
                    beside.rename(self.path)
        except Refused as error:
            place = f"/dev/stdin:{error.line}:1-1: " if "\n" in text.strip() and error.line else ""
            return 1, "", f"{place}Error: {error}\n"
        return 0, printed, ""

    def wipe(self) -> None:
        """Start with nothing, as after a boot."""
        self.path.write_text("")

    def _read(self) -> Ruleset:
        ruleset = Ruleset(self.helpers | {"rtsp"})  # what is there once was accepted
        ruleset.carry_out(self.path.read_text() if self.path.exists() else "")
        ruleset.helpers = self.helpers
        return ruleset

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def install(self, folder: Path) -> None:
        """Put an nft(8) into ``folder`` that works on this ruleset."""
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / "nft"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {__file__} {self.path} "$@"\n')
        program.chmod(0o755)


def _references(rule: str) -> list[tuple[str, str]]:
    text = _COMMENT.sub("", rule)
    return [(kind, name) for kind, pattern in _REFERENCES for name in pattern.findall(text)]


def _change(number: int, into: Thing, element: str, *, add: bool) -> None:
    """Add an element, or take it away."""
    bare, colon, value = _OF_ELEMENT.sub("", element).partition(" : ")
    key = bare.strip()
    if not add:
        if key not in into.elements:
            raise Refused(errno.ENOENT, number)
        del into.elements[key]
        return
    there = into.elements.get(key)
    if there is not None:
        if colon and _OF_ELEMENT.sub("", there).partition(" : ")[2] != value:
            raise Refused(errno.EEXIST, number)
        return
    into.elements[key] = (
        element if _EXPIRES.search(element) else _TIMEOUT.sub(r" timeout \1 expires \1", element)
    )


def _split(text: str) -> list[str]:
    """Split elements at their commas, not at those of their comments."""
    return [part.strip() for part in re.findall(r'(?:[^,"]|"[^"]*")+', text) if part.strip()]


def _natural(key: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", key)]


def _stateless(text: str) -> str:
    return _EXPIRES.sub("", _COUNTED.sub("counter", text))


def main(words: list[str]) -> int:
    """Be nft(8) for ``FILE [-s] (-f RULESET | COMMAND…)``; return its exit code."""
    path, *rest = words
    stateless = "-s" in rest
    rest = [word for word in rest if word != "-s"]
    text = Path(rest[1]).read_text() if rest[0] == "-f" else " ".join(rest)
    code, printed, error = Paper(Path(path)).carry_out(text, stateless=stateless)
    sys.stdout.write(printed)
    sys.stderr.write(error)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
