"""TCP reassembly of one direction: segments in any order in, the byte stream in order out. Pure.

A helper sees copies or queued packets, so it must put them in order itself, and must not wait for ever for
what it missed: the receiver's acknowledgement says that a missing piece will not be sent again. Sequence
numbers wrap at 2**32. Source: RFC 9293 section 3.4.

Whom to believe, once: a segment or an acknowledgement may be forged by somebody who does not know the
connection's numbers. What lies further than ``max_ahead`` from what both ends said before changes nothing,
unless the two ends agree on it: one sent a segment there and the other acknowledged it. Then it was the
helper that missed something, and the stream goes on there. An acknowledgement of bytes that were not seen
is believed only once a byte after them comes: should they come after all, they are read.
"""

from __future__ import annotations

from nftrtsp.rtsp.sequence import MODULUS, distance
from nftrtsp.rtsp.unacknowledged import Unacknowledged

__all__ = ["Stream", "distance"]


class Stream:
    """One direction of a TCP connection.

    Pieces come out as :class:`bytes`, or as an :class:`int`: so many bytes were never seen. Where copies of
    one byte differ, the stream is ``contradicted``: nobody here can know which copy the receiver takes. What
    came out by the call that found it is not to be read either, and later calls give numbers only.

    ``max_held``: bytes held that wait for a missing piece; ``max_pieces``: how many segments may wait; beyond
    either the missing piece is given up. ``max_ahead``: a segment or an acknowledgement that is further away
    than that many bytes is no part of this connection and is passed over. Its 1 MiB is 16 windows of TCP
    without scaling and far more than RTSP ever has on the way; where media inside the connection runs further
    ahead because copies were lost, both ends soon agree.

    ``picked_up`` is True if the beginning of the connection (SYN) was not seen; the first segment then
    starts the stream, and what parses it must look for the start of a message.
    """

    def __init__(self, *, max_held: int = 65536, max_pieces: int = 64, max_ahead: int = 1 << 20) -> None:
        self.max_held = max_held
        self.max_pieces = max_pieces
        self.max_ahead = max_ahead
        self.picked_up = False
        self.contradicted = False
        self.lost = 0  # bytes that were given up, in all
        self.delivered = 0  # bytes that came out, missing ones included: the offset of the next one
        self.unacknowledged = Unacknowledged()
        self._next: int | None = None
        self._end = 0  # the number after the last byte that was seen
        self._acked = 0  # what the receiver acknowledged last, as far as it was seen
        self._told: int | None = None  # what it acknowledged beyond that
        self._far: tuple[int, int] | None = None  # the last segment that was too far away: first number, end
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

    @property
    def pieces(self) -> int:
        """Segments that wait for a missing piece."""
        return len(self._held)

    @property
    def unseen(self) -> int:
        """Bytes that the receiver acknowledged and that were not seen, nor given up yet."""
        return max(0, distance(self._told, self._end)) if self._told is not None else 0

    def sequence(self, offset: int) -> int:
        """Return the sequence number of the byte at ``offset`` of what came out (0: the first byte)."""
        return ((self._next or 0) - self.delivered + offset) % MODULUS

    def begin(self, seq: int) -> None:
        """Take a SYN with the sequence number ``seq``: a new connection begins, what was held is dropped.

        A repeated SYN of the same connection changes nothing.
        """
        if self._next == (seq + 1) % MODULUS and not self.delivered:
            return
        self._start((seq + 1) % MODULUS)
        self.picked_up = False
        self.contradicted = False
        self.delivered = 0

    def _start(self, seq: int) -> None:
        self._next = self._end = self._acked = seq
        self._told = self._far = None
        self.trim()

    def trim(self) -> None:
        """Give all memory up: what waits for a missing piece, and what was kept to compare copies."""
        self._held.clear()
        self._held_bytes = 0
        self.unacknowledged.clear()
        self._end = self._next or 0

    def follows(self, seq: int) -> bool:
        """Whether a segment that begins with the number ``seq`` would come out as it is."""
        return seq == self._next and not self._held

    def passed(self, length: int) -> None:
        """Take ``length`` bytes that :meth:`follow <follows>`, whose use the caller knows already.

        They are not kept to be compared with other copies.
        """
        self._next = self._end = ((self._next or 0) + length) % MODULUS
        self.delivered += length

    def has_all_before(self, ack: int) -> bool:
        """Whether nothing can come out by :meth:`acknowledged`."""
        return self._next is not None and -self.max_ahead <= distance(ack, self._next) <= 0

    def believes(self, ack: int) -> bool:
        """Whether the receiver can have acknowledged ``ack``, by what is known."""
        return self._next is None or (
            distance(ack, self._end) <= self.max_ahead and distance(ack, self._acked) >= -self.max_ahead
        )

    def may_end_at(self, seq: int) -> bool:
        """Whether the sender can have come as far as ``seq``, and not further, when it says its last word.

        That is a number between what was acknowledged and what was seen, or else the very one that the
        receiver waits for. Sources: RFC 9293 section 3.10.7.4, RFC 5961 section 3.2.
        """
        if self._next is None:
            return False
        return seq == self._told or (distance(seq, self._acked) >= 0 and distance(seq, self._end) <= 0)

    def segment(self, seq: int, data: bytes, length: int | None = None) -> list[bytes | int]:
        """Take a segment whose first byte has the number ``seq``; return what can now come out, in order.

        ``length`` is the payload's real length where ``data`` is only its beginning.
        """
        size = len(data) if length is None else max(length, len(data))
        if not size or self.turns_away(seq, size):
            return []
        if self.contradicted:
            data = b""
        if self._next is None:
            self._start(seq)
            self.picked_up = True
        ahead = distance(seq, self._next or 0)
        if ahead > 0:
            self._hold(seq, data, size)
            out = self._deliver(self._told) if self._told is not None else []
            if self._held_bytes > self.max_held or len(self._held) > self.max_pieces:
                out += self._deliver(min(self._held, key=lambda one: distance(one, self._next or 0)))
            return out
        pieces = self._take(seq, data, size)
        return pieces + self._deliver() if self._held else pieces

    def turns_away(self, seq: int, size: int) -> bool:
        """Whether a segment is too far away to be believed; where it lies is remembered then."""
        if self._next is None or -self.max_ahead <= distance(seq, self._next) <= self.max_ahead:
            return False
        end = (seq + size) % MODULUS
        if self._far is not None and self._far[1] == seq and distance(end, self._far[0]) <= self.max_ahead:
            seq = self._far[0]
        self._far = (seq, end)
        return True

    def acknowledged(self, ack: int) -> list[bytes | int]:
        """Take an acknowledgement of the other side: what lies before ``ack`` was received, seen or not.

        Returns what comes out: held segments and, as numbers, what was never seen.
        """
        if self._next is None:
            return []
        if not self.believes(ack):
            return self._agree(ack)
        unseen = distance(ack, self._end)
        self._told = ack if unseen > 0 else None
        self._acked = self._end if unseen > 0 else ack
        pieces = self._deliver(self._acked)
        self.unacknowledged.release(self._acked)
        return pieces

    def receipt(self, ack: int) -> None:
        """Take an acknowledgement by which nothing comes out (:meth:`has_all_before`)."""
        self._acked = ack
        self._told = None
        if self.unacknowledged.held:
            self.unacknowledged.release(ack)

    def _agree(self, ack: int) -> list[bytes | int]:
        """Go on where both ends are, if the far segment that one sent is what the other acknowledges."""
        if self._far is None or self._next is None:
            return []
        start, end = self._far
        if distance(ack, start) <= 0 or distance(ack, end) > 0:
            return []
        missing = max(1, distance(end, self._next))  # where it lies behind, nobody knows how many
        self.delivered += missing
        self.lost += missing
        self._start(end)
        self._acked = ack
        return [missing]

    def _hold(self, seq: int, data: bytes, size: int) -> None:
        old = self._held.get(seq)
        if old is not None:
            shared = min(len(old[0]), len(data))
            if old[0][:shared] != data[:shared]:
                self._contradict()
                return
            if old[1] >= size:
                return
            self._held_bytes -= len(old[0])
            data = old[0] + data[len(old[0]) :]
        self._held[seq] = (data, size)
        self._held_bytes += len(data)
        self._see((seq + size) % MODULUS)

    def _see(self, end: int) -> None:
        if distance(end, self._end) > 0:
            self._end = end

    def _contradict(self) -> None:
        self.contradicted = True
        self._held = {seq: (b"", size) for seq, (_, size) in self._held.items()}
        self._held_bytes = 0
        self.unacknowledged.clear()

    def _take(self, seq: int, data: bytes, size: int) -> list[bytes | int]:
        """Let out what of this segment is new; it begins at the next byte or before."""
        start = self._next or 0
        old = -distance(seq, start)
        if old and self.unacknowledged.differs(seq, data):
            self._contradict()
            data = b""
        if old >= size:
            return []
        self._next = (seq + size) % MODULUS
        self._see(self._next)
        self.delivered += size - old
        new = data[old:]
        missing = size - old - len(new)
        self.lost += missing
        if new:
            self.unacknowledged.keep(start, new)
        pieces: list[bytes | int] = [new] if new else []
        return [*pieces, missing] if missing else pieces

    def _skip(self, count: int) -> list[bytes | int]:
        if count <= 0:
            return []
        self._next = ((self._next or 0) + count) % MODULUS
        self.delivered += count
        self.lost += count
        return [count]

    def _deliver(self, given_up: int | None = None) -> list[bytes | int]:
        """Let out what is held as far as it joins on; what is missing before ``given_up`` is passed over."""
        pieces: list[bytes | int] = []
        start = self._next or 0
        limit = start if given_up is None else given_up
        for seq in sorted(self._held, key=lambda number: distance(number, start)):
            if (missing := distance(seq, self._next or 0)) > 0:
                pieces += self._skip(min(missing, distance(limit, self._next or 0)))
                if seq != self._next:
                    break
            data, size = self._held.pop(seq)
            self._held_bytes -= len(data)
            pieces += self._take(seq, data, size)
        return pieces
