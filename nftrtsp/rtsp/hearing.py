"""What is said on one control connection: segments of both directions in, RTSP messages out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nftrtsp.rtsp.message import Message, Parser
from nftrtsp.rtsp.packet import ACK, FIN, RST, SYN, Packet
from nftrtsp.rtsp.stream import Stream


class _Side:
    """One direction: its stream and its parser."""

    __slots__ = ("parser", "stream")

    def __init__(self) -> None:
        self.stream = Stream()
        self.parser = Parser(keep_body=0)

    def messages(self, pieces: Iterable[bytes | int]) -> Iterator[Message]:
        parser = self.parser
        for piece in pieces:
            if isinstance(piece, int):
                parser.lose(piece)
            else:
                yield from parser.feed(piece)


class Hearing:
    """Both directions of a TCP connection, put in order and parsed.

    Memory is bounded: two streams, two parsers. ``garbage`` is who said what is not RTSP, and why it is not;
    from then on nothing is parsed. ``picked_up``: the connection was open before we listened.
    """

    def __init__(self) -> None:
        self.garbage: str | None = None
        self.picked_up = False
        self._client = _Side()
        self._server = _Side()

    @property
    def sides(self) -> tuple[_Side, _Side]:
        """The set-top box's direction and the server's."""
        return self._client, self._server

    @property
    def lost(self) -> int:
        """Bytes of both directions that were never seen."""
        return self._client.stream.lost + self._server.stream.lost

    @property
    def lost_of_client(self) -> int:
        """Bytes of the set-top box's direction that were never seen."""
        return self._client.stream.lost

    @property
    def next_of_client(self) -> int | None:
        """The TCP number of the set-top box's next byte; None before its first segment."""
        return self._client.stream.next_seq

    def incomplete(self, *, from_client: bool) -> bool:
        """Whether part of a message was seen whose end is still to come."""
        side = self._client if from_client else self._server
        return bool(side.parser.buffered or side.stream.held)

    def unfinished(self, *, from_client: bool) -> tuple[int, bytes]:
        """Return the part of a message whose end is still to come, and the TCP number of its first byte."""
        side = self._client if from_client else self._server
        text = side.parser.unfinished
        return side.stream.sequence(side.stream.delivered - len(text)), text

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
            or packet.flags & (SYN | FIN | RST)
            or not side.stream.follows(packet.seq)
            or not other.stream.has_all_before(packet.ack)
        ):
            return False
        if packet.length:
            if packet.length != len(packet.data) or not side.parser.feed_frames(packet.data):
                return False
            side.stream.passed(packet.length)
        return True

    def take(self, packet: Packet, *, from_client: bool) -> Iterator[tuple[Message, bool]]:
        """Take a segment; yield each message that it completes, and whether the set-top box said it.

        An acknowledgement may complete messages of the other direction: what it covers was received there.
        """
        side, other = (self._client, self._server) if from_client else (self._server, self._client)
        seq = packet.seq
        if packet.flags & SYN:
            side.stream.begin(seq)
            seq = seq + 1 & 0xFFFFFFFF
        if side.stream.next_seq is None and packet.length > 0:
            self.picked_up = side.parser.lost = True
        if packet.flags & ACK and not packet.flags & SYN:
            yield from self._parse(other, other.stream.acknowledged(packet.ack), not from_client)
        if packet.length:
            pieces = side.stream.segment(seq, packet.data, packet.length)
            yield from self._parse(side, pieces, from_client)

    def _parse(
        self, side: _Side, pieces: list[bytes | int], from_client: bool
    ) -> Iterator[tuple[Message, bool]]:
        if self.garbage is not None or not pieces:
            return
        for message in side.messages(pieces):
            yield message, from_client
        if side.parser.garbage is not None:
            self.garbage = f"{'the set-top box' if from_client else 'the server'}: {side.parser.garbage}"
