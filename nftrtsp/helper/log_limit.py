"""Which lines a log is spared of what others can cause: how many that would be is for them to choose.

Each asker may cause a few lines of each kind, and all askers together not many more, for there may be
thousands of them. What was left out is counted, and told in one line once a minute, or when it is over.
"""

from __future__ import annotations

import msgspec

_Key = tuple[str, str]  # asker, kind


class LeftOut(msgspec.Struct, frozen=True):
    """How many lines were left out in how many seconds: all, of each kind, and of the asker with most."""

    seconds: float
    lines: int
    kinds: dict[str, int]
    asker: str
    of_asker: int


class _LineBudget(msgspec.Struct):
    """Tokens: ``burst`` at most, one more every ``every`` seconds."""

    tokens: float
    when: float

    def take(self, now: float, burst: float, every: float) -> bool:
        self.tokens = min(burst, self.tokens + (now - self.when) / every)
        self.when = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class LogLimit:
    """Says which lines to log. Times are monotonic seconds.

    Of each asker and kind ``burst`` lines at once and then one every ``every`` seconds; of all together
    ``burst_of_all`` and one every ``every_of_all`` seconds. ``askers`` is how many pairs of an asker and a
    kind are remembered. ``over`` seconds without a line left out are the end; until then it is told once a
    ``minute``.
    """

    def __init__(
        self,
        *,
        burst: int = 10,
        every: float = 10.0,
        burst_of_all: int = 100,
        every_of_all: float = 1.0,
        askers: int = 1024,
        over: float = 10.0,
        minute: float = 60.0,
    ) -> None:
        self.burst, self.every = float(burst), every
        self.burst_of_all, self.every_of_all = float(burst_of_all), every_of_all
        self.askers = askers
        self.over, self.minute = over, minute
        self._buckets: dict[_Key, _LineBudget] = {}
        self._all = _LineBudget(self.burst_of_all, 0.0)
        self._kinds: dict[str, int] = {}
        self._left_out: dict[str, int] = {}  # by asker
        self._first = self._last = 0.0

    def admit(self, asker: str, kind: str, now: float) -> bool:
        """Whether to log this line of ``kind`` that ``asker`` caused; it is counted if not."""
        key = (asker, kind)
        bucket = self._buckets.pop(key, None) or _LineBudget(self.burst, now)
        self._buckets[key] = bucket  # the one used last, at the end
        if len(self._buckets) > self.askers:
            del self._buckets[next(iter(self._buckets))]
        if bucket.take(now, self.burst, self.every) and self._all.take(
            now, self.burst_of_all, self.every_of_all
        ):
            return True
        if not self._kinds:
            self._first = now
        self._last = now
        self._kinds[kind] = self._kinds.get(kind, 0) + 1
        if asker in self._left_out or len(self._left_out) < self.askers:
            self._left_out[asker] = self._left_out.get(asker, 0) + 1
        return False

    def left_out(self, now: float, *, end: bool = False) -> LeftOut | None:
        """Return what was left out if it is time to say so (at the ``end`` it always is), and begin anew."""
        if not self._kinds:
            return None
        if not end and now - self._last < self.over and now - self._first < self.minute:
            return None
        asker = max(self._left_out, key=lambda one: self._left_out[one])
        found = LeftOut(
            now - self._first, sum(self._kinds.values()), self._kinds, asker, self._left_out[asker]
        )
        self._kinds, self._left_out = {}, {}
        return found
