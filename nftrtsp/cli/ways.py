"""Ways open, wherever they are kept: expectations, pinholes, and what a running helper publishes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from nftrtsp import figures
from nftrtsp.cli import words
from nftrtsp.cli.columns import Cell, aligned
from nftrtsp.terminal import TERMINAL

if TYPE_CHECKING:
    from nftrtsp.conntrack.role import Roles

WAY_HEAD = ("STB", "KIND", "ASKED", ">PORT", "PROTO", "TO", "MEANING")


def ways(found: Iterable[Any], roles: Roles, *, everything: bool) -> list[dict[str, Any]]:
    """Return the JSON objects of expectations ``found`` and of the pinholes, by set-top box and port."""
    from nftrtsp.conntrack.record import of_expectation
    from nftrtsp.ruleset import pinhole

    listed = [of_expectation(value, roles) for value in found if everything or roles.concerns(value)]
    holes = pinhole.pinholes()
    # The map does not say who asked, nor whom the servers send to; the helper that filled it does.
    told = {way.get("id"): way for way in helper_ways()} if holes else {}
    open_now = [pinhole.record(hole, roles, told.get(hole.port)) for hole in holes]
    return sorted(listed + open_now, key=_place)


def _place(way: dict[str, Any]) -> tuple[bytes, int]:
    """Return where a way stands in the list: by its set-top box, then by its port."""
    try:
        box = socket.inet_aton(way["stb"] or "0.0.0.0")  # noqa: S104 - sorts first
    except OSError:
        box = b"\xff" * 4  # IPv6
    return box, int(way["tuple"]["dport"] or 0)


def way_rows(found: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the list of ways."""

    def rows() -> Iterator[list[Cell]]:
        for way in found:
            master, nat = way["master"], way["nat"]
            asked = f"{master['src']} → {figures.endpoint(master['dst'], master['dport'])}" if master else "?"
            goal = figures.endpoint(nat["src"], nat["sport"]) if nat else way["tuple"]["dst"]
            yield [
                (way["stb_name"] or way["stb"] or "", "name"),
                (way["kind"], ""),
                (asked, ""),
                (str(way["tuple"]["dport"] or ""), ""),
                (way["proto"], ""),
                (goal, ""),
                (words.of_way(way), "good" if way["any_source"] else "warn"),
            ]

    return aligned(WAY_HEAD, rows(), TERMINAL.out)


def helper_ways() -> list[dict[str, Any]]:
    """Return the ways that a running helper tells of in its first line; none where there is no helper."""
    from nftrtsp import paths

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
            talk.settimeout(0.3)
            talk.connect(str(paths.helper_socket()))
            with talk.makefile("rb") as lines:
                hello = json.loads(lines.readline(1 << 22))
    except (OSError, ValueError):
        return []
    found = hello.get("ways") if isinstance(hello, dict) else None
    return [way for way in found if isinstance(way, dict)] if isinstance(found, list) else []


def helper_masters() -> list[Any]:
    """Return the control connections of the ways that a running helper publishes."""
    from nftrtsp import paths

    if not paths.helper_socket().exists():
        return []
    return [way_master for way in helper_ways() if (way_master := master_of(way)) is not None]


def master_of(way: dict[str, Any]) -> Any:
    """Return the master of a way's JSON object as a Tuple, or None."""
    from socket import inet_aton

    from nftrtsp.conntrack.tuple import IPPROTO_TCP, Tuple

    master = way.get("master")
    if not isinstance(master, dict):
        return None
    try:
        src, dst = inet_aton(master["src"]), inet_aton(master["dst"])
        return Tuple(src, dst, IPPROTO_TCP, int(master["sport"]), int(master["dport"]))
    except (KeyError, TypeError, ValueError, OSError):
        return None
