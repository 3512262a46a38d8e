"""News: everything that comes from outside, as plain values.

The live reader, a recording and a test all bring the same values, so the model and the screen cannot tell
them apart. Times are seconds since the epoch.
"""

from __future__ import annotations

from typing import Any

import msgspec

from nftrtsp.conntrack.event import Event
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow
from nftrtsp.helper.note import Line


class Began(msgspec.Struct, frozen=True, tag="began"):
    """A monitor began to watch ``router``. ``config`` is TOML data, None where there was no file."""

    time: float
    router: str
    version: str
    config: dict[str, Any] | None = None


class Heard(msgspec.Struct, frozen=True, tag="event"):
    """The kernel said something."""

    event: Event

    @property
    def time(self) -> float:
        """When it was heard."""
        return self.event.time


class Listed(msgspec.Struct, frozen=True, tag="list"):
    """The kernel listed its flows, and its expectations if they were asked for.

    ``complete`` False means that more is there than was listed, so nothing can be said to be gone.
    """

    time: float
    flows: tuple[Flow, ...]
    expectations: tuple[Expectation, ...] | None = None
    complete: bool = True


class Told(msgspec.Struct, frozen=True, tag="helper"):
    """A running helper published a line."""

    time: float
    line: Line


class HelperLeft(msgspec.Struct, frozen=True, tag="helper-left"):
    """No helper is connected, and why."""

    time: float
    why: str


class Gauged(msgspec.Struct, frozen=True, tag="gauge"):
    """What was read off the machine, about once a second; it doubles as the heartbeat.

    ``monotonic`` shows when the wall clock was set. ``received`` and ``sent`` are the IPTV interface's bytes
    since it came up, None when it is gone; ``count`` and ``limit`` conntrack's entries; ``overruns`` how
    often events were lost; ``accounting`` whether conntrack counts bytes; ``rp_filter`` the reverse path
    filter in force there; ``default_route`` whether there is one, ``default_routes`` the
    interfaces by which they leave, None where an older recording does not say.
    """

    time: float
    monotonic: float
    addresses: tuple[str, ...] = ()
    received: int | None = None
    sent: int | None = None
    count: int | None = None
    limit: int | None = None
    overruns: int = 0
    accounting: bool | None = None
    rp_filter: int | None = None
    default_route: bool | None = None
    default_routes: tuple[str, ...] | None = None


class Checked(msgspec.Struct, frozen=True, tag="ruleset"):
    """The kernel's ruleset was compared with the wanted one.

    ``state`` is ``in sync``, ``drifted``, ``absent`` or ``unknown``; ``changes`` are the plan's lines,
    ``why`` says why it is unknown. ``warnings`` are what no ruleset can fix: place, sentence,
    remedy, and how bad it is, which older recordings do not say.
    """

    time: float
    state: str
    changes: tuple[str, ...] = ()
    why: str = ""
    warnings: tuple[tuple[str, ...], ...] = ()


class Strayed(msgspec.Struct, frozen=True, tag="stray"):
    """UDP reached the IPTV interface while a box waits, ``packets`` so far; ``port`` is the destination."""

    time: float
    source: str
    sport: int
    port: int
    packets: int


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    """What a recording says again every minute, so that a reader may begin there."""

    time: float
    began: Began
    checked: Checked | None = None
    hello: Told | None = None


News = Kept | Began | Heard | Listed | Told | HelperLeft | Gauged | Checked | Strayed
