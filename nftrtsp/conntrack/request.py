"""What we ask of ctnetlink, as bytes: dumps with filters, a flow to get or delete, an expectation to create.

Pure. Source: net/netfilter/nf_conntrack_netlink.c (ctnetlink_alloc_filter, ctnetlink_create_expect).
"""

from __future__ import annotations

import sys

import msgspec

from nftrtsp.conntrack import attribute as cta
from nftrtsp.conntrack import wire
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import AF_INET, AF_INET6, IPPROTO_ICMP, IPPROTO_ICMPV6, Flow, Tuple


class Match(msgspec.Struct, frozen=True, gc=False):
    """Parts of a tuple that must be equal; None and b"" match everything."""

    src: bytes = b""
    dst: bytes = b""
    proto: int | None = None
    sport: int | None = None
    dport: int | None = None

    def accepts(self, candidate: Tuple) -> bool:
        """Whether ``candidate`` has all the parts that are asked for."""
        return (
            (not self.src or self.src == candidate.src)
            and (not self.dst or self.dst == candidate.dst)
            and (self.proto is None or self.proto == candidate.proto)
            and (self.sport is None or self.sport == candidate.sport)
            and (self.dport is None or self.dport == candidate.dport)
        )

    @property
    def family(self) -> int:
        """The address family that the addresses imply, or 0."""
        return {4: AF_INET, 16: AF_INET6}.get(len(self.src or self.dst), 0)


class DumpFilter(msgspec.Struct, frozen=True, gc=False):
    """Which flows of a dump are wanted. Each condition that is given must hold.

    ``mark`` and ``status`` are (value, mask): the flow's bits under the mask equal the value. ``family`` is
    AF_INET, AF_INET6 or 0. The kernel does what it can (mark everywhere, tuple since 5.8, status since 5.15,
    zone since 6.8); an old kernel ignores what it does not know, so the reader checks :meth:`accepts` again.
    """

    mark: tuple[int, int] | None = None
    status: tuple[int, int] | None = None
    orig: Match | None = None
    reply: Match | None = None
    zone: int | None = None
    family: int = 0

    @property
    def needs_both_families(self) -> bool:
        """Whether it asks for ports of any family: the kernel's tuple filter wants one."""
        matches = [match for match in (self.orig, self.reply) if match is not None]
        return not self.family and bool(matches) and not any(match.family for match in matches)

    def accepts(self, flow: Flow) -> bool:
        """Whether ``flow`` is wanted."""
        if self.mark is not None and flow.mark & self.mark[1] != self.mark[0]:
            return False
        if self.status is not None and (flow.status or 0) & self.status[1] != self.status[0]:
            return False
        if self.zone is not None and flow.zone != self.zone:
            return False
        if self.family and flow.family != self.family:
            return False
        if self.orig is not None and not self.orig.accepts(flow.orig):
            return False
        return self.reply is None or self.reply.accepts(flow.reply)


def encode_tuple(kind: int, value: Tuple) -> bytes:
    """Return ``value`` as attribute ``kind`` (a CTA_TUPLE_*)."""
    parts = [_addresses(value.src, value.dst), _protocol(value)]
    if value.zone:
        parts.append(wire.be16(cta.CTA_TUPLE_ZONE, value.zone))
    return wire.nested(kind, *parts)


def _addresses(src: bytes, dst: bytes) -> bytes:
    six = len(src or dst) == 16
    parts = []
    if src:
        parts.append(wire.attribute(cta.CTA_IP_V6_SRC if six else cta.CTA_IP_V4_SRC, src))
    if dst:
        parts.append(wire.attribute(cta.CTA_IP_V6_DST if six else cta.CTA_IP_V4_DST, dst))
    return wire.nested(cta.CTA_TUPLE_IP, *parts)


