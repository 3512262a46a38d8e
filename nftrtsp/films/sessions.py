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

from collections.abc import Iterable
from ipaddress import IPv4Address

from nftrtsp import figures
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.role import Role
from nftrtsp.films import connections, media, notes, timeouts
from nftrtsp.films.film import Film
from nftrtsp.films.household import Household
from nftrtsp.films.open_port import of_expectation
from nftrtsp.films.phase import Phase, StepKind
from nftrtsp.helper.note import Line


class Sessions(Household):
    """The household that is fed news; read its ``boxes``, ``controls``, ``media`` and ``ports``."""

    # -- what comes in -------------------------------------------------------------------------------------

    def event(self, event: Event) -> None:
        """Take one event of the kernel."""
        self.now = max(self.now, event.time)
        if event.flow is not None:
            role = self.role(event.flow)
            if role is Role.CONTROL:
                connections.heard(self, event.type, event.flow, event.time)
            elif role is Role.MEDIA:
                media.heard(self, event)
        elif event.expectation is not None and self.roles.concerns(event.expectation):
            port = of_expectation(event.expectation, event.time)
            if port and event.type is EventType.EXPECT_NEW:
                self.open_port(port, found=event.found)
            elif port:
                self.close_port(port.key, event.time)
        elif event.type is EventType.OVERRUN:
            self.overrun(event.time, event.lost)

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
                connections.listed(self, flow, time)
            elif role is Role.MEDIA:
                media.listed(self, flow, time)
        if expectations is not None:
            self.ports_listed(expectations, time)
        if complete:
            # Connections first: a film whose connection and flow are both gone has ended, not paused.
            connections.forget_absent(self, time)
            media.forget_absent(self, time)

    def helper(self, line: Line, time: float) -> None:
        """Take one line that a running helper published at ``time``."""
        self.now = max(self.now, time)
        notes.take(line, self, time)

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
            text = f"{packets} packets from {sender} came and were dropped: the expectation accepts only "
            film.fail(time, StepKind.STRAY, text + str(IPv4Address(film.pinned)), timeouts.PINNED_REMEDY)
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
                    timeouts.tick_film(self, film, now)
            box.history.append(box.rate or 0.0)
            box.state = timeouts.state_of(self, box, now)

    def shift(self, seconds: float) -> None:
        """The wall clock was set by ``seconds``: move every time that was noted."""
        self.now += seconds
        for box in self.boxes.values():
            box.heard += seconds
            for film in box.films:
                film.shift(seconds)
        for control in self.controls.values():
            control.shift(seconds)
        for flow in self.media.values():
            flow.shift(seconds)

    def waiting_ports(self) -> frozenset[int]:
        """Return the UDP ports on the IPTV side for which a box waits and has got nothing."""
        films = (film for film in self.films() if film.phase in (Phase.WAITING, Phase.NO_FILM))
        return frozenset(port for film in films for port in _outer_ports(film))


def _outer_ports(film: Film) -> set[int]:
    """Return the ports on the IPTV side where a film's packets must arrive."""
    return {port.port for port in film.ports.values()} or {film.port}
