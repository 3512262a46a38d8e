"""The observer: news in, a :class:`Snapshot` out. Pure; the reader, a replay and a test feed it alike."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from nftrtsp import config as configuration
from nftrtsp import figures
from nftrtsp.config import Config
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.record import protocol_text
from nftrtsp.events.news import (
    Began,
    Checked,
    Gauged,
    Heard,
    HelperLeft,
    Kept,
    Listed,
    News,
    Strayed,
    Told,
)
from nftrtsp.films.film import Film
from nftrtsp.films.phase import Phase
from nftrtsp.films.sessions import Sessions
from nftrtsp.helper.note import Garbage, Hello, Overrun, WayRefused, parts
from nftrtsp.monitor import problem
from nftrtsp.monitor.problem import RouterState
from nftrtsp.monitor.snapshot import BoxView, EventView, FilmView, FlowView, Snapshot, Top, WayView

MOST_EVENTS = 2000  # lines of the log that are kept
MOST_FLOWS = 20_000  # rows of flows that are shown
_CLOCK_SET = 2.0  # seconds by which wall and monotonic clock may drift apart between two gauges


class Observer:
    """Keeps what has been seen. ``config`` None: flows are shown with what can be told of them."""

    def __init__(self, config: Config | None = None, *, router: str = "", serial: int = 0) -> None:
        self._serial = serial
        self._events: deque[EventView] = deque(maxlen=MOST_EVENTS)
        self._number = 0
        self._has_begun = False
        self._began(config, router)

    def _began(self, config: Config | None, router: str) -> None:
        self.config = config
        self.router = router
        self.sessions = Sessions(config, wants_helper=_wants_helper(config))
        self.known = RouterState(config)
        self._flows: dict[tuple[object, int], FlowView] = {}
        self._counted: deque[tuple[float, int]] = deque(maxlen=64)
        self._down: float | None = None
        self._up: float | None = None

    def take(self, news: News) -> None:
        """Take one piece of news."""
        match news:
            case Heard():
                self._heard(news.event)
            case Listed():
                self.sessions.listing(news.time, news.flows, news.expectations, complete=news.complete)
                self._list(news)
            case Gauged():
                self._gauged(news)
            case Told():
                self._told(news)
            case HelperLeft():
                self._helper_left(news)
            case Checked():
                self._checked(news)
            case Strayed():
                self.sessions.stray(news.time, news.source, news.sport, news.port, news.packets)
            case Kept():
                self._kept(news)
            case Began():
                self._has_begun = True
                config = configuration.parse(news.config, place="recording") if news.config else None
                self._began(config, news.router)
                self._log(news.time, "began", "", f"watching {news.router}")

    def _kept(self, news: Kept) -> None:
        """A reader begins here: who has been reading knows it all."""
        if self._has_begun:
            return
        self.take(news.began)
        if news.hello is not None:
            line = news.hello.line
            if isinstance(line, Hello):
                self.take(Told(news.time, msgspec.structs.replace(line, time=news.time, ways=())))
        if news.checked is not None:
            self.take(news.checked)

    # -- what comes in -------------------------------------------------------------------------------------

    def _heard(self, event: Event) -> None:
        self.sessions.event(event)
        self._count(event.time, 1)
        if event.type is EventType.OVERRUN:
            self.known.lost_at = event.time
            self._log(event.time, "overrun", "", "the kernel dropped events; all is listed again", grave=True)
        elif event.flow is not None:
            stb = self.sessions.stb_of(event.flow)
            text = flow_text(event.flow)
            self._log(event.time, event.type.value, self._name(stb), text, stb=stb, source=event)
            if event.type is EventType.DESTROY:
                self._flows.pop((event.flow.orig, event.flow.zone), None)
            else:
                self._keep(event.flow, event.time)
        elif event.expectation is not None and self.sessions.roles.concerns(event.expectation):
            expectation = event.expectation
            stb = self.sessions.roles.asker(expectation)
            source = "any source" if expectation.any_source else figures.address(expectation.tuple.src)
            text = f"udp {source} → {figures.endpoint(expectation.tuple.dst, expectation.tuple.dport)}"
            self._log(event.time, event.type.value, self._name(stb), text, stb=stb, source=event)

    def _keep(self, flow: Flow, time: float) -> None:
        key = (flow.orig, flow.zone)
        known = self._flows.get(key)
        part = self.sessions.roles.of(flow)
        if known is None and len(self._flows) >= MOST_FLOWS:
            return
        if known is not None and flow.counters_orig is None and known.flow.counters_orig is not None:
            return
        media = self.sessions.media.get(key)
        began = flow.start / 1e9 if flow.start else known.began if known else time
        role = "media" if media is not None else part.role.value
        stb = part.stb or (known.stb if known else None) or (flow.reply.src if media is not None else None)
        rate = media.rate if media is not None else None
        flow = media.flow if media is not None else flow
        self._flows[key] = FlowView(flow, role, stb, self._name(stb), rate, began)

    def _list(self, news: Listed) -> None:
        before, self._flows = self._flows, {}
        for flow in news.flows[:MOST_FLOWS]:
            key = (flow.orig, flow.zone)
            if key in before:
                self._flows[key] = before[key]
            self._keep(flow, news.time)
        if not news.complete:
            self._flows = {**before, **self._flows}

    def _gauged(self, news: Gauged) -> None:
        before = self.known.gauge
        if before is not None:
            passed = news.monotonic - before.monotonic
            jump = (news.time - before.time) - passed
            if abs(jump) > _CLOCK_SET and passed > 0:
                self.sessions.shift(jump)
                self._counted.clear()
                word = "forward" if jump > 0 else "back"
                self._log(news.time, "clock", "", f"the wall clock was set {word} by {abs(jump):.0f} s")
            self._down = _rate(before.received, news.received, passed, self._down)
            self._up = _rate(before.sent, news.sent, passed, self._up)
            if (before.received is None) != (news.received is None):
                text = f"{self.known.interface} is {'gone' if news.received is None else 'back'}"
                self._log(news.time, "interface", "", text, grave=news.received is None)
        self.known.gauge = news
        self.sessions.tick(news.time)

    def _told(self, news: Told) -> None:
        line = news.line
        self.known.helper_gone = ""
        self.sessions.helper(line, news.time)
        if isinstance(line, Hello):
            self.known.helper_kind = line.kind
            self._log(news.time, "helper", "", f"{line.kind} helper: {line.why}", source=line)
            return
        self._count(news.time, 1)
        stb = line.box
        grave = isinstance(line, WayRefused | Overrun | Garbage)
        text = " ".join(part for part in parts(line).values() if part)
        self._log(news.time, line.event, self._name(stb), text, stb=stb, grave=grave, source=line)

    def _helper_left(self, news: HelperLeft) -> None:
        if self.sessions.helper_speaks:
            self._log(news.time, "helper", "", f"the helper left: {news.why}", grave=True)
        self.known.helper_gone = news.why
        self.sessions.helper_left()

    def _checked(self, news: Checked) -> None:
        before = self.known.ruleset
        if before is None or _answer(before) != _answer(news):
            grave = news.state in ("absent", "drifted")
            self._log(news.time, "ruleset", "", news.state, grave=grave, source=news)
            self.known.ruleset = news

    def _count(self, time: float, number: int) -> None:
        second = float(int(time))
        if self._counted and self._counted[-1][0] == second:
            number += self._counted.pop()[1]
        self._counted.append((second, number))

    def _log(
        self,
        time: float,
        kind: str,
        name: str,
        text: str,
        *,
        stb: bytes | None = None,
        grave: bool = False,
        source: object = None,
    ) -> None:
        self._number += 1
        self._events.append(EventView(self._number, time, kind, name, text, stb, grave, source))

    def _name(self, stb: bytes | None) -> str:
        return self.sessions.name(stb) if stb else ""

    # -- what goes out -------------------------------------------------------------------------------------

    def snapshot(self, now: float) -> Snapshot:
        """Return the picture as of ``now``, seconds since the epoch."""
        self._serial += 1
        films = [film for box in self.sessions.boxes.values() for film in box.films]
        return Snapshot(
            serial=self._serial,
            time=now,
            top=self._top(now),
            boxes=tuple(self._boxes()),
            films=tuple(self._film(film) for film in sorted(films, key=_newest_first)),
            flows=tuple(self._flows.values()),
            ways=tuple(self._ways(now)),
            events=tuple(self._events),
            problems=problem.find(self.sessions, self.known, now),
            ruleset=self.known.ruleset,
            gauge=self.known.gauge,
            roles=self.sessions.roles,
        )

    def _top(self, now: float) -> Top:
        gauge, ruleset = self.known.gauge, self.known.ruleset
        helper, state = self._helper()
        return Top(
            router=self.router,
            interface=self.known.interface,
            addresses=gauge.addresses if gauge else (),
            down=self._down,
            up=self._up,
            helper=helper,
            helper_state=state,
            ruleset=ruleset.state if ruleset else "",
            count=gauge.count if gauge else None,
            limit=gauge.limit if gauge else None,
            events=self._events_per_second(now),
            lost=gauge.overruns if gauge else self.sessions.lost,
            has_config=self.known.config is not None,
        )

    def _helper(self) -> tuple[str, str]:
        """Return the helper's kind and its state: ``running``, ``in use``, ``absent`` or nothing."""
        if self.sessions.helper_speaks:
            return self.known.helper_kind, "running"
        if any(control.helper for control in self.sessions.controls.values()):
            return "kernel", "in use"
        wanted = self.known.helper_wanted
        if not wanted:
            return "", ""
        return wanted, "absent" if self.known.helper_gone and wanted != "kernel" else ""

    def _events_per_second(self, now: float) -> float:
        recent = [number for second, number in self._counted if now - 5.0 <= second < int(now)]
        return sum(recent) / 5.0

    def _boxes(self) -> Iterator[BoxView]:
        order = sorted(self.sessions.boxes.values(), key=lambda box: (not box.configured, box.address))
        for box in order:
            film = box.film or (box.films[-1] if box.films else None)
            state = box.state.value if box.state else "idle"
            why = film.failure.text if film and film.failure and box.state is Phase.NO_FILM else ""
            if not why and box.state is Phase.NO_FILM:
                why = "the control connection has no conntrack helper"
            rate = box.rate if box.state is not None else 0.0
            yield BoxView(box.address, box.name, box.text, state, rate, tuple(box.history), why)

    def _film(self, film: Film) -> FilmView:
        return FilmView(
            id=film.id,
            stb=film.stb,
            name=self._name(film.stb),
            port=film.port,
            phase=film.phase,
            rate=film.rate,
            source=film.source,
            server=film.server,
            client=film.client,
            uri=film.uri,
            began=film.began,
            ended=film.ended,
            steps=tuple(film.steps),
            failed=film.failure is not None,
        )

    def _ways(self, now: float) -> Iterator[WayView]:
        for way in self.sessions.ports.values():
            yield WayView(way, self._name(way.stb), max(0.0, way.timeout - (now - way.seen)))


