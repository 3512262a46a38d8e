"""Writing other ports and addresses into RTSP messages on their way, without changing any length. Pure.

A message that keeps its length keeps all sequence numbers of its connection, so a rewritten segment can be
sent again, cut otherwise, or lost without anybody noticing: what was replaced is remembered by sequence
number (:class:`Overlay`) and replaced again in each copy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import msgspec

from nftrtsp.rtsp.stream import distance

#: Fields whose values nobody reads by machine: they give up bytes where an address becomes longer.
_EXPENDABLE = (b"user-agent", b"server", b"date")
_BLANK = b" \t"
_NAME = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_.-"
_MAX_PATCHES = 64


class Edit(msgspec.Struct, frozen=True, gc=False):
    """Put ``data`` in the place of the bytes from ``start`` to ``end``."""

    start: int
    end: int
    data: bytes

    @property
    def growth(self) -> int:
        """How many bytes longer the text becomes."""
        return len(self.data) - (self.end - self.start)


class Patch(msgspec.Struct, frozen=True, gc=False):
    """From sequence number ``seq`` on, the stream says ``data`` instead of what the sender sent."""

    seq: int
    data: bytes


def rewrite(text: bytes, edits: Sequence[Edit]) -> bytes | None:
    """Return ``text`` after ``edits``, as long as it was, or None where that cannot be.

    ``text`` holds one or several RTSP messages, or parts of some. Where a message's head becomes shorter,
    blanks before the Transport field's value make up for it, which every parser passes over (RFC 2326
    section 4.2). Where it becomes longer, a field that only people read gives up the end of its value;
    without one the parameter is left out, if it is an address: the server then takes the sender's.
    """
    balanced: list[Edit] = []
    for start, end, group in _by_head(text, edits):
        balance = _balance(text, start, end, group)
        if balance is None:
            return None
        balanced += balance
    pieces, position = [], 0
    for edit in sorted(balanced, key=lambda one: (one.start, one.end)):
        pieces += [text[position : edit.start], edit.data]
        position = edit.end
    return b"".join([*pieces, text[position:]])


def _balance(text: bytes, start: int, end: int, edits: list[Edit]) -> list[Edit] | None:
    """Return ``edits`` with what keeps the head ``text[start:end]`` at its length, or None."""
    growth = sum(edit.growth for edit in edits)
    if growth > 0:
        spare = _spare(text, start, end, growth)
        if spare is not None:
            return [*edits, spare]
        edits = [_left_out(text, edit) if edit.growth > 0 else edit for edit in edits]
        growth = sum(edit.growth for edit in edits)
    if growth < 0:
        first = min(edit.start for edit in edits)
        value = max((at for name, at, _ in _fields(text, start, first) if name == b"transport"), default=None)
        if value is None:
            return None
        return [*edits, Edit(value, value, b" " * -growth)]
    return edits if growth == 0 else None


def _by_head(text: bytes, edits: Sequence[Edit]) -> list[tuple[int, int, list[Edit]]]:
    """Return the edits by the message they belong to, with the span of its head as far as ``text`` has it."""
    groups: list[tuple[int, int, list[Edit]]] = []
    for edit in sorted(edits, key=lambda one: one.start):
        if not groups or edit.start >= groups[-1][1]:
            low = groups[-1][1] if groups else 0
            groups.append((*_head_around(text, low, edit.start), []))
        groups[-1][2].append(edit)
    return groups


def _head_around(text: bytes, low: int, place: int) -> tuple[int, int]:
    """Return the span of the head that ``place`` is in: after the empty line before, to the one after."""
    start = low
    position = low
    while (line := text.find(b"\n", position)) >= 0:
        empty = 2 if text.startswith(b"\n", line + 1) else 3 if text.startswith(b"\r\n", line + 1) else 0
        if empty and line + empty > place:
            return start, line + empty
        if empty:
            start = line + empty
        position = line + (empty or 1)
    return start, len(text)


def _fields(text: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the lower-case name of each line that begins in ``text[start:end]``, and its value's span.

    The value begins after the colon and ends before the line feed; a last line without one is yielded too.
    """
    while start < end:
        line = text.find(b"\n", start, end)
        stop = line if line >= 0 else end
        colon = text.find(b":", start, stop)
        if colon >= 0:
            yield text[start:colon].rstrip(_BLANK).lower(), colon + 1, stop
        start = stop + 1


def _spare(text: bytes, start: int, end: int, count: int) -> Edit | None:
    """Return the edit that takes away ``count`` bytes that the message can do without."""
    for name, first, stop in _fields(text, start, end):
        if name in _EXPENDABLE and stop < end:  # a line that has come to its end
            value = text[first:stop].removesuffix(b"\r").strip(_BLANK)
            last = first + len(text[first:stop].removesuffix(b"\r").rstrip(_BLANK))
            if len(value) > count and b"\r" not in value:
                return Edit(last - count, last, b"")
    return None


def _left_out(text: bytes, edit: Edit) -> Edit:
    """Return the edit that leaves out the whole parameter whose value ``edit`` replaces, if it can be."""
    before = text[max(0, edit.start - 64) : edit.start]
    semicolon, parameter = before.rfind(b";"), before.rpartition(b";")[2]
    name, equals, gap = parameter.partition(b"=")
    name = name.strip(_BLANK)
    is_named = semicolon >= 0 and equals and name and not name.translate(None, _NAME)
    if not is_named or gap.lstrip(_BLANK) not in (b"", b'"'):
        return edit
    if not edit.data[-1:].isdigit() or b"." not in edit.data:
        return edit
    quote = text[edit.start - 1 : edit.start] == b'"' == text[edit.end : edit.end + 1]
    return Edit(edit.start - len(before) + semicolon, edit.end + quote, b"")


def difference(old: bytes, new: bytes) -> tuple[int, int] | None:
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
