"""The claims of one control connection: what its SETUPs hold open, from opening to letting go. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address

from nftrtsp.helper.action import Action, CloseWay, OpenWay
from nftrtsp.helper.note import WayClosed, WayOpen, WayRefused, note
from nftrtsp.helper.plan import Planned, plan
from nftrtsp.helper.port_policy import Grant, PortPolicy, Refusal
from nftrtsp.helper.ways import Claim, Connection, Way, Ways, kept_text
from nftrtsp.rtsp.transport import Transport

_MAX_TEXT = 512  # of a URI in a note
_PRUNE_FROM = 16  # claims


class Claims:
    """What ``connection`` holds of ``ways``, within what ``policy`` allows. Actions come in their order."""

    __slots__ = ("_claims", "_prune_at", "connection", "policy", "ways")

    def __init__(self, connection: Connection, policy: PortPolicy, ways: Ways) -> None:
        self.connection = connection
        self.policy = policy
        self.ways = ways
        self._claims: list[Claim] = []
        self._prune_at = _PRUNE_FROM

    def __len__(self) -> int:
        return len(self._claims)

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._claims)

    def __contains__(self, claim: object) -> bool:
        return claim in self._claims

    def within(self, uri: str) -> list[Claim]:
        """Return the claims of ``uri`` and of the streams below it; all where it is none of theirs."""
        return [claim for claim in self._claims if _within(claim.uri, uri)] or list(self._claims)

    def named_by(self, uri: str, of_session: list[Claim]) -> list[Claim]:
        """Return the claims of a session, or of the one stream of it, that ``uri`` names.

        A single claim that was taken over from an earlier helper has a session that is not known.
        """
        streams = [claim for claim in of_session if claim.uri == kept_text(uri)]
        if streams and len({claim.uri for claim in of_session}) > 1:
            return streams
        unnamed = [claim for claim in self._claims if claim.session is None]
        return of_session or (unnamed if len(unnamed) == 1 else [])

    def add(self, claim: Claim) -> None:
        """Keep ``claim``. Those that hold nothing any more go now and then: no SETUP looks at them all."""
        if len(self._claims) >= self._prune_at:
            self.prune()
        self._claims.append(claim)

    def prune(self) -> None:
        """Forget what no longer holds a way."""
        if not self._claims:
            return
        for claim in [claim for claim in self._claims if not self.ways.of_claim(claim)]:
            self.ways.release(claim)
            self._claims.remove(claim)
        self._prune_at = max(_PRUNE_FROM, 2 * len(self._claims))

    def plan(self, transports: Sequence[Transport], claim: Claim, now: float) -> list[Planned] | Refusal:
        """Return what becomes of the transports of a SETUP (:func:`plan`); nothing is changed."""
        return plan(self.policy, self.ways, transports, claim, now)

    def adopt(self, claim: Claim, ports: dict[int, int], now: float) -> list[Way]:
        """Take over ways (public port: the set-top box's port) that an earlier helper opened; return them."""
        claim.groups.append(tuple(ports))
        self._claims.append(claim)
        return [
            self.ways.open(port, stb_port, claim, now)[0]
            for port, stb_port in ports.items()
            if (way := self.ways.at(port)) is None or way.stb == self.connection.client
        ]

    def open_named(
        self, named: Sequence[int], claim: Claim, now: float, said: str | None = None
    ) -> list[Action]:
        """Open the ports that the server has named, no others in their place, or say why not.

        ``said`` is told about a way that opens.
        """
        outcome = self.policy.grant(self.ways, self.connection.client, named, now, as_asked=True)
        return self.carry_out(named, outcome, claim, now, said)

    def carry_out(
        self,
        asked: Sequence[int],
        outcome: Grant | Refusal,
        claim: Claim,
        now: float,
        said: str | None = None,
    ) -> list[Action]:
        """Open what ``claim`` was granted for the ports ``asked``, or say why not."""
        if isinstance(outcome, Refusal):
            return [self.refused(outcome, claim.cseq, asked[0] if asked else None)]
        actions: list[Action] = [self._evict(way) for way in outcome.evicted]
        for stb_port, port in dict(zip(asked, outcome.ports, strict=True)).items():
            actions.append(self._open(port, stb_port, claim, now, said))
        group = tuple(dict.fromkeys(outcome.ports))
        if group not in claim.groups:
            claim.groups.append(group)
        return actions

    def release(
        self, claim: Claim, reason: str, ports: Iterable[int] | None = None, *, cut: bool = False
    ) -> list[Action]:
        """Let go of ``ports`` of ``claim``, this connection's or another's (None: of all)."""
        session = claim.session
        closed = self.ways.release(claim, ports)
        if not self.ways.of_claim(claim) and claim in self._claims:
            self._claims.remove(claim)
        actions: list[Action] = []
        for way in closed:
            said = note(
                WayClosed,
                claim.connection,
                port=way.port,
                session=session,
                uri=shown(claim.uri),
                reason=reason,
            )
            actions.append(CloseWay(way, cut, said))
        return actions

    def release_all(self, reason: str) -> list[Action]:
        """Let go of everything."""
        claims, self._claims = self._claims, []
        return [action for claim in claims for action in self.release(claim, reason)]

    def refused(self, refusal: Refusal, cseq: int | None, port: int | None) -> WayRefused:
        """Return the note that says why not; ``port`` is the one asked for, if ``refusal`` names none."""
        port = refusal.port if refusal.port is not None else port
        holder = None if refusal.holder is None else str(IPv4Address(refusal.holder))
        return note(WayRefused, self.connection, port=port, cseq=cseq, reason=refusal.reason, holder=holder)

    def _open(self, port: int, stb_port: int, claim: Claim, now: float, reason: str | None) -> OpenWay:
        way, new = self.ways.open(port, stb_port, claim, now)
        uri = shown(claim.uri)
        said = note(WayOpen, self.connection, port=port, cseq=claim.cseq, uri=uri, reason=reason)
        return OpenWay(way, new, said)

    def _evict(self, way: Way) -> CloseWay:
        self.ways.drop(way)
        said = note(
            WayClosed, way.master, port=way.port, reason="silent for too long, and its place is needed"
        )
        return CloseWay(way, True, said)


def shown(text: str) -> str | None:
    """Return a URI as notes show it, None where there is none."""
    return text[:_MAX_TEXT] or None


def _within(uri: str, outer: str) -> bool:
    return outer in ("*", uri) or uri.startswith(outer.rstrip("/") + "/")
