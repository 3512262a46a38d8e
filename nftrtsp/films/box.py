"""A set-top box and its control connections, as remembered; :mod:`nftrtsp.films.household` changes them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from ipaddress import ip_address

from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.tuple import Tuple
from nftrtsp.films.film import Film
from nftrtsp.films.phase import Phase

MOST_FILMS = 50  # remembered of one box
SPARK = 60  # seconds of history of a box's rate


@dataclass(slots=True)
class Control:
    """One RTSP control connection. ``helper`` is the conntrack helper the kernel has put on it."""

    client: str
    server: str
    stb: bytes
    opened: float
    tuple: Tuple | None = None
    helper: str | None = None
    state: int | None = None
    listed: bool = False
    misses: int = 0
    seen: float = 0.0
    packets: int = 0
    heard: float = 0.0
    flow: Flow | None = None
    asked: bool = False

    def shift(self, seconds: float) -> None:
        """Move all times: the wall clock was set."""
        self.opened += seconds
        self.seen += seconds
        self.heard += seconds


@dataclass(slots=True)
class Box:
    """One set-top box: its films, newest last, its connections, its rate second by second."""

    address: bytes
    name: str
    configured: bool = False
    films: deque[Film] = field(default_factory=lambda: deque(maxlen=MOST_FILMS))
    controls: dict[str, Control] = field(default_factory=dict)
    history: deque[float] = field(default_factory=lambda: deque([0.0] * SPARK, maxlen=SPARK))
    heard: float = 0.0
    state: Phase | None = None

    @property
    def rate(self) -> float | None:
        """Bits a second over its films; None when nothing counts them."""
        known = [rate for film in self.films if film.live and (rate := film.rate) is not None]
        if known:
            return sum(known)
        return None if any(film.live and film.media for film in self.films) else 0.0

    @property
    def film(self) -> Film | None:
        """The film that its state speaks of: the one that plays, else the newest."""
        for phase in (Phase.PLAYING, None):
            for film in reversed(self.films):
                if film.phase is phase or (phase is None and film.live):
                    return film
        return None

    @property
    def text(self) -> str:
        """The address, as text."""
        return str(ip_address(self.address))
