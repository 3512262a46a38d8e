"""An event: what ctnetlink said, when we heard it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow


class EventType(StrEnum):
    """The kinds of event, by their name in JSON."""

    NEW = "new"
    UPDATE = "update"
    DESTROY = "destroy"
    EXPECT_NEW = "expect-new"
    EXPECT_DESTROY = "expect-destroy"
    OVERRUN = "overrun"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event. ``time`` is in seconds since the epoch; an overrun has neither flow nor expectation.

    ``found`` marks what a table found out by a dump because the kernel did not, or could not, tell it.
    ``lost`` is for overruns: how many events the kernel dropped.
    """

    type: EventType
    time: float
    flow: Flow | None = None
    expectation: Expectation | None = None
    lost: int = 0
    found: bool = False
