"""Feeds that show one snapshot; set ``latest`` to show another. What they are asked for is kept."""

from __future__ import annotations

import msgspec

from nftrtsp.conntrack.flow import Flow
from nftrtsp.monitor.feed import Position
from nftrtsp.monitor.snapshot import Snapshot


class StillFeed:
    def __init__(self, snapshot: Snapshot) -> None:
        self.latest = snapshot
        self.failure: BaseException | None = None

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


class StillLive(StillFeed):
    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(snapshot)
        self.deleted: list[Flow] = []
        self.checks = 0

    def delete(self, flow: Flow) -> str:
        self.deleted.append(flow)
        return "deleted"

    def check_ruleset(self) -> None:
        self.checks += 1


class StillPlayback(StillFeed):
    def __init__(self, snapshot: Snapshot, position: Position) -> None:
        super().__init__(snapshot)
        self.position = position
        self.sought: list[float] = []

    def seek(self, seconds: float) -> None:
        self.sought.append(seconds)

    def go(self, share: float) -> None:
        self.sought.append(share)

    def hold(self, standing: bool) -> None:
        self.position = msgspec.structs.replace(self.position, standing=standing)

    def faster(self, steps: int) -> None:
        self.position = msgspec.structs.replace(self.position, speed=self.position.speed * 2.0**steps)
