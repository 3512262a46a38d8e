"""The media servers: they send films at their pace, over UDP or inside the control connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nftrtsp.lab import transport_stream as ts
from nftrtsp.lab.behaviour import Behaviour
from nftrtsp.lab.transport_stream import Writer

_TICK = 0.004  # seconds
_BURST = 64  # datagrams one film may send in one tick; what is later than that is sent later, not at once
_SEND_BUFFER = 4 << 20


@dataclass(slots=True)
class Sending:
    """One session's film on its way to ``peer``, from ``servers`` in turn.

    ``interleave`` sends inside TCP where it is set; else datagrams go to ``peer``, with RTP headers and RTCP
    reports to the port above where ``rtp``.
    """

    session: str
    peer: tuple[str, int]
    servers: list[str]
    behaviour: Behaviour
    writer: Writer
    rtp: bool = False
    rtcp_port: int | None = None
    interleave: Callable[[bytes | bytearray], bool] | None = None
    playing: bool = False
    closed: bool = False
    datagrams: int = 0
    sent_for: float = 0.0  # seconds of film sent in earlier stretches, between pauses
    sources: list[str] = field(default_factory=list)
    _beginning: asyncio.TimerHandle | None = None
    _sockets: dict[str, socket.socket] = field(default_factory=dict)
    _started: float = 0.0
    _base: int = 0
    _next_report: float = 0.0

    def play(self) -> None:
        """Begin, or go on after a pause."""
        if not self.playing and not self.closed:
            self.playing = True
            self._begin()

    def play_later(self, seconds: float) -> None:
        """Begin so many seconds from now, unless it is paused or closed before."""
        self._stop_beginning()
        self._beginning = asyncio.get_running_loop().call_later(seconds, self.play)

    def pause(self) -> None:
        """Stop sending, until :meth:`play`."""
        self._stop_beginning()
        if self.playing:
            self.sent_for += time.monotonic() - self._started
        self.playing = False

    def close(self) -> None:
        """Stop for good."""
        self.pause()
        self.closed = True
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def bind(self) -> tuple[str, int]:
        """Return the address and port that the film comes from now."""
        index = int(self.seconds() / self.behaviour.switch) if self.behaviour.switch else 0
        server = self.servers[index % len(self.servers)]
        name: tuple[str, int] = self._socket(server).getsockname()
        return name

    def seconds(self) -> float:
        """Return how long the film has played, pauses not counted."""
        return self.sent_for + (time.monotonic() - self._started if self.playing else 0.0)

    def tick(self) -> None:
        """Send what is due."""
        behaviour = self.behaviour
        if not self.playing or (behaviour.stop and self.seconds() > behaviour.stop):
            return
        due = int((time.monotonic() - self._started) * self.writer.datagrams_a_second)
        due -= self.datagrams - self._base
        if due > _BURST:
            self._begin_late(due - _BURST)
            due = _BURST
        sock = None if self.interleave else self._current()
        for _ in range(due):
            if not self._send(sock):
                return
        if self.rtcp_port is not None and sock is not None and time.monotonic() >= self._next_report:
            self._next_report = time.monotonic() + 1.0
            report = ts.rtcp_sender_report(self.writer.film, time.time(), self.datagrams)
            with contextlib.suppress(OSError):
                sock.sendto(report, (self.peer[0], self.rtcp_port))

    def record(self) -> dict[str, object]:
        """Return what was sent, as JSON has it."""
        return {
            "session": self.session,
            "film": self.writer.film,
            "peer": f"{self.peer[0]}:{self.peer[1]}",
            "playing": self.playing,
            "closed": self.closed,
            "datagrams": self.datagrams,
            "packets": self.datagrams * ts.PER_DATAGRAM,
            "bytes": self.datagrams * ts.DATAGRAM,
            "seconds": round(self.seconds(), 3),
            "sources": self.sources,
        }

    def _stop_beginning(self) -> None:
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning = None

    def _begin(self) -> None:
        self._started = time.monotonic()
        self._base = self.datagrams

    def _begin_late(self, datagrams: int) -> None:
        """Shift the schedule: a machine that stood still must not make up for it in one burst."""
        self._base -= datagrams

    def _current(self) -> socket.socket:
        return self._socket(self.bind()[0])

    def _socket(self, server: str) -> socket.socket:
        if server not in self._sockets:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            sock.bind((server, 0))
            self._sockets[server] = sock
            self.sources.append(f"{server}:{sock.getsockname()[1]}")
        return self._sockets[server]

    def _send(self, sock: socket.socket | None) -> bool:
        """Send one datagram; False if it must wait for the next tick."""
        lose = self.behaviour.lose
        number = self.writer.number
        data: bytes | bytearray = self.writer.datagram()
        if self.rtp:
            data = ts.rtp_header(number, self.writer.film, time.monotonic()) + data
        sent = True
        if lose and number % lose == lose - 1:
            pass  # counted, and lost
        elif sock is None:
            sent = self.interleave is not None and self.interleave(data)
        else:
            try:
                sock.sendto(data, self.peer)
            except (BlockingIOError, PermissionError, OSError):
                sent = False
        if not sent:
            self.writer.rewind()
            return False
        self.datagrams += 1
        return True


async def send(films: Callable[[], list[Sending]]) -> None:
    """Give each film its tick, for ever."""
    while True:
        for film in films():
            film.tick()
        await asyncio.sleep(_TICK)
