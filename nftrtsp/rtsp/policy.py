"""Who may have which port: the same for every helper of ours. Pure.

A way lets anyone on the IPTV side reach a host of the LAN, so it opens only for a configured set-top box,
only to the one that asked, never below port 1024, and never without limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

import msgspec

from nftrtsp.config import Config
from nftrtsp.rtsp.transport import Transport
from nftrtsp.rtsp.ways import Way, Ways

LOWEST_PORT = 1024
_SUBSTITUTES_TRIED = 2048


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why not, as a clause that can follow a name: ``port 80 is below 1024``."""

    reason: str
    port: int | None = None


class Grant(msgspec.Struct, frozen=True, gc=False):
    """The public ports for the ports asked for, one for one, and the dead ways that must go for them."""

    ports: tuple[int, ...]
    evicted: tuple[Way, ...] = ()


class Policy(msgspec.Struct, frozen=True):
    """The limits. ``substitutes``: whether a port that is taken may be replaced by another in the request.

    ``pause`` in seconds is how long a silent way is kept. ``own`` are addresses of the router, packed, that a
    ``destination=`` may name as well as the set-top box's own. ``ports`` are the RTSP ports that are
    followed, for a redirect may lead elsewhere; empty: not known.
    """

    may_ask: Callable[[IPv4Address], bool]
    max_per_stb: int = 8
    max_total: int = 4096
    pause: int = 3600
    substitutes: bool = False
    own: frozenset[bytes] = frozenset()
    ports: frozenset[int] = frozenset()

    @classmethod
    def of(cls, config: Config, *, substitutes: bool = False, own: frozenset[bytes] = frozenset()) -> Policy:
        """Return the policy that ``config`` asks for."""
        rtsp = config.rtsp
        return cls(
            config.may_ask,
            rtsp.max_per_stb,
            rtsp.max_total,
            int(rtsp.pause),
            substitutes,
            own,
            frozenset(rtsp.ports),
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
        self, ways: Ways, stb: bytes, asked: Sequence[int], now: float, *, as_asked: bool = False
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
        refusal = self._make_room(ways, stb, new, now, evicted)
        if refusal:
            return refusal
        ports = {port: mine[port].port for port in asked if port in mine}
        taken = [port for port in new if self._is_taken(ways, port, now, evicted)]
        if not taken:
            ports.update((port, port) for port in new)
        elif as_asked or not self.substitutes:
            owner = ways.at(taken[0])
            who = IPv4Address(owner.stb) if owner else "another set-top box"
            return Refusal(f"port {taken[0]} is in use by {who}", taken[0])
        else:
            others = _substitutes(ways, new, set(ports.values()))
            if others is None:
                return Refusal(f"no port like {taken[0]} is free", taken[0])
            ports.update(zip(new, others, strict=True))
        return Grant(tuple(ports[port] for port in asked), tuple(evicted.values()))

    def _make_room(
        self, ways: Ways, stb: bytes, new: Sequence[int], now: float, evicted: dict[int, Way]
    ) -> Refusal | None:
        """Keep the limits: a set-top box's own dead ways (it was switched off, say) go for its new ones."""
        if not new:
            return None
        mine = ways.of(stb)
        over = len(mine) + len(new) - self.max_per_stb
        if over > 0:
            dead = sorted((way for way in mine.values() if way.is_stale(now)), key=lambda way: way.seen)
            if len(dead) < over:
                return Refusal(f"has {len(mine)} ways open, and {self.max_per_stb} is the limit", new[0])
            evicted.update((way.port, way) for way in dead[:over])
        if len(ways) - len(evicted) + len(new) > self.max_total:
            return Refusal(f"all {self.max_total} ways are in use", new[0])
        return None

    def _is_taken(self, ways: Ways, port: int, now: float, evicted: dict[int, Way]) -> bool:
        """Whether ``port`` belongs to a way that lives; one silent for longer than ``pause`` does not."""
        way = ways.at(port)
        if way is None or port in evicted:
            return False
        if way.is_stale(now) and way.idle(now) > self.pause:
            evicted[port] = way
            return False
        return True


def _substitutes(ways: Ways, asked: Sequence[int], also_taken: set[int]) -> list[int] | None:
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
