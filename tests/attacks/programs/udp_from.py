"""Datagrams with sources of the attacker's choice: its own ports, or addresses that are others'.

``source_ports`` is a list with commas. From the LAN it hopes to write the cone for ports of the router
itself; from the IPTV side, sent by way of the router to another host there, to write it by a hairpin; with a
LAN source, to come through a way that is open.
"""

from __future__ import annotations

from tests.attacks import wire
from tests.attacks.packet import End, udp


def attack(
    wire_: wire.Wire,
    source: str = "",
    source_ports: str = "",
    target: str = "172.26.83.10",
    port: int = 9,
    count: int = 3,
    rate: float = 100.0,
    seconds: float = 0.0,
    text: str = "attack",
) -> int:
    sent = 0
    for _ in wire.pace(rate, seconds or count / rate):
        for sport in source_ports.split(","):
            wire_.send(udp(End(source, int(sport)), End(target, port), text.encode()))
            sent += 1
    return sent


if __name__ == "__main__":
    wire.run(attack)