def _protocol(value: Tuple) -> bytes:
    if value.raw:
        return wire.attribute(cta.CTA_TUPLE_PROTO | wire.NLA_F_NESTED, value.raw)
    parts = [wire.u8(cta.CTA_PROTO_NUM, value.proto)]
    if value.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        first = cta.CTA_PROTO_ICMPV6_ID if value.proto == IPPROTO_ICMPV6 else cta.CTA_PROTO_ICMP_ID
        parts.append(wire.be16(first, value.icmp_id or 0))
        parts.append(wire.u8(first + 1, value.icmp_type or 0))
        parts.append(wire.u8(first + 2, value.icmp_code or 0))
    else:
        if value.sport is not None:
            parts.append(wire.be16(cta.CTA_PROTO_SRC_PORT, value.sport))
        if value.dport is not None:
            parts.append(wire.be16(cta.CTA_PROTO_DST_PORT, value.dport))
    return wire.nested(cta.CTA_TUPLE_PROTO, *parts)


def _match(kind: int, value: Match | None) -> tuple[bytes, int]:
    """Return a partial tuple and the bits that say which of its parts count.

    IPv6 addresses are left out: the kernel's comparison of them in CTA_FILTER is inverted.
    """
    if value is None:
        return b"", 0
    bits, proto = 0, []
    src = value.src if len(value.src) == 4 else b""
    dst = value.dst if len(value.dst) == 4 else b""
    bits |= cta.FILTER_IP_SRC if src else 0
    bits |= cta.FILTER_IP_DST if dst else 0
    if value.proto is not None:
        bits |= cta.FILTER_PROTO_NUM
        proto.append(wire.u8(cta.CTA_PROTO_NUM, value.proto))
        if value.sport is not None:
            bits |= cta.FILTER_PROTO_SRC_PORT
            proto.append(wire.be16(cta.CTA_PROTO_SRC_PORT, value.sport))
        if value.dport is not None:
            bits |= cta.FILTER_PROTO_DST_PORT
            proto.append(wire.be16(cta.CTA_PROTO_DST_PORT, value.dport))
    if not bits:
        return b"", 0
    parts = [_addresses(src, dst)] if src or dst else []
    if proto:
        parts.append(wire.nested(cta.CTA_TUPLE_PROTO, *proto))
    return wire.nested(kind, *parts), bits


def dump_flows(wanted: DumpFilter, *, sequence: int, tuples: bool = True) -> bytes:
    """Return the request for a dump; ``tuples`` False leaves the tuple filter out, for kernels without it."""
    payload = b""
    if wanted.mark is not None:
        payload += wire.be32(cta.CTA_MARK, wanted.mark[0]) + wire.be32(cta.CTA_MARK_MASK, wanted.mark[1])
    if wanted.status is not None:
        payload += wire.be32(cta.CTA_STATUS, wanted.status[0])
        payload += wire.be32(cta.CTA_STATUS_MASK, wanted.status[1])
    if wanted.zone is not None:
        payload += wire.be16(cta.CTA_ZONE, wanted.zone)
    family = wanted.family
    if tuples:
        orig, orig_bits = _match(cta.CTA_TUPLE_ORIG, wanted.orig)
        reply, reply_bits = _match(cta.CTA_TUPLE_REPLY, wanted.reply)
        if orig_bits or reply_bits:
            flags = [
                wire.attribute(kind, bits.to_bytes(4, sys.byteorder))
                for kind, bits in (
                    (cta.CTA_FILTER_ORIG_FLAGS, orig_bits),
                    (cta.CTA_FILTER_REPLY_FLAGS, reply_bits),
                )
            ]
            payload += orig + reply + wire.nested(cta.CTA_FILTER, *flags)
            family = family or _family(wanted)
    return wire.message(
        wire.NFNL_SUBSYS_CTNETLINK,
        cta.IPCTNL_MSG_CT_GET,
        wire.NLM_F_DUMP,
        payload,
        sequence=sequence,
        family=family,
    )


def _family(wanted: DumpFilter) -> int:
    """Tuple filters need a family: that of their addresses."""
    implied = {match.family for match in (wanted.orig, wanted.reply) if match is not None} - {0}
    return implied.pop() if len(implied) == 1 else AF_INET


