"""Where packets wait for their turn to be read at the gate, each in the queue of its box; verdicts come out.

Nobody waits for long: what is beyond a box's share, or has waited too long, goes on unread. In order: what
waits of the box goes before what comes of it, for TCP takes what is out of order for a loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from nftrtsp.errors import MalformedError
from nftrtsp.helper.fair_queue import FairQueue, Limits
from nftrtsp.helper.userspace import nfqueue
from nftrtsp.helper.userspace.gate import Gate
from nftrtsp.helper.userspace.nfqueue import Queued

#: Seconds of work before verdicts are sent and the loop looks around.
TURN = 0.004
#: Seconds that a packet waits for its turn at most; TCP sends it again after 0.2 (Linux) or more.
LONGEST_TURN = 0.15
#: Packets are up to 64 KiB here (GSO), and a film inside its control connection comes in bursts of them.
LIMITS = Limits(of_box=1 << 20, of_all=8 << 20)
_MOST_COUNTED = 1024  # boxes


class Turnstile:
    """Before ``gate``. ``known``: whether the box with a packed address has a queue of its own."""

    def __init__(self, gate: Gate, known: Callable[[bytes], bool], limits: Limits = LIMITS) -> None:
        self.gate = gate
        #: Packets that went on unread, by box, and what went wrong in reading one: for the helper to say.
        self.unread: dict[bytes, int] = {}
        self.faults: dict[str, str] = {}
        self._fair_queue: FairQueue[Queued] = FairQueue(known, limits)

    def __len__(self) -> int:
        return len(self._fair_queue)

    def come(self, packets: Iterable[Queued], now: float) -> list[bytes]:
        """Let ``packets`` wait; return the verdicts on what may not."""
        verdicts: list[bytes] = []
        for packet in packets:
            size = len(packet.payload) + len(packet.ct)
            for box, gone in self._fair_queue.put(packet.box, size, packet, now):
                if gone is packet:
                    verdicts += [self._pass(box, before) for before in self._fair_queue.clear(box)]
                verdicts.append(self._pass(box, gone))
        return verdicts

    def serve(self, clock: Callable[[], float] = time.monotonic, turn: float = TURN) -> list[bytes]:
        """Read for ``turn`` seconds what is next; return the verdicts."""
        verdicts: list[bytes] = []
        now = clock()
        end = now + turn
        while now < end and (one := self._fair_queue.take(now)) is not None:
            verdicts += self._read(one[1], now)
            now = clock()
        return verdicts

    def let_go(self, now: float) -> list[bytes]:
        """Return the verdicts on what has waited for its turn for too long."""
        return [self._pass(box, one) for box, one in self._fair_queue.late(now - LONGEST_TURN)]

    def _read(self, packet: Queued, now: float) -> list[bytes]:
        try:
            return self.gate.receive(packet, now)
        except Exception as error:  # a fault of ours must not let one packet end all films
            if not isinstance(error, MalformedError):
                self.faults[type(error).__name__] = str(error)
            return [nfqueue.encode_verdict(self.gate.queue, packet.id)]

    def _pass(self, box: bytes, packet: Queued) -> bytes:
        if box in self.unread or len(self.unread) < _MOST_COUNTED:
            self.unread[box] = self.unread.get(box, 0) + 1
        return nfqueue.encode_verdict(self.gate.queue, packet.id)
