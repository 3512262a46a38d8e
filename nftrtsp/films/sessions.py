"""Who watches what: from control connection to SETUP, way, media flow and TEARDOWN, for each set-top box.

A pure model. Four kinds of news go in, each with its time in seconds since the epoch: the kernel's events
(:meth:`Sessions.event`), its listings (:meth:`Sessions.listing`), a helper's lines (:meth:`Sessions.helper`)
and packets seen on the IPTV side (:meth:`Sessions.stray`). :meth:`Sessions.tick` says that time has passed.
Out come boxes with a state, and films with their steps.

Facts on which this rests (each was seen on a real kernel):

* NEW and UPDATE events carry no counters, so rates and silence come from listings.
* Flows born before anybody listened never send events, but listings hold them: a film may start midway.
* Only a RELATED flow's first event names its master: it is kept.
* A second film on the same port from the same server is the same conntrack flow: no NEW event comes for it.
* The kernel's module removes an expectation at its first match; ours stays (PERMANENT) for pause and seek.
* Two sockets are not ordered: the kernel's expect-new may come before or after the helper's ``setup``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any

import msgspec

from nftrtsp import figures
from nftrtsp.config import Config
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow, Tuple
from nftrtsp.conntrack.role import Role, Roles
from nftrtsp.films import media as reception
from nftrtsp.films import notes as telling
from nftrtsp.films import timeouts as patience
from nftrtsp.films.box import Box, Control
from nftrtsp.films.film import Film, Media, Phase, StepKind, Way, way_of

MOST_BOXES = 256

_STATES_CLOSING = frozenset({4, 5, 6, 7, 8})  # FIN_WAIT … CLOSE. Source: nf_conntrack_tcp.h


class Guesses(Roles):
    """Roles where there is no configuration: RTSP is on TCP 554, boxes have private addresses."""

    def __init__(self) -> None:
        # No mark can match, no name is known.
        self._ports, self._mark, self._mask = frozenset({554}), 1, 0
        self._boxes, self._names, self._networks = frozenset(), {}, ()

    def may_ask(self, address: bytes) -> bool:
        """Whether this packed address is a private one."""
        return len(address) == 4 and IPv4Address(address).is_private


class Sessions:
    """The whole house: feed it news, read :attr:`boxes`, :attr:`controls`, :attr:`media` and :attr:`ways`.

    ``config`` None means: nothing is known; a box is then whoever of a private network asks on TCP 554.
    ``wants_helper`` says whether control connections ought to carry a conntrack helper (kinds ``kernel``
    and ``userspace``); None means unknown: nothing is said about its absence.
    """

    def __init__(self, config: Config | None = None, *, wants_helper: bool | None = None) -> None:
        self.config = config
        self.wants_helper = wants_helper
        self.boxes: dict[bytes, Box] = {}
        self.controls: dict[str, Control] = {}
        self.media: dict[tuple[Tuple, int], Media] = {}
        self.ways: dict[tuple[bytes, int], Way] = {}
        self.lost = 0
        self.helper_speaks = False
        self.now = 0.0
        self.roles = Roles(config) if config else Guesses()
        self._ids = 0
        for stb in config.stb if config else ():
            self.box(stb.address.packed).configured = True

    # -- what comes in -------------------------------------------------------------------------------------

    def event(self, event: Event) -> None:
        """Take one event of the kernel."""
        self.now = max(self.now, event.time)
        if event.flow is not None:
            role = self.role(event.flow)
            if role is Role.CONTROL:
                self._control_event(event.type, event.flow, event.time)
            elif role is Role.MEDIA:
                reception.heard(self, event)
        elif event.expectation is not None and self.roles.concerns(event.expectation):
            way = way_of(event.expectation, event.time)
            if way and event.type is EventType.EXPECT_NEW:
                self.open_way(way, found=event.found)
            elif way:
                self.close_way(way.key, event.time)
        elif event.type is EventType.OVERRUN:
            self._overrun(event.time, event.lost)

    def listing(
        self,
        time: float,
        flows: Iterable[Flow],
        expectations: Iterable[Expectation] | None = None,
        *,
        complete: bool = True,
    ) -> None:
        """Take a listing of the control and media flows, and of the expectations where they were listed.

        ``complete`` says that what is absent is gone; two listings in a row must agree on that, because a
        listing is older than the events that came while it was made.
        """
        self.now = max(self.now, time)
        for flow in flows:
            role = self.role(flow)
            if role is Role.CONTROL:
                self._control_listed(flow, time)
            elif role is Role.MEDIA:
                reception.listed(self, flow, time)
        if expectations is not None:
            self._ways_listed(expectations, time)
        if complete:
            reception.forget_absent(self, time)

    def helper(self, line: Mapping[str, Any]) -> None:
        """Take one line that a running helper published; lines of unknown shape are passed over."""
        time = line.get("time")
        if not isinstance(time, int | float):
            return
        self.now = max(self.now, float(time))
        event = line.get("event")
        if handler := telling.LINES.get(str(event)):
            handler(self, line, float(time))

    def helper_left(self) -> None:
        """The helper's socket closed: nobody tells PLAY and PAUSE any more."""
        self.helper_speaks = False

    def stray(self, time: float, source: str, sport: int, port: int, packets: int) -> None:
        """Take word of UDP that reached the IPTV interface while a box waits, ``packets`` so far.

        ``port`` is the destination. A film it fits, which has got nothing, is told that it is being dropped.
        """
        self.now = max(self.now, time)
        waiting = [film for film in self.films() if film.phase in (Phase.WAITING, Phase.NO_FILM)]
        waiting = [film for film in waiting if film.first_packet is None or film.quiet_since is not None]
        film = next((film for film in waiting if port in _outer_ports(film)), None)
        sender = figures.endpoint(source, sport)
        if film is None:
            for film in waiting[-1:]:
                film.hint(
                    time,
                    StepKind.STRAY,
                    f"UDP from {sender} to port {port} comes, but the box asked for port {film.port}",
                )
        elif film.pinned is not None and str(IPv4Address(film.pinned)) != source:
            text = f"{packets} packets from {sender} came and were dropped: the way accepts only "
            film.fail(time, StepKind.STRAY, text + str(IPv4Address(film.pinned)), patience.PINNED_REMEDY)
        elif film.waiting_since is not None and time - film.waiting_since > 1.0:
            text = f"packets from {sender} reach the router and do not get through to the box"
            remedy = "see the drop counters with `nftrtsp doctor`, and whether another table drops them"
            film.fail(time, StepKind.STRAY, text, remedy)

    def tick(self, now: float) -> None:
        """Say that it is ``now``; once a second is right."""
        self.now = max(self.now, now)
        for box in self.boxes.values():
            for film in box.films:
                if film.live:
                    patience.tick_film(self, film, now)
            box.history.append(box.rate or 0.0)
            box.state = patience.state_of(self, box, now)

    def shift(self, seconds: float) -> None:
        """The wall clock was set by ``seconds``: move every time that was noted."""
        self.now += seconds
        for box in self.boxes.values():
            box.heard += seconds
            for film in box.films:
                film.shift(seconds)
        for control in self.controls.values():
            control.shift(seconds)
        for media in self.media.values():
            media.shift(seconds)

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

    def waiting_ports(self) -> frozenset[int]:
        """Return the UDP ports on the IPTV side for which a box waits and has got nothing."""
        films = (film for film in self.films() if film.phase in (Phase.WAITING, Phase.NO_FILM))
        return frozenset(port for film in films for port in _outer_ports(film))

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
            if film.live and (film.port == port or (stb, port) in film.ways):
                return film
        return None

    # -- control connections -------------------------------------------------------------------------------

    def _control_event(self, kind: EventType, flow: Flow, time: float) -> None:
        client = figures.endpoint(flow.orig.src, flow.orig.sport)
        if kind is EventType.DESTROY or flow.tcp_state in _STATES_CLOSING:
            self.close_control(client, time)
            return
        control = self._control(client, flow, time)
        if flow.helper:
            control.helper = flow.helper

    def _control(self, client: str, flow: Flow, time: float) -> Control:
        control = self.controls.get(client)
        if control is None:
            server = figures.endpoint(flow.orig.dst, flow.orig.dport)
            opened = flow.start / 1e9 if flow.start else time
            control = Control(client, server, flow.orig.src, opened, heard=time)
            self.controls[client] = control
            self.box(flow.orig.src).controls[client] = control
        control.tuple = flow.orig
        if control.flow is None or flow.counters_orig is not None or control.flow.counters_orig is None:
            control.flow = flow
        if flow.tcp_state is not None:
            control.state = flow.tcp_state
        control.seen = time
        return control

    def _control_listed(self, flow: Flow, time: float) -> None:
        client = figures.endpoint(flow.orig.src, flow.orig.sport)
        if flow.tcp_state in _STATES_CLOSING:
            if client in self.controls:
                self.close_control(client, time)
            return
        control = self._control(client, flow, time)
        control.listed, control.misses = True, 0
        control.helper = flow.helper
        if flow.counters_orig is not None and flow.counters_orig.packets != control.packets:
            control.packets, control.heard = flow.counters_orig.packets, time

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

    # -- ways ----------------------------------------------------------------------------------------------

    def open_way(self, way: Way, *, found: bool = False) -> None:
        """A way is open as of ``way.seen``; ``found``: it was so before anybody looked."""
        time = way.seen
        film = self._film_for_way(way)
        known = film.ways.get(way.key)
        if (
            known is not None
            and (known.detail is None) != (way.detail is None)
            and known.source == way.source
        ):
            # The kernel's word and the helper's for one way: keep both sides' knowledge, say it once.
            way = msgspec.structs.replace(
                way,
                expectation=way.expectation or known.expectation,
                detail=way.detail or known.detail,
                master=way.master or known.master,
            )
        film.ways[way.key] = self.ways[way.key] = way
        film.pinned = way.source
        if way.master is not None and not film.client:
            film.client = figures.endpoint(way.master.src, way.master.sport)
            film.server = figures.endpoint(way.master.dst, way.master.dport)
        if known is not None and known.source == way.source:
            return
        self._say_way(film, way, time, found=found)
        if film.phase is Phase.ASKING:
            film.phase = Phase.WAITING
        if film.phase is Phase.WAITING and film.waiting_since is None:
            film.waiting_since = time

    def _say_way(self, film: Film, way: Way, time: float, *, found: bool) -> None:
        same = way.port == way.stb_port
        ports = f"port {way.port}" if same else f"port {way.port} for the box's {way.stb_port}"
        after = ""
        if film.asked is not None and 0 <= time - film.asked < telling.MERGE:
            after = f", after {figures.latency(time - film.asked)}"
        was = "was open already, " if found else ""
        if way.source is None:
            film.note(time, StepKind.WAY_OPEN, f"{was}any source, {ports}{after}")
        else:
            text = f"{was}pinned to {IPv4Address(way.source)}, {ports}{after}"
            film.note(time, StepKind.WAY_OPEN, text)

    def _film_for_way(self, way: Way) -> Film:
        film = self.live_film(way.stb, way.stb_port) or self.live_film(way.stb, way.port)
        client = figures.endpoint(way.master.src, way.master.sport) if way.master else ""
        if film is not None and film.teardown_said:
            film = None
        if film is None and client:
            # RTP and RTCP: x-y opens two ways at once, for one film.
            box = self.box(way.stb)
            for other in reversed(box.films):
                if other.live and other.client == client and abs(other.port - way.stb_port) == 1:
                    film = other
                    break
        if film is None:
            film = self.new_film(way.stb, way.stb_port, way.seen)
            film.client = client
        control = self.controls.get(client)
        if control is not None:
            control.asked = True
        return film

    def _ways_listed(self, expectations: Iterable[Expectation], time: float) -> None:
        present = set()
        for expectation in expectations:
            way = way_of(expectation, time) if self.roles.concerns(expectation) else None
            if way is None:
                continue
            present.add(way.key)
            self.open_way(way, found=way.key not in self.ways)
        for key, way in list(self.ways.items()):
            if way.kind == "expectation" and key not in present and time - way.seen > 1.0:
                self.close_way(key, time)

    def close_way(self, key: tuple[bytes, int], time: float, reason: str = "") -> None:
        """A way is gone: matched, expired or taken away."""
        self.ways.pop(key, None)
        box = self.boxes.get(key[0])
        for film in box.films if box else ():
            way = film.ways.pop(key, None)
            if way is None or not film.live:
                continue
            # Matched: the kernel's module drops the expectation at the film's first packet.
            if film.first_packet is None and not film.ways and not film.teardown_said:
                expired = reason or "nothing came before it closed"
                film.note(time, StepKind.WAY_CLOSED, expired)

    def end(self, film: Film, time: float) -> None:
        """End a film; its ways are no longer counted."""
        film.phase = Phase.ENDED
        film.ended = time
        for key in film.ways:
            self.ways.pop(key, None)
        film.ways = {}

    def _overrun(self, time: float, times: int) -> None:
        self.lost += max(times, 1)
        for film in self.films():
            if film.live:
                film.note(time, StepKind.LOST, "the kernel lost events here: a step may be missing")

    def helperless(self, control: Control, now: float) -> bool:
        """Whether a connection should carry a conntrack helper and does not."""
        if not self.wants_helper or control.helper or not control.listed:
            return False
        return now - control.opened > 2.0


def _outer_ports(film: Film) -> set[int]:
    """Return the ports on the IPTV side where a film's packets must arrive."""
    return {way.port for way in film.ways.values()} or {film.port}