def flow_text(flow: Flow) -> str:
    """Return a flow on one line: who to whom, and where it goes in truth when it is translated."""
    orig, reply = flow.orig, flow.reply
    ends = figures.endpoint(orig.src, orig.sport), figures.endpoint(orig.dst, orig.dport)
    text = f"{protocol_text(orig.proto)} {' → '.join(ends)}"
    if reply.src and (reply.src, reply.sport) != (orig.dst, orig.dport):
        text += f" ⇒ {figures.endpoint(reply.src, reply.sport)}"
    if flow.tcp_state is not None:
        text += f" {flow.state_name}"
    return text


def _answer(checked: Checked) -> tuple[object, ...]:
    return checked.state, checked.changes, checked.warnings


def _newest_first(film: Film) -> tuple[bool, float]:
    return (not film.live, -film.began)


def _rate(before: int | None, now: int | None, passed: float, old: float | None) -> float | None:
    """Return bit/s between two readings; counters that fell back belong to a new interface."""
    if now is None:
        return None
    if before is None or passed <= 0.05 or now < before:
        return old or 0.0
    return (now - before) * 8 / passed


def _wants_helper(config: Config | None) -> bool | None:
    if config is None:
        return None
    return {"kernel": True, "userspace": True, "pinhole": False}.get(config.rtsp.helper.value)
