"""An accomplice on the IPTV side: it shakes every hand at port 554 and then says nothing, not even an ACK."""

from __future__ import annotations

import time

from tests.attacks import wire
from tests.attacks.packet import ACK, SYN, tcp


def attack(wire_: wire.Wire, seconds: float = 10.0) -> int:
    shaken = 0
    end = time.monotonic() + seconds
    print("ready", flush=True)
    while (left := end - time.monotonic()) > 0:
        for one in wire_.segments(left):
            if one.target.port == 554 and one.flags & (SYN | ACK) == SYN:
                wire_.send(tcp(one.target, one.source, seq=1000, ack=one.seq + 1, flags=SYN | ACK))
                shaken += 1
    return shaken


if __name__ == "__main__":
    wire.run(attack)
