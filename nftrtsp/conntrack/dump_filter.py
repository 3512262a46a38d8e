"""Which flows of a dump are wanted, told to the kernel as far as it understands.

Pure. Source: net/netfilter/nf_conntrack_netlink.c (ctnetlink_alloc_filter).
"""

from __future__ import annotations

import sys

import msgspec

from nftrtsp.conntrack import attribute
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.tuple import AF_INET, AF_INET6, Tuple, encode_addresses
from nftrtsp.netlink import wire


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


def _match(kind: int, value: Match | None) -> tuple[bytes, int]:
    """Return a partial tuple and the bits that say which of its parts count.

    IPv6 addresses are left out: the kernel's comparison of them in CTA_FILTER is inverted.
    """
    if value is None:
        return b"", 0
    bits, proto = 0, []
    src = value.src if len(value.src) == 4 else b""
    dst = value.dst if len(value.dst) == 4 else b""
    bits |= attribute.FILTER_IP_SRC if src else 0
    bits |= attribute.FILTER_IP_DST if dst else 0
    if value.proto is not None:
        bits |= attribute.FILTER_PROTO_NUM
        proto.append(wire.u8(attribute.CTA_PROTO_NUM, value.proto))
        if value.sport is not None:
            bits |= attribute.FILTER_PROTO_SRC_PORT
            proto.append(wire.be16(attribute.CTA_PROTO_SRC_PORT, value.sport))
        if value.dport is not None:
            bits |= attribute.FILTER_PROTO_DST_PORT
            proto.append(wire.be16(attribute.CTA_PROTO_DST_PORT, value.dport))
    if not bits:
        return b"", 0
    parts = [encode_addresses(src, dst)] if src or dst else []
    if proto:
        parts.append(wire.nested(attribute.CTA_TUPLE_PROTO, *proto))
    return wire.nested(kind, *parts), bits


def dump_flows(wanted: DumpFilter, *, sequence: int, tuples: bool = True) -> bytes:
    """Return the request for a dump; ``tuples`` False leaves the tuple filter out, for kernels without it."""
    payload = b""
    if wanted.mark is not None:
        payload += wire.be32(attribute.CTA_MARK, wanted.mark[0]) + wire.be32(
            attribute.CTA_MARK_MASK, wanted.mark[1]
        )
    if wanted.status is not None:
        payload += wire.be32(attribute.CTA_STATUS, wanted.status[0])
        payload += wire.be32(attribute.CTA_STATUS_MASK, wanted.status[1])
    if wanted.zone is not None:
        payload += wire.be16(attribute.CTA_ZONE, wanted.zone)
    family = wanted.family
    if tuples:
        orig, orig_bits = _match(attribute.CTA_TUPLE_ORIG, wanted.orig)
        reply, reply_bits = _match(attribute.CTA_TUPLE_REPLY, wanted.reply)
        if orig_bits or reply_bits:
            flags = [
                wire.attribute(kind, bits.to_bytes(4, sys.byteorder))
                for kind, bits in (
                    (attribute.CTA_FILTER_ORIG_FLAGS, orig_bits),
                    (attribute.CTA_FILTER_REPLY_FLAGS, reply_bits),
                )
            ]
            payload += orig + reply + wire.nested(attribute.CTA_FILTER, *flags)
            family = family or _family(wanted)
    return wire.message(
        wire.NFNL_SUBSYS_CTNETLINK,
        attribute.IPCTNL_MSG_CT_GET,
        wire.NLM_F_DUMP,
        payload,
        sequence=sequence,
        family=family,
    )


def _family(wanted: DumpFilter) -> int:
    """Tuple filters need a family: that of their addresses."""
    implied = {match.family for match in (wanted.orig, wanted.reply) if match is not None} - {0}
    return implied.pop() if len(implied) == 1 else AF_INET
