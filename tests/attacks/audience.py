"""Boxes that mean well: each watches films over the lab's provider and knows when what came.

First datagrams are timed by the kernel as they arrive (SO_TIMESTAMPNS): a viewer that is late in reading them
does not make a film late.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nftrtsp.errors import LabError
from nftrtsp.lab import registry
from nftrtsp.lab.network import LabStb
from nftrtsp.lab.transport_stream import Tally
from nftrtsp.netlink.socket import widen
from tests.attacks.network import SERVER, Network
from tests.attacks.oracle import Oracle
from tests.attacks.packet import lines

_SO_TIMESTAMPNS = 35
_BUFFER = 16 << 20
_TIME = struct.Struct("qq")
_DRAIN = 0.25


class NoFilmError(Exception):
    """The film cannot be watched: refused, hung up, or nothing came."""


@dataclass(slots=True)
class Seen:
    """What a viewer saw of one film; times in seconds, ``asked`` by the wall clock."""

    box: str
    port: int
    asked: float = 0.0
    answered: float = 0.0
    waited: float = 0.0  # how long the helper had had no processor by then, since it started
    #: From SETUP to its way, and the same while the helper had a processor.
    opening: tuple[float, float] = (float("inf"), float("inf"))
    first: list[float] = field(default_factory=list)  # from each PLAY to the first datagram after it
    sent: int = 0
    arrived: int = 0
    trouble: str = ""

    @property
    def lost(self) -> int:
        """Datagrams that were sent and did not arrive."""
        return self.sent - self.arrived


class Viewer:
    """One film at one box."""

    def __init__(
        self,
        network: Network,
        oracle: Oracle,
        box: LabStb,
        port: int,
        *,
        mbps: float = 0.3,
        server: str = SERVER,
    ) -> None:
        self.network, self.oracle, self.box = network, oracle, box
        self.seen = Seen(box.address, port)
        self.number = secrets.randbits(31)
        self.tally = Tally(self.number)
        self.session = ""
        self.uri = f"rtsp://{server}:554/film/{self.number}?mbps={mbps}"
        self._wait = 20 * registry.patience()
        self._cseq = 0
        self._buffer = b""
        self.film = network.udp(box, box.address, port)
        widen(self.film, _BUFFER)
        self.film.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.film.setblocking(False)
        try:
            self.control = box.call(lambda: socket.create_connection((server, 554), self._wait))
        except OSError as error:
            self.film.close()
            raise NoFilmError(f"no connection: {error}") from None
        self.control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def local_port(self) -> int:
        """The control connection's port here; the router keeps it where it can."""
        return int(self.control.getsockname()[1])

    def close(self) -> None:
        """Hang up."""
        self.oracle.gives_back(time.monotonic(), self.box.address, self.seen.port)
        self.control.close()
        self.film.close()

    def ask(self, method: str, *more: str) -> dict[str, str]:
        """Send a request, return the fields of its answer; its status must be 200."""
        self._cseq += 1
        session = [f"Session: {self.session}"] if self.session else []
        said = lines(f"{method} {self.uri} RTSP/1.0", f"CSeq: {self._cseq}", *session, *more)
        try:
            self.control.sendall(said)
            while b"\r\n\r\n" not in self._buffer:
                data = self.control.recv(1 << 16)
                if not data:
                    raise NoFilmError(f"hung up at {method}")
                self._buffer += data
        except OSError as error:
            raise NoFilmError(f"no answer to {method}: {error}") from None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        if " 200 " not in first:
            raise NoFilmError(f"{method} was answered {first!r}")
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}

    def setup(self) -> None:
        """Ask for the film."""
        self.oracle.asks(self.box.address, self.seen.port)
        self.seen.asked = time.time()
        transport = f"Transport: MP2T/H2221/UDP;unicast;client_port={self.seen.port}"
        self.session = self.ask("SETUP", transport)["session"].partition(";")[0]
        self.seen.answered = time.time()

    def play(self, npt: float | None = None) -> float:
        """Begin, go on or seek; return the seconds until the first datagram."""
        self.drain()
        begun = time.time()
        self.ask("PLAY", *([f"Range: npt={npt:.3f}-"] if npt is not None else []))
        end = time.monotonic() + self._wait
        while (came := self.drain()) is None:
            if time.monotonic() > end:
                raise NoFilmError("nothing came after PLAY")
            time.sleep(0.01)
        self.seen.first.append(came - begun)
        return came - begun

    def pause(self) -> None:
        """Stop for a while."""
        self.ask("PAUSE")

    def teardown(self) -> Seen:
        """End the film; return what was seen of it."""
        self.ask("TEARDOWN")
        self.oracle.gives_back(time.monotonic(), self.box.address, self.seen.port)
        time.sleep(_DRAIN * registry.patience())
        self.drain()
        try:
            sessions = self.network.provider.sessions()
        except LabError as error:
            raise NoFilmError(str(error)) from None
        for sent in sessions:
            if sent.session == self.session:
                self.seen.sent = sent.datagrams
        self.seen.arrived = self.tally.datagrams
        return self.seen

    def drain(self) -> float | None:
        """Count what has come; return when the first of it came, by the wall clock."""
        first: float | None = None
        with contextlib.suppress(BlockingIOError):
            while True:
                data, control, _, _ = self.film.recvmsg(2048, 64)
                if self.tally.count(data) and first is None:
                    seconds, nanoseconds = _TIME.unpack_from(control[0][2])
                    first = seconds + nanoseconds / 1e9
        return first


