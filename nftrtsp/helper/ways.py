"""The ways that are open, who holds them, and for how long. Pure: times are given, in seconds, monotonic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from socket import inet_ntoa

import msgspec

from nftrtsp import figures
from nftrtsp.conntrack.record import OpenPortRecord, of_way
from nftrtsp.conntrack.role import Roles
from nftrtsp.conntrack.tuple import IPPROTO_TCP, Tuple

#: RFC 2326 section 12.37: a session without ``timeout`` ends after 60 seconds without a sign of life.
DEFAULT_SESSION_TIMEOUT = 60
#: Seconds that a way may stay open without a sign of life of its set-top box, whatever a server says.
MAX_LIFETIME = 86400
_MAX_TEXT = 256  # characters of a URI or a session id that are kept as they are
_MAX_CLAIMS = 8  # of one way: a set-top box that asks again and again on new connections keeps the newest


class Connection(msgspec.Struct, frozen=True, gc=False):
    """A control connection: who asks whom. Addresses are packed."""

    client: bytes
    client_port: int
    server: bytes
    server_port: int

    @property
    def client_text(self) -> str:
        """The set-top box's end as ``address:port``."""
        return figures.endpoint(self.client, self.client_port)

    @property
    def server_text(self) -> str:
        """The RTSP server's end as ``address:port``."""
        return figures.endpoint(self.server, self.server_port)


class Claim:
    """One SETUP that holds ways open: first by its request alone, then by the session of the answer.

    ``uri`` and ``session`` are what :func:`kept_text` keeps of them. ``timeout`` is what the server named,
    in seconds and :data:`MAX_LIFETIME` at most, None where it did not. ``seen`` is when the set-top box last
    gave a sign of life. ``groups`` are the public ports of each transport that was asked for.
    """

    __slots__ = ("connection", "cseq", "groups", "noted", "seen", "session", "timeout", "uri")

    def __init__(self, connection: Connection, uri: str, cseq: int | None, now: float) -> None:
        self.connection = connection
        self.uri = kept_text(uri)
        self.cseq = cseq
        self.session: str | None = None
        self.timeout: int | None = None
        self.seen = now
        self.groups: list[tuple[int, ...]] = []
        self.noted = False  # for the helper: the session has been written down


class Way:
    """A way open: UDP from any source to the router's ``port`` goes to ``stb``'s ``stb_port``.

    ``stb`` is a packed address. ``port`` and ``stb_port`` differ only where a clash was solved by giving the
    server another port. ``master`` is the control connection that asked first. ``router`` is the packed
    address that the media server sends to, all zero while it is not known.
    """

    __slots__ = ("claims", "master", "opened", "port", "router", "stb", "stb_port")

    def __init__(self, port: int, stb: bytes, stb_port: int, master: Connection, now: float) -> None:
        self.port = port
        self.stb = stb
        self.stb_port = stb_port
        self.master = master
        self.opened = now
        self.router = bytes(4)
        self.claims: list[Claim] = []

    def __repr__(self) -> str:
        return f"Way({self.port} -> {inet_ntoa(self.stb)}:{self.stb_port})"

    @property
    def seen(self) -> float:
        """When a holder last gave a sign of life."""
        return max((claim.seen for claim in self.claims), default=self.opened)

    def idle(self, now: float) -> float:
        """Return for how long, in seconds, no holder gave a sign of life."""
        return now - self.seen

    def ends(self, pause: int) -> float:
        """Return when the way expires unless there is a sign of life before.

        A session whose server announced a timeout has ended by then; ``pause`` is how long a paused film
        keeps its way all the same. Without a timeout the way stays as long as its control connection, and
        without a sign of life :data:`MAX_LIFETIME` at most.
        """
        return max((claim.seen + _patience(claim, pause) for claim in self.claims), default=self.opened)

    def lifetime(self, pause: int) -> int:
        """Return for how many seconds the kernel shall keep the way when its helper no longer comes back."""
        return min(MAX_LIFETIME, max([pause, *(claim.timeout or 0 for claim in self.claims)]))

    def is_stale(self, now: float) -> bool:
        """Whether every holder has been silent for twice its session's timeout."""
        return all(now - claim.seen > 2 * (claim.timeout or DEFAULT_SESSION_TIMEOUT) for claim in self.claims)


def _patience(claim: Claim, pause: int) -> int:
    return MAX_LIFETIME if claim.timeout is None else min(MAX_LIFETIME, max(pause, claim.timeout))


