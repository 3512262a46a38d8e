"""A feed: where the screen gets its snapshots from. It knows nothing of widgets; the screen asks it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from nftrtsp.conntrack.flow import Flow
from nftrtsp.monitor.snapshot import Snapshot


class Position(msgspec.Struct, frozen=True):
    """Where a replay stands: seconds since the epoch, the speed, whether it stands still."""

    now: float
    first: float
    last: float
    speed: float
    standing: bool


class Feed(Protocol):
    """What every feed does. All methods may be called from the app's thread."""

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


@runtime_checkable
class Live(Feed, Protocol):
    """A feed of this machine, which can be acted on."""

    def delete(self, flow: Flow) -> str:
        """Delete a flow from conntrack; return a sentence on how it went."""

    def check_ruleset(self) -> None:
        """Compare the ruleset again soon."""


@runtime_checkable
class Playback(Feed, Protocol):
    """A feed of a recording, in which one can move."""

    @property
    def position(self) -> Position:
        """Where it stands."""

    def seek(self, seconds: float) -> None:
        """Go so many seconds on, or back when negative."""

    def go(self, share: float) -> None:
        """Go to a share (0 to 1) of the whole."""

    def hold(self, standing: bool) -> None:
        """Let it stand still, or go on."""

    def faster(self, steps: int) -> None:
        """Double or halve its speed."""
