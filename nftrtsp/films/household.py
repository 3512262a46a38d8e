"""The set-top boxes of one router, their connections, films and open ports, as remembered.

The kernel's word (:mod:`~nftrtsp.films.connections`, :mod:`~nftrtsp.films.media`), the helper's
(:mod:`~nftrtsp.films.notes`) and time alone (:mod:`~nftrtsp.films.timeouts`) change it, by its methods;
:mod:`~nftrtsp.films.sessions` is given the news.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from nftrtsp import figures
from nftrtsp.config import Config
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.role import Role, Roles
from nftrtsp.conntrack.tuple import Tuple
from nftrtsp.films.box import Box, Control
from nftrtsp.films.film import Film, MediaFlow
from nftrtsp.films.open_port import OpenPort, of_expectation
from nftrtsp.films.phase import Cue, Phase, StepKind

MOST_BOXES = 256

#: Seconds; so far apart may the kernel's and the helper's word for one thing be.
MERGE = 5.0


class Guesses(Roles):
    """Roles where there is no configuration: RTSP is on TCP 554, boxes have private addresses."""

    def __init__(self) -> None:
        # No mark can match, no name is known.
        self._ports, self._mark, self._mask = frozenset({554}), 1, 0
        self._boxes, self._names, self._networks = frozenset(), {}, ()

    def may_ask(self, address: bytes) -> bool:
        """Whether this packed address is a private one."""
        return len(address) == 4 and IPv4Address(address).is_private


class Household:
    """All that is remembered; every time is given, in seconds since the epoch.

    ``config`` None means: nothing is known; a box is then whoever of a private network asks on TCP 554.
    ``wants_helper`` says whether control connections ought to carry a conntrack helper (kinds ``kernel``
    and ``userspace``); None means unknown: nothing is said about its absence.
    """

    def __init__(self, config: Config | None = None, *, wants_helper: bool | None = None) -> None:
        self.config = config
        self.wants_helper = wants_helper
        self.boxes: dict[bytes, Box] = {}
        self.controls: dict[str, Control] = {}
        self.media: dict[tuple[Tuple, int], MediaFlow] = {}
        self.ports: dict[tuple[bytes, int], OpenPort] = {}
        self.lost = 0
        self.helper_speaks = False
        self.now = 0.0
        self.roles = Roles(config) if config else Guesses()
        self._ids = 0
        for stb in config.stb if config else ():
            self.box(stb.address.packed).configured = True

    # -- what can be asked ---------------------------------------------------------------------------------

    def films(self) -> Iterator[Film]:
        """Yield every film that is remembered, box by box."""
        for box in self.boxes.values():
            yield from box.films

    def role(self, flow: Flow) -> Role:
        """Return the part a flow plays; what is remembered of it counts (events say less than listings)."""
        if (flow.orig, flow.zone) in self.media:
            return Role.MEDIA
        return self.roles.of(flow).role

    def stb_of(self, flow: Flow) -> bytes | None:
        """Return the packed address of the set-top box that a flow belongs to, or None."""
        return self.roles.of(flow).stb

    def name(self, stb: bytes) -> str:
        """Return the configured name of a box, or its address."""
        return self.roles.name(stb)

    # -- boxes and films -----------------------------------------------------------------------------------

    def box(self, address: bytes) -> Box:
        """Return the box at the packed ``address``, made if it is new."""
        box = self.boxes.get(address)
        if box is None:
            if len(self.boxes) >= MOST_BOXES:
                self._drop_oldest_box()
            box = self.boxes[address] = Box(address, self.roles.name(address))
        box.heard = max(box.heard, self.now)
        return box

    def _drop_oldest_box(self) -> None:
        idle = [
            box for box in self.boxes.values() if not box.configured and not any(f.live for f in box.films)
        ]
        if idle:
            del self.boxes[min(idle, key=lambda box: box.heard).address]

    def new_film(self, stb: bytes, port: int, time: float) -> Film:
        """Begin a film of the box ``stb`` on its UDP ``port``."""
        self._ids += 1
        film = Film(self._ids, stb, port, time)
        self.box(stb).films.append(film)
        return film

    def live_film(self, stb: bytes, port: int) -> Film | None:
        """Return the newest live film of a box on ``port``, the box's own or the router's."""
        box = self.boxes.get(stb)
        for film in reversed(box.films if box else ()):
            if film.live and (film.port == port or (stb, port) in film.ports):
                return film
        return None

    # -- control connections -------------------------------------------------------------------------------

    def close_control(self, client: str, time: float) -> None:
        """The control connection of ``client`` (``address:port``) is over."""
        control = self.controls.pop(client, None)
        if control is None:
            return
        box = self.boxes.get(control.stb)
        if box is None:
            return
        box.controls.pop(client, None)
        for film in box.films:
            if film.live and film.client == client and not film.connection_closed:
                self._film_lost_connection(film, time)

    def _film_lost_connection(self, film: Film, time: float) -> None:
        film.connection_closed = True
        if film.phase is Phase.PLAYING:
            film.note(time, StepKind.CLOSED, "the box closed its connection without TEARDOWN")
        elif film.first_packet is None and film.failure is None:
            film.fail(time, StepKind.CLOSED, "the box gave up: it closed its connection before a packet came")
            self.end(film, time)
        else:
            film.note(time, StepKind.CLOSED, "the box closed its connection")
            self.end(film, time)

    # -- open ports ----------------------------------------------------------------------------------------

    def open_port(self, port: OpenPort, *, found: bool = False) -> None:
        """A port is open as of ``port.seen``; ``found``: it was so before anybody looked."""
        time = port.seen
        film = self._film_for(port)
        known = film.ports.get(port.key)
        port = port.joined(known)
        film.ports[port.key] = self.ports[port.key] = port
        film.pinned = port.source
        if port.master is not None and not film.client:
            film.client = figures.endpoint(port.master.src, port.master.sport)
            film.server = figures.endpoint(port.master.dst, port.master.dport)
        if known is not None and known.source == port.source:
            return
        film.take(time, Cue.OPENED, _opening(film, port, found=found), pinned=not port.any_source)
        if film.phase is Phase.WAITING and film.waiting_since is None:
            film.waiting_since = time

    def _film_for(self, port: OpenPort) -> Film:
        film = self.live_film(port.stb, port.stb_port) or self.live_film(port.stb, port.port)
        client = figures.endpoint(port.master.src, port.master.sport) if port.master else ""
        if film is not None and film.teardown_said:
            film = None
        if film is None and client:
            # RTP and RTCP: x-y opens two ports at once, for one film.
            for other in reversed(self.box(port.stb).films):
                if other.live and other.client == client and abs(other.port - port.stb_port) == 1:
                    film = other
                    break
        if film is None:
            film = self.new_film(port.stb, port.stb_port, port.seen)
            film.client = client
        control = self.controls.get(client)
        if control is not None:
            control.asked = True
        return film

    def ports_listed(self, expectations: Iterable[Expectation], time: float) -> None:
        """Take a listing of the expectations: what it lacks is closed."""
        present = set()
        for expectation in expectations:
            port = of_expectation(expectation, time) if self.roles.concerns(expectation) else None
            if port is None:
                continue
            present.add(port.key)
            self.open_port(port, found=port.key not in self.ports)
        for key, port in list(self.ports.items()):
            if port.kind == "expectation" and key not in present and time - port.seen > 1.0:
                self.close_port(key, time)

    def close_port(self, key: tuple[bytes, int], time: float, reason: str = "") -> None:
        """A port is no longer open: matched, expired or taken away."""
        self.ports.pop(key, None)
        box = self.boxes.get(key[0])
        for film in box.films if box else ():
            port = film.ports.pop(key, None)
            if port is None or not film.live:
                continue
            # Matched: the kernel's module drops the expectation at the film's first packet.
            if film.first_packet is None and not film.ports and not film.teardown_said:
                expired = reason or "nothing came before it closed"
                film.note(time, StepKind.WAY_CLOSED, expired)

    # -- the end -------------------------------------------------------------------------------------------

    def end(self, film: Film, time: float) -> None:
        """End a film; its ports are no longer counted."""
        film.take(time, Cue.END)
        film.ended = time
        for key in film.ports:
            self.ports.pop(key, None)
        film.ports = {}

    def overrun(self, time: float, times: int) -> None:
        """The kernel dropped events, ``times`` of them as far as it says."""
        self.lost += max(times, 1)
        for film in self.films():
            if film.live:
                film.note(time, StepKind.LOST, "the kernel lost events here: a step may be missing")

    def helperless(self, control: Control, now: float) -> bool:
        """Whether a connection should carry a conntrack helper and does not."""
        if not self.wants_helper or control.helper or not control.listed:
            return False
        return now - control.opened > 2.0


def _opening(film: Film, port: OpenPort, *, found: bool) -> str:
    """Return in words how a port was opened."""
    same = port.port == port.stb_port
    ports = f"port {port.port}" if same else f"port {port.port} for the box's {port.stb_port}"
    after = ""
    if film.asked is not None and 0 <= port.seen - film.asked < MERGE:
        after = f", after {figures.latency(port.seen - film.asked)}"
    who = "any source" if port.source is None else f"pinned to {IPv4Address(port.source)}"
    return f"{'was open already, ' if found else ''}{who}, {ports}{after}"
