"""A film, from the SETUP that asks for it to the TEARDOWN that ends it, as a list of steps.

Values and small mutable records, no I/O and no clock: every time is given, in seconds since the epoch.
:mod:`nftrtsp.films.sessions` decides what happens to them.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any

import msgspec

from nftrtsp import figures
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow, Tuple

#: A film keeps at most so many steps; the first ones, which say how it began, always stay.
MOST_STEPS = 60
_FIRST_STEPS = 10

#: Over how many seconds a rate is averaged: conntrack counters are listed about once a second.
RATE_SPAN = 3.5

_OFFLOADED = (
    1 << 14
)  # IPS_OFFLOAD: packets pass the flowtable, counters stand still. Source: nf_conntrack_common.h


class Phase(StrEnum):
    """Where a film stands; the words are those of the screen."""

    ASKING = "asking"
    WAITING = "waiting for film"
    PLAYING = "playing"
    PAUSED = "paused"
    NO_FILM = "no film"
    ENDED = "ended"


class StepKind(StrEnum):
    """What happened to a film, by the word of the screen."""

    FOUND = "found"
    SETUP = "SETUP"
    ANSWER = "answer"
    REWRITE = "rewrite"
    WAY_OPEN = "way open"
    WAY_REFUSED = "way refused"
    WAY_CLOSED = "way closed"
    PLAY = "PLAY"
    FIRST_PACKET = "first packet"
    PLAYING = "playing"
    SOURCE = "new source"
    PAUSE = "PAUSE"
    QUIET = "quiet"
    STRAY = "dropped"
    NO_FILM = "no film"
    TEARDOWN = "TEARDOWN"
    CLOSED = "closed"
    LOST = "events lost"


class Step(msgspec.Struct, frozen=True, gc=False, order=True):
    """One step: when, what, in words. ``failed`` marks the step at which it broke, ``remedy`` what to do."""

    time: float
    kind: StepKind
    text: str
    failed: bool = False
    remedy: str = ""


class Way(msgspec.Struct, frozen=True):
    """A way open: an expectation of the kernel or a pinhole of ours.

    ``stb`` and ``source`` are packed addresses; ``port`` is the one on the IPTV side, ``stb_port`` the one on
    which the set-top box listens. ``source`` is None when any sender may use it; else the way is *pinned*.
    ``timeout`` is in seconds as of ``seen``. ``detail`` is DESIGN 5's JSON where a helper told it.
    """

    kind: str
    stb: bytes
    port: int
    stb_port: int
    source: bytes | None
    timeout: int
    seen: float
    master: Tuple | None = None
    expectation: Expectation | None = None
    detail: Mapping[str, Any] | None = None

    @property
    def any_source(self) -> bool:
        """Whether the film may come from any server."""
        return self.source is None

    @property
    def key(self) -> tuple[bytes, int]:
        """What makes two reports (the kernel's and the helper's) one way."""
        return self.stb, self.port


def way_of(expectation: Expectation, seen: float) -> Way | None:
    """Return the way that an expectation of the kernel opens, or None if it awaits no UDP over IPv4.

    The set-top box is the address that the expected flow is translated to, else the master's sender.
    """
    awaited = expectation.tuple
    if awaited.proto != 17 or awaited.dport is None or len(awaited.dst) != 4:
        return None
    nat = expectation.nat
    translated = nat is not None and any(nat.tuple.src)
    stb = nat.tuple.src if nat is not None and translated else expectation.master.src
    port = nat.tuple.sport if nat is not None and nat.tuple.sport else awaited.dport
    return Way(
        kind="expectation",
        stb=stb,
        port=awaited.dport,
        stb_port=port,
        source=None if expectation.any_source else awaited.src,
        timeout=expectation.timeout,
        seen=seen,
        master=expectation.master,
        expectation=expectation,
    )


def way_from_json(data: Mapping[str, Any], seen: float) -> Way | None:
    """Return the way that a helper's line tells (DESIGN 5), or None if the line lacks what makes one."""
    try:
        awaited = data["tuple"]
        port = int(awaited["dport"])
        nat = data.get("nat") or {}
        inner = nat.get("tuple", nat) if isinstance(nat, Mapping) else {}
        stb = IPv4Address(data.get("stb") or inner["src"]).packed
        pinned = not data.get("any_source", True)
        return Way(
            kind=str(data.get("kind", "pinhole")),
            stb=stb,
            port=port,
            stb_port=int(inner.get("sport") or port),
            source=IPv4Address(awaited["src"]).packed if pinned else None,
            timeout=int(data.get("timeout") or 0),
            seen=seen,
            detail=dict(data),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


@dataclass(slots=True)
class Media:
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
    phase: Phase = Phase.ASKING
    client: str = ""
    server: str = ""
    session: str = ""
    uri: str = ""
    steps: list[Step] = field(default_factory=list)
    ways: dict[tuple[bytes, int], Way] = field(default_factory=dict)
    media: list[Media] = field(default_factory=list)
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

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.phase is not Phase.ENDED

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

    def note(self, time: float, kind: StepKind, text: str, *, failed: bool = False, remedy: str = "") -> Step:
        """Add a step where its time puts it; lines of two sockets may come in either order."""
        step = Step(time, kind, text, failed, remedy)
        insort(self.steps, step, key=lambda other: other.time)
        if len(self.steps) > MOST_STEPS:
            del self.steps[_FIRST_STEPS]
        return step

    def fail(self, time: float, kind: StepKind, text: str, remedy: str = "") -> None:
        """Add the step at which the film broke, once for each sentence."""
        if self.failure is None or self.failure.text != text:
            self.failure = self.note(time, kind, text, failed=True, remedy=remedy)
        self.phase = Phase.NO_FILM

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
        self.ways = {
            key: msgspec.structs.replace(way, seen=way.seen + seconds) for key, way in self.ways.items()
        }
