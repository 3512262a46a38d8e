"""A flow: one entry of the kernel's connection tracking table, as ctnetlink tells it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

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
