"""A router without a kernel, and set-top boxes that talk through it: for tests of dialogues."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

from nftrtsp.helper.action import Action, CloseWay, OpenWay, Rewrite
from nftrtsp.helper.dialogue import Dialogue
from nftrtsp.helper.dialogues import Dialogues
from nftrtsp.helper.note import Note, parts
from nftrtsp.helper.port_policy import PortPolicy
from nftrtsp.helper.ways import Connection, Ways
from nftrtsp.rtsp.packet import ACK, FIN, SYN, Packet

SERVER = IPv4Address("172.26.83.10").packed
PORT = 27336


def stb(number: int = 0) -> bytes:
    return (IPv4Address("192.168.1.200") + number).packed


class World:
    """A router with the policy under test; ``open`` is what the kernel would have open.

    ``following`` are options of :class:`Dialogues`.
    """

    def __init__(self, following: dict[str, Any] | None = None, **policy: Any) -> None:
        options: dict[str, Any] = {"may_ask": lambda address: int(address) >> 8 == 0xC0A801, **policy}
        self.ways = Ways()
        self.dialogues = Dialogues(PortPolicy(**options), self.ways, (554, 1554), **(following or {}))
        self.now = 1000.0
        self.open: dict[int, tuple[bytes, int]] = {}
        self.notes: list[Note] = []
        self.rewrites: list[Rewrite] = []
        self.cut: list[int] = []

    def take(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, OpenWay):
                assert action.new == (action.way.port not in self.open)
                self.open[action.way.port] = (action.way.stb, action.way.stb_port)
            elif isinstance(action, CloseWay):
                assert self.open.pop(action.way.port) == (action.way.stb, action.way.stb_port)
                if action.cut:
                    self.cut.append(action.way.port)
            elif isinstance(action, Rewrite):
                self.rewrites.append(action)
            note = action if isinstance(action, Note) else action.note
            self.notes.append(note)

    def sweep(self) -> None:
        self.take(self.dialogues.sweep(self.now))

    def reasons(self, event: str) -> list[str | None]:
        return [parts(note).get("reason") for note in self.notes if note.event == event]


class Talk:
    """A control connection of a set-top box, with right sequence numbers."""

    def __init__(
        self,
        world: World,
        box: int = 0,
        port: int = 40000,
        *,
        server: bytes = SERVER,
        seen_from_start: bool = True,
    ) -> None:
        self.world = world
        self.connection = Connection(stb(box), port, server, 554)
        self.seq = {True: 4_294_967_000, False: 77}
        self.cseq = 0
        if seen_from_start:
            self.send(True, flags=SYN)
            self.send(False, flags=SYN | ACK)

    @property
    def dialogue(self) -> Dialogue:
        found = self.world.dialogues.find(self.connection)
        assert found is not None
        return found

    def packet(self, from_client: bool, data: bytes = b"", flags: int = ACK) -> Packet:
        one, other = self.connection, self.seq[not from_client]
        ends = (one.client, one.server, one.client_port, one.server_port)
        if not from_client:
            ends = (one.server, one.client, one.server_port, one.client_port)
        return Packet(*ends, self.seq[from_client], other, flags, data, len(data), 40)

    def send(self, from_client: bool, data: bytes = b"", flags: int = ACK) -> None:
        packet = self.packet(from_client, data, flags)
        self.skip(from_client, len(data) + bool(flags & (SYN | FIN)))
        self.world.take(self.world.dialogues.receive(packet, self.world.now)[1])

    def skip(self, from_client: bool, count: int) -> None:
        self.seq[from_client] = (self.seq[from_client] + count) % (1 << 32)

    def ask(self, method: str, *fields: str, uri: str = "rtsp://s/film") -> None:
        self.cseq += 1
        self.send(True, lines(f"{method} {uri} RTSP/1.0", f"CSeq: {self.cseq}", *fields))

    def setup(self, transport: str | int = PORT, *fields: str, uri: str = "rtsp://s/film") -> None:
        if isinstance(transport, int):
            transport = f"MP2T/H2221/UDP;unicast;client_port={transport}"
        self.ask("SETUP", f"Transport: {transport}", *fields, uri=uri)

    def answer(self, *fields: str, status: str = "200 OK", cseq: int | None = None) -> None:
        self.send(False, lines(f"RTSP/1.0 {status}", f"CSeq: {cseq or self.cseq}", *fields))


def lines(*text: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*text, "")).encode()
