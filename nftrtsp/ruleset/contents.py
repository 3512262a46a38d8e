"""What our table holds and has counted, as libnftables' JSON tells it: for those who look and change nothing.

All of the table is asked for, without its elements: asked in JSON for one ``ct timeout``, libnftables 1.0.6
ends the process (``BUG: invalid command object type``), and 1.1.3 prints nothing of it. What is compared and
loaded again is read from text: :mod:`nftrtsp.ruleset.listing`.
"""

from __future__ import annotations

import errno
from typing import Any

import msgspec

from nftrtsp.errors import KernelError, MalformedError, NftrtspError, UnsupportedError
from nftrtsp.ruleset import names
from nftrtsp.ruleset.kernel import Nft
from nftrtsp.ruleset.model import ID_PREFIX

#: The command that is asked in JSON.
LIST = f"list table {names.TABLE_FAMILY} {names.TABLE_NAME}"


class Contents(msgspec.Struct, frozen=True):
    """Our table as it is in the kernel.

    ``maps`` are the names of its maps and ``packets`` what its rules have counted, by their ids.
    ``film_timeout`` is the timeout of films in seconds, None where there is no such object: that of a ruleset
    loaded before may differ from the config's.
    """

    maps: frozenset[str] = frozenset()
    packets: dict[str, int] = {}
    film_timeout: int | None = None


class _Map(msgspec.Struct):
    name: str


class _Timeout(msgspec.Struct):
    name: str
    policy: dict[str, int] = {}


class _Rule(msgspec.Struct):
    comment: str = ""
    expr: list[Any] = []


class _Item(msgspec.Struct):
    """One of what is listed; of another kind where all of these are None."""

    map: _Map | None = None
    rule: _Rule | None = None
    timeout: _Timeout | None = msgspec.field(default=None, name="ct timeout")


class _Listing(msgspec.Struct):
    nftables: list[_Item]


def read(nft: Nft) -> Contents | None:
    """Return what our table holds, None where there is none.

    Raises :class:`UnsupportedError` where libnftables was built without JSON, else as :meth:`Nft.run`.
    """
    try:
        printed = nft.run(LIST, json=True, terse=True)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    if not printed.lstrip().startswith("{"):
        raise UnsupportedError(
            "this libnftables speaks no JSON",
            remedy="install one that was built with it (on OpenWrt the package nftables-json)",
        )
    return decode(printed)


def film_timeout() -> int | None:
    """Return the seconds that films get in this network namespace, None where it cannot be told."""
    try:
        with Nft() as nft:
            held = read(nft)
    except NftrtspError:
        return None
    return held.film_timeout if held else None


def decode(printed: str) -> Contents:
    """Read the JSON of libnftables (pure). Raises :class:`MalformedError` on what it does not print."""
    try:
        items = msgspec.json.decode(printed, type=_Listing).nftables
    except msgspec.DecodeError as error:
        raise MalformedError(f"libnftables' JSON is not as expected: {error}") from None
    timeouts = {item.timeout.name: item.timeout.policy for item in items if item.timeout}
    return Contents(
        frozenset(item.map.name for item in items if item.map),
        dict(counted for item in items if item.rule and (counted := _counted(item.rule))),
        timeouts.get(names.PAUSE_TIMEOUT, {}).get("replied"),
    )


def _counted(rule: _Rule) -> tuple[str, int] | None:
    """Return the id of a rule of ours and the packets it has counted; None where it does not count."""
    if not rule.comment.startswith(ID_PREFIX):
        return None
    for statement in rule.expr:
        counter = statement.get("counter") if isinstance(statement, dict) else None
        if isinstance(counter, dict) and isinstance(counter.get("packets"), int):
            return rule.comment.removeprefix(ID_PREFIX), counter["packets"]
    return None
