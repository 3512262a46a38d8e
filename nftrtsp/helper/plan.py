"""What the transports of one SETUP would be granted, one after the other, while nothing is changed. Pure.

Who decides carries the plan out; who foresees what will be decided asks for it as well, so there is one mind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from nftrtsp.helper.port_policy import Grant, OpenPorts, PortPolicy, Refusal
from nftrtsp.helper.ways import Claim, Way, Ways
from nftrtsp.rtsp.message import Request
from nftrtsp.rtsp.transport import Transport

_MAX_TRANSPORTS = 16  # of one SETUP; real ones offer four


class Planned(msgspec.Struct, frozen=True, gc=False):
    """A transport, the ports that it asks for, and what becomes of that."""

    transport: Transport
    asked: tuple[int, ...]
    outcome: Grant | Refusal


def media_transports(request: Request) -> list[Transport]:
    """Return the transports of a SETUP that media of its own would come by, as many as are looked at."""
    transports = [one for one in request.transports() if one.is_udp and not one.is_multicast]
    return transports[:_MAX_TRANSPORTS]


def plan(
    policy: PortPolicy, ways: Ways, transports: Sequence[Transport], claim: Claim, now: float
) -> list[Planned] | Refusal:
    """Return what becomes of each of ``transports`` that names ports, or why their asker may not ask."""
    stb = claim.connection.client
    refusal = policy.refuse_host(stb) if transports else None
    if refusal is not None:
        return refusal
    planned: list[Planned] = []
    known: OpenPorts = ways
    for transport in transports:
        asked = tuple([number.value for number in transport.client_ports])
        refusal = policy.refuse_destination(stb, transport)
        if refusal is None and not asked and "client_port" in transport.malformed:
            refusal = Refusal("asked for a port that cannot be read")
        if refusal is not None:
            planned.append(Planned(transport, asked, refusal))
        elif asked:
            outcome = policy.grant(known, stb, asked, now)
            planned.append(Planned(transport, asked, outcome))
            if isinstance(outcome, Grant) and transport is not transports[-1]:
                known = known if isinstance(known, _Prospect) else _Prospect(ways, claim)
                known.take(asked, outcome, now)
    return planned


class _Prospect:
    """The ways as they will be when ``claim`` has what it was granted so far."""

    def __init__(self, ways: Ways, claim: Claim) -> None:
        self._ways = ways
        self._claim = claim
        self._mine = dict(ways.of(claim.connection.client))
        self._changed: dict[int, Way | None] = {}
        self._more = 0

    def __len__(self) -> int:
        return len(self._ways) + self._more

    def at(self, port: int) -> Way | None:
        return self._changed[port] if port in self._changed else self._ways.at(port)

    def of(self, stb: bytes) -> Mapping[int, Way]:
        return self._mine if stb == self._claim.connection.client else self._ways.of(stb)

    def take(self, asked: Sequence[int], grant: Grant, now: float) -> None:
        """Do what ``grant`` says with this list alone."""
        connection = self._claim.connection
        for way in grant.evicted:
            self._changed[way.port] = None
            self._more -= 1
            if way.stb == connection.client:
                self._mine.pop(way.stb_port, None)
        for stb_port, port in zip(asked, grant.ports, strict=True):
            self._more += self.at(port) is None
            way = Way(port, connection.client, stb_port, connection, now)
            way.claims.append(self._claim)  # who holds it is alive, so it does not go for the next
            self._changed[port] = self._mine[stb_port] = way
