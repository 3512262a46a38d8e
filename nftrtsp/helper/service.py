"""A helper as a service: the only one of its router, its loop, its log, its readers, its signals.

Both helpers of ours run in one: it holds the lock and the pid file, publishes, tells systemd, and calls back
when a descriptor is readable or a time has come. One thread; SIGTERM, SIGINT and SIGHUP end the loop.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from types import FrameType
from typing import Any, Protocol, Self

import msgspec

from nftrtsp import __version__, journal, paths
from nftrtsp.config import Config
from nftrtsp.conntrack.record import OpenPortRecord
from nftrtsp.helper.lock import Lock
from nftrtsp.helper.log_limit import LeftOut, LogLimit
from nftrtsp.helper.note import (
    PROTOCOL,
    Answered,
    ConnectionOpen,
    Garbage,
    Hello,
    HelperCounters,
    LastRefusal,
    Note,
    Overrun,
    Rewritten,
    Setup,
    WayClosed,
    WayOpen,
    WayRefused,
)
from nftrtsp.helper.notify import asked, notify, watchdog_interval
from nftrtsp.helper.publish import Publisher

NAME = "nftrtsp helper"
_NICENESS = -15
_COLLECTION = 60.0  # seconds between collections of cyclic garbage
_LOOK = 5.0  # seconds between looks at what the log was spared
_TELL = 1.0  # seconds between looks at what readers were not told
_REFUSED_KEPT = 64  # boxes whose last refusal is kept
_PATIENCE = 5.0  # seconds for a forerunner to go, before systemd is told that it did not


class Readable(Protocol):
    """What has a descriptor to wait for."""

    def fileno(self) -> int:
        """Return the descriptor."""


class _Timer(msgspec.Struct):
    every: float | None  # None: once
    due: float
    call: Callable[[], None]


def hurry() -> int:
    """Have the scheduler prefer this process, where it may; return the niceness before.

    The film races the helper: with load 7 on 2 CPUs, 20 films at once, ways opened up to 500 ms late without
    this and 45 ms with it. A helper sleeps but for RTSP's few packets, so nobody else waits for it.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, min(before, _NICENESS))
    return before


