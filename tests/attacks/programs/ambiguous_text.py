"""A connection of the attacker's own whose text can be read in two ways.

``kind`` is ``overlap`` (behind a gap, twice the same place with other ports, then the gap is filled),
``retransmission`` (a segment, then the same place again with another port), ``lap`` (as ``retransmission``,
before the first copy can have arrived), ``wrap`` (an honest SETUP over the end of the sequence numbers),
``fragments`` (an honest SETUP in IP fragments), ``overlapping fragments`` (which lie over each other).

It hopes that the helper reads another port than the server did. Prints whether it got a connection.
"""

from __future__ import annotations

import time

from tests.attacks import wire
from tests.attacks.packet import ACK, MODULUS, PSH, End, fragments, setup, tcp


def attack(
    wire_: wire.Wire,
    source: str = "",
    server: str = "172.26.83.10",
    sport: int = 30554,
    kind: str = "overlap",
    port: int = 31000,
    stay: float = 1.0,
) -> int:
    talk = wire.Conversation(
        wire_, End(source, sport), End(server, 554), isn=MODULUS - 40 if kind == "wrap" else 7000
    )
    if not talk.open():
        return 0
    first, second = setup(port), setup(port + 1)
    cut = first.index(b"Transport")
    if kind == "overlap":
        for text in (first, second):
            talk.say(text[cut:], at=cut, stay=True)
        talk.say(first[:cut])
        talk.next = (talk.next + len(first) - cut) % MODULUS
    elif kind in {"retransmission", "lap"}:
        talk.say(first, stay=True)
        if kind == "retransmission":
            talk.hear(0.1)
        talk.say(second)
    elif "fragments" in kind:
        whole = tcp(talk.source, talk.target, seq=talk.next, ack=talk.ack, flags=ACK | PSH, data=first)
        overlap = 16 if kind.startswith("overlapping") else 0
        for piece in fragments(whole, 48, ident=sport, overlap=overlap):
            wire_.send(piece)
        talk.next = (talk.next + len(first)) % MODULUS
    else:
        talk.say(first[:60])
        talk.say(first[60:])
    print("said", flush=True)
    end = time.monotonic() + stay
    while (left := end - time.monotonic()) > 0:
        talk.hear(left)
    talk.reset()
    return 1


if __name__ == "__main__":
    wire.run(attack)
