"""ctnetlink bytes to :class:`Flow`, :class:`Expectation` and :class:`Event`: the plain walk of attributes.

This is the reference: it decodes every layout. :mod:`nftrtsp.conntrack.layout` learns from it and does
the same work many times faster for messages of a layout that was met before.

An attribute that is not known is skipped. An attribute that is known but too short, a length that runs past
the end, and a flow without its two tuples raise :class:`MalformedError`.

Source: net/netfilter/nf_conntrack_netlink.c (ctnetlink_fill_info, ctnetlink_conntrack_event,
ctnetlink_exp_dump_expect).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from nftrtsp.conntrack import attribute as cta
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.expectation import Expectation, ExpectationNat
from nftrtsp.conntrack.flow import IPPROTO_TCP, KNOWN_PROTOCOLS, Counters, Flow, Tuple
from nftrtsp.conntrack.wire import (
    ATTRIBUTE,
    HEADER,
    HEADER_SIZE,
    NFNL_SUBSYS_CTNETLINK,
    NFNL_SUBSYS_CTNETLINK_EXP,
    NLA_TYPE_MASK,
    NLM_F_CREATE,
    NLM_F_EXCL,
)
from nftrtsp.errors import MalformedError

FLOW_NEW = NFNL_SUBSYS_CTNETLINK << 8 | cta.IPCTNL_MSG_CT_NEW
FLOW_DELETE = NFNL_SUBSYS_CTNETLINK << 8 | cta.IPCTNL_MSG_CT_DELETE
EXPECT_NEW = NFNL_SUBSYS_CTNETLINK_EXP << 8 | cta.IPCTNL_MSG_EXP_NEW
EXPECT_DELETE = NFNL_SUBSYS_CTNETLINK_EXP << 8 | cta.IPCTNL_MSG_EXP_DELETE

_unpack_attribute = ATTRIBUTE.unpack_from

#: Where the payload of each attribute lies: number -> (start, end). The last one of a number counts.
Spans = dict[int, tuple[int, int]]


def spans(data: bytes, start: int, end: int) -> Spans:
    """Return where each attribute of ``data[start:end]`` lies. Raises :class:`MalformedError`."""
    found: Spans = {}
    while start + 4 <= end:
        length, kind = _unpack_attribute(data, start)
        stop = start + length
        if length < 4 or stop > end:
            raise MalformedError(
                f"attribute {kind & NLA_TYPE_MASK} of length {length} at byte {start} of {end}"
            )
        found[kind & NLA_TYPE_MASK] = (start + 4, stop)
        start += length + 3 & ~3
    return found


def number(data: bytes, found: Spans, kind: int, size: int) -> int | None:
    """Return the big-endian number of ``size`` bytes in attribute ``kind``, or None where it is absent."""
    span = found.get(kind)
    if span is None:
        return None
    start, end = span
    if end - start < size:
        raise MalformedError(f"attribute {kind} holds {end - start} bytes, not {size}")
    return int.from_bytes(data[start : start + size], "big")


def text(data: bytes, found: Spans, kind: int) -> str | None:
    """Return the NUL-terminated string in attribute ``kind``, or None; odd bytes become backslash escapes."""
    span = found.get(kind)
    if span is None:
        return None
    return data[span[0] : span[1]].split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _raw(data: bytes, found: Spans, kind: int) -> bytes:
    span = found.get(kind)
    return data[span[0] : span[1]] if span else b""


def _address(data: bytes, found: Spans, v4: int, v6: int) -> bytes:
    kind, size = (v4, 4) if v4 in found else (v6, 16)
    span = found.get(kind)
    if span is None:
        return b""
    if span[1] - span[0] < size:
        raise MalformedError(f"address of {span[1] - span[0]} bytes, not {size}")
    return data[span[0] : span[0] + size]


def tuple_(data: bytes, span: tuple[int, int]) -> Tuple:
    """Decode the attributes within one CTA_TUPLE_*."""
    parts = spans(data, *span)
    address = spans(data, *parts.get(cta.CTA_TUPLE_IP, (0, 0)))
    where = parts.get(cta.CTA_TUPLE_PROTO, (0, 0))
    proto = spans(data, *where)
    protocol = number(data, proto, cta.CTA_PROTO_NUM, 1) or 0
    six = cta.CTA_PROTO_ICMPV6_ID in proto
    return Tuple(
        _address(data, address, cta.CTA_IP_V4_SRC, cta.CTA_IP_V6_SRC),
        _address(data, address, cta.CTA_IP_V4_DST, cta.CTA_IP_V6_DST),
        protocol,
        number(data, proto, cta.CTA_PROTO_SRC_PORT, 2),
        number(data, proto, cta.CTA_PROTO_DST_PORT, 2),
        number(data, proto, cta.CTA_PROTO_ICMPV6_ID if six else cta.CTA_PROTO_ICMP_ID, 2),
        number(data, proto, cta.CTA_PROTO_ICMPV6_TYPE if six else cta.CTA_PROTO_ICMP_TYPE, 1),
        number(data, proto, cta.CTA_PROTO_ICMPV6_CODE if six else cta.CTA_PROTO_ICMP_CODE, 1),
        number(data, parts, cta.CTA_TUPLE_ZONE, 2) or 0,
        b"" if protocol in KNOWN_PROTOCOLS else data[where[0] : where[1]],
    )


def _counters(data: bytes, found: Spans, kind: int) -> Counters | None:
    span = found.get(kind)
    if span is None:
        return None
    inner = spans(data, *span)
    return Counters(
        number(data, inner, cta.CTA_COUNTERS_PACKETS, 8) or 0,
        number(data, inner, cta.CTA_COUNTERS_BYTES, 8) or 0,
    )


def protocol_state(protoinfo: bytes) -> int | None:
    """Return the state number in the payload of CTA_PROTOINFO (TCP, SCTP or DCCP), or None."""
    for span in spans(protoinfo, 0, len(protoinfo)).values():
        return number(protoinfo, spans(protoinfo, *span), cta.CTA_PROTOINFO_STATE, 1)
    return None


def _timestamps(data: bytes, found: Spans) -> tuple[int | None, int | None]:
    inner = spans(data, *found.get(cta.CTA_TIMESTAMP, (0, 0)))
    return (
        number(data, inner, cta.CTA_TIMESTAMP_START, 8),
        number(data, inner, cta.CTA_TIMESTAMP_STOP, 8),
    )


def flow(data: bytes, family: int, start: int, end: int) -> Flow:
    """Decode the attributes ``data[start:end]`` of a message of the conntrack subsystem."""
    found = spans(data, start, end)
    try:
        orig = tuple_(data, found[cta.CTA_TUPLE_ORIG])
        reply = tuple_(data, found[cta.CTA_TUPLE_REPLY])
    except KeyError as error:
        raise MalformedError(f"a flow without attribute {error}") from None
    master = found.get(cta.CTA_TUPLE_MASTER)
    helper = spans(data, *found.get(cta.CTA_HELP, (0, 0)))
    context = spans(data, *found.get(cta.CTA_SECCTX, (0, 0)))
    protoinfo = _raw(data, found, cta.CTA_PROTOINFO)
    begun, ended = _timestamps(data, found)
    return Flow(
        family,
        orig,
        reply,
        number(data, found, cta.CTA_ID, 4) or 0,
        number(data, found, cta.CTA_STATUS, 4),
        number(data, found, cta.CTA_TIMEOUT, 4),
        number(data, found, cta.CTA_MARK, 4) or 0,
        number(data, found, cta.CTA_ZONE, 2) or 0,
        _raw(data, found, cta.CTA_LABELS),
        text(data, helper, cta.CTA_HELP_NAME),
        _raw(data, helper, cta.CTA_HELP_INFO),
        tuple_(data, master) if master else None,
        _counters(data, found, cta.CTA_COUNTERS_ORIG),
        _counters(data, found, cta.CTA_COUNTERS_REPLY),
        begun,
        ended,
        protoinfo,
        protocol_state(protoinfo) if protoinfo and orig.proto == IPPROTO_TCP else None,
        text(data, context, cta.CTA_SECCTX_NAME),
        number(data, found, cta.CTA_USE, 4),
    )


def expectation(data: bytes, family: int, start: int, end: int) -> Expectation:
    """Decode the attributes ``data[start:end]`` of a message of the expectation subsystem."""
    found = spans(data, start, end)
    try:
        awaited = tuple_(data, found[cta.CTA_EXPECT_TUPLE])
        mask = tuple_(data, found[cta.CTA_EXPECT_MASK])
        master = tuple_(data, found[cta.CTA_EXPECT_MASTER])
    except KeyError as error:
        raise MalformedError(f"an expectation without attribute {error}") from None
    nat = None
    if cta.CTA_EXPECT_NAT in found:
        inner = spans(data, *found[cta.CTA_EXPECT_NAT])
        if cta.CTA_EXPECT_NAT_TUPLE in inner:
            direction = number(data, inner, cta.CTA_EXPECT_NAT_DIR, 4) or 0
            nat = ExpectationNat(direction, tuple_(data, inner[cta.CTA_EXPECT_NAT_TUPLE]))
    return Expectation(
        family,
        awaited,
        mask,
        master,
        number(data, found, cta.CTA_EXPECT_TIMEOUT, 4) or 0,
        number(data, found, cta.CTA_EXPECT_ID, 4) or 0,
        number(data, found, cta.CTA_EXPECT_CLASS, 4) or 0,
        number(data, found, cta.CTA_EXPECT_FLAGS, 4) or 0,
        nat,
        text(data, found, cta.CTA_EXPECT_FN),
        text(data, found, cta.CTA_EXPECT_HELP_NAME),
        number(data, found, cta.CTA_EXPECT_ZONE, 2) or 0,
    )


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Split a datagram: yield ``(type, flags, sequence, family, start, end)`` of each message.

    ``start`` and ``end`` bound its attributes. A message too short for struct nfgenmsg (an end of dump) has
    family 0 and its payload from byte 16 on. Raises :class:`MalformedError`.
    """
    at, size = 0, len(data)
    while at + 16 <= size:
        length = int.from_bytes(data[at : at + 4], sys.byteorder)
        if length < 16 or at + length > size:
            raise MalformedError(f"message of length {length} at byte {at} of {size}")
        if length < HEADER_SIZE:
            kind, flags = ATTRIBUTE.unpack_from(data, at + 4)
            yield kind, flags, int.from_bytes(data[at + 8 : at + 12], sys.byteorder), 0, at + 16, at + length
        else:
            _, kind, flags, sequence, _, family, _, _ = HEADER.unpack_from(data, at)
            yield kind, flags, sequence, family, at + HEADER_SIZE, at + length
        at += length + 3 & ~3


def event_type(kind: int, flags: int) -> EventType | None:
    """Return what a multicast message of nlmsg_type ``kind`` reports, or None for other subsystems."""
    if kind == FLOW_NEW:
        return EventType.NEW if flags & (NLM_F_CREATE | NLM_F_EXCL) else EventType.UPDATE
    if kind == FLOW_DELETE:
        return EventType.DESTROY
    if kind == EXPECT_NEW:
        return EventType.EXPECT_NEW
    return EventType.EXPECT_DESTROY if kind == EXPECT_DELETE else None


def events(data: bytes, time: float) -> Iterator[Event]:
    """Decode a multicast datagram that was received at ``time`` (seconds since the epoch)."""
    for kind, flags, _, family, start, end in messages(data):
        what = event_type(kind, flags)
        if what is None:
            continue
        if kind >> 8 == NFNL_SUBSYS_CTNETLINK:
            yield Event(what, time, flow(data, family, start, end))
        else:
            yield Event(what, time, None, expectation(data, family, start, end))
