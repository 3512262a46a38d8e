"""Whether both ends of a connection have shown that they know each other's numbers. Pure.

Conntrack knows a connection by its addresses and ports, and anybody can send a packet with these. It looks at
the numbers as well, but not on a connection that it picked up in the middle itself (nf_conntrack_proto_tcp.c,
``IP_CT_TCP_FLAG_BE_LIBERAL``). So what was seen first may be forged; what the other end acknowledges is not.
Until then what an end says is kept, and nothing comes of it.
"""

from __future__ import annotations

from nftrtsp.helper.port_reuse import is_answer
from nftrtsp.rtsp.conversation import Conversation
from nftrtsp.rtsp.message import Message
from nftrtsp.rtsp.packet import ACK, Packet
from nftrtsp.rtsp.sequence import distance

_MOST = 8  # messages that wait
_MOST_BYTES = 1 << 15
_COST = 1000  # bytes of a message beside its text


class Agreement:
    """What was said on one connection and is not known to be genuine. ``held``: bytes that it takes.

    ``of_client`` and ``of_server``: what that end says is genuine, for the other has acknowledged some of it.
    """

    __slots__ = ("_waiting", "held", "of_client", "of_server")

    def __init__(self) -> None:
        self.of_client = self.of_server = False
        self.held = 0
        self._waiting: list[tuple[Message, bool, int]] = []  # message, of the client, the number after it

    @property
    def waits(self) -> bool:
        """Whether something waits to be acknowledged."""
        return bool(self._waiting)

    def is_genuine(self, *, of_client: bool) -> bool:
        """Whether what an end says needs not wait."""
        return self.of_client if of_client else self.of_server

    def wait(self, message: Message, end: int, *, of_client: bool) -> None:
        """Keep ``message`` until its last byte, before the TCP number ``end``, is acknowledged."""
        self._waiting.append((message, of_client, end))
        self.held += _COST + len(message.raw)
        while len(self._waiting) > _MOST or self.held > _MOST_BYTES:
            self._drop(0)

    def clear(self) -> None:
        """Let go of what waits."""
        self._waiting.clear()
        self.held = 0

    def look(
        self, packet: Packet, conversation: Conversation, *, from_client: bool
    ) -> list[tuple[Message, bool]]:
        """Take a segment, before ``conversation`` takes it; return what waited and is genuine by it."""
        if not packet.flags & ACK or (self.of_client and self.of_server and not self._waiting):
            return []
        stream = conversation.sides[1 if from_client else 0].stream  # what is acknowledged
        if stream.next_seq is None:
            return []
        behind = distance(packet.ack, stream.next_seq)
        if is_answer(packet) and not from_client and behind == 0 and not stream.delivered:
            self.of_client = self.of_server = True  # only who saw the SYN can answer it
        elif behind <= 0 < distance(packet.ack, stream.sequence(0)):
            if from_client:
                self.of_server = True
            else:
                self.of_client = True
        if behind > 0 or not self._waiting:
            return []
        genuine = [
            (number, message)
            for number, (message, of_client, end) in enumerate(self._waiting)
            if of_client is not from_client and distance(packet.ack, end) >= 0
        ]
        for number, _ in reversed(genuine):
            self._drop(number)
        return [(message, not from_client) for _, message in genuine]

    def _drop(self, number: int) -> None:
        message, _, _ = self._waiting.pop(number)
        self.held -= _COST + len(message.raw)
