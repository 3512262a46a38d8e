"""A RST and a FIN whose sequence numbers lie far outside of the window of a connection that lives.

TCP throws them away. It hopes that the helper does not, and closes the film's way.
"""

from __future__ import annotations

from tests.attacks import wire
from tests.attacks.packet import ACK, FIN, RST, End, tcp


def attack(
    wire_: wire.Wire,
    source: str = "172.26.83.10",
    sport: int = 554,
    target: str = "10.214.0.2",
    dport: int = 0,
    count: int = 20,
    rate: float = 100.0,
    seconds: float = 0.0,
) -> int:
    sent = 0
    for number in wire.pace(rate, seconds or count / rate):
        seq = (number + 1) * 0x13579BDF
        for flags in (RST, RST | ACK, FIN | ACK):
            wire_.send(tcp(End(source, sport), End(target, dport), seq=seq, ack=seq >> 1, flags=flags))
        sent += 3
    return sent


if __name__ == "__main__":
    wire.run(attack)
