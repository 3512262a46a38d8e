"""nfnetlink framing and attribute layout: bytes in, bytes out, no I/O.

A message is ``struct nlmsghdr`` (16 bytes), ``struct nfgenmsg`` (4 bytes), then attributes of length, type
and a payload padded to four bytes. Source: linux/netlink.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from nftrtsp.errors import MalformedError

NLMSG_ERROR = 2
NLMSG_DONE = 3

NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

NFNL_SUBSYS_CTNETLINK = 1
NFNL_SUBSYS_CTNETLINK_EXP = 2
NFNL_SUBSYS_QUEUE = 3
NFNL_SUBSYS_ULOG = 4
NFNL_SUBSYS_CTHELPER = 9
NFNL_SUBSYS_NFTABLES = 10

NFPROTO_INET = 1

HEADER = struct.Struct("=IHHIIBBH")  # nlmsghdr then nfgenmsg; res_id is big-endian on the wire
HEADER_SIZE = HEADER.size
ATTRIBUTE = struct.Struct("=HH")


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    length = 4 + len(payload)
    return ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """Return one attribute that holds other attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(parts))


def u8(kind: int, value: int) -> bytes:
    """Return an attribute of one byte."""
    return attribute(kind, value.to_bytes(1, "big"))


def be16(kind: int, value: int) -> bytes:
    """Return an attribute of 16 bits in network order."""
    return attribute(kind, value.to_bytes(2, "big"))


def be32(kind: int, value: int) -> bytes:
    """Return an attribute of 32 bits in network order."""
    return attribute(kind, value.to_bytes(4, "big"))


def text(kind: int, value: str) -> bytes:
    """Return an attribute that holds a NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def message(
    subsystem: int,
    command: int,
    flags: int,
    payload: bytes = b"",
    *,
    sequence: int = 0,
    family: int = 0,
    resource: int = 0,
) -> bytes:
    """Return one nfnetlink message; ``resource`` is nfgenmsg.res_id (an NFQUEUE or NFLOG number)."""
    size = HEADER_SIZE + len(payload)
    swapped = int.from_bytes(resource.to_bytes(2, "big"), "little") if _LITTLE else resource
    kind = subsystem << 8 | command
    return HEADER.pack(size, kind, flags | NLM_F_REQUEST, sequence, 0, family, 0, swapped) + payload


_LITTLE = struct.pack("=H", 1) == b"\x01\x00"


def attributes(buffer: bytes | memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield ``(type, payload start, payload end)`` for each attribute in ``buffer[start:end]``.

    Flag bits are taken off the type. Raises :class:`MalformedError` when a length is below four or runs
    past ``end``; never loops and never reads past the end.
    """
    while start + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(buffer, start)
        if length < 4 or start + length > end:
            raise MalformedError(
                f"attribute {kind & NLA_TYPE_MASK} of length {length} at byte {start} of {end}"
            )
        yield kind & NLA_TYPE_MASK, start + 4, start + length
        start += length + 3 & ~3


#: Where the payload of each attribute lies: number -> (start, end). The last one of a number counts.
Spans = dict[int, tuple[int, int]]


def spans(data: bytes, start: int, end: int) -> Spans:
    """Return where each attribute of ``data[start:end]`` lies. Raises :class:`MalformedError`."""
    found: Spans = {}
    while start + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(data, start)
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


def string(data: bytes, found: Spans, kind: int) -> str | None:
    """Return the NUL-terminated string in attribute ``kind``, or None; odd bytes become backslash escapes."""
    span = found.get(kind)
    if span is None:
        return None
    return data[span[0] : span[1]].split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def raw(data: bytes, found: Spans, kind: int) -> bytes:
    """Return the payload of attribute ``kind``, empty where it is absent."""
    span = found.get(kind)
    return data[span[0] : span[1]] if span else b""


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


def error_number(data: bytes, start: int) -> int:
    """Return the errno in an NLMSG_ERROR whose attributes begin at ``start``; 0: an acknowledgement.

    struct nlmsgerr begins with the negative errno, where :func:`messages` sees struct nfgenmsg.
    """
    return -int.from_bytes(data[start - 4 : start], sys.byteorder, signed=True)
