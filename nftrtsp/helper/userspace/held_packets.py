"""Where packets of one direction wait at the gate, and are rewritten while they do. Pure."""

from __future__ import annotations

import msgspec

from nftrtsp.helper.userspace.nfqueue import Queued
from nftrtsp.rtsp import rewriting
from nftrtsp.rtsp.packet import Packet
from nftrtsp.rtsp.rewriting import Edit, Overlay, Patch
from nftrtsp.rtsp.stream import distance


class HeldPacket(msgspec.Struct, gc=False):
    """A packet that waits, with the number of the first byte of its payload."""

    queued: Queued
    packet: Packet


class Direction:
    """One direction of a connection at the gate."""

    __slots__ = ("late", "message", "overlay", "passed", "promised", "since", "waiting")

    def __init__(self) -> None:
        self.overlay = Overlay()
        self.waiting: list[HeldPacket] = []
        self.since = 0.0  # when the first of them began to wait
        self.message: int | None = None  # where the unfinished message begins
        self.late = False  # the unfinished message need not, or may not, wait any more
        self.promised: set[tuple[int, bytes]] = set()  # what was rewritten before its message was complete
        self.passed: int | None = None  # the sequence number after the last byte that went on

    def begin(self, message: int | None) -> None:
        """Note that another message, or none, is unfinished now."""
        self.message = message
        self.late = False
        self.promised.clear()

    def has_hole(self) -> bool:
        """Whether a piece is missing before or between those that wait."""
        if self.passed is None:
            return False
        end = self.passed
        for one in sorted(self.waiting, key=lambda one: distance(one.packet.seq, end)):
            if distance(one.packet.seq, end) > 0:
                return True
            if distance(one.packet.seq + one.packet.length, end) > 0:
                end = (one.packet.seq + one.packet.length) % (1 << 32)
        return False

    def patch(self, wanted: list[tuple[int, bytes, bytes]]) -> list[bool]:
        """Replace bytes (from a sequence number on: old, new) of packets that still wait here.

        Return what is done, one for one: what has gone on otherwise cannot be called back.
        """
        start, text = self._contiguous()
        known = [(sequence % (1 << 32), new) in self.promised for sequence, _, new in wanted]
        edits = {}
        for index, (sequence, old, new) in enumerate(wanted):
            at = distance(sequence, start)
            if not known[index] and at >= 0 and text[at : at + len(old)] == old:
                edits[index] = Edit(at, at + len(old), new)
        changed = rewriting.rewrite(text, list(edits.values())) if edits else None
        if changed is None:
            return known
        if span := rewriting.difference(text, changed):
            self.overlay.add(Patch((start + span[0]) % (1 << 32), changed[span[0] : span[1]]))
        self.promised |= {(wanted[index][0] % (1 << 32), wanted[index][2]) for index in edits}
        return [known[index] or index in edits for index in range(len(wanted))]

    def _contiguous(self) -> tuple[int, bytes]:
        """Return what waits, up to a hole and without what has gone on: its first number, its bytes."""
        start: int | None = self.passed
        text = b""
        first = start if start is not None else (self.waiting[0].packet.seq if self.waiting else 0)
        for one in sorted(self.waiting, key=lambda one: distance(one.packet.seq, first)):
            packet = one.packet
            if not packet.length or packet.length != len(packet.data):
                continue
            if start is None:
                start = packet.seq
            at = distance(packet.seq, start)
            if at > len(text):
                if text:
                    break
                start, at = packet.seq, 0
            if at + packet.length > len(text):
                text += packet.data[len(text) - at :]
        return start or 0, text