def get_flow(orig: Tuple, *, sequence: int, zone: int = 0) -> bytes:
    """Return the request for the one flow whose original direction is ``orig``."""
    return _one(cta.IPCTNL_MSG_CT_GET, orig, b"", sequence, zone)


def delete_flow(orig: Tuple, *, sequence: int, zone: int = 0, flow_id: int = 0) -> bytes:
    """Return the request that deletes one flow; with ``flow_id`` only if it still is that very flow."""
    return _one(
        cta.IPCTNL_MSG_CT_DELETE, orig, wire.be32(cta.CTA_ID, flow_id) if flow_id else b"", sequence, zone
    )


def _one(command: int, orig: Tuple, more: bytes, sequence: int, zone: int) -> bytes:
    payload = encode_tuple(cta.CTA_TUPLE_ORIG, orig) + more
    if zone:
        payload += wire.be16(cta.CTA_ZONE, zone)
    return wire.message(
        wire.NFNL_SUBSYS_CTNETLINK,
        command,
        wire.NLM_F_ACK,
        payload,
        sequence=sequence,
        family=_tuple_family(orig),
    )


def _tuple_family(value: Tuple) -> int:
    return AF_INET6 if len(value.src) == 16 else AF_INET


def dump_expectations(*, sequence: int, family: int = 0) -> bytes:
    """Return the request for all expectations."""
    return wire.message(
        wire.NFNL_SUBSYS_CTNETLINK_EXP,
        cta.IPCTNL_MSG_EXP_GET,
        wire.NLM_F_DUMP,
        sequence=sequence,
        family=family,
    )


def create_expectation(value: Expectation, *, sequence: int, replace: bool = False) -> bytes:
    """Return the request that creates ``value``, or with ``replace`` sets the timeout of the one there is.

    The kernel ignores the timeout at creation and takes the helper's policy; a second request sets it.
    """
    payload = encode_tuple(cta.CTA_EXPECT_MASTER, value.master)
    payload += encode_tuple(cta.CTA_EXPECT_TUPLE, value.tuple)
    payload += encode_tuple(cta.CTA_EXPECT_MASK, value.mask)
    payload += wire.be32(cta.CTA_EXPECT_TIMEOUT, value.timeout)
    payload += wire.be32(cta.CTA_EXPECT_FLAGS, value.flags) + wire.be32(cta.CTA_EXPECT_CLASS, value.class_)
    if value.helper:
        payload += wire.text(cta.CTA_EXPECT_HELP_NAME, value.helper)
    if value.zone:
        payload += wire.be16(cta.CTA_EXPECT_ZONE, value.zone)
    if value.nat is not None:
        payload += wire.nested(
            cta.CTA_EXPECT_NAT,
            wire.be32(cta.CTA_EXPECT_NAT_DIR, value.nat.direction),
            encode_tuple(cta.CTA_EXPECT_NAT_TUPLE, value.nat.tuple),
        )
    if value.function:
        payload += wire.text(cta.CTA_EXPECT_FN, value.function)
    flags = wire.NLM_F_ACK | wire.NLM_F_CREATE | (0 if replace else wire.NLM_F_EXCL)
    return wire.message(
        wire.NFNL_SUBSYS_CTNETLINK_EXP,
        cta.IPCTNL_MSG_EXP_NEW,
        flags,
        payload,
        sequence=sequence,
        family=value.family,
    )


def delete_expectation(value: Expectation, *, sequence: int) -> bytes:
    """Return the request that deletes the expectation with the tuple, id and zone of ``value``."""
    payload = encode_tuple(cta.CTA_EXPECT_TUPLE, value.tuple)
    if value.id:
        payload += wire.be32(cta.CTA_EXPECT_ID, value.id)
    if value.zone:
        payload += wire.be16(cta.CTA_EXPECT_ZONE, value.zone)
    return wire.message(
        wire.NFNL_SUBSYS_CTNETLINK_EXP,
        cta.IPCTNL_MSG_EXP_DELETE,
        wire.NLM_F_ACK,
        payload,
        sequence=sequence,
        family=value.family,
    )
