"""The bytes to rewrite where a set-top box has another port, or address, than the server is told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

from nftrtsp.helper.action import Rewrite
from nftrtsp.helper.note import Rewritten, note
from nftrtsp.helper.ways import Connection, Ways
from nftrtsp.rtsp.conversation import Conversation
from nftrtsp.rtsp.message import Message, Request, Response
from nftrtsp.rtsp.transport import Transport


class PayloadNat:
    """What one connection's messages need.

    ``router``: the packed address that the server sees and shall read; None to leave what is said.
    """

    __slots__ = ("connection", "router")

    def __init__(self, connection: Connection, router: bytes | None) -> None:
        self.connection = connection
        self.router = router

    def there(
        self, request: Message, transport: Transport, ports: Sequence[int], conversation: Conversation
    ) -> Iterator[Rewrite]:
        """Yield what lets the server read the public ``ports`` in a transport of a request."""
        for number, port in zip(transport.client_ports, ports, strict=True):
            if number.value != port:
                yield self._rewrite(request, number.start, number.end, str(port), conversation)
        if self.router is not None:
            yield from self._hosts(request, transport, self.connection.client, self.router, conversation)

    def back(self, response: Response, ways: Ways, conversation: Conversation) -> Iterator[Rewrite]:
        """Yield what lets the set-top box read what it asked for in the answer."""
        for transport in response.transports():
            for number in transport.client_ports:
                way = ways.at(number.value)
                if way is not None and way.stb == self.connection.client and way.stb_port != way.port:
                    yield self._rewrite(response, number.start, number.end, str(way.stb_port), conversation)
            if self.router is not None:
                yield from self._hosts(response, transport, self.router, self.connection.client, conversation)

    def _hosts(
        self, message: Message, transport: Transport, old: bytes, new: bytes, conversation: Conversation
    ) -> Iterator[Rewrite]:
        for host in transport.destinations:
            if host.text == str(IPv4Address(old)):
                yield self._rewrite(message, host.start, host.end, str(IPv4Address(new)), conversation)

    def _rewrite(
        self, message: Message, start: int, end: int, text: str, conversation: Conversation
    ) -> Rewrite:
        old = message.raw[start:end]
        from_client = isinstance(message, Request)
        said = note(Rewritten, self.connection, cseq=message.cseq, reason=f"{old.decode()} to {text}")
        sequence = conversation.sequence(message.offset + start, from_client=from_client)
        return Rewrite(from_client, sequence, old, text.encode(), said)
