"""Ways open, wherever they are kept: expectations, pinholes, and what a running helper publishes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from nftrtsp import figures
from nftrtsp.cli import words
from nftrtsp.cli.columns import Cell, aligned
from nftrtsp.errors import PrivilegeError
from nftrtsp.terminal import TERMINAL

if TYPE_CHECKING:
    from nftrtsp.conntrack.expectation import Expectation
    from nftrtsp.conntrack.record import OpenPortRecord
    from nftrtsp.conntrack.role import Roles
    from nftrtsp.conntrack.tuple import Tuple

#: Seconds to wait for a running helper's greeting: a list of the kernel's does not stand still for it.
_PATIENCE = 0.3

WAY_HEAD = ("STB", "KIND", "ASKED", ">PORT", "PROTO", "TO", "MEANING")


def ways(found: Iterable[Expectation], roles: Roles, *, everything: bool) -> list[OpenPortRecord]:
    """Return expectations ``found`` and the pinholes, by set-top box and port."""
    from nftrtsp.conntrack.record import of_expectation
    from nftrtsp.ruleset import pinhole

    listed = [of_expectation(value, roles) for value in found if everything or roles.concerns(value)]
    holes = pinhole.pinholes()
    # The map does not say who asked, nor whom the servers send to; the helper that filled it does.
    told = {way.id: way for way in helper_ways()} if holes else {}
    open_now = [pinhole.record(hole, roles, told.get(hole.port)) for hole in holes]
    return sorted(listed + open_now, key=_place)


def _place(way: OpenPortRecord) -> tuple[bytes, int]:
    """Return where a way stands in the list: by its set-top box, then by its port."""
    try:
        box = IPv4Address(way.stb or 0).packed
    except AddressValueError:
        box = b"\xff" * 4  # IPv6
    return box, way.tuple.dport or 0


def way_rows(found: Iterable[OpenPortRecord]) -> Iterator[str]:
    """Yield the lines of the list of ways."""

    def rows() -> Iterator[list[Cell]]:
        for way in found:
            master, nat = way.master, way.nat
            asked = (
                f"{master.src} → {figures.endpoint(master.dst or '', master.dport)}"
                if master is not None
                else "?"
            )
            goal = figures.endpoint(nat.src or "", nat.sport) if nat is not None else way.tuple.dst or ""
            yield [
                (way.stb_name or way.stb or "", "name"),
                (way.kind, ""),
                (asked, ""),
                (str(way.tuple.dport or ""), ""),
                (way.proto, ""),
                (goal, ""),
                (words.of_way(way), "good" if way.any_source else "warn"),
            ]

    return aligned(WAY_HEAD, rows(), TERMINAL.out)


def helper_ways() -> tuple[OpenPortRecord, ...]:
    """Return the ports that a running helper keeps open; none where there is no helper, or we may not ask."""
    from nftrtsp import paths

    if not paths.helper_socket().exists():
        return ()
    from nftrtsp.helper import publish

    try:
        hello = publish.ask(timeout=_PATIENCE)
    except PrivilegeError:
        return ()
    return hello.ways if hello is not None else ()


def helper_masters() -> list[Tuple]:
    """Return the control connections of the ports that a running helper keeps open."""
    return [asker for way in helper_ways() if (asker := way.asker) is not None]
