"""One direction of a flow: its value, read from and written as ctnetlink's attributes.

Source: net/netfilter/nf_conntrack_netlink.c (ctnetlink_dump_tuples, ctnetlink_parse_tuple).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from nftrtsp.conntrack import attribute
from nftrtsp.errors import MalformedError
from nftrtsp.netlink import wire
from nftrtsp.netlink.wire import Spans, number, spans

AF_INET = 2
AF_INET6 = 10

IPPROTO_ICMP = 1
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_DCCP = 33
IPPROTO_GRE = 47
IPPROTO_ICMPV6 = 58
IPPROTO_SCTP = 132
IPPROTO_UDPLITE = 136

#: Protocols of which conntrack tells ports, keys or ICMP fields; by the name that JSON and people get.
PROTOCOL_NAMES = {
    IPPROTO_ICMP: "icmp",
    IPPROTO_TCP: "tcp",
    IPPROTO_UDP: "udp",
    IPPROTO_DCCP: "dccp",
    IPPROTO_GRE: "gre",
    IPPROTO_ICMPV6: "icmpv6",
    IPPROTO_SCTP: "sctp",
    IPPROTO_UDPLITE: "udplite",
}
KNOWN_PROTOCOLS = frozenset(PROTOCOL_NAMES)


class Tuple(msgspec.Struct, frozen=True, gc=False):
    """One direction of a flow: who sends to whom.

    ``src`` and ``dst`` are packed addresses of 4 or 16 bytes. ``sport`` and ``dport`` are None for protocols
    without ports; ICMP and ICMPv6 fill the ``icmp_`` fields instead; ``raw`` keeps the CTA_TUPLE_PROTO
    attributes of a protocol we do not know. Source: nf_conntrack_netlink.c, ctnetlink_dump_tuples().
    """

    src: bytes
    dst: bytes
    proto: int
    sport: int | None = None
    dport: int | None = None
    icmp_id: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    zone: int = 0
    raw: bytes = b""

    @property
    def source(self) -> IPv4Address | IPv6Address:
        """The sender's address."""
        return ip_address(self.src)


def _address(data: bytes, found: Spans, v4: int, v6: int) -> bytes:
    kind, size = (v4, 4) if v4 in found else (v6, 16)
    span = found.get(kind)
    if span is None:
        return b""
    if span[1] - span[0] < size:
        raise MalformedError(f"address of {span[1] - span[0]} bytes, not {size}")
    return data[span[0] : span[0] + size]


def decode_tuple(data: bytes, span: tuple[int, int]) -> Tuple:
    """Decode the attributes within one CTA_TUPLE_*."""
    parts = spans(data, *span)
    address = spans(data, *parts.get(attribute.CTA_TUPLE_IP, (0, 0)))
    where = parts.get(attribute.CTA_TUPLE_PROTO, (0, 0))
    proto = spans(data, *where)
    protocol = number(data, proto, attribute.CTA_PROTO_NUM, 1) or 0
    six = attribute.CTA_PROTO_ICMPV6_ID in proto
    return Tuple(
        _address(data, address, attribute.CTA_IP_V4_SRC, attribute.CTA_IP_V6_SRC),
        _address(data, address, attribute.CTA_IP_V4_DST, attribute.CTA_IP_V6_DST),
        protocol,
        number(data, proto, attribute.CTA_PROTO_SRC_PORT, 2),
        number(data, proto, attribute.CTA_PROTO_DST_PORT, 2),
        number(data, proto, attribute.CTA_PROTO_ICMPV6_ID if six else attribute.CTA_PROTO_ICMP_ID, 2),
        number(data, proto, attribute.CTA_PROTO_ICMPV6_TYPE if six else attribute.CTA_PROTO_ICMP_TYPE, 1),
        number(data, proto, attribute.CTA_PROTO_ICMPV6_CODE if six else attribute.CTA_PROTO_ICMP_CODE, 1),
        number(data, parts, attribute.CTA_TUPLE_ZONE, 2) or 0,
        b"" if protocol in KNOWN_PROTOCOLS else data[where[0] : where[1]],
    )


def encode_tuple(kind: int, value: Tuple) -> bytes:
    """Return ``value`` as attribute ``kind`` (a CTA_TUPLE_*)."""
    parts = [encode_addresses(value.src, value.dst), _protocol(value)]
    if value.zone:
        parts.append(wire.be16(attribute.CTA_TUPLE_ZONE, value.zone))
    return wire.nested(kind, *parts)


def encode_addresses(src: bytes, dst: bytes) -> bytes:
    """Return CTA_TUPLE_IP with those of the two packed addresses that are not empty."""
    six = len(src or dst) == 16
    parts = []
    if src:
        parts.append(wire.attribute(attribute.CTA_IP_V6_SRC if six else attribute.CTA_IP_V4_SRC, src))
    if dst:
        parts.append(wire.attribute(attribute.CTA_IP_V6_DST if six else attribute.CTA_IP_V4_DST, dst))
    return wire.nested(attribute.CTA_TUPLE_IP, *parts)


def _protocol(value: Tuple) -> bytes:
    if value.raw:
        return wire.attribute(attribute.CTA_TUPLE_PROTO | wire.NLA_F_NESTED, value.raw)
    parts = [wire.u8(attribute.CTA_PROTO_NUM, value.proto)]
    if value.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        first = (
            attribute.CTA_PROTO_ICMPV6_ID if value.proto == IPPROTO_ICMPV6 else attribute.CTA_PROTO_ICMP_ID
        )
        parts.append(wire.be16(first, value.icmp_id or 0))
        parts.append(wire.u8(first + 1, value.icmp_type or 0))
        parts.append(wire.u8(first + 2, value.icmp_code or 0))
    else:
        if value.sport is not None:
            parts.append(wire.be16(attribute.CTA_PROTO_SRC_PORT, value.sport))
        if value.dport is not None:
            parts.append(wire.be16(attribute.CTA_PROTO_DST_PORT, value.dport))
    return wire.nested(attribute.CTA_TUPLE_PROTO, *parts)


def tuple_family(value: Tuple) -> int:
    """Return the address family of ``value``."""
    return AF_INET6 if len(value.src) == 16 else AF_INET
