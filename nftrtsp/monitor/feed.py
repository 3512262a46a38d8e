"""A feed: where the screen gets its snapshots from. It knows nothing of widgets; the screen asks it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from nftrtsp.conntrack.flow import Flow
from nftrtsp.monitor.snapshot import EMPTY, Snapshot


class Position(msgspec.Struct, frozen=True):
    """Where a replay stands: seconds since the epoch, the speed, whether it stands still."""

    now: float
    first: float
    last: float
    speed: float
    standing: bool


class Feed(Protocol):
    """What the app needs of a feed. All methods may be called from the app's thread."""

    @property
    def latest(self) -> Snapshot:
        """The newest snapshot."""

    @property
    def failure(self) -> BaseException | None:
        """What has ended the feed, if anything has."""

    def start(self) -> None:
        """Begin; returns at once."""

    def stop(self) -> None:
        """End, and wait for it."""

    def delete(self, flow: Flow) -> str:
        """Delete a flow from conntrack; return a sentence on how it went."""

    def check_ruleset(self) -> None:
        """Compare the ruleset again soon."""

    @property
    def position(self) -> Position | None:
        """Where a replay stands; None for a live feed."""

    def seek(self, seconds: float) -> None:
        """Go so many seconds on, or back when negative."""

    def go(self, share: float) -> None:
        """Go to a share (0 to 1) of the whole replay."""

    def hold(self, standing: bool) -> None:
        """Let a replay stand still, or go on."""

    def faster(self, steps: int) -> None:
        """Double or halve a replay's speed."""


class StillFeed:
    """One snapshot, for pictures and tests; set ``latest`` to show another."""

    def __init__(self, snapshot: Snapshot = EMPTY, position: Position | None = None) -> None:
        self.latest = snapshot
        self.position = position
        self.failure: BaseException | None = None
        self.deleted: list[Flow] = []
        self.sought: list[float] = []
        self.checks = 0

    def start(self) -> None:
        """Nothing to begin."""

    def stop(self) -> None:
        """Nothing to end."""

    def delete(self, flow: Flow) -> str:
        """Remember what was to be deleted."""
        self.deleted.append(flow)
        return "deleted"

    def check_ruleset(self) -> None:
        """Count."""
        self.checks += 1

    def seek(self, seconds: float) -> None:
        """Remember where to."""
        self.sought.append(seconds)

    def go(self, share: float) -> None:
        """Remember where to."""
        self.sought.append(share)

    def hold(self, standing: bool) -> None:
        """Stand still or go on."""
        if self.position is not None:
            self.position = msgspec.structs.replace(self.position, standing=standing)

    def faster(self, steps: int) -> None:
        """Double or halve."""
        if self.position is not None:
            speed = self.position.speed * 2.0**steps
            self.position = msgspec.structs.replace(self.position, speed=speed)
