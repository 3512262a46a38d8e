"""A flow: one entry of the kernel's connection tracking table, as ctnetlink tells it and is asked for it.

The reading here is the plain walk of attributes, which decodes every layout: the reference.
:mod:`nftrtsp.conntrack.layout` learns from it and does the same many times faster for layouts met before. An
attribute that is not known is skipped. One that is known but too short, a length that runs past the end, and
a flow without its two tuples raise :class:`MalformedError`.

Source: net/netfilter/nf_conntrack_netlink.c (ctnetlink_fill_info, ctnetlink_conntrack_event).
"""

from __future__ import annotations

import msgspec

from nftrtsp.conntrack import attribute
from nftrtsp.conntrack.tuple import IPPROTO_TCP, Tuple, decode_tuple, encode_tuple, tuple_family
from nftrtsp.errors import MalformedError
from nftrtsp.netlink import wire
from nftrtsp.netlink.wire import NFNL_SUBSYS_CTNETLINK, Spans, number, raw, spans, string

FLOW_NEW = NFNL_SUBSYS_CTNETLINK << 8 | attribute.IPCTNL_MSG_CT_NEW
FLOW_DELETE = NFNL_SUBSYS_CTNETLINK << 8 | attribute.IPCTNL_MSG_CT_DELETE

IPS_EXPECTED = 1 << 0
IPS_SEEN_REPLY = 1 << 1
IPS_ASSURED = 1 << 2
IPS_CONFIRMED = 1 << 3
IPS_SRC_NAT = 1 << 4
IPS_DST_NAT = 1 << 5
IPS_DYING = 1 << 9

#: Names of the IPS_* bits from bit 0 on. Source: linux/netfilter/nf_conntrack_common.h.
STATUS_NAMES = (
    "expected",
    "seen-reply",
    "assured",
    "confirmed",
    "src-nat",
    "dst-nat",
    "seq-adjust",
    "src-nat-done",
    "dst-nat-done",
    "dying",
    "fixed-timeout",
    "template",
    "untracked",
    "helper",
    "offload",
    "hw-offload",
)

#: Names of the TCP states. Source: linux/netfilter/nf_conntrack_tcp.h.
TCP_STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
)

#: Names of the SCTP states. Source: linux/netfilter/nf_conntrack_sctp.h.
SCTP_STATES = (
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
)


def status_names(status: int) -> list[str]:
    """Return the names of the IPS_* bits in ``status``; a bit without a name is ``bit-N``."""
    names = [name for bit, name in enumerate(STATUS_NAMES) if status >> bit & 1]
    return names + [f"bit-{bit}" for bit in range(len(STATUS_NAMES), 32) if status >> bit & 1]


class Counters(msgspec.Struct, frozen=True, gc=False):
    """Packets and bytes (of IP packets, headers included) of one direction."""

    packets: int
    bytes: int


class Flow(msgspec.Struct, frozen=True, gc=False):
    """One entry of the conntrack table, as one message tells it.

    An event says only what it says: absent parts are None (FACTS: NEW and UPDATE carry no counters,
    ``master`` comes in a RELATED flow's first event only). ``status`` are the IPS_* bits, ``timeout`` is in
    seconds, ``start`` and ``stop`` in nanoseconds since the epoch.
    """

    family: int
    orig: Tuple
    reply: Tuple
    id: int = 0
    status: int | None = None
    timeout: int | None = None
    mark: int = 0
    zone: int = 0
    labels: bytes = b""
    helper: str | None = None
    helper_info: bytes = b""
    master: Tuple | None = None
    counters_orig: Counters | None = None
    counters_reply: Counters | None = None
    start: int | None = None
    stop: int | None = None
    protoinfo: bytes = b""
    tcp_state: int | None = None
    secctx: str | None = None
    use: int | None = None

    @property
    def state_name(self) -> str | None:
        """The TCP state by its name, such as ``ESTABLISHED``, or None."""
        if self.tcp_state is None:
            return None
        known = self.tcp_state < len(TCP_STATES)
        return TCP_STATES[self.tcp_state] if known else str(self.tcp_state)

    @property
    def key(self) -> tuple[int, int, Tuple]:
        """What makes a flow the same in two messages: its id, zone and original direction."""
        return (self.id, self.zone, self.orig)


