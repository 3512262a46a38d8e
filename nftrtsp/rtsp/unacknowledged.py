"""What came out of a stream and may still be sent again, kept to compare the copies. Pure.

A receiver that has not acknowledged a byte may be missing it, and then takes the next copy, whatever that
says. So as long as two copies say the same, it does not matter which of them was read here; once they differ,
nobody in the middle knows what the receiver reads. Copies of acknowledged bytes it throws away, so they need
no comparing. Source: RFC 9293 section 3.10.7.4.
"""

from __future__ import annotations

from nftrtsp.rtsp.sequence import MODULUS, distance


class _Run:
    """Bytes that follow each other, and the number of the first."""

    __slots__ = ("data", "start")

    def __init__(self, start: int, data: bytes) -> None:
        self.start = start
        self.data = bytearray(data)

    def shorten(self, count: int) -> None:
        del self.data[:count]
        self.start = (self.start + count) % MODULUS


class Unacknowledged:
    """The last bytes of one direction: at most ``max_bytes`` in ``max_runs`` runs, the oldest go first."""

    __slots__ = ("_runs", "held", "max_bytes", "max_runs")

    def __init__(self, *, max_bytes: int = 16384, max_runs: int = 16) -> None:
        self.max_bytes = max_bytes
        self.max_runs = max_runs
        self.held = 0  # bytes
        self._runs: list[_Run] = []

    def keep(self, seq: int, data: bytes) -> None:
        """Keep bytes that came out now; the first has the number ``seq``."""
        runs = self._runs
        if runs and (runs[-1].start + len(runs[-1].data)) % MODULUS == seq:
            runs[-1].data += data
        else:
            runs.append(_Run(seq, data))
        self.held += len(data)
        while self.held > self.max_bytes or len(runs) > self.max_runs:
            over = self.held - self.max_bytes
            if 0 < over < len(runs[0].data):
                runs[0].shorten(over)
                self.held -= over
            else:
                self.held -= len(runs.pop(0).data)

    def release(self, ack: int) -> None:
        """Forget what lies before ``ack``: its receiver has it and ignores further copies."""
        runs = self._runs
        while runs and (count := distance(ack, runs[0].start)) > 0:
            if count < len(runs[0].data):
                runs[0].shorten(count)
                self.held -= count
                return
            self.held -= len(runs.pop(0).data)

    def clear(self) -> None:
        """Forget all."""
        self._runs.clear()
        self.held = 0

    def differs(self, seq: int, data: bytes) -> bool:
        """Whether another copy, from the number ``seq`` on, says something else than what is kept."""
        for run in self._runs:
            at = distance(seq, run.start)
            first, last = max(at, 0), min(at + len(data), len(run.data))
            if first < last and run.data[first:last] != data[first - at : last - at]:
                return True
        return False
