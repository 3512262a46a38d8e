"""One control connection: segments in, actions out. Pure; times are given, in seconds, monotonic.

Both helpers of ours do what it says: the pinhole helper sees copies, the userspace helper has the packets
in its hand and carries out :class:`Rewrite` too. RTSP as in RFC 2326 sections 10 to 12 and RFC 7826.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nftrtsp.helper.action import Action, OpenWay, Rewrite
from nftrtsp.helper.agreement import Agreement
from nftrtsp.helper.answer import named_ports, redirected, widens, widens_unseen
from nftrtsp.helper.claims import Claims, shown
from nftrtsp.helper.note import (
    Answered,
    ConnectionClose,
    Garbage,
    Note,
    Pause,
    Play,
    Setup,
    Teardown,
    WayRefused,
    note,
)
from nftrtsp.helper.payload_nat import PayloadNat
from nftrtsp.helper.pending_requests import PendingRequest, PendingRequests
from nftrtsp.helper.plan import Planned, media_transports
from nftrtsp.helper.port_policy import PortPolicy, Refusal
from nftrtsp.helper.port_reuse import PortReuse, is_first
from nftrtsp.helper.unseen import Unseen
from nftrtsp.helper.ways import Claim, Connection, Way, Ways
from nftrtsp.rtsp.conversation import Conversation
from nftrtsp.rtsp.message import Message, Request, Response
from nftrtsp.rtsp.packet import FIN, RST, Packet
from nftrtsp.rtsp.transport import Transport

_MAX_TEXT = 512  # of a reason in a note
_NOT_VOUCHED = "conntrack does not know this connection as an established one"


class Dialogue:
    """The state of one control connection.

    Memory is bounded: its conversation, 64 requests without answer and what ``policy`` lets it hold.
    ``confirm`` says whether conntrack knows the connection as an established one (see :class:`Dialogues`);
    it is asked right before the first way opens. ``confirmed``: it has said so already.
    ``rewrite_destination``: the packed address that the server shall read where a ``destination=`` names the
    set-top box (the router's), or None to leave it.
    """

    def __init__(
        self,
        connection: Connection,
        policy: PortPolicy,
        ways: Ways,
        now: float,
        *,
        rewrite_destination: bytes | None = None,
        confirm: Callable[[Connection], bool] | None = None,
        confirmed: bool = False,
    ) -> None:
        self.connection = connection
        self.rewrite_destination = rewrite_destination
        self.policy = policy
        self.ways = ways
        self.last = now  # when a segment was seen last
        self.closed = False
        self.claims = Claims(connection, policy, ways)
        self.conversation = Conversation()
        self.confirmed = confirmed or confirm is None
        self.accounted = 0  # for whoever sums up: how much of :attr:`held` it has counted
        self._confirm = confirm
        self._asked = False
        self._agreement = Agreement()
        self.port_reuse = PortReuse()
        self._pending = PendingRequests()
        self._payload_nat = PayloadNat(connection, rewrite_destination)
        self._alive = now  # when a sign of life was written down last
        self._unseen = Unseen()

    @property
    def held(self) -> int:
        """Bytes kept for what is unfinished: pieces of messages, and requests that wait for their answer."""
        return self.conversation.held + self._pending.held + self._agreement.held

    @property
    def is_half(self) -> bool:
        """Whether the server has not said anything yet, as far as was seen."""
        return self.conversation.sides[1].stream.next_seq is None

    def trim(self) -> None:
        """Let go of what is unfinished; what comes afterwards is heard all the same."""
        self.conversation.trim()
        self._pending.clear()
        self._agreement.clear()

    @property
    def garbage(self) -> bool:
        """Whether something was said that is not RTSP; the rest is not read."""
        return self.conversation.garbage is not None

    def begins(self, packet: Packet) -> bool:
        """Whether ``packet`` is the SYN that this connection began with, perhaps once more."""
        if not is_first(packet) or self.conversation.next_of_client is None:
            return False
        return self.conversation.sequence(0, from_client=True) == packet.seq + 1 & 0xFFFFFFFF

    def is_idle(self, packet: Packet, now: float, *, from_client: bool) -> bool:
        """Take a segment if nothing can come of it, as :meth:`receive` would; return whether it was taken."""
        if self.closed or self._agreement.waits:
            return False
        self._agreement.look(packet, self.conversation, from_client=from_client)
        if not self.conversation.is_idle(packet, from_client=from_client):
            return False
        self.last = now
        return True

    def receive(self, packet: Packet, now: float) -> list[Action]:
        """Take a segment of this connection, of either direction; return what is to be done, in order."""
        if self.closed:
            return []
        self.last = now
        self._asked = False
        from_client = packet.src == self.connection.client and packet.sport == self.connection.client_port
        actions: list[Action] = []
        was_garbage = self.garbage
        for message, of_client in self._agreement.look(packet, self.conversation, from_client=from_client):
            self._handle(message, of_client, now, actions)
        for message, of_client in self.conversation.take(packet, from_client=from_client):
            if self._agreement.is_genuine(of_client=of_client) and self._is_known(message, of_client):
                self._handle(message, of_client, now, actions)
            else:
                end = self.conversation.sequence(message.offset + len(message.raw), from_client=of_client)
                self._agreement.wait(message, end, of_client=of_client)
        if self.garbage and not was_garbage:
            actions.append(note(Garbage, self.connection, reason=self.conversation.garbage))
        if packet.flags & (RST | FIN) and self.conversation.is_plausible_end(packet, from_client=from_client):
            who = "the set-top box" if from_client else "the server"
            actions += self.close(f"{'reset' if packet.flags & RST else 'closed'} by {who}")
        return actions

    def close(self, reason: str) -> list[Action]:
        """End the connection: its ways go, media flows that run are left to run out."""
        if self.closed:
            return []
        self.closed = True
        actions = self.claims.release_all(f"the control connection was {reason}")
        self.conversation = Conversation()
        self._pending.clear()
        self._agreement.clear()
        return [*actions, note(ConnectionClose, self.connection, reason=reason)]

    def failed(self, way: Way, reason: str) -> WayRefused:
        """Say that the kernel did not open ``way``; it is off the list again. Return what to publish."""
        self.ways.drop(way)
        return note(WayRefused, self.connection, port=way.port, reason=reason)

    def adopt(
        self,
        ports: dict[int, int],
        now: float,
        *,
        uri: str = "",
        session: str | None = None,
        timeout: int | None = None,
    ) -> list[Way]:
        """Take over ways (public port: the set-top box's port) that an earlier helper opened; return them."""
        claim = Claim(self.connection, uri, None, now)
        self.ways.name_session(claim, session, timeout)
        return self.claims.adopt(claim, ports, now)

    def _vouched(self) -> bool:
        """Whether conntrack knows the connection as an established one; it is asked until it says so.

        That is what makes a way safe to open. Whoever shares the set-top box's LAN can send a SYN and a SETUP
        in its name. Without an answer of the server conntrack's entry is not established; an answer goes to
        the real set-top box, which resets a connection that it does not know, and the entry closes. Numbers
        in the packets that we saw say less: a host that works together with the server can make them up.
        Asking once for each connection is cheap (0.1 ms), and the first way is the place where it matters;
        later ones of the same connection only add what the same two ends could have had at first.
        """
        if not self.confirmed and self._confirm is not None and not self._asked:
            self._asked = True  # once for all that one segment says
            self.confirmed = self._confirm(self.connection)
        return self.confirmed

    def _is_known(self, message: Message, of_client: bool) -> bool:
        """Whether a message may be taken at once; a SETUP waits while conntrack does not know enough.

        For conntrack a connection may begin with this very packet. With the server's acknowledgement it
        knows better, and the SETUP is taken then, whatever it says.
        """
        if not of_client or not isinstance(message, Request) or message.method != "SETUP":
            return True
        return self._vouched()

    def _handle(self, message: Message, from_client: bool, now: float, actions: list[Action]) -> None:
        if isinstance(message, Request):
            if from_client:
                self._request(message, now, actions)
            elif message.method == "TEARDOWN":  # RFC 7826 lets the server end a session
                self._teardown(message.session, message.uri, actions, by_server=True)
        elif isinstance(message, Response) and not from_client:
            self._response(message, now, actions)

    def _request(self, request: Request, now: float, actions: list[Action]) -> None:
        session = request.session
        self._sign_of_life(session, now)
        pending = self._pending.add(request.cseq, request.method, request.uri, session)
        if request.method == "SETUP":
            self._setup(request, pending, now, actions)
        elif request.method == "TEARDOWN":
            actions.append(self._note(Teardown, request))
            self._teardown(session, request.uri, actions)
        elif request.method in ("PLAY", "PAUSE"):
            actions.append(self._note(Play if request.method == "PLAY" else Pause, request))

    def _sign_of_life(self, session: str | None, now: float) -> None:
        if self._alive != now:  # once for all requests of one segment
            self._alive = now
            for claim in self.claims:
                claim.seen = now
        for claim in self._of_session(session) if session else ():
            claim.seen = now

    def _of_session(self, session: str) -> list[Claim]:
        """Return what holds ways for a session, over other connections only if this one is vouched for."""
        claims = self.ways.session(self.connection.client, session)
        if all(one.connection == self.connection for one in claims) or self._vouched():
            return claims
        return [one for one in claims if one.connection == self.connection]

    def _setup(self, request: Request, pending: PendingRequest, now: float, actions: list[Action]) -> None:
        transports = media_transports(request)
        port = next((number.value for one in transports for number in one.client_ports), None)
        actions.append(self._note(Setup, request, port=port))
        claim = Claim(self.connection, request.uri, request.cseq, now)
        claim.session = pending.session
        planned = self.claims.plan(transports, claim, now)
        if transports and not isinstance(planned, Refusal) and not self._vouched():
            planned = Refusal(_NOT_VOUCHED)
        if isinstance(planned, Refusal):
            actions.append(self.claims.refused(planned, request.cseq, port))
            return
        for one in planned:
            actions += self.claims.carry_out(one.asked, one.outcome, claim, now)
            actions += self._rewrites(request, one)
        if claim.groups:
            self.claims.add(claim)
            pending.claim = claim

    def _rewrites(self, request: Request, planned: Planned) -> Iterable[Rewrite]:
        """Return what lets the server read the ports that a transport of ``request`` is granted."""
        if isinstance(planned.outcome, Refusal):
            return ()
        return self._payload_nat.there(request, planned.transport, planned.outcome.ports, self.conversation)

    def _rewrites_back(self, response: Response) -> Iterable[Rewrite]:
        """Return what lets the set-top box read what it asked for in the answer to a SETUP."""
        return (
            self._payload_nat.back(response, self.ways, self.conversation) if self.policy.substitutes else ()
        )

    def foresee(self, begun: Message, now: float, *, from_client: bool) -> list[Rewrite]:
        """Return the rewrites that :meth:`receive` will ask for when the message that begins so is whole.

        ``begun`` has its whole Transport field (:meth:`Conversation.begun`). Nothing is opened yet, and the
        same state gives the same answer later.
        """
        if isinstance(begun, Response) and not from_client:
            pending = self._pending.find(begun.cseq)
            is_answer = begun.status >= 200 and pending is not None and pending.claim in self.claims
            return list(self._rewrites_back(begun)) if is_answer or begun.cseq is None else []
        if not isinstance(begun, Request) or not from_client or begun.method != "SETUP":
            return []
        if self._agreement.is_genuine(of_client=True):
            self._sign_of_life(begun.session, now)
        claim = Claim(self.connection, begun.uri, begun.cseq, now)
        planned = self.claims.plan(media_transports(begun), claim, now)
        if isinstance(planned, Refusal):
            return []
        return [rewrite for one in planned for rewrite in self._rewrites(begun, one)]

    def _response(self, response: Response, now: float, actions: list[Action]) -> None:
        pending = self._pending.answered(response.cseq)
        if response.status < 200 and pending is not None:  # a provisional answer: the real one is to come
            self._pending.put_back(response.cseq, pending)
            return
        reason = response.reason
        if 300 <= response.status < 400:
            reason = f"{reason} {redirected(response.field('location') or 'nowhere', self.policy.ports)}"[
                :_MAX_TEXT
            ]
        session = response.session or (pending.session if pending else None)
        actions.append(
            note(
                Answered,
                self.connection,
                cseq=response.cseq,
                status=response.status,
                reason=reason,
                session=session,
                uri=shown(pending.uri) if pending else None,
            )
        )
        if pending is not None and pending.claim is not None:
            self._setup_answered(response, pending.claim, session, now, actions)
        elif response.status == 200 and self._unseen.may_be_answered(
            self.conversation, was_seen=pending is not None
        ):
            self._setup_unseen(response, session, now, actions)

    def _setup_answered(
        self, response: Response, claim: Claim, session: str | None, now: float, actions: list[Action]
    ) -> None:
        if claim not in self.claims:  # torn down before its answer came: that opens nothing again
            return
        actions += self._rewrites_back(response)
        if response.status >= 300:
            actions += self.claims.release(
                claim, f"the server answered {response.status} {response.reason}".strip()
            )
            return
        self.ways.name_session(claim, session, response.session_timeout)
        chosen = response.transports()[:1]
        if chosen:
            self._keep_chosen(chosen[0], claim, now, actions)
        if session is not None:
            # The same stream set up again in its session: the port asked for before is no longer used.
            for other in self.ways.session(self.connection.client, session):
                if other is not claim and other.uri == claim.uri:
                    actions += self.claims.release(other, "the set-top box asked for another port")

    def _keep_chosen(self, chosen: Transport, claim: Claim, now: float, actions: list[Action]) -> None:
        """Close what was asked for but not taken; open what the server named instead, one for one."""
        if not chosen.is_udp or chosen.is_multicast:
            actions += self.claims.release(claim, f"the server chose {chosen.protocol}"[:_MAX_TEXT])
            return
        named = named_ports(chosen)
        if not named:
            return
        held = {port for group in claim.groups for port in group}
        if held.issuperset(named):
            kept = {port for group in claim.groups if set(named) & set(group) for port in group}
        else:
            kept = set(named)
            if not self._exchange(named, claim, now, actions):
                return
        dropped = held - kept
        if dropped and kept & {way.port for way in self.ways.of_claim(claim)}:
            actions += self.claims.release(claim, "the server chose another port", dropped)

    def _exchange(self, named: tuple[int, ...], claim: Claim, now: float, actions: list[Action]) -> bool:
        """Open the ports that the server named instead of those asked for; return whether they are open."""
        reason = widens(claim.groups, named)
        if reason is not None:
            actions.append(self.claims.refused(Refusal(reason), claim.cseq, named[0]))
            return False
        opened = self.claims.open_named(named, claim, now)
        actions += opened
        return any(isinstance(one, OpenWay) for one in opened)

    def _setup_unseen(
        self, response: Response, session: str | None, now: float, actions: list[Action]
    ) -> None:
        """Open the way for a SETUP that was asked just before we looked; its answer names the port too."""
        chosen = response.transports()[:1]
        if not chosen or not chosen[0].is_udp or chosen[0].is_multicast:
            return
        named = named_ports(chosen[0])
        if not named or self.policy.refuse_host(self.connection.client):
            return
        reason = widens_unseen(named) or (None if self._vouched() else _NOT_VOUCHED)
        if reason is not None:
            actions.append(self.claims.refused(Refusal(reason), response.cseq, named[0]))
            return
        claim = Claim(self.connection, "", response.cseq, now)
        said = "opened by the answer: the SETUP was not seen"
        actions += self.claims.open_named(named, claim, now, said)
        if claim.groups:
            self.claims.add(claim)
            self.ways.name_session(claim, session, response.session_timeout)

    def _teardown(
        self, session: str | None, uri: str, actions: list[Action], *, by_server: bool = False
    ) -> None:
        """Close the ways of ``session``, or of the one stream of it, that a request names.

        A set-top box may do so over another connection; a server ends only what was set up with itself.
        """
        if session is None:
            claims = self.claims.within(uri)
        else:
            claims = self._of_session(session)
            if by_server:
                claims = [one for one in claims if one.connection.server == self.connection.server]
            claims = self.claims.named_by(uri, claims)
        for claim in claims:
            actions += self.claims.release(claim, "TEARDOWN", cut=True)

    def _note(self, kind: type[Note], request: Request, port: int | None = None) -> Note:
        return note(
            kind,
            self.connection,
            port=port,
            cseq=request.cseq,
            session=request.session,
            uri=shown(request.uri),
        )
