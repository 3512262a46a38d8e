"""A film, from the SETUP that asks for it to the TEARDOWN that ends it, as a list of steps.

Values and small mutable records, no I/O and no clock: every time is given, in seconds since the epoch.
:mod:`nftrtsp.films.sessions` decides what happens to them.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass, field

import msgspec

from nftrtsp import figures
from nftrtsp.conntrack.flow import Flow
from nftrtsp.films.open_port import OpenPort
from nftrtsp.films.phase import TRANSITIONS, Cue, Phase, StepKind

#: A film keeps at most so many steps; the first ones, which say how it began, always stay.
MOST_STEPS = 60
_FIRST_STEPS = 10

#: Over how many seconds a rate is averaged: conntrack counters are listed about once a second.
RATE_SPAN = 3.5

#: IPS_OFFLOAD: packets pass the flowtable, counters stand still. Source: nf_conntrack_common.h
_OFFLOADED = 1 << 14


class Step(msgspec.Struct, frozen=True, gc=False, order=True):
    """One step: when, what, in words. ``failed`` marks the step at which it broke, ``remedy`` what to do.

    ``pinned``: a port was opened for one sender only.
    """

    time: float
    kind: StepKind
    text: str
    failed: bool = False
    remedy: str = ""
    pinned: bool = False


@dataclass(slots=True)
class MediaFlow:
    """One media flow of a film, and how fast it comes. ``rate`` is in bit/s, None when nothing counts."""

    flow: Flow
    since: float
    film: Film | None = None
    rate: float | None = None
    active: float | None = None
    seen: float = 0.0
    misses: int = 0
    _samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=8))

    @property
    def source(self) -> str:
        """The media server, ``address:port``."""
        return figures.endpoint(self.flow.orig.src, self.flow.orig.sport)

    @property
    def counted(self) -> bool:
        """Whether the kernel counts this flow (nf_conntrack_acct)."""
        return self.flow.counters_orig is not None

    def listed(self, flow: Flow, time: float) -> bool:
        """Take a listing's word; return whether packets came since the last one.

        Without counters a timeout that did not fall tells of packets: each one starts it anew.
        """
        old, self.flow, self.seen, self.misses = self.flow, _joined(self.flow, flow), time, 0
        count = _bytes(flow)
        if count is None:
            self.rate = None
            came = old.timeout is not None and flow.timeout is not None and flow.timeout >= old.timeout
            came = came or bool((flow.status or 0) & _OFFLOADED)
        else:
            came = bool(self._samples) and count > self._samples[-1][1]
            if not self._samples and self.active is None and count:
                came = time - self.since < RATE_SPAN
            self._samples.append((time, count))
            while len(self._samples) > 2 and time - self._samples[0][0] > RATE_SPAN:
                self._samples.popleft()
            self.rate = self._average() if came else 0.0
        if came:
            self.active = time
        return came

    def _average(self) -> float | None:
        (first, low), (last, high) = self._samples[0], self._samples[-1]
        return (high - low) * 8 / (last - first) if last - first > 0.2 else self.rate

    def shift(self, seconds: float) -> None:
        """Move all times: the wall clock was set."""
        self.since += seconds
        self.seen += seconds
        self.active = None if self.active is None else self.active + seconds
        self._samples = deque(((time + seconds, count) for time, count in self._samples), maxlen=8)


def _bytes(flow: Flow) -> int | None:
    if flow.counters_orig is None:
        return None
    return flow.counters_orig.bytes + (flow.counters_reply.bytes if flow.counters_reply else 0)


def _joined(old: Flow, new: Flow) -> Flow:
    """Return ``new`` with what only a first event tells (FACTS 4: master, and helper in some kernels)."""
    if (new.master is None and old.master is not None) or (new.helper is None and old.helper is not None):
        return msgspec.structs.replace(new, master=new.master or old.master, helper=new.helper or old.helper)
    return new


@dataclass(slots=True)
class Film:
    """One film of one set-top box. ``port`` is the UDP port that the box named in SETUP."""

    id: int
    stb: bytes
    port: int
    began: float
    client: str = ""
    server: str = ""
    session: str = ""
    uri: str = ""
    steps: list[Step] = field(default_factory=list)
    ports: dict[tuple[bytes, int], OpenPort] = field(default_factory=dict)
    media: list[MediaFlow] = field(default_factory=list)
    pinned: bytes | None = None
    asked: float | None = None
    waiting_since: float | None = None
    first_packet: float | None = None
    quiet_since: float | None = None
    ended: float | None = None
    setup_cseq: int | None = None
    pause_said: bool = False
    play_said: bool = False
    teardown_said: bool = False
    connection_closed: bool = False
    answered: bool = False
    failure: Step | None = None
    hints: set[str] = field(default_factory=set)
    _phase: Phase = Phase.ASKING

    @property
    def phase(self) -> Phase:
        """Where it stands; only :meth:`take` changes it."""
        return self._phase

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self._phase is not Phase.ENDED

    @property
    def rate(self) -> float | None:
        """Bits a second over all its media flows; None when nothing counts them."""
        known = [media.rate for media in self.media if media.rate is not None]
        return sum(known) if known else None

    @property
    def source(self) -> str:
        """The media server that sends now, or that sent last; empty before the first packet."""
        best = max(self.media, key=lambda media: media.active or media.since, default=None)
        return best.source if best else ""

    def take(self, time: float, cue: Cue, text: str | None = None, *, pinned: bool = False) -> None:
        """Go where :data:`TRANSITIONS` says ``cue`` leads; ``text`` is what is told of it, None: nothing."""
        turn = TRANSITIONS[self._phase][cue]
        self._phase = turn.phase
        if text is not None and turn.step is not None:
            self._add(Step(time, turn.step, text, pinned=pinned))

    def note(self, time: float, kind: StepKind, text: str, *, failed: bool = False, remedy: str = "") -> Step:
        """Add a step that changes no phase."""
        return self._add(Step(time, kind, text, failed, remedy))

    def _add(self, step: Step) -> Step:
        """Put a step where its time is; lines of two sockets may come in either order."""
        insort(self.steps, step, key=lambda other: other.time)
        if len(self.steps) > MOST_STEPS:
            del self.steps[_FIRST_STEPS]
        return step

    def fail(self, time: float, kind: StepKind, text: str, remedy: str = "") -> None:
        """Add the step at which the film broke, once for each sentence."""
        if self.failure is None or self.failure.text != text:
            self.failure = self.note(time, kind, text, failed=True, remedy=remedy)
        self.take(time, Cue.FAILURE)

    def hint(self, time: float, kind: StepKind, text: str, *, failed: bool = False, remedy: str = "") -> None:
        """Add a step unless the same sentence stands there already."""
        if text not in self.hints:
            self.hints.add(text)
            self.note(time, kind, text, failed=failed, remedy=remedy)

    def shift(self, seconds: float) -> None:
        """Move all times: the wall clock was set."""
        self.began += seconds
        for name in ("asked", "waiting_since", "first_packet", "quiet_since", "ended"):
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value + seconds)
        self.steps = [msgspec.structs.replace(step, time=step.time + seconds) for step in self.steps]
        self.ports = {
            key: msgspec.structs.replace(port, seen=port.seen + seconds) for key, port in self.ports.items()
        }
