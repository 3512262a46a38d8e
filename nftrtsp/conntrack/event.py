"""An event: what ctnetlink said, when we heard it. Source: ctnetlink_conntrack_event()."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from nftrtsp.conntrack.expectation import EXPECT_DELETE, EXPECT_NEW, Expectation, decode_expectation
from nftrtsp.conntrack.flow import FLOW_DELETE, FLOW_NEW, Flow, decode_flow
from nftrtsp.netlink.wire import (
    NFNL_SUBSYS_CTNETLINK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    messages,
)


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


def event_type(kind: int, flags: int) -> EventType | None:
    """Return what a multicast message of nlmsg_type ``kind`` reports, or None for other subsystems."""
    if kind == FLOW_NEW:
        return EventType.NEW if flags & (NLM_F_CREATE | NLM_F_EXCL) else EventType.UPDATE
    if kind == FLOW_DELETE:
        return EventType.DESTROY
    if kind == EXPECT_NEW:
        return EventType.EXPECT_NEW
    return EventType.EXPECT_DESTROY if kind == EXPECT_DELETE else None


def decode_events(data: bytes, time: float) -> Iterator[Event]:
    """Decode a multicast datagram that was received at ``time`` (seconds since the epoch)."""
    for kind, flags, _, family, start, end in messages(data):
        what = event_type(kind, flags)
        if what is None:
            continue
        if kind >> 8 == NFNL_SUBSYS_CTNETLINK:
            yield Event(what, time, decode_flow(data, family, start, end))
        else:
            yield Event(what, time, None, decode_expectation(data, family, start, end))
