"""Plays a recording: news at their own pace or faster, with seek. Needs no root and no kernel."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from nftrtsp.errors import NftrtspError
from nftrtsp.events.news import News
from nftrtsp.events.recording import Recording
from nftrtsp.monitor.feed import Position
from nftrtsp.monitor.observer import Observer
from nftrtsp.monitor.snapshot import EMPTY, Snapshot

_PAUSE = 1 / 16  # seconds between two looks at the clock
_BEFORE = 1800.0  # seconds: what is played unseen before the place that was sought
_SLOWEST, _FASTEST = 1 / 8, 4096.0


class Replay:
    """A feed that plays the recording at ``path``, ``speed`` times as fast as it happened.

    It reads as it plays: a day's recording takes no more memory than a minute's.
    """

    _time = 0.0
    failure: BaseException | None = None

    def __init__(self, path: Path, *, speed: float = 1.0) -> None:
        self._recording = Recording(path)
        self._news = self._recording.read()
        self._next: tuple[float, News] | None = next(self._news)
        self._speed = speed
        self._standing = False
        self._clock = 0.0
        self._observer = Observer()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.latest: Snapshot = EMPTY

    def start(self) -> None:
        """Begin to play."""
        self._advance(0.0)
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        before = time.monotonic()
        while not self._stop.wait(_PAUSE):
            now = time.monotonic()
            with self._lock:
                if not self._standing and self._next is not None:
                    try:
                        self._advance(self._clock + (now - before) * self._speed)
                    except NftrtspError as error:  # damage further on in the file
                        self.failure = error
                        return
            before = now

    def _advance(self, clock: float) -> None:
        """Take all news up to ``clock``, seconds since the beginning; make a snapshot if there was any."""
        taken = False
        while self._next is not None and self._next[0] <= clock + 1e-6:
            news = self._next[1]
            self._observer.take(news)
            self._time, taken = news.time, True
            self._next = next(self._news, None)
        self._clock = min(clock, self._recording.length)
        if taken:
            self.latest = self._observer.snapshot(self._time)

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(self._clock, 0.0, self._recording.length, self._speed, self._standing)

    def seek(self, seconds: float) -> None:
        """Go on or back; going back plays up to there anew, unseen."""
        with self._lock:
            self._go(self._clock + seconds)

    def go(self, share: float) -> None:
        """Go to a share of the whole."""
        with self._lock:
            self._go(self._recording.length * share)

    def _go(self, clock: float) -> None:
        clock = max(0.0, min(clock, self._recording.length))
        streams = self._recording.streams
        # Begin early enough for films that began before.
        start = max((i for i, each in enumerate(streams) if each.at <= clock - _BEFORE), default=0)
        if clock < self._clock or streams[start].at > self._clock:
            self._observer = Observer(serial=self.latest.serial)
            self._news = self._recording.read(start)
            self._next = next(self._news, None)
        self._advance(clock)

    def hold(self, standing: bool) -> None:
        """Stand still or go on; at the end, begin again."""
        with self._lock:
            if self._next is None:
                self._go(0.0)
                standing = False
            self._standing = standing

    def faster(self, steps: int) -> None:
        """Double or halve the speed."""
        self._speed = max(_SLOWEST, min(_FASTEST, self._speed * 2.0**steps))
