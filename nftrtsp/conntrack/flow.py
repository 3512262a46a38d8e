"""A flow: one entry of the kernel's connection tracking table, as ctnetlink tells it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

AF_INET = 2
AF_INET6 = 10

IPPROTO_ICMP = 1
IPPROTO_TCP = 6
IPPROTO_UDP = 17


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

    @property
    def destination(self) -> IPv4Address | IPv6Address:
        """The receiver's address."""
        return ip_address(self.dst)


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
