"""IPv4, TCP and UDP as bytes, built and read with struct. Pure: no sockets.

Source: RFC 791, RFC 9293, RFC 768.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
MODULUS = 1 << 32

_IP = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIBBHHH")
_UDP = struct.Struct("!HHHH")
_MORE_FRAGMENTS = 0x2000


@dataclass(frozen=True, slots=True)
class End:
    """An address and a port."""

    address: str
    port: int

    @property
    def packed(self) -> bytes:
        return socket.inet_aton(self.address)


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP segment that was read."""

    source: End
    target: End
    seq: int
    ack: int
    flags: int
    data: bytes


def checksum(data: bytes) -> int:
    """The Internet checksum: 65,536 is 1 modulo 65,535, so the whole is one division."""
    if len(data) % 2:
        data += b"\0"
    return -int.from_bytes(data) % 0xFFFF


def ip(
    source: bytes, target: bytes, proto: int, payload: bytes, *, ident: int = 0, fragment: int = 0
) -> bytes:
    """An IPv4 packet; ``fragment`` is the field of flags and offset."""
    size = _IP.size + len(payload)
    head = _IP.pack(0x45, 0, size, ident, fragment, 64, proto, 0, source, target)
    return head[:10] + checksum(head).to_bytes(2) + head[12:] + payload


def tcp(
    source: End,
    target: End,
    *,
    seq: int,
    ack: int = 0,
    flags: int = ACK,
    data: bytes = b"",
    window: int = 65535,
) -> bytes:
    """A TCP segment in its packet."""
    head = _TCP.pack(source.port, target.port, seq % MODULUS, ack % MODULUS, 0x50, flags, window, 0, 0)
    pseudo = source.packed + target.packed + struct.pack("!HH", TCP, len(head) + len(data))
    whole = head[:16] + checksum(pseudo + head + data).to_bytes(2) + head[18:] + data
    return ip(source.packed, target.packed, TCP, whole)


def udp(source: End, target: End, data: bytes) -> bytes:
    """A datagram in its packet, without a checksum, as UDP allows."""
    return ip(source.packed, target.packed, UDP, _UDP.pack(source.port, target.port, 8 + len(data), 0) + data)


def fragments(packet: bytes, size: int, *, ident: int, overlap: int = 0) -> list[bytes]:
    """Cut a packet into fragments of ``size`` bytes, each beginning ``overlap`` before the last one's end."""
    payload = packet[_IP.size :]
    pieces = []
    for start in range(0, len(payload), size):
        begin = max(0, start - overlap)
        more = _MORE_FRAGMENTS if start + size < len(payload) else 0
        piece = payload[begin : start + size]
        pieces.append(
            ip(packet[12:16], packet[16:20], packet[9], piece, ident=ident, fragment=more | begin // 8)
        )
    return pieces


def read(packet: bytes) -> Segment | None:
    """Read a TCP segment; None if it is something else."""
    if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != TCP:
        return None
    at = (packet[0] & 15) * 4
    sport, dport, seq, ack, offset, flags, *_ = _TCP.unpack_from(packet, at)
    data = packet[at + (offset >> 4) * 4 : int.from_bytes(packet[2:4])]
    source, target = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    return Segment(End(source, sport), End(target, dport), seq, ack, flags, data)


def lines(*text: str) -> bytes:
    """An RTSP message without a body."""
    return "".join(f"{line}\r\n" for line in (*text, "")).encode("latin-1")


def setup(port: int | str, cseq: int = 1, *more: str) -> bytes:
    """A SETUP as Movistar's boxes write it."""
    return lines(
        "SETUP rtsp://172.26.83.10/film RTSP/1.0",
        f"CSeq: {cseq}",
        f"Transport: MP2T/H2221/UDP;unicast;client_port={port}",
        *more,
    )
