"""Who may have which port: the same for every helper of ours. Pure.

A way lets anyone on the IPTV side reach a host of the LAN, so it opens only for a configured set-top box,
only to the one that asked, never below port 1024, never on a port of the router, never without limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Protocol

import msgspec

from nftrtsp.config import Config
from nftrtsp.helper.router_ports import RouterPorts
from nftrtsp.helper.ways import MAX_LIFETIME, Way
from nftrtsp.rtsp.transport import Transport

LOWEST_PORT = 1024
_SUBSTITUTES_TRIED = 2048


class OpenPorts(Protocol):
    """The ways as a decision needs to know them: those that are open (:class:`Ways`), or will be."""

    def __len__(self) -> int: ...
    def at(self, port: int) -> Way | None:
        """Return the way at the public ``port``."""

    def of(self, stb: bytes) -> Mapping[int, Way]:
        """Return the ways of a set-top box by the port it listens on."""


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why not, as a clause that can follow a name: ``port 80 is below 1024``.

    ``holder`` is the packed address of the set-top box that has the port already.
    """

    reason: str
    port: int | None = None
    holder: bytes | None = None


class Grant(msgspec.Struct, frozen=True, gc=False):
    """The public ports for the ports asked for, one for one, and the dead ways that must go for them."""

    ports: tuple[int, ...]
    evicted: tuple[Way, ...] = ()


def no_ports() -> frozenset[int]:
    """Return that the router uses no UDP port: for who has no router."""
    return frozenset()