class Audience:
    """Boxes that watch one film after the other, with pauses and seeks, until they are told to stop.

    ``waited`` tells how long the helper has had work and no processor, in seconds, ``opening`` how long a
    film's way took to open.
    """

    def __init__(
        self,
        network: Network,
        oracle: Oracle,
        waited: Callable[[], float],
        opening: Callable[[Seen], tuple[float, float]],
        *,
        first_port: int = 20000,
        mbps: float = 0.3,
    ) -> None:
        self.network, self.oracle, self.waited, self.opening = network, oracle, waited, opening
        self.first_port, self.mbps = first_port, mbps
        self.films: list[Seen] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, stretch: float = 3.0, pause: float = 1.0) -> None:
        """Let every box begin, one after the other; times in seconds."""
        for number, box in enumerate(self.network.boxes):
            work = threading.Thread(target=self._watch, args=(box, number, stretch, pause), daemon=True)
            self._threads.append(work)
            work.start()
            time.sleep(stretch / len(self.network.boxes))

    def stop(self) -> list[Seen]:
        """Let all films end; return them."""
        self._stop.set()
        for one in self._threads:
            one.join(60 * registry.patience())
        return self.films

    def _watch(self, box: LabStb, number: int, stretch: float, pause: float) -> None:
        for turn in itertools.count():
            if self._stop.is_set():
                return
            # A port is not asked for again so soon that an old way could be taken for the new one.
            port = self.first_port + number * 64 + 2 * (turn % 32)
            self.films.append(self._one(box, port, stretch, pause))

    def _one(self, box: LabStb, port: int, stretch: float, pause: float) -> Seen:
        seen = Seen(box.address, port)
        try:
            with Viewer(self.network, self.oracle, box, port, mbps=self.mbps) as viewer:
                seen = viewer.seen
                seen.waited = self.waited()
                viewer.setup()
                viewer.play()
                seen.opening = self.opening(seen)
                self._stop.wait(stretch)
                viewer.pause()
                self._stop.wait(pause)
                viewer.play()
                self._stop.wait(stretch)
                viewer.pause()
                viewer.play(npt=60.0)
                self._stop.wait(stretch)
                viewer.teardown()
        except NoFilmError as error:
            seen.trouble = str(error)
            self._stop.wait(1.0)
        return seen
