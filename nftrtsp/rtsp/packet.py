"""The IPv4 and TCP headers of a packet that a helper was shown. Pure; sources: RFC 791, RFC 9293."""

from __future__ import annotations

import struct

import msgspec

FIN = 0x01
SYN = 0x02
RST = 0x04
ACK = 0x10

_TCP = 6
_FRAGMENT = 0x3FFF  # more fragments to come, or the offset of this one
_IPV4 = struct.Struct("!BxHxxHxB2x4s4s")
_PORTS = struct.Struct("!HHIIBB")


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One TCP segment over IPv4.

    ``src`` and ``dst`` are packed addresses. ``data`` is what was shown of the payload, which begins at byte
    ``start`` of the packet; ``length`` is how long the payload was before the copy was cut short.
    """

    src: bytes
    dst: bytes
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    data: bytes
    length: int
    start: int


def read_packet(buffer: bytes | memoryview, length: int | None = None) -> Packet | None:
    """Return the TCP segment in ``buffer``, an IPv4 packet, or None if it is none.

    A fragment is none, neither the first nor a later one: conntrack has put packets together before they
    come to the forward hook (nf_defrag_ipv4), so what is one here has not come by conntrack.

    ``length`` is the packet's real length if the caller knows it better than the IP header says: with
    segmentation offload the header of a packet above 65,535 bytes says 0.
    """
    size = len(buffer)
    if size < 40:
        return None
    first, total, fragment, protocol, src, dst = _IPV4.unpack_from(buffer)
    head = (first & 0x0F) * 4
    if first >> 4 != 4 or head < 20 or protocol != _TCP or fragment & _FRAGMENT or size < head + 20:
        return None
    sport, dport, seq, ack, offset, flags = _PORTS.unpack_from(buffer, head)
    start = head + (offset >> 4) * 4
    if offset >> 4 < 5 or start > size:
        return None
    end = total or length or size
    if end < start:
        return None
    # An Ethernet frame of 60 bytes may carry padding after the IP packet: the header's length tells.
    return Packet(
        src, dst, sport, dport, seq, ack, flags, bytes(buffer[start : min(end, size)]), end - start, start
    )