def kept_text(text: str) -> str:
    """Return ``text``, a long one shortened: its beginning, and a digest that tells it from others."""
    if len(text) <= _MAX_TEXT:
        return text
    from hashlib import sha256  # OpenSSL, 3 ms of a start, for texts that few servers send

    return f"{text[:_MAX_TEXT]}…{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


class Ways:
    """All ways of one router, by public port. ``kind``, as lists show it: ``pinhole`` or ``expectation``."""

    def __init__(self, kind: str = "pinhole") -> None:
        self.kind = kind
        self._by_port: dict[int, Way] = {}
        self._by_stb: dict[bytes, dict[int, Way]] = {}  # by stb_port
        self._by_session: dict[tuple[bytes, str], list[Claim]] = {}

    def __len__(self) -> int:
        return len(self._by_port)

    def __iter__(self) -> Iterator[Way]:
        return iter(list(self._by_port.values()))

    def summary(self) -> str:
        """Return how many ways are open for how many set-top boxes, in words."""
        boxes = len(self._by_stb)
        ports = figures.counted(len(self), "port")
        return f"{ports} open for {boxes} set-top box{'' if boxes == 1 else 'es'}"

    def at(self, port: int) -> Way | None:
        """Return the way at the public ``port``."""
        return self._by_port.get(port)

    def of(self, stb: bytes) -> dict[int, Way]:
        """Return the ways of a set-top box by the port it listens on."""
        return self._by_stb.get(stb, {})

    def of_claim(self, claim: Claim) -> list[Way]:
        """Return the ways that ``claim`` holds."""
        ports = {port for group in claim.groups for port in group}
        return [way for port in sorted(ports) if (way := self._by_port.get(port)) and claim in way.claims]

    def open(self, port: int, stb_port: int, claim: Claim, now: float) -> tuple[Way, bool]:
        """Let ``claim`` hold the way at ``port``, opening it if need be; return it and whether it is new."""
        way = self._by_port.get(port)
        new = way is None
        if way is None:
            way = Way(port, claim.connection.client, stb_port, claim.connection, now)
            self._by_port[port] = way
            self._by_stb.setdefault(way.stb, {})[stb_port] = way
        if claim not in way.claims:
            way.claims.append(claim)
            del way.claims[:-_MAX_CLAIMS]
        return way, new

    def release(self, claim: Claim, ports: Iterable[int] | None = None) -> list[Way]:
        """Let go of ``ports`` of ``claim`` (None: of all); return the ways that nobody holds any more."""
        mine = self.of_claim(claim)
        wanted = None if ports is None else set(ports)
        gone = [way for way in mine if wanted is None or way.port in wanted]
        if len(gone) == len(mine):
            self._forget_session(claim)
        closed = []
        for way in gone:
            way.claims.remove(claim)
            if not way.claims:
                self.drop(way)
                closed.append(way)
        return closed

    def drop(self, way: Way) -> None:
        """Take a way off the list, whoever holds it."""
        if self._by_port.get(way.port) is way:
            del self._by_port[way.port]
            mine = self._by_stb[way.stb]
            mine.pop(way.stb_port, None)
            if not mine:
                del self._by_stb[way.stb]
        way.claims.clear()

    def name_session(self, claim: Claim, session: str | None, timeout: int | None) -> None:
        """Note the session that the server's answer gave to ``claim``."""
        self._forget_session(claim)
        claim.session = session = None if session is None else kept_text(session)
        claim.timeout = min(timeout, MAX_LIFETIME) if timeout is not None else claim.timeout
        if session is not None:
            self._by_session.setdefault((claim.connection.client, session), []).append(claim)

    def session(self, stb: bytes, session: str) -> list[Claim]:
        """Return what holds ways for a set-top box's session, over whatever connection it was set up."""
        return list(self._by_session.get((stb, kept_text(session)), ()))

    def _forget_session(self, claim: Claim) -> None:
        key = (claim.connection.client, claim.session or "")
        claims = self._by_session.get(key, [])
        if claim in claims:
            claims.remove(claim)
            if not claims:
                del self._by_session[key]


def way_record(way: Way, kind: str, timeout: float, roles: Roles) -> OpenPortRecord:
    """Return ``way`` as lists and events show it; ``timeout`` in seconds is what is left of it.

    An expectation of ours and a pinhole are one thing to those who read: the keys are the same.
    """
    asked = way.master
    return of_way(
        kind,
        (way.port, way.stb, way.stb_port),
        roles,
        timeout=timeout,
        router=way.router,
        master=Tuple(asked.client, asked.server, IPPROTO_TCP, asked.client_port, asked.server_port),
    )
