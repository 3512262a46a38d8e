"""One control connection: segments in, actions out. Pure; times are given, in seconds, monotonic.

Both helpers of ours do what it says: the pinhole helper sees copies, the userspace helper has the packets
in its hand and carries out :class:`Rewrite` too. RTSP as in RFC 2326 sections 10 to 12 and RFC 7826.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from ipaddress import IPv4Address

import msgspec

from nftrtsp.rtsp.action import Action, CloseWay, OpenWay, Rewrite
from nftrtsp.rtsp.hearing import Hearing
from nftrtsp.rtsp.message import Message, Request, Response
from nftrtsp.rtsp.note import Note, note
from nftrtsp.rtsp.packet import ACK, FIN, RST, SYN, Packet
from nftrtsp.rtsp.policy import Policy, Refusal
from nftrtsp.rtsp.transport import Transport
from nftrtsp.rtsp.ways import Claim, Connection, Way, Ways

__all__ = ["Action", "CloseWay", "Dialogue", "OpenWay", "Rewrite", "redirect_port"]

_MAX_PENDING = 64  # requests that wait for their answer; RTSP stacks pipeline two or three
_MAX_TEXT = 512  # of a URI in a note
_LOCATION = re.compile(r"^rtspu?://[^/]*?:(\d{1,5})(?:/|$)")


class _Pending(msgspec.Struct, gc=False):
    """A request that waits for its answer."""

    method: str
    uri: str
    session: str | None
    claim: Claim | None = None


class Dialogue:
    """The state of one control connection.

    Memory is bounded: its hearing, 64 requests without answer and what ``policy`` lets it hold.
    ``rewrite_destination``: the packed address that the server shall read where a ``destination=`` names the
    set-top box (the router's), or None to leave it.
    """

    def __init__(
        self,
        connection: Connection,
        policy: Policy,
        ways: Ways,
        now: float,
        *,
        rewrite_destination: bytes | None = None,
    ) -> None:
        self.connection = connection
        self.policy = policy
        self.ways = ways
        self.rewrite_destination = rewrite_destination
        self.last = now  # when a segment was seen last
        self.closed = False
        self.claims: list[Claim] = []
        self.hearing = Hearing()
        self._pending: OrderedDict[int | None, _Pending] = OrderedDict()

    @property
    def garbage(self) -> bool:
        """Whether something was said that is not RTSP; the rest is not read."""
        return self.hearing.garbage is not None

    def begins_anew(self, packet: Packet) -> bool:
        """Whether ``packet`` is the SYN of another connection with the same addresses and ports."""
        if not packet.flags & SYN or packet.flags & ACK:
            return False
        expected = self.hearing.next_of_client
        if expected is None:  # taken over from an earlier helper, and nothing heard of it since
            return bool(self.closed or self.claims)
        return self.closed or expected != packet.seq + 1 & 0xFFFFFFFF

    def is_idle(self, packet: Packet, now: float, *, from_client: bool) -> bool:
        """Take a segment if nothing can come of it, as :meth:`receive` would; return whether it was taken."""
        if self.closed or not self.hearing.is_idle(packet, from_client=from_client):
            return False
        self.last = now
        return True

    def receive(self, packet: Packet, now: float) -> list[Action]:
        """Take a segment of this connection, of either direction; return what is to be done, in order."""
        if self.closed:
            return []
        self.last = now
        from_client = packet.src == self.connection.client and packet.sport == self.connection.client_port
        actions: list[Action] = []
        was_garbage = self.garbage
        for message, of_client in self.hearing.take(packet, from_client=from_client):
            self._handle(message, of_client, now, actions)
        if self.garbage and not was_garbage:
            actions.append(note("garbage", self.connection, reason=self.hearing.garbage))
        if packet.flags & (RST | FIN):
            who = "the set-top box" if from_client else "the server"
            actions += self.close(f"{'reset' if packet.flags & RST else 'closed'} by {who}")
        return actions

    def close(self, reason: str) -> list[Action]:
        """End the connection: its ways go, media flows that run are left to run out."""
        if self.closed:
            return []
        self.closed = True
        self._pending.clear()
        actions: list[Action] = []
        for claim in self.claims:
            actions += self._release(claim, f"the control connection was {reason}")
        self.claims.clear()
        self.hearing = Hearing()
        return [*actions, note("connection-close", self.connection, reason=reason)]

    def failed(self, way: Way, reason: str) -> Note:
        """Say that the kernel did not open ``way``; it is off the list again. Return what to publish."""
        self.ways.drop(way)
        return note("way-refused", self.connection, port=way.port, reason=reason)

    def adopt(
        self,
        ports: dict[int, int],
        now: float,
        *,
        uri: str = "",
        session: str | None = None,
        timeout: int | None = None,
    ) -> list[Way]:
        """Take over ways (public port: the set-top box's port) that an earlier helper opened."""
        claim = Claim(self.connection, uri, None, now)
        claim.groups.append(tuple(ports))
        self.ways.name_session(claim, session, timeout)
        self.claims.append(claim)
        return [self.ways.open(port, stb_port, claim, now)[0] for port, stb_port in ports.items()]

    def prune(self) -> None:
        """Forget what no longer holds a way."""
        for claim in [claim for claim in self.claims if not self.ways.of_claim(claim)]:
            self.ways.release(claim)
            self.claims.remove(claim)

    def _handle(self, message: Message, from_client: bool, now: float, actions: list[Action]) -> None:
        if isinstance(message, Request):
            if from_client:
                self._request(message, now, actions)
            elif message.method == "TEARDOWN":  # RFC 7826 lets the server end a session
                self._teardown(message, actions)
        elif isinstance(message, Response) and not from_client:
            self._response(message, now, actions)

    def _request(self, request: Request, now: float, actions: list[Action]) -> None:
        session = request.session
        self._sign_of_life(session, now)
        pending = _Pending(request.method, request.uri, session)
        if request.method == "SETUP":
            pending.claim = self._setup(request, now, actions)
        elif request.method == "TEARDOWN":
            actions.append(self._note("teardown", request))
            self._teardown(request, actions)
        elif request.method in ("PLAY", "PAUSE"):
            actions.append(self._note(request.method.lower(), request))
        self._pending[request.cseq] = pending
        self._pending.move_to_end(request.cseq)
        while len(self._pending) > _MAX_PENDING:
            self._pending.popitem(last=False)

    def _sign_of_life(self, session: str | None, now: float) -> None:
        for claim in self.claims:
            claim.seen = now
        for claim in self.ways.session(self.connection.client, session) if session else ():
            claim.seen = now

    def _setup(self, request: Request, now: float, actions: list[Action]) -> Claim | None:
        transports = [one for one in request.transports() if one.is_udp and not one.is_multicast]
        port = next((number.value for one in transports for number in one.client_ports), None)
        actions.append(self._note("setup", request, port=port))
        refusal = self.policy.refuse_host(self.connection.client) if transports else None
        if refusal:
            actions.append(self._refused(refusal, request.cseq, port))
            return None
        claim = Claim(self.connection, request.uri, request.cseq, now)
        claim.session = request.session
        for transport in transports:
            self._ask(request, transport, claim, now, actions)
        if not claim.groups:
            return None
        self.prune()
        self.claims.append(claim)
        return claim

    def _ask(
        self, message: Message, transport: Transport, claim: Claim, now: float, actions: list[Action]
    ) -> None:
        """Open what one transport of a SETUP, or of its answer, asks for, or say why not."""
        stb = self.connection.client
        answer = isinstance(message, Response)
        asked = [number.value for number in transport.client_ports]
        # An answer names the address that the server sees: the router's.
        refusal = None if answer else self.policy.refuse_destination(stb, transport)
        if not asked and not refusal:
            if "client_port" not in transport.malformed:
                return
            refusal = Refusal("asked for a port that cannot be read")
        grant = refusal or self.policy.grant(self.ways, stb, asked, now, as_asked=answer)
        if isinstance(grant, Refusal):
            actions.append(self._refused(grant, message.cseq, asked[0] if asked else None))
            return
        for way in grant.evicted:
            actions += self._evict(way)
        for stb_port, port in dict(zip(asked, grant.ports, strict=True)).items():
            actions.append(self._open(port, stb_port, claim, now))
        claim.groups.append(tuple(dict.fromkeys(grant.ports)))
        if answer:
            return
        for number, port in zip(transport.client_ports, grant.ports, strict=True):
            if number.value != port:
                actions.append(self._rewrite(message, True, number.start, number.end, str(port)))
        if self.rewrite_destination is not None:
            for host in transport.destinations:
                if host.text == str(IPv4Address(stb)):
                    text = str(IPv4Address(self.rewrite_destination))
                    actions.append(self._rewrite(message, True, host.start, host.end, text))

    def _open(self, port: int, stb_port: int, claim: Claim, now: float) -> OpenWay:
        way, new = self.ways.open(port, stb_port, claim, now)
        said = note("way-open", self.connection, port=port, cseq=claim.cseq, uri=_short(claim.uri))
        return OpenWay(way, new, said)

    def _response(self, response: Response, now: float, actions: list[Action]) -> None:
        pending = self._answered(response)
        if response.status < 200 and pending is not None:  # a provisional answer: the real one is to come
            self._pending[response.cseq] = pending
            self._pending.move_to_end(response.cseq, last=False)
            return
        reason = response.reason
        if 300 <= response.status < 400:
            reason = f"{reason} {self._redirected(response.field('location') or 'nowhere')}"[:_MAX_TEXT]
        session = response.session or (pending.session if pending else None)
        actions.append(
            note(
                "response",
                self.connection,
                cseq=response.cseq,
                status=response.status,
                reason=reason,
                session=session,
                uri=_short(pending.uri) if pending else None,
            )
        )
        if pending is not None and pending.method == "SETUP":
            self._setup_answered(response, pending, session, now, actions)
        elif (
            pending is None
            and response.status == 200
            and (self.hearing.picked_up or self.hearing.lost_of_client)
        ):
            self._setup_unseen(response, session, now, actions)

    def _redirected(self, location: str) -> str:
        """Return where a redirect leads, and whether we shall see what is said there."""
        port = redirect_port(location)
        if self.policy.ports and port not in self.policy.ports:
            return f"to {location}, and rtsp.ports lacks {port}: what is asked there will not be seen"
        return f"to {location}"

    def _answered(self, response: Response) -> _Pending | None:
        if response.cseq in self._pending:
            return self._pending.pop(response.cseq)
        if response.cseq is None and self._pending:  # a server that forgets CSeq answers in order
            return self._pending.popitem(last=False)[1]
        return None

    def _setup_answered(
        self, response: Response, pending: _Pending, session: str | None, now: float, actions: list[Action]
    ) -> None:
        claim = pending.claim
        if claim is None:
            return
        self._write_back(response, actions)
        if response.status >= 300:
            actions += self._release(
                claim, f"the server answered {response.status} {response.reason}".strip()
            )
            return
        self.ways.name_session(claim, session, response.session_timeout)
        chosen = response.transports()[:1]
        if chosen:
            self._keep_chosen(chosen[0], response, claim, now, actions)
        if session is not None:
            # The same stream set up again in its session: the port asked for before is no longer used.
            for other in self.ways.session(self.connection.client, session):
                if other is not claim and other.uri == claim.uri:
                    actions += self._release(other, "the set-top box asked for another port")

    def _keep_chosen(
        self, chosen: Transport, response: Response, claim: Claim, now: float, actions: list[Action]
    ) -> None:
        """Close what was asked for but not taken; open what the server named instead."""
        if not chosen.is_udp or chosen.is_multicast:
            actions += self._release(claim, f"the server chose {chosen.protocol}"[:_MAX_TEXT])
            return
        named = {number.value for number in chosen.client_ports}
        if not named:
            return
        kept = {port for group in claim.groups if named & set(group) for port in group}
        held = {port for group in claim.groups for port in group}
        if not named <= held:
            self._ask(response, chosen, claim, now, actions)
            kept |= named
        dropped = held - kept
        if dropped and kept & {way.port for way in self.ways.of_claim(claim)}:
            actions += self._release(claim, "the server chose another port", dropped)

    def _setup_unseen(
        self, response: Response, session: str | None, now: float, actions: list[Action]
    ) -> None:
        """Open the way for a SETUP that was asked just before we looked; its answer names the port too."""
        chosen = response.transports()[:1]
        if not chosen or not chosen[0].is_udp or chosen[0].is_multicast or not chosen[0].client_ports:
            return
        if self.policy.refuse_host(self.connection.client):
            return
        claim = Claim(self.connection, "", response.cseq, now)
        self._ask(response, chosen[0], claim, now, actions)
        if claim.groups:
            self.prune()
            self.claims.append(claim)
            self.ways.name_session(claim, session, response.session_timeout)

    def _write_back(self, response: Response, actions: list[Action]) -> None:
        """Let the set-top box read what it asked for, where the request was rewritten."""
        if not self.policy.substitutes:
            return
        for transport in response.transports():
            for number in transport.client_ports:
                way = self.ways.at(number.value)
                if way is not None and way.stb == self.connection.client and way.stb_port != way.port:
                    text = str(way.stb_port)
                    actions.append(self._rewrite(response, False, number.start, number.end, text))
            if self.rewrite_destination is not None:
                for host in transport.destinations:
                    if host.text == str(IPv4Address(self.rewrite_destination)):
                        text = str(IPv4Address(self.connection.client))
                        actions.append(self._rewrite(response, False, host.start, host.end, text))

    def _teardown(self, request: Request, actions: list[Action]) -> None:
        """Close the ways of the session, or of the one stream of it, that the request names."""
        if request.session is not None:
            claims = self.ways.session(self.connection.client, request.session)
            streams = [claim for claim in claims if claim.uri == request.uri]
            if streams and len({claim.uri for claim in claims}) > 1:
                claims = streams
            unnamed = [claim for claim in self.claims if claim.session is None]
            if not claims and len(unnamed) == 1:  # taken over from an earlier helper, session unknown
                claims = unnamed
        else:
            claims = [claim for claim in self.claims if _within(claim.uri, request.uri)] or list(self.claims)
        for claim in claims:
            actions += self._release(claim, "TEARDOWN", cut=True)

    def _release(
        self, claim: Claim, reason: str, ports: Iterable[int] | None = None, *, cut: bool = False
    ) -> list[Action]:
        session = claim.session
        closed = self.ways.release(claim, ports)
        if not self.ways.of_claim(claim) and claim in self.claims and not self.closed:
            self.claims.remove(claim)
        return [
            CloseWay(
                way,
                cut,
                note(
                    "way-closed",
                    claim.connection,
                    port=way.port,
                    session=session,
                    uri=_short(claim.uri),
                    reason=reason,
                ),
            )
            for way in closed
        ]

    def _evict(self, way: Way) -> list[Action]:
        self.ways.drop(way)
        said = note(
            "way-closed", way.master, port=way.port, reason="silent for too long, and its place is needed"
        )
        return [CloseWay(way, True, said)]

    def _refused(self, refusal: Refusal, cseq: int | None, port: int | None) -> Note:
        port = refusal.port if refusal.port is not None else port
        return note("way-refused", self.connection, port=port, cseq=cseq, reason=refusal.reason)

    def _rewrite(self, message: Message, from_client: bool, start: int, end: int, text: str) -> Rewrite:
        old = message.raw[start:end]
        said = note("rewrite", self.connection, cseq=message.cseq, reason=f"{old.decode()} to {text}")
        return Rewrite(
            from_client,
            self.hearing.sequence(message.offset + start, from_client=from_client),
            old,
            text.encode(),
            said,
        )

    def _note(self, event: str, request: Request, port: int | None = None) -> Note:
        return note(
            event,
            self.connection,
            port=port,
            cseq=request.cseq,
            session=request.session,
            uri=_short(request.uri),
        )


def redirect_port(location: str) -> int:
    """Return the port of the ``rtsp://host:port/`` that a redirect names; 554 where it names none."""
    match = _LOCATION.match(location)
    return int(match[1]) if match else 554


def _within(uri: str, outer: str) -> bool:
    return outer in ("*", uri) or uri.startswith(outer.rstrip("/") + "/")


def _short(text: str) -> str | None:
    return text[:_MAX_TEXT] or None
