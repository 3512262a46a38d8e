"""What is said on one control connection: segments of both directions in, RTSP messages out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nftrtsp.rtsp.message import Message, Parser
from nftrtsp.rtsp.packet import ACK, FIN, RST, SYN, Packet
from nftrtsp.rtsp.stream import Stream
from nftrtsp.rtsp.unfinished import read_begun

_PIECE = 200  # bytes that a held segment takes besides its payload


class _Direction:
    """One direction: its stream and its parser."""

    __slots__ = ("parser", "stream")

    def __init__(self) -> None:
        self.stream = Stream()
        self.parser = Parser(keep_body=0)

    @property
    def held(self) -> int:
        stream = self.stream
        return self.parser.buffered + stream.held + stream.unacknowledged.held + stream.pieces * _PIECE

    def forget(self) -> None:
        """Begin anew: what was heard so far was not this connection's."""
        self.stream = Stream()
        self.parser = Parser(keep_body=0)

    def trim(self) -> None:
        self.stream.trim()
        self.parser.drop()

    def messages(self, pieces: Iterable[bytes | int]) -> Iterator[Message]:
        parser = self.parser
        for piece in pieces:
            if isinstance(piece, int):
                parser.lose(piece)
            else:
                yield from parser.feed(piece)


class Conversation:
    """Both directions of a TCP connection, put in order and parsed.

    Memory is bounded: two streams, two parsers. ``garbage`` is who said what is not RTSP, and why it is not,
    or who sent copies that differ; from then on nothing is parsed, and only the numbers are followed.
    ``picked_up``: the connection was open before we listened.
    """

    def __init__(self) -> None:
        self.garbage: str | None = None
        self.picked_up = False
        self._client = _Direction()
        self._server = _Direction()

    @property
    def sides(self) -> tuple[_Direction, _Direction]:
        """The set-top box's direction and the server's."""
        return self._client, self._server

    @property
    def lost(self) -> int:
        """Bytes of both directions that were never seen."""
        return self._client.stream.lost + self._server.stream.lost

    @property
    def lost_of_client(self) -> int:
        """Bytes of the set-top box's direction that were never seen, but that the server has."""
        return self._client.stream.lost + self._client.stream.unseen

    @property
    def next_of_client(self) -> int | None:
        """The TCP number of the set-top box's next byte; None before its first segment."""
        return self._client.stream.next_seq

    @property
    def held(self) -> int:
        """Bytes of memory that segments and unfinished messages take here, about."""
        return sum(side.held for side in self.sides)

    def trim(self) -> None:
        """Give up all that is :attr:`held`: messages that were not complete are lost, later ones are read."""
        for side in self.sides:
            side.trim()

    def is_plausible_end(self, packet: Packet, *, from_client: bool) -> bool:
        """Whether a RST or FIN can be this connection's, by its numbers; ask before or after :meth:`take`.

        One that nobody can judge, before anything was heard from that side, is not: conntrack will tell.
        Sources: RFC 9293 section 3.10.7, RFC 5961 section 3.
        """
        side, other = (self._client, self._server) if from_client else (self._server, self._client)
        if side.stream.next_seq is None:  # only a SYN may be refused so: the refusal acknowledges it
            refusal = RST | ACK
            return packet.flags & refusal == refusal and packet.ack == other.stream.next_seq
        if packet.flags & ACK and not other.stream.believes(packet.ack):
            return False
        return side.stream.may_end_at(packet.seq)

    def incomplete(self, *, from_client: bool) -> bool:
        """Whether part of a message was seen whose end is still to come."""
        side = self._client if from_client else self._server
        return bool(side.parser.buffered or side.stream.held)

    def unfinished(self, *, from_client: bool) -> tuple[int, bytes]:
        """Return the part of a message whose end is still to come, and the TCP number of its first byte."""
        side = self._client if from_client else self._server
        text = side.parser.unfinished
        return side.stream.sequence(side.stream.delivered - len(text)), text

    def begun(self, *, from_client: bool) -> Message | None:
        """Return the message whose end is still to come, as far as its last whole line; None: it is none."""
        side = self._client if from_client else self._server
        text = side.parser.unfinished
        return read_begun(text, side.stream.delivered - len(text))

    def sequence(self, offset: int, *, from_client: bool) -> int:
        """Return the TCP number of the byte at ``offset`` of a direction (see :class:`Message`)."""
        return (self._client if from_client else self._server).stream.sequence(offset)

    def is_idle(self, packet: Packet, *, from_client: bool) -> bool:
        """Take a segment if no message can come of it, as :meth:`take` would; return whether it was taken.

        Such are bare acknowledgements and media inside the connection: nearly all of what a queue is given
        while a film plays that way.
        """
        side, other = (self._client, self._server) if from_client else (self._server, self._client)
        if (
            self.garbage is not None
            or packet.flags & (SYN | FIN | RST | ACK) != ACK
            or not side.stream.follows(packet.seq)
            or not other.stream.has_all_before(packet.ack)
        ):
            return False
        if packet.length:
            if packet.length != len(packet.data) or not side.parser.feed_frames(packet.data):
                return False
            # Frames are not kept to be compared: they may be 100 Mbit/s, and all that is read of them is
            # where the next begins. Who sends that twice and otherwise hides only what it says itself.
            side.stream.passed(packet.length)
        other.stream.receipt(packet.ack)
        return True

    def take(self, packet: Packet, *, from_client: bool) -> Iterator[tuple[Message, bool]]:
        """Take a segment; yield each message that it completes, and whether the set-top box said it.

        An acknowledgement may complete messages of the other direction: what it covers was received there.
        A segment whose numbers cannot be this connection's changes nothing.
        """
        side, other = (self._client, self._server) if from_client else (self._server, self._client)
        seq = packet.seq
        if packet.flags & SYN:
            if not self._begins(packet, side, other, from_client=from_client):
                return
            seq = seq + 1 & 0xFFFFFFFF
        elif packet.flags & ACK:
            yield from self._parse(other, other.stream.acknowledged(packet.ack), not from_client)
            if not other.stream.believes(packet.ack):
                side.stream.turns_away(seq, packet.length)
                return
        elif not packet.flags & RST:
            return  # only the first segment and a reset come without ACK
        if packet.length:
            if side.stream.next_seq is None:
                self.picked_up = side.parser.lost = True
            data = packet.data if self.garbage is None else b""
            yield from self._parse(side, side.stream.segment(seq, data, packet.length), from_client)

    def _begins(self, packet: Packet, side: _Direction, other: _Direction, *, from_client: bool) -> bool:
        """Take a SYN; return whether it is this connection's: the box's first word, or the answer to it."""
        if packet.seq + 1 & 0xFFFFFFFF == side.stream.next_seq and not side.stream.delivered:
            return True  # a repeated one
        if from_client:
            if side.stream.next_seq is not None:
                return False
            other.forget()  # what the server seemed to say before was somebody else's
            self.garbage, self.picked_up = None, False
        elif not (packet.flags & ACK and packet.ack == other.stream.next_seq and not other.stream.delivered):
            return False
        side.forget()
        side.stream.begin(packet.seq)
        return True

    def _parse(
        self, side: _Direction, pieces: list[bytes | int], from_client: bool
    ) -> Iterator[tuple[Message, bool]]:
        who = "the set-top box" if from_client else "the server"
        if side.stream.contradicted and self.garbage is None:
            self._give_up(f"{who}: two copies of the same bytes differ")
        if self.garbage is not None or not pieces:
            return
        for message in side.messages(pieces):
            yield message, from_client
        if side.parser.garbage is not None:
            self._give_up(f"{who}: {side.parser.garbage}")

    def _give_up(self, why: str) -> None:
        self.garbage = why
        self.trim()