class PortPolicy(msgspec.Struct, frozen=True):
    """The limits. ``substitutes``: whether a port that is taken may be replaced by another in the request.

    ``pause`` in seconds is how long a silent way is kept, a day at most. ``own`` are addresses of the router,
    packed, that a ``destination=`` may name as well as the set-top box's own. ``ports`` are the RTSP ports
    that are followed, for a redirect may lead elsewhere; empty: not known. ``router_ports`` tells which UDP
    ports the router uses itself; no way opens on one.
    """

    may_ask: Callable[[IPv4Address], bool]
    max_per_stb: int = 8
    max_total: int = 4096
    pause: int = 3600
    substitutes: bool = False
    own: frozenset[bytes] = frozenset()
    ports: frozenset[int] = frozenset()
    router_ports: Callable[[], frozenset[int]] = no_ports

    @classmethod
    def of(
        cls,
        config: Config,
        *,
        substitutes: bool = False,
        own: frozenset[bytes] = frozenset(),
        router_ports: Callable[[], frozenset[int]] | None = None,
    ) -> PortPolicy:
        """Return the policy that ``config`` asks for.

        ``router_ports``: None for those of this network namespace, as the kernel tells them. Raises
        :class:`UnsupportedError` where it does not tell.
        """
        routers = router_ports or RouterPorts()
        routers()
        rtsp = config.rtsp
        return cls(
            config.may_ask,
            rtsp.max_per_stb,
            rtsp.max_total,
            min(int(rtsp.pause), MAX_LIFETIME),
            substitutes,
            own,
            frozenset(rtsp.ports),
            routers,
        )

    def refuse_host(self, stb: bytes) -> Refusal | None:
        """Return why the host may not ask at all, or None."""
        if self.may_ask(IPv4Address(stb)):
            return None
        return Refusal("is no configured set-top box")

    def refuse_destination(self, stb: bytes, transport: Transport) -> Refusal | None:
        """Return why the addresses that ``transport`` names are not the asker's own, or None."""
        for host in transport.destinations:
            if not host.text:
                continue
            try:
                packed = IPv4Address(host.text).packed
            except ValueError:
                return Refusal(f"asked for media to {_short(host.text)}, which is no IPv4 address")
            if packed not in (stb, bytes(4)) and packed not in self.own:
                return Refusal(f"asked for media to {host.text}, which is another host")
        if "destination" in transport.malformed or "dest_addr" in transport.malformed:
            return Refusal("asked for media to a destination that cannot be read")
        return None

    def grant(
        self, ways: OpenPorts, stb: bytes, asked: Sequence[int], now: float, *, as_asked: bool = False
    ) -> Grant | Refusal:
        """Return the public ports for ``asked``, all or none; nothing is changed yet.

        ``as_asked``: no substitutes, for the server has named these ports already.
        """
        for port in asked:
            if not 0 < port <= 65535:
                return Refusal(f"port {port} is no UDP port", port)
            if port < LOWEST_PORT:
                return Refusal(f"port {port} is below {LOWEST_PORT}", port)
        mine = ways.of(stb)
        new = [port for port in dict.fromkeys(asked) if port not in mine]
        evicted: dict[int, Way] = {}
        refusal = self._make_room(ways, stb, asked, now, evicted)
        if refusal:
            return refusal
        ports = {port: mine[port].port for port in asked if port in mine}
        routers = self.router_ports() if new else frozenset()
        taken = [port for port in new if port in routers or self._is_taken(ways, port, now, evicted)]
        if not taken:
            ports.update((port, port) for port in new)
        elif as_asked or not self.substitutes:
            return _taken(ways, taken[0], routers)
        else:
            others = _substitutes(ways, new, routers.union(ports.values()))
            if others is None:
                return Refusal(f"no port like {taken[0]} is free", taken[0])
            ports.update(zip(new, others, strict=True))
        return Grant(tuple(ports[port] for port in asked), tuple(evicted.values()))

    def _make_room(
        self, ways: OpenPorts, stb: bytes, asked: Sequence[int], now: float, evicted: dict[int, Way]
    ) -> Refusal | None:
        """Keep the limits: a set-top box's own dead ways (it was switched off, say) go for its new ones."""
        mine = ways.of(stb)
        new = [port for port in dict.fromkeys(asked) if port not in mine]
        if not new:
            return None
        over = len(mine) + len(new) - self.max_per_stb
        if over > 0:
            others = [way for way in mine.values() if way.stb_port not in asked]
            dead = sorted((way for way in others if way.is_stale(now)), key=lambda way: way.seen)
            if len(dead) < over:
                return Refusal(f"has {len(mine)} ports open, and {self.max_per_stb} is the limit", new[0])
            evicted.update((way.port, way) for way in dead[:over])
        if len(ways) - len(evicted) + len(new) > self.max_total:
            return Refusal(f"{self.max_total} ports are open, and no more may be", new[0])
        return None

    def _is_taken(self, ways: OpenPorts, port: int, now: float, evicted: dict[int, Way]) -> bool:
        """Whether ``port`` belongs to a way that lives; one silent for longer than ``pause`` does not."""
        way = ways.at(port)
        if way is None or port in evicted:
            return False
        if way.is_stale(now) and way.idle(now) > self.pause:
            evicted[port] = way
            return False
        return True


def _taken(ways: OpenPorts, port: int, routers: frozenset[int]) -> Refusal:
    if port in routers:
        return Refusal(f"port {port} is in use by the router itself", port)
    owner = ways.at(port)
    if owner is None:
        return Refusal(f"port {port} is in use", port)
    return Refusal(f"port {port} is in use by {IPv4Address(owner.stb)}, which asked first", port, owner.stb)


def _substitutes(ways: OpenPorts, asked: Sequence[int], also_taken: frozenset[int]) -> list[int] | None:
    """Return free ports at one even distance from ``asked``, with as many digits each, or None.

    Even, for RTP wants an even port and RTCP the odd one above it (RFC 3550 section 11).
    """
    for step in range(2, _SUBSTITUTES_TRIED, 2):
        for shift in (step, -step):
            ports = [port + shift for port in asked]
            if all(
                LOWEST_PORT <= port <= 65535
                and len(str(port)) == len(str(old))
                and ways.at(port) is None
                and port not in also_taken
                for port, old in zip(ports, asked, strict=True)
            ):
                return ports
    return None


def _short(text: str) -> str:
    return repr(text[:60])
