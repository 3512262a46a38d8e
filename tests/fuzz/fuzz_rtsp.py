"""Hostile RTSP: fuzzed TCP segments through reassembly, parser, policy and dialogue, with coverage guidance.

Each input is a handful of segments of three connections to one router, which lives on from input to input, so
that memory which grows would show. Nothing may raise, what is open must be what the list says, every bound
must hold. Run by tests/fuzz/run.sh, or ``python tests/fuzz/fuzz_rtsp.py -runs=100000``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from ipaddress import IPv4Address

import atheris

with atheris.instrument_imports(include=["nftrtsp.rtsp", "nftrtsp.helper"]):
    from nftrtsp.helper.action import CloseWay, OpenWay
    from nftrtsp.helper.dialogue import Dialogue
    from nftrtsp.helper.dialogues import Dialogues
    from nftrtsp.helper.port_policy import PortPolicy
    from nftrtsp.helper.ways import Ways
    from nftrtsp.rtsp.packet import Packet, read_packet

PARTS = (
    b"SETUP rtsp://s/f RTSP/1.0\r\nCSeq: 1\r\nTransport: MP2T/H2221/UDP;unicast;client_port=27336\r\n\r\n",
    b"SETUP * RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP;client_port=5000-5001,X/TCP;interleaved=0-1\r\n\r\n",
    b"TEARDOWN rtsp://s/f RTSP/1.0\r\nCSeq: 3\r\nSession: 7\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nSession: 7;timeout=60\r\nTransport: X/UDP;client_port=27336\r\n\r\n",
    b"RTSP/1.0 454 No\r\nCSeq: 2\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nContent-Length: 12\r\n\r\n",
    b"PLAY rtsp://s/f RTSP/1.0\r\nCSeq: 4\r\nSession: 7\r\n\r\n",
    b"$\x00\x00\x20",
    b"Transport: MP2T/UDP;destination=192.168.1.200:4000;client_port=",
    b"SETUP rtsp://s/f RTSP/1.0\r\nCSeq: 5\r\n",
    b"\r\n\r\n",
    b";client_port=6000/6002",
)
SERVER = IPv4Address("172.26.83.10").packed
BOXES = (IPv4Address("192.168.1.200").packed, IPv4Address("192.168.1.201").packed)
CALLS = ((BOXES[0], 40000), (BOXES[0], 40001), (BOXES[1], 40000))
MAX_PER_STB, MAX_TOTAL = 4, 7


class World:
    """A router that lives through many inputs."""

    def __init__(self, substitutes: bool) -> None:
        self.ways = Ways()
        policy = PortPolicy(lambda _: True, MAX_PER_STB, MAX_TOTAL, substitutes=substitutes)
        self.dialogues = Dialogues(policy, self.ways, (554,), capacity=16)
        self.open: set[int] = set()
        self.seq: dict[tuple[int, bool], int] = {}
        self.now = 0.0

    def segment(self, call: int, from_client: bool, flags: int, shift: int, data: bytes, length: int) -> None:
        seq = (self.seq.get((call, from_client), 0xFFFFFF00) + shift) % (1 << 32)
        self.seq[call, from_client] = (seq + max(length, len(data)) + bool(flags & 3)) % (1 << 32)
        (box, port), ack = CALLS[call], self.seq.get((call, not from_client), 0)
        ends = (box, SERVER, port, 554) if from_client else (SERVER, box, 554, port)
        packet = Packet(*ends, seq, ack, flags, data, max(length, len(data)), 40)
        dialogue, actions = self.dialogues.receive(packet, self.now)
        self.take(actions)
        if dialogue is not None:
            check(dialogue)

    def take(self, actions: Sequence[object]) -> None:
        for action in actions:
            if isinstance(action, OpenWay):
                self.open.add(action.way.port)
                assert action.way.port >= 1024
            elif isinstance(action, CloseWay):
                self.open.remove(action.way.port)
        assert self.open == {way.port for way in self.ways}
        assert len(self.open) <= MAX_TOTAL
        assert all(len(self.ways.of(box)) <= MAX_PER_STB for box in BOXES)


def check(dialogue: Dialogue) -> None:
    assert len(dialogue.claims) <= 8 * MAX_PER_STB + 1
    assert len(dialogue._pending) <= 64
    for side in dialogue.conversation.sides:
        assert side.parser.buffered <= side.parser.max_head
        assert side.stream.held <= side.stream.max_held + 1500


WORLDS = [World(False), World(True)]
COUNT = [0, 0]  # inputs, segments


def one_input(data: bytes) -> None:
    """Play one input: the first byte chooses the router, then come segments of five bytes and data."""
    read_packet(data)
    COUNT[0] += 1
    if COUNT[0] % 20000 == 0:
        WORLDS[:] = [World(False), World(True)]
        print(f"{COUNT[0]} inputs, {COUNT[1]} segments", file=sys.stderr)
    if not data:
        return
    world = WORLDS[data[0] & 1]
    world.now += data[0] >> 1
    if data[0] > 250:
        world.take(list(world.dialogues.sweep(world.now)))
    position = 1
    for _ in range(16):
        head = data[position : position + 5]
        if len(head) < 5:
            return
        what, flags, shift, part, size = head
        position += 5
        piece = PARTS[part % len(PARTS)] if part & 0x80 else b""
        piece += data[position : position + size % 64]
        position += size % 64
        flags = flags & 0x17 if flags & 0xC0 == 0xC0 else 0x10  # mostly plain ACK
        COUNT[1] += 1
        length = len(piece) + (shift << 6 if what & 0x30 == 0x30 else 0)
        world.segment(
            what % 3, bool(what & 4), flags, shift - 128 if what & 0x18 == 0x18 else 0, piece, length
        )


def main() -> None:
    """Run libFuzzer over :func:`one_input`."""
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