class Service:
    """One running helper of ``kind``; ``why`` it was chosen is published. ``ways`` returns the ways open now.

    Use it as a context manager; then :meth:`watch` and :meth:`every`, :meth:`ready`, :meth:`run`.
    Entering raises :class:`BusyError` when another helper of this router runs.
    """

    def __init__(self, config: Config, kind: str, why: str, ways: Callable[[], list[OpenPortRecord]]) -> None:
        self.config = config
        self.kind = kind
        self.why = why
        self.counters = HelperCounters()
        self._ways = ways
        self._since = time.time()
        self._limit = LogLimit()
        self._refused: dict[str, LastRefusal] = {}  # by box, the oldest first
        self._stopped = False
        self._busy = self._collected = time.monotonic()
        self._calls: dict[int, Callable[[], None]] = {}
        self._timers: list[_Timer] = []
        self._poll = select.epoll()
        self._old_handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._lock = Lock(paths.run_dir(), patience=_PATIENCE if asked() else 0.0)
        self._old_niceness = hurry()
        try:
            self._publisher = Publisher(self._greeting)
        except BaseException:
            self._lock.release()
            raise
        self._wake, self._wakened = socket.socketpair()
        for end in (self._wake, self._wakened):
            end.setblocking(False)
        self._old_wakeup = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._old_handlers[number] = signal.signal(number, self._stop)
        self.watch(self._wakened, self._drain)
        self.watch(self._publisher, self._publisher.accept)
        self.every(_LOOK, self._say_left_out)
        self.every(_TELL, self._publisher.tell_untold)
        if interval := watchdog_interval():
            self.every(interval, _alive)
        return self

    def __exit__(self, *_: object) -> None:
        notify("STOPPING=1")
        self._say_left_out(end=True)
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, self._old_niceness)
        signal.set_wakeup_fd(self._old_wakeup)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        self._publisher.close()
        self._poll.close()
        self._wake.close()
        self._wakened.close()
        self._lock.release()

    def watch(self, source: Readable, call: Callable[[], None]) -> None:
        """Call ``call`` whenever ``source`` is readable."""
        self._calls[source.fileno()] = call
        self._poll.register(source.fileno(), select.EPOLLIN)

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` every so many seconds, first after that time."""
        self._timers.append(_Timer(seconds, time.monotonic() + seconds, call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` once, after that time."""
        self._timers.append(_Timer(None, time.monotonic() + seconds, call))

    def ready(self, status: str) -> None:
        """Say that the helper serves: to systemd and in the log."""
        notify("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")
        self.say(status)
        name = self.config.iptv.interface
        if name not in (there for _, there in socket.if_nameindex()):
            self.warn(f"there is no interface {name} (iptv.interface): no film comes until there is")

    def status(self, text: str) -> None:
        """Say in one line what the helper does now, where systemd shows it."""
        notify(f"STATUS={text}")

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or SIGHUP.

        What connections leave behind has no cycles: counting references frees it (measured under attack:
        nothing was left for a collection). Each collection would walk through all that thousands of
        connections keep, some 20 ms in which a SETUP waits; so there is one a minute at most, to be safe, and
        only when nothing has come for a second.
        """
        gc.freeze()
        gc.disable()
        self.every(1.0, self._collect_when_quiet)
        try:
            self._serve()
        finally:
            gc.enable()

    def _serve(self) -> None:
        while not self._stopped:
            now = time.monotonic()
            wait = max(0.0, min((timer.due for timer in self._timers), default=now + 3600) - now)
            for fd, _event in self._poll.poll(wait):
                self._busy = now
                call = self._calls.get(fd)
                if call is not None:
                    call()
            self._call_due(time.monotonic())

    def _collect_when_quiet(self) -> None:
        now = time.monotonic()
        if now - self._collected >= _COLLECTION and now - self._busy >= 1.0:
            self._collected = now
            gc.collect()

    def _call_due(self, now: float) -> None:
        for timer in [timer for timer in self._timers if timer.due <= now]:
            if timer.every is None:
                self._timers.remove(timer)
            else:
                timer.due = now + timer.every
            timer.call()

    def say(self, text: str, priority: int = journal.INFO) -> None:
        """Write one line to the log (standard error, which systemd puts into the journal)."""
        journal.say(NAME, text, priority)

    def warn(self, text: str) -> None:
        """Write one line of what should not be to the log."""
        self.say(text, journal.WARNING)

    def tell(self, note: Note) -> None:
        """Count, log and publish what the helper saw or did."""
        self._count(note)
        if isinstance(note, WayRefused) and note.stb:
            self._remember_refusal(note, note.stb)
        text = sentence(note)
        if text is not None:
            self._say_unless_flooded(note, f"{self._name(note.stb)}: {text}" if note.stb else text)
        self._publisher.publish(note)

    def _remember_refusal(self, note: WayRefused, stb: str) -> None:
        """Keep what was refused to each box last, for who asks later why its film did not come."""
        self._refused.pop(stb, None)
        if len(self._refused) >= _REFUSED_KEPT:
            del self._refused[next(iter(self._refused))]
        self._refused[stb] = LastRefusal(time.time(), stb, note.port, note.reason, note.holder)

    def _say_unless_flooded(self, note: Note, text: str) -> None:
        if self._limit.admit(note.stb or "", note.event, time.monotonic()):
            self.say(text, _PRIORITIES.get(type(note), journal.INFO))

    def _say_left_out(self, *, end: bool = False) -> None:
        left_out = self._limit.left_out(time.monotonic(), end=end)
        if left_out is not None:
            self.warn(told(left_out, self._name(left_out.asker) if left_out.asker else ""))

    def _name(self, stb: str) -> str:
        name = self.config.stb_name(IPv4Address(stb))
        return stb if name == stb else f"{name} ({stb})"

    def _count(self, note: Note) -> None:
        counter = _COUNTED.get(type(note))
        if counter:
            setattr(self.counters, counter, getattr(self.counters, counter) + 1)

    def _greeting(self) -> Hello:
        return Hello(
            time=time.time(),
            kind=self.kind,
            why=self.why,
            pid=os.getpid(),
            since=self._since,
            version=__version__,
            protocol=PROTOCOL,
            ways=tuple(self._ways()),
            refused=tuple(self._refused.values()),
            counters=msgspec.structs.replace(
                self.counters,
                readers=self._publisher.readers,
                readers_dropped=self._publisher.dropped,
                untold=self._publisher.untold,
            ),
        )

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopped = True

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            self._wakened.recv(64)


_COUNTED: dict[type[Note], str] = {
    ConnectionOpen: "connections",
    Setup: "setups",
    WayOpen: "opened",
    WayRefused: "refused",
    WayClosed: "closed",
    Garbage: "garbage",
    Rewritten: "rewritten",
    Overrun: "overruns",
}


_PRIORITIES: dict[type[Note], int] = {
    WayRefused: journal.WARNING,
    Garbage: journal.WARNING,
    Overrun: journal.WARNING,
    Answered: journal.NOTICE,
}

_LINES = {
    "way-open": "of ports opened",
    "way-closed": "of ports closed",
    "way-refused": "of refusals",
    "garbage": "of what is not RTSP",
    "rewrite": "of requests rewritten",
    "overrun": "of packets not seen",
    "response": "of servers that refuse",
}


def told(left_out: LeftOut, asker: str) -> str:
    """Return what the log says of the lines that it was spared; ``asker`` caused most of them."""
    kinds = ", ".join(f"{count:,} {_LINES.get(kind, kind)}" for kind, count in sorted(left_out.kinds.items()))
    text = f"{left_out.lines:,} lines of the last {left_out.seconds:.0f} s were left out of the log: {kinds}"
    return f"{text}; {left_out.of_asker:,} of them by {asker}" if asker else text


def _alive() -> None:
    notify("WATCHDOG=1")


def sentence(note: Note) -> str | None:
    """Return what a log says of ``note``, after whose it is, or None for what it need not hold."""
    match note:
        case WayOpen():
            return f"UDP port {note.port} is open"
        case WayClosed():
            return f"UDP port {note.port} is closed: {note.reason}"
        case WayRefused():
            return f"refused: {note.reason}"
        case Garbage():
            return f"what is said to {note.server} is not RTSP, no longer read: {note.reason}"
        case Rewritten():
            return f"rewritten: {note.reason}"
        case Overrun():
            return f"packets came faster than they were read, some were not seen: {note.reason}"
        case Answered(status=int(status)) if status >= 300:
            return f"{note.server} answered {status} {note.reason}"
    return None
