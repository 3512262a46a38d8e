"""Writing other ports and addresses into RTSP messages on their way, without changing any length. Pure.

A message that keeps its length keeps all sequence numbers of its connection, so a rewritten segment can be
sent again, cut otherwise, or lost without anybody noticing: what was replaced is remembered by sequence
number (:class:`Overlay`) and replaced again in each copy.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import msgspec

from nftrtsp.rtsp.message import Message, Span
from nftrtsp.rtsp.stream import distance

#: Fields whose values nobody reads by machine: they give up bytes where an address becomes longer.
_EXPENDABLE = (b"user-agent", b"server", b"date")
_MAX_PATCHES = 64


class Edit(msgspec.Struct, frozen=True, gc=False):
    """Put ``data`` in the place of ``start`` to ``end`` of a message's head."""

    start: int
    end: int
    data: bytes


class Patch(msgspec.Struct, frozen=True, gc=False):
    """From sequence number ``seq`` on, the stream says ``data`` instead of what the sender sent."""

    seq: int
    data: bytes


def edit_ports(message: Message, ports: Mapping[int, int]) -> list[Edit]:
    """Return the edits that name ``ports[n]`` wherever the message's client ports say ``n``.

    Both have as many digits, leading zeros included.
    """
    edits = []
    for transport in message.transports():
        for number in transport.client_ports:
            new = ports.get(number.value)
            if new is not None and new != number.value:
                digits = b"%0*d" % (number.end - number.start, new)
                if len(digits) == number.end - number.start:
                    edits.append(Edit(number.start, number.end, digits))
    return edits


def edit_destinations(message: Message, addresses: Mapping[str, str]) -> list[Edit]:
    """Return the edits that name ``addresses[a]`` wherever a destination of the message says ``a``."""
    return [
        Edit(host.start, host.end, addresses[host.text].encode())
        for transport in message.transports()
        for host in transport.destinations
        if host.text in addresses and addresses[host.text] != host.text
    ]


def rewrite(message: Message, edits: Sequence[Edit]) -> bytes | None:
    """Return the head of ``message`` after ``edits``, as long as it was, or None if that cannot be.

    What is missing becomes blanks before the Transport field's value, which every parser passes over
    (RFC 2326 section 4.2); what is too much is taken off the end of a field that only people read.
    """
    excess = sum(len(edit.data) - (edit.end - edit.start) for edit in edits)
    all_edits = list(edits)
    if excess < 0:
        spans = message.fields.get(b"transport", ())
        if not spans:
            return None
        all_edits.append(Edit(spans[0][0], spans[0][0], b" " * -excess))
    elif excess:
        span = _spare(message, excess)
        if span is None:
            return None
        all_edits.append(Edit(*span, b""))
    raw = message.raw
    for edit in sorted(all_edits, key=lambda one: one.start, reverse=True):
        raw = raw[: edit.start] + edit.data + raw[edit.end :]
    return raw


def _spare(message: Message, count: int) -> Span | None:
    """Return the span of ``count`` bytes that the message can do without."""
    for name in _EXPENDABLE:
        for start, end in message.fields.get(name, ()):
            value = message.raw[start:end]
            if len(value.strip()) > count and b"\n" not in value:
                return end - count, end
    return None


def difference(old: bytes, new: bytes) -> Span | None:
    """Return the span in which two texts of one length differ, or None if they are equal."""
    if old == new:
        return None
    first = next(at for at, (one, other) in enumerate(zip(old, new, strict=True)) if one != other)
    last = next(at for at in range(len(old) - 1, -1, -1) if old[at] != new[at])
    return first, last + 1


class Overlay:
    """What was replaced in one direction of a connection, by sequence number."""

    def __init__(self) -> None:
        self._patches: list[Patch] = []

    def __bool__(self) -> bool:
        return bool(self._patches)

    def add(self, patch: Patch) -> None:
        """Replace from now on. The oldest of more than 64 that nobody acknowledged are forgotten."""
        self._patches.append(patch)
        del self._patches[:-_MAX_PATCHES]

    def apply(self, seq: int, data: bytes) -> bytes | None:
        """Return a segment's payload with all that is replaced in it, or None if nothing is."""
        changed: bytearray | None = None
        for patch in self._patches:
            at = distance(patch.seq, seq)
            first, last = max(at, 0), min(at + len(patch.data), len(data))
            if first < last:
                changed = changed or bytearray(data)
                changed[first:last] = patch.data[first - at : last - at]
        return bytes(changed) if changed is not None else None

    def acknowledged(self, ack: int) -> None:
        """Forget what lies before ``ack``: the receiver has it and ignores further copies."""
        self._patches = [one for one in self._patches if distance(one.seq + len(one.data), ack) > 0]


def replace_payload(packet: bytes, start: int, data: bytes) -> bytes:
    """Return the IPv4 packet with ``data`` as its TCP payload and the checksum for it.

    The payload begins at byte ``start``, and ``data`` is as long as it was. Source: RFC 9293 section 3.1.
    """
    head = (packet[0] & 0x0F) * 4
    segment = bytearray(packet[head:start])
    segment += data
    segment[16:18] = b"\0\0"
    pseudo = packet[12:20] + struct.pack("!HH", 6, len(segment))
    segment[16:18] = struct.pack("!H", checksum(pseudo + segment))
    return packet[:head] + bytes(segment)


def checksum(data: bytes) -> int:
    """Return the Internet checksum of ``data``. Source: RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
