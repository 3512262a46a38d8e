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

from nftrtsp.config import Config
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow, Tuple
from nftrtsp.conntrack.role import Role, Roles
from nftrtsp.rtsp import telling
from nftrtsp.rtsp.box import Box, Control
from nftrtsp.rtsp.film import Film, Media, Phase, StepKind, Way, after_gap, milliseconds, way_of

WAIT_AFTER_PLAY = 5.0  # so long a film may take to come after PLAY
WAIT_AFTER_WAY = 10.0  # the same where nobody can see PLAY
QUIET = 4.0  # so long without a packet is a pause, or a server that is gone
ASKING = 30.0  # a connection that asks for nothing for so long is idle
SILENT_BOX = 90.0  # keep-alives come every 20-30 s: three missed
AFTER_FAILURE = 60.0  # so long a failure without a connection stays the box's state
TRAILING = 3.0  # packets still under way after TEARDOWN

MOST_BOXES = 256

_STATES_CLOSING = frozenset({4, 5, 6, 7, 8})  # FIN_WAIT … CLOSE. Source: nf_conntrack_tcp.h
_SYN_SENT = 1
_PREFIX = "the control connection"


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
                self._media_event(event)
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
                self._media_listed(flow, time)
        if expectations is not None:
            self._ways_listed(expectations, time)
        if complete:
            self._forget_absent(time)

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
        sender = f"{source}:{sport}"
        if film is None:
            for film in waiting[-1:]:
                film.hint(
                    time,
                    StepKind.STRAY,
                    f"UDP from {sender} to port {port} comes, but the box asked for port {film.port}",
                )
        elif film.pinned is not None and str(IPv4Address(film.pinned)) != source:
            text = f"{packets} packets from {sender} came and were dropped: the way accepts only "
            film.fail(time, StepKind.STRAY, text + str(IPv4Address(film.pinned)), _PINNED_REMEDY)
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
                    self._tick_film(film, now)
            box.history.append(box.rate or 0.0)
            box.state = self._state(box, now)

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
        client = f"{flow.orig.source}:{flow.orig.sport}"
        if kind is EventType.DESTROY or flow.tcp_state in _STATES_CLOSING:
            self.close_control(client, time)
            return
        control = self._control(client, flow, time)
        if flow.helper:
            control.helper = flow.helper

    def _control(self, client: str, flow: Flow, time: float) -> Control:
        control = self.controls.get(client)
        if control is None:
            server = f"{flow.orig.destination}:{flow.orig.dport}"
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
        client = f"{flow.orig.source}:{flow.orig.sport}"
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
            film.client = f"{way.master.source}:{way.master.sport}"
            film.server = f"{way.master.destination}:{way.master.dport}"
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
            after = f", after {milliseconds(time - film.asked)}"
        was = "was open already, " if found else ""
        if way.source is None:
            film.note(time, StepKind.WAY_OPEN, f"{was}any source, {ports}{after}")
        else:
            text = f"{was}pinned to {IPv4Address(way.source)}, {ports}{after}"
            film.note(time, StepKind.WAY_OPEN, text)

    def _film_for_way(self, way: Way) -> Film:
        film = self.live_film(way.stb, way.stb_port) or self.live_film(way.stb, way.port)
        client = f"{way.master.source}:{way.master.sport}" if way.master else ""
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

    # -- media flows ---------------------------------------------------------------------------------------

    def _media_event(self, event: Event) -> None:
        flow, time = event.flow, event.time
        assert flow is not None  # noqa: S101 - the caller has looked
        key = (flow.orig, flow.zone)
        if event.type is EventType.DESTROY:
            media = self.media.pop(key, None)
            if media is not None:
                self._media_gone(media, time)
            return
        media = self.media.get(key)
        if media is None:
            self._media_new(flow, time, found=event.type is not EventType.NEW or event.found)
        elif flow.master is not None and media.flow.master is None:
            media.flow = flow

    def _media_new(self, flow: Flow, time: float, *, found: bool) -> Media | None:
        stb = _stb_of_media(flow)
        media = self.media[(flow.orig, flow.zone)] = Media(flow, time, seen=time)
        if stb is None or not self._is_box(stb):
            return media
        port = flow.reply.sport or flow.orig.dport or 0
        film = self.live_film(stb, port) or self.live_film(stb, flow.orig.dport or 0)
        if film is None and (ended := self._just_ended(stb, port, time)):
            media.film = ended
            return media
        if film is None:
            # A film that this monitor did not see begin.
            film = self.new_film(stb, port, time)
            if flow.master is not None:
                film.client = f"{flow.master.source}:{flow.master.sport}"
                film.server = f"{flow.master.destination}:{flow.master.dport}"
            if found:
                film.note(time, StepKind.FOUND, f"was there already, from {media.source}")
        media.film = film
        film.media.append(media)
        if not found:
            media.active = time
            self._packets(film, media, time, exact=True)
        return media

    def _just_ended(self, stb: bytes, port: int, time: float) -> Film | None:
        """Return the film whose packets may still be under way, or that an old listing still shows."""
        box = self.boxes.get(stb)
        for film in reversed(box.films if box else ()):
            if film.port == port:
                return film if film.ended is not None and time - film.ended < TRAILING else None
        return None

    def _is_box(self, stb: bytes) -> bool:
        return stb in self.boxes or self.roles.may_ask(stb)

    def _media_listed(self, flow: Flow, time: float) -> None:
        media = self.media.get((flow.orig, flow.zone))
        if media is None:
            media = self._media_new(flow, time, found=True)
            if media is None:
                return
        if media.listed(flow, time):
            self._media_came(media, time)

    def _media_came(self, media: Media, time: float) -> None:
        """Packets came since the last listing: give them to the film that they belong to now."""
        film = media.film
        if film is None or not film.live:
            stb = _stb_of_media(media.flow)
            port = media.flow.reply.sport or media.flow.orig.dport or 0
            newer = self.live_film(stb, port) if stb else None
            if newer is None:
                if film is None or time - (film.ended or time) < TRAILING:
                    return
                newer = self.new_film(film.stb, film.port, time)
                newer.note(time, StepKind.FOUND, f"packets from {media.source} come again, unasked")
            media.film = film = newer
            film.media.append(media)
        self._packets(film, media, time, exact=False)

    def _packets(self, film: Film, media: Media, time: float, *, exact: bool) -> None:
        if film.pause_said and film.quiet_since is not None and time - film.quiet_since < TRAILING:
            return  # packets from before the pause, counted after it
        if film.first_packet is None:
            film.first_packet = time
            since = film.waiting_since if film.waiting_since is not None else film.asked
            after = ""
            if since is not None and time >= since:
                after = f"after {'' if exact else 'at most '}{milliseconds(time - since)} "
            if not any(step.kind is StepKind.FOUND for step in film.steps):
                film.note(time, StepKind.FIRST_PACKET, f"{after}from {media.source}")
        elif len(film.media) > 1 and media.since > film.first_packet:
            film.hint(time, StepKind.SOURCE, f"the film comes from {media.source} now")
        if film.phase is not Phase.PLAYING:
            again = film.phase is Phase.PAUSED or film.quiet_since is not None
            film.phase = Phase.PLAYING
            film.failure = None
            if again:
                gap = time - film.quiet_since if film.quiet_since is not None else 0.0
                film.note(time, StepKind.PLAYING, f"packets come again{after_gap(gap)}")
        film.quiet_since = None

    def _media_gone(self, media: Media, time: float) -> None:
        film = media.film
        if film is None or media not in film.media:
            return
        film.media.remove(media)
        if not film.live or film.media:
            return
        if film.teardown_said or film.connection_closed:
            self.end(film, time)
        elif film.ways or film.client in self.controls:
            self._silent(film, time)
        else:
            film.note(time, StepKind.CLOSED, "the media flow is gone from conntrack")
            self.end(film, time)

    def _forget_absent(self, time: float) -> None:
        # Connections first: a film whose connection and flow are both gone has ended, not paused.
        for client, control in list(self.controls.items()):
            if control.listed and control.seen < time - 0.05:
                control.misses += 1
                if control.misses > 1:
                    self.close_control(client, time)
        for key, media in list(self.media.items()):
            if media.seen < time - 0.05:
                media.misses += 1
                if media.misses > 1:
                    del self.media[key]
                    self._media_gone(media, time)

    # -- time passes ---------------------------------------------------------------------------------------

    def _tick_film(self, film: Film, now: float) -> None:
        if film.phase is Phase.PLAYING:
            latest = max((media.active or media.since for media in film.media), default=film.began)
            if now - latest > QUIET:
                self._silent(film, latest)
            else:
                self._listen_for_box(film, now)
        elif film.phase is Phase.WAITING:
            self._waited(film, now)
        elif film.phase is Phase.ASKING and self._unanswered(film, now):
            remedy = "is the RTSP server reachable? See `nftrtsp doctor`"
            text = f"the RTSP server has not answered SETUP for {WAIT_AFTER_PLAY:.0f} s"
            film.fail(now, StepKind.ANSWER, text, remedy)

    def _unanswered(self, film: Film, now: float) -> bool:
        late = film.asked is not None and now - film.asked > WAIT_AFTER_PLAY
        return self.helper_speaks and late and not film.answered

    def _silent(self, film: Film, since: float) -> None:
        """No packet for a while: a pause, the end, or a server that is gone."""
        film.quiet_since = since
        if film.teardown_said or film.connection_closed:
            self.end(film, since)
        elif film.pause_said:
            film.phase = Phase.PAUSED
        elif self.helper_speaks and film.play_said:
            # The helper sees every PAUSE: there was none.
            text = "packets stopped without PAUSE: the media server, or the line to it, is gone"
            film.fail(since, StepKind.QUIET, text, "play the film again; if it stops again, ask the provider")
        else:
            film.phase = Phase.PAUSED
            film.note(since, StepKind.QUIET, "no packets: paused, or the media server stopped")

    def _listen_for_box(self, film: Film, now: float) -> None:
        control = self.controls.get(film.client)
        if control is not None and control.packets and now - control.heard > SILENT_BOX:
            text = f"the box has said nothing for {SILENT_BOX:.0f} s: switched off, or its cable is out?"
            film.hint(now, StepKind.QUIET, text, failed=True, remedy="look at the box")

    def _waited(self, film: Film, now: float) -> None:
        since = film.waiting_since if film.waiting_since is not None else film.began
        limit = WAIT_AFTER_PLAY if film.play_said else WAIT_AFTER_WAY
        if now - since <= limit:
            return
        if film.pinned is not None:
            only = IPv4Address(film.pinned)
            text = (
                f"no packet in {limit:.0f} s: the way is pinned to {only}, and films come from other servers"
            )
            film.fail(since + limit, StepKind.NO_FILM, text, _PINNED_REMEDY)
        else:
            text = f"the way is open, but no packet of the film came in {limit:.0f} s"
            remedy = "does the IPTV side deliver? Check routes and rp_filter with `nftrtsp doctor`"
            film.fail(since + limit, StepKind.NO_FILM, text, remedy)

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

    def _state(self, box: Box, now: float) -> Phase | None:
        """Return the state of a box; None is idle."""
        film = box.film
        if film is not None:
            return film.phase
        last = box.films[-1] if box.films else None
        if last is not None and last.failure is not None and now - (last.ended or now) < AFTER_FAILURE:
            return Phase.NO_FILM
        for control in box.controls.values():
            if self.helperless(control, now):
                return Phase.NO_FILM
            if now - max(control.heard, control.opened) < ASKING:
                return Phase.ASKING
        return None


_PINNED_REMEDY = "use the userspace or pinhole helper (rtsp.helper), or a module that expects any source"


def _outer_ports(film: Film) -> set[int]:
    """Return the ports on the IPTV side where a film's packets must arrive."""
    return {way.port for way in film.ways.values()} or {film.port}


def _stb_of_media(flow: Flow) -> bytes | None:
    """Return the box of a media flow: where the packets go after translation, else the master's sender."""
    if flow.reply.src != flow.orig.dst:
        return flow.reply.src
    return flow.master.src if flow.master is not None else flow.reply.src
