"""Where a table has its knowledge from: dumps, events and a clock.

They are what a test gives it instead of the kernel: a scripted one (tests/unit/scripted_conntrack.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from nftrtsp.conntrack.dump_filter import DumpFilter
from nftrtsp.conntrack.event import Event
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.tuple import Tuple


class Dumps(Protocol):
    """Answers questions: :class:`nftrtsp.conntrack.socket.Conntrack`."""

    def dump_flows(self, wanted: DumpFilter | None = None) -> Iterable[Flow]:
        """Yield the flows that ``wanted`` accepts."""

    def get_flow(self, orig: Tuple, *, zone: int = 0) -> Flow | None:
        """Return the flow whose original direction is ``orig``, or None."""

    def dump_expectations(self) -> Iterable[Expectation]:
        """Yield every expectation."""

    def close(self) -> None:
        """Close the socket."""


class Events(Protocol):
    """Tells what happens: :class:`nftrtsp.conntrack.subscription.Subscription`."""

    def receive(self, timeout: float | None = None) -> list[Event]:
        """Wait up to ``timeout`` seconds (None: for ever) and return what came, if anything."""

    def fileno(self) -> int:
        """The file descriptor, for select and poll."""

    def close(self) -> None:
        """Close the socket."""


class Clock(Protocol):
    """Tells the time as the module :mod:`time` does, in seconds."""

    def monotonic(self) -> float:
        """Seconds since some moment, never set back."""

    def time(self) -> float:
        """Seconds since the epoch."""
