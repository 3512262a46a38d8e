"""TCP reassembly of one direction: segments in any order in, the byte stream in order out. Pure.

A helper sees copies or queued packets, so it must put them in order itself, and must not wait for ever for
what it missed: the receiver's acknowledgement says that a missing piece will not be sent again. Sequence
numbers wrap at 2**32. Source: RFC 9293 section 3.4.
"""

from __future__ import annotations

_MODULUS = 1 << 32
_HALF = 1 << 31


def distance(seq: int, start: int) -> int:
    """Return how far ``seq`` lies after ``start`` (negative: before), within half the sequence space."""
    return (seq - start + _HALF) % _MODULUS - _HALF


class Stream:
    """One direction of a TCP connection.

    Pieces come out as :class:`bytes`, or as an :class:`int`: so many bytes were never seen. Where copies of
    one byte differ, the first one seen counts. ``max_held``: bytes held that wait for a missing piece;
    ``max_pieces``: how many segments may wait; beyond either the missing piece is given up. ``max_ahead``: a
    segment further ahead than that many bytes is no part of this connection and is passed over.

    ``picked_up`` is True if the beginning of the connection (SYN) was not seen; the first segment then
    starts the stream, and what parses it must look for the start of a message.
    """

    def __init__(self, *, max_held: int = 65536, max_pieces: int = 64, max_ahead: int = 1 << 24) -> None:
        self.max_held = max_held
        self.max_pieces = max_pieces
        self.max_ahead = max_ahead
        self.picked_up = False
        self.lost = 0  # bytes that were given up, in all
        self.delivered = 0  # bytes that came out, missing ones included: the offset of the next one
        self._next: int | None = None
        self._held: dict[int, tuple[bytes, int]] = {}
        self._held_bytes = 0

    @property
    def next_seq(self) -> int | None:
        """The sequence number of the next byte to come out; None before the first segment."""
        return self._next

    @property
    def held(self) -> int:
        """Bytes that wait for a missing piece."""
        return self._held_bytes

    def sequence(self, offset: int) -> int:
        """Return the sequence number of the byte at ``offset`` of what came out (0: the first byte)."""
        return ((self._next or 0) - self.delivered + offset) % _MODULUS

    def begin(self, seq: int) -> None:
        """Take a SYN with the sequence number ``seq``: a new connection begins, what was held is dropped.

        A repeated SYN of the same connection changes nothing.
        """
        if self._next == (seq + 1) % _MODULUS and not self.delivered:
            return
        self._next = (seq + 1) % _MODULUS
        self.picked_up = False
        self.delivered = 0
        self._held.clear()
        self._held_bytes = 0

    def follows(self, seq: int) -> bool:
        """Whether a segment that begins with the number ``seq`` would come out as it is."""
        return seq == self._next and not self._held

    def passed(self, length: int) -> None:
        """Take ``length`` bytes that :meth:`follow <follows>`, whose use the caller knows already."""
        self._next = ((self._next or 0) + length) % _MODULUS
        self.delivered += length

    def has_all_before(self, ack: int) -> bool:
        """Whether :meth:`acknowledged` would change nothing."""
        return self._next is not None and distance(ack, self._next) <= 0

    def segment(self, seq: int, data: bytes, length: int | None = None) -> list[bytes | int]:
        """Take a segment whose first byte has the number ``seq``; return what can now come out, in order.

        ``length`` is the payload's real length where ``data`` is only its beginning.
        """
        size = len(data) if length is None else max(length, len(data))
        if not size:
            return []
        if self._next is None:
            self._next = seq
            self.picked_up = True
        ahead = distance(seq, self._next)
        if ahead > self.max_ahead:
            return []
        if ahead > 0:
            self._hold(seq, data, size)
            if self._held_bytes <= self.max_held and len(self._held) <= self.max_pieces:
                return []
            return self._deliver(give_up=True)
        pieces = self._take(seq, data, size)
        return pieces + self._deliver() if self._held else pieces

    def acknowledged(self, ack: int) -> list[bytes | int]:
        """Take an acknowledgement of the other side: what lies before ``ack`` was received, seen or not.

        Returns what comes out: held segments and, as numbers, what was never seen.
        """
        if self._next is None or distance(ack, self._next) <= 0:
            return []
        pieces: list[bytes | int] = []
        while (missing := distance(ack, self._next)) > 0:
            first = min((distance(seq, self._next) for seq in self._held), default=missing)
            pieces += self._skip(min(first, missing))
            pieces += self._deliver()
        return pieces

    def close(self, seq: int) -> None:
        """Take a FIN whose number is ``seq``: it takes one number, which is no byte of the stream."""
        if self._next == seq:
            self._next = (seq + 1) % _MODULUS
            self.delivered += 1

    def _hold(self, seq: int, data: bytes, size: int) -> None:
        old = self._held.get(seq)
        if old is not None:
            if old[1] >= size:
                return
            self._held_bytes -= len(old[0])
            data = old[0] + data[len(old[0]) :]
        self._held[seq] = (data, size)
        self._held_bytes += len(data)

    def _take(self, seq: int, data: bytes, size: int) -> list[bytes | int]:
        """Let out what of this segment is new; it begins at the next byte or before."""
        old = -distance(seq, self._next or 0)
        if old >= size:
            return []
        self._next = (seq + size) % _MODULUS
        self.delivered += size - old
        new = data[old:]
        missing = size - max(old, len(data))
        self.lost += missing
        pieces: list[bytes | int] = [new] if new else []
        return [*pieces, missing] if missing else pieces

    def _skip(self, count: int) -> list[bytes | int]:
        if count <= 0:
            return []
        self._next = ((self._next or 0) + count) % _MODULUS
        self.delivered += count
        self.lost += count
        return [count]

    def _deliver(self, *, give_up: bool = False) -> list[bytes | int]:
        """Let out what is held as far as it joins on; with ``give_up`` first pass over what is missing."""
        pieces: list[bytes | int] = []
        while self._held:
            start = self._next or 0
            seq = min(self._held, key=lambda number: distance(number, start))
            if (missing := distance(seq, start)) > 0:
                if not give_up:
                    break
                pieces += self._skip(missing)
                give_up = False
            data, size = self._held.pop(seq)
            self._held_bytes -= len(data)
            pieces += self._take(seq, data, size)
        return pieces
