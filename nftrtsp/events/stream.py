"""The stream: what the kernel and a running helper say, joined once and in order, for whoever shows it.

This is the edge to both sockets; what comes out are the plain values of :mod:`nftrtsp.events.news`. A helper
need not be there: it is joined when it comes, and done without when it goes.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from nftrtsp.conntrack.event import Event
from nftrtsp.conntrack.history import FlowHistory
from nftrtsp.conntrack.subscription import Subscription
from nftrtsp.errors import PrivilegeError
from nftrtsp.events.news import Heard, HelperLeft, Told
from nftrtsp.helper import publish

#: Seconds between two tries to reach a helper.
RETRY = 1.0

Said = Heard | Told | HelperLeft


class Source(Protocol):
    """Where the kernel's events come from: a table of flows, or a bare subscription."""

    def fileno(self) -> int:
        """Return the descriptor to wait for."""

    def poll(self, timeout: float | None = None) -> list[Event]:
        """Wait up to ``timeout`` seconds, return the events that have come."""


class Everything:
    """Every event as the kernel tells it, with what was told of the same flow before."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._memory = FlowHistory()

    def fileno(self) -> int:
        """Return the subscription's descriptor."""
        return self._subscription.fileno()

    def poll(self, timeout: float | None = None) -> list[Event]:
        """Return the events that have come within ``timeout`` seconds."""
        return [self._memory.complete(event) for event in self._subscription.receive(timeout)]


class HelperStream:
    """What a helper says, for as long as one is there. ``path`` is its socket, None: this router's."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._joined: publish.HelperSubscription | None = None
        self._try_at = 0.0
        self._why = ""
        self._passed_over = 0

    @property
    def passed_over(self) -> int:
        """How many lines could not be read, or are of kinds that only a newer helper knows."""
        joined = self._joined
        return self._passed_over + (joined.malformed + joined.unknown if joined is not None else 0)

    def fileno(self) -> int | None:
        """Return the descriptor to wait for, None while there is no helper."""
        return None if self._joined is None else self._joined.fileno()

    def close(self) -> None:
        """Hang up."""
        if self._joined is not None:
            self._passed_over = self.passed_over
            self._joined.close()
            self._joined = None

    def receive(self) -> list[Told | HelperLeft]:
        """Return what has been said since the last call; tries to reach a helper now and then."""
        if self._joined is None and (left := self._join()):
            return left
        if self._joined is None:
            return []
        try:
            return [Told(line.time or time.time(), line) for line in self._joined.receive(0)]
        except OSError:
            self.close()
            return self._left("the helper has ended")

    def _join(self) -> list[Told | HelperLeft]:
        now = time.monotonic()
        if now < self._try_at:
            return []
        self._try_at = now + RETRY
        try:
            self._joined = publish.HelperSubscription(self._path)
        except PrivilegeError as error:
            return self._left(str(error))
        except OSError:
            return self._left(self._why or "no helper listens on its socket")
        self._why = ""
        return []

    def _left(self, why: str) -> list[Told | HelperLeft]:
        """Say once why there is no helper."""
        if why == self._why:
            return []
        self._why = why
        return [HelperLeft(time.time(), why)]


class EventStream:
    """Joins what ``kernel`` and a helper say."""

    def __init__(self, kernel: Source, helper: HelperStream | None = None) -> None:
        self._kernel = kernel
        self._helper = helper or HelperStream()

    def filenos(self) -> list[int]:
        """Return the descriptors to wait for now."""
        return [one for one in (self._kernel.fileno(), self._helper.fileno()) if one is not None]

    def wait(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until somebody says something."""
        select.select(self.filenos(), [], [], timeout)

    def take(self) -> list[Said]:
        """Return what has been said since the last call, in order."""
        # The helper is asked first: it opens the port before the kernel can see the film.
        lines = self._helper.receive()
        return in_order(self._kernel.poll(0), lines)

    def close(self) -> None:
        """Hang up on the helper; the kernel's source is its owner's."""
        self._helper.close()


def in_order(events: Sequence[Event], lines: Iterable[Told | HelperLeft]) -> list[Said]:
    """Return ``events`` of the kernel and ``lines`` of a helper in the order of their times.

    Each party's own order is kept, whatever its times say: a clock may be set meanwhile.
    """
    heard: list[Said] = [Heard(event) for event in events]
    told: list[Said] = list(lines)
    found: list[Said] = []
    place = 0
    for one in heard:
        while place < len(told) and told[place].time <= one.time:
            found.append(told[place])
            place += 1
        found.append(one)
    return found + told[place:]
