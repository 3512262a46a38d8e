"""Which lines a log is spared: of what others can cause, each asker may cause a few."""

from __future__ import annotations


class RefusalLog:
    """Says which refusals to log: of each asker ``burst`` at once, then one every ``every`` seconds."""

    def __init__(self, *, burst: int = 5, every: float = 10.0, askers: int = 1024) -> None:
        self.burst = burst
        self.every = every
        self.askers = askers
        self._state: dict[bytes, tuple[float, float, int]] = {}  # tokens, when, held back

    def admit(self, stb: bytes, now: float) -> int | None:
        """Return None if this one is to be held back, else how many were held back since the last one."""
        tokens, when, held = self._state.pop(stb, (float(self.burst), now, 0))
        tokens = min(float(self.burst), tokens + (now - when) / self.every)
        admitted = tokens >= 1
        self._state[stb] = (tokens - 1, now, 0) if admitted else (tokens, now, held + 1)
        while len(self._state) > self.askers:
            del self._state[next(iter(self._state))]
        return held if admitted else None
