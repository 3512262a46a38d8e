"""TCP that conntrack calls INVALID, towards the IPTV side: such a packet is not translated.

It hopes that it passes all the same, and tells the provider's network what the LAN's addresses are.
"""

from __future__ import annotations

from tests.attacks import wire
from tests.attacks.packet import ACK, FIN, RST, SYN, End, tcp


def attack(
    wire_: wire.Wire,
    source: str = "",
    server: str = "172.26.83.10",
    count: int = 20,
    rate: float = 100.0,
    seconds: float = 0.0,
) -> int:
    sent = 0
    for number in wire.pace(rate, seconds or count / rate):
        ends = End(source, 42000 + number % 100), End(server, 554)
        for flags in (RST, RST | ACK, SYN | FIN, 0, SYN | ACK):
            wire_.send(tcp(*ends, seq=number << 20, ack=1, flags=flags))
        sent += 5
    return sent


if __name__ == "__main__":
    wire.run(attack)
