"""What the screen draws from: one immutable picture of everything, made in the reader's thread."""

from __future__ import annotations

import msgspec

from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.role import Roles
from nftrtsp.events.news import Checked, Gauged
from nftrtsp.films.film import Step
from nftrtsp.films.household import Guesses
from nftrtsp.films.open_port import OpenPort
from nftrtsp.films.phase import Phase
from nftrtsp.monitor.problem import Problem


class Top(msgspec.Struct, frozen=True):
    """The top line. Rates are in bit/s, None where the interface is gone; ``events`` a second."""

    router: str = ""
    interface: str = ""
    addresses: tuple[str, ...] = ()
    down: float | None = None
    up: float | None = None
    helper: str = ""
    helper_state: str = ""
    ruleset: str = ""
    count: int | None = None
    limit: int | None = None
    events: float = 0.0
    lost: int = 0
    has_config: bool = True


class BoxView(msgspec.Struct, frozen=True):
    """One set-top box: ``state`` is a Phase's word or ``idle``, ``why`` the failure in words."""

    address: bytes
    name: str
    text: str
    state: str
    rate: float | None
    history: tuple[float, ...]
    why: str = ""


class FilmView(msgspec.Struct, frozen=True):
    """One film with its steps."""

    id: int
    stb: bytes
    name: str
    port: int
    phase: Phase
    rate: float | None
    source: str
    server: str
    client: str
    uri: str
    began: float
    ended: float | None
    steps: tuple[Step, ...]
    failed: bool


class FlowView(msgspec.Struct, frozen=True, gc=False):
    """One flow: ``rate`` in bit/s, None when nothing counts it; ``began`` in seconds since the epoch."""

    flow: Flow
    role: str
    stb: bytes | None
    name: str
    rate: float | None
    began: float

    @property
    def key(self) -> tuple[object, int]:
        """What the row stays the same by."""
        return (self.flow.orig, self.flow.zone)


class WayView(msgspec.Struct, frozen=True):
    """One way open; ``left`` are the seconds until it closes."""

    way: OpenPort
    name: str
    left: float


class EventView(msgspec.Struct, frozen=True):
    """One line of the log."""

    number: int
    time: float
    kind: str
    name: str
    text: str
    stb: bytes | None = None
    grave: bool = False
    source: object = None


class Snapshot(msgspec.Struct, frozen=True):
    """Everything, as of ``time``. ``serial`` rises with each; two of one serial are one."""

    serial: int = 0
    time: float = 0.0
    top: Top = Top()
    boxes: tuple[BoxView, ...] = ()
    films: tuple[FilmView, ...] = ()
    flows: tuple[FlowView, ...] = ()
    ways: tuple[WayView, ...] = ()
    events: tuple[EventView, ...] = ()
    problems: tuple[Problem, ...] = ()
    ruleset: Checked | None = None
    gauge: Gauged | None = None
    roles: Roles = Guesses()


EMPTY = Snapshot()