def merge(old: Flow, new: Flow) -> Flow:
    """Return ``new`` with what only ``old`` tells.

    Each message tells the tuples, the mark (absent: zero) and the zone. The master comes in a RELATED flow's
    first event only, the helper and labels only when they change, counters and times only in dumps and at the
    end. Source: nf_conntrack_netlink.c, ctnetlink_conntrack_event().
    """
    return Flow(
        new.family,
        new.orig,
        new.reply,
        new.id,
        old.status if new.status is None else new.status,
        old.timeout if new.timeout is None else new.timeout,
        new.mark,
        new.zone,
        new.labels or old.labels,
        new.helper or old.helper,
        new.helper_info or old.helper_info,
        new.master or old.master,
        new.counters_orig or old.counters_orig,
        new.counters_reply or old.counters_reply,
        new.start or old.start,
        new.stop or old.stop,
        new.protoinfo if len(new.protoinfo) >= len(old.protoinfo) else old.protoinfo,
        old.tcp_state if new.tcp_state is None else new.tcp_state,
        new.secctx or old.secctx,
        old.use if new.use is None else new.use,
    )


def decode_flow(data: bytes, family: int, start: int, end: int) -> Flow:
    """Decode the attributes ``data[start:end]`` of a message of the conntrack subsystem."""
    found = spans(data, start, end)
    try:
        orig = decode_tuple(data, found[attribute.CTA_TUPLE_ORIG])
        reply = decode_tuple(data, found[attribute.CTA_TUPLE_REPLY])
    except KeyError as error:
        raise MalformedError(f"a flow without attribute {error}") from None
    master = found.get(attribute.CTA_TUPLE_MASTER)
    helper = spans(data, *found.get(attribute.CTA_HELP, (0, 0)))
    context = spans(data, *found.get(attribute.CTA_SECCTX, (0, 0)))
    protoinfo = raw(data, found, attribute.CTA_PROTOINFO)
    begun, ended = _timestamps(data, found)
    return Flow(
        family,
        orig,
        reply,
        number(data, found, attribute.CTA_ID, 4) or 0,
        number(data, found, attribute.CTA_STATUS, 4),
        number(data, found, attribute.CTA_TIMEOUT, 4),
        number(data, found, attribute.CTA_MARK, 4) or 0,
        number(data, found, attribute.CTA_ZONE, 2) or 0,
        raw(data, found, attribute.CTA_LABELS),
        string(data, helper, attribute.CTA_HELP_NAME),
        raw(data, helper, attribute.CTA_HELP_INFO),
        decode_tuple(data, master) if master else None,
        _counters(data, found, attribute.CTA_COUNTERS_ORIG),
        _counters(data, found, attribute.CTA_COUNTERS_REPLY),
        begun,
        ended,
        protoinfo,
        protocol_state(protoinfo) if protoinfo and orig.proto == IPPROTO_TCP else None,
        string(data, context, attribute.CTA_SECCTX_NAME),
        number(data, found, attribute.CTA_USE, 4),
    )


def _counters(data: bytes, found: Spans, kind: int) -> Counters | None:
    span = found.get(kind)
    if span is None:
        return None
    inner = spans(data, *span)
    return Counters(
        number(data, inner, attribute.CTA_COUNTERS_PACKETS, 8) or 0,
        number(data, inner, attribute.CTA_COUNTERS_BYTES, 8) or 0,
    )


def protocol_state(protoinfo: bytes) -> int | None:
    """Return the state number in the payload of CTA_PROTOINFO (TCP, SCTP or DCCP), or None."""
    for span in spans(protoinfo, 0, len(protoinfo)).values():
        return number(protoinfo, spans(protoinfo, *span), attribute.CTA_PROTOINFO_STATE, 1)
    return None


def _timestamps(data: bytes, found: Spans) -> tuple[int | None, int | None]:
    inner = spans(data, *found.get(attribute.CTA_TIMESTAMP, (0, 0)))
    return (
        number(data, inner, attribute.CTA_TIMESTAMP_START, 8),
        number(data, inner, attribute.CTA_TIMESTAMP_STOP, 8),
    )


def get_flow(orig: Tuple, *, sequence: int, zone: int = 0) -> bytes:
    """Return the request for the one flow whose original direction is ``orig``."""
    return _one(attribute.IPCTNL_MSG_CT_GET, orig, b"", sequence, zone)


def delete_flow(orig: Tuple, *, sequence: int, zone: int = 0, flow_id: int = 0) -> bytes:
    """Return the request that deletes one flow; with ``flow_id`` only if it still is that very flow."""
    return _one(
        attribute.IPCTNL_MSG_CT_DELETE,
        orig,
        wire.be32(attribute.CTA_ID, flow_id) if flow_id else b"",
        sequence,
        zone,
    )


def _one(command: int, orig: Tuple, more: bytes, sequence: int, zone: int) -> bytes:
    payload = encode_tuple(attribute.CTA_TUPLE_ORIG, orig) + more
    if zone:
        payload += wire.be16(attribute.CTA_ZONE, zone)
    return wire.message(
        wire.NFNL_SUBSYS_CTNETLINK,
        command,
        wire.NLM_F_ACK,
        payload,
        sequence=sequence,
        family=tuple_family(orig),
    )
