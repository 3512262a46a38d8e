"""A helper that runs in an attacked network, and the judge: what is open, what it holds, what it says."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nftrtsp.errors import NftrtspError
from nftrtsp.helper import note
from nftrtsp.helper.note import Hello, Line, WayOpen, WayRefused
from nftrtsp.helper.publish import HelperSubscription
from nftrtsp.lab import registry
from nftrtsp.lab.network import IPTV_LINK, LAN_LINK
from tests.attacks.audience import NoFilmError, Seen, Viewer
from tests.attacks.network import MEDIA, ROUTER, Network, load_ruleset
from tests.attacks.opened import Expectations, Opened, Pinholes
from tests.attacks.oracle import OpenWay, Oracle

_LOOK = 0.1  # seconds between looks at what is open
_PROBE = 0.25  # seconds between probes
_NICE = -15  # the helper's, as its unit has it


@dataclass(slots=True)
class Beside:
    """What well-meaning boxes had while an attack went on; seconds and datagrams."""

    #: SETUP to way open, by the helper's own clock, without the time that the helper had no processor: in the
    #: attackers' place would be other machines.
    opening: list[float] = field(default_factory=list)
    films: list[Seen] = field(default_factory=list)
    illegal: set[str] = field(default_factory=set)
    film: Viewer | None = None  # the one that plays all the while

    @property
    def longest(self) -> float:
        """The longest that a SETUP waited for its way."""
        return max(self.opening, default=float("nan"))

    @property
    def lost(self) -> int:
        """Datagrams that did not arrive."""
        return sum(film.lost for film in self.films)

    @property
    def troubles(self) -> list[str]:
        """Films that could not be watched, and why."""
        return [film.trouble for film in self.films if film.trouble]


class Helper:
    """A running ``nftrtsp helper``, and what it tells."""

    def __init__(self, network: Network, log: Path) -> None:
        self.lab = network.lab
        self.log_file = log
        #: When a way opened, by its box and port, and how long the helper had had no processor by then.
        self.opened: dict[tuple[str, int], tuple[float, float]] = {}
        self.counts: dict[str, int] = {}
        self.refused: list[dict[str, Any]] = []
        self.process: subprocess.Popen[Any] | None = None
        self._ended = threading.Event()
        self._greeted = threading.Event()
        self._ear: threading.Thread | None = None

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.log_file.unlink(missing_ok=True)
        with self.log_file.open("ab") as log:
            self.process = self.lab.router.popen_nftrtsp("helper", stderr=log, stdout=log)
        os.setpriority(os.PRIO_PROCESS, self.process.pid, _NICE)
        self._ear = threading.Thread(target=self._hear, daemon=True)
        self._ear.start()
        assert self._greeted.wait(20 * registry.patience()), f"the helper does not serve:\n{self.log()}"

    def end(self) -> None:
        """End it."""
        assert self.process is not None
        self._ended.set()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20 * registry.patience())
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self._ear is not None
        self._ear.join()

    def log(self) -> str:
        """What it logged."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def memory(self, what: str = "VmRSS") -> float:
        """MiB that it holds now, or held at most (``VmHWM``)."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{what}:")[2].split()[0]) / 1024

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        assert self.process is not None
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / 100

    def packets(self) -> int:
        """Packets that have come into the router from either side."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/net/dev").read_text().splitlines()
        words = (line.replace(":", " ").split() for line in lines)
        return sum(int(one[2]) for one in words if one[0] in {LAN_LINK, IPTV_LINK})

    def waited(self) -> float:
        """Seconds that it had work and no processor; 0 where the kernel does not count them."""
        assert self.process is not None
        with contextlib.suppress(OSError):
            return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9
        return 0.0

    def _hear(self) -> None:
        """Listen for ever; a helper drops a listener that is slow, and greets it anew."""
        while not self._ended.is_set():
            with (
                contextlib.suppress(OSError, NftrtspError),
                contextlib.closing(HelperSubscription(self.lab.run_dir / "helper.sock")) as subscription,
            ):
                while not self._ended.is_set():
                    for event in subscription.receive(0.2):
                        self._note(event)
            if not self._ended.is_set():
                time.sleep(0.05)

    def _note(self, line: Line) -> None:
        self.counts[line.event] = self.counts.get(line.event, 0) + 1
        if isinstance(line, Hello):
            for way in line.ways:  # what opened while nobody listened
                if way.stb is not None and way.tuple.dport is not None:
                    self.opened.setdefault((way.stb, way.tuple.dport), (time.time(), self.waited()))
            self._greeted.set()
        elif isinstance(line, WayOpen) and line.stb is not None and line.port is not None:
            self.opened[line.stb, line.port] = line.time or time.time(), self.waited()
        elif isinstance(line, WayRefused) and len(self.refused) < 1000:
            self.refused.append(note.record(line))


class Scene:
    """The network with a ruleset loaded and a helper that runs; ``ways`` reads what is really open."""

    def __init__(self, network: Network, folder: Path, *, helper: str = "pinhole") -> None:
        self.network = network
        self.lab = network.lab
        self.oracle = Oracle()
        self.helper = Helper(network, folder / "helper.log")
        self.ports = iter(range(21000, 65000, 2))
        for intruder in network.intruders:  # each may open ways to itself
            self.oracle.asks_among(intruder.address, range(28000, 65536))
        if helper == "pinhole":
            load_ruleset(self.lab)
            self.helper.start()
            self.opened: Opened = Pinholes(self.lab.router)
        else:  # the ruleset names what this helper registers
            self.helper.start()
            load_ruleset(self.lab)
            self.opened = Expectations(self.lab.router)

    def close(self) -> None:
        """End the helper; what is open closes."""
        self.opened.close()
        self.helper.end()
        self.lab.router.run(["nft", "flush", "map", "inet", "nftrtsp", "pinholes"], check=False)
        self.lab.router.run(["conntrack", "-F"], check=False)

    def ways(self) -> list[OpenWay]:
        """Return what the kernel says is open."""
        return self.opened.ways()

    def illegal(self) -> list[OpenWay]:
        """Return the ways open now that nobody asked for."""
        return self.oracle.illegal(self.ways(), time.monotonic(), substitutes=self.opened.substitutes)

    def arrives(self, port: int, address: str, source: str = MEDIA) -> bool:
        """Whether a datagram from the provider's side to the router's ``port`` reaches a host of the LAN."""
        host = next(one for one in self.lab.stbs if one.address == address)
        text = f"probe {time.monotonic()}".encode()
        with (
            self.network.udp(host, address, port, 0.5) as receiver,
            self.network.udp(self.lab.isp, source, 0) as sender,
        ):
            sender.sendto(text, (ROUTER, port))
            with contextlib.suppress(TimeoutError):
                return receiver.recv(100) == text
        return False

    def cone(self) -> str:
        """Return the elements of the cone, as nft lists them."""
        listed = self.lab.router.run(["nft", "list", "map", "inet", "nftrtsp", "cone"], check=False).stdout
        return str(listed.partition("elements")[2])

    def until(self, condition: Callable[[], Any], wait: float = 3.0) -> bool:
        """Return whether it came true in time."""
        end = time.monotonic() + wait * registry.patience()
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.02)
        return bool(condition())

    @contextlib.contextmanager
    def audience(self, wait: float = 60.0) -> Iterator[Beside]:
        """Play a film at one box, ask for others at another, and look at what is open, all the while."""
        film = Viewer(self.network, self.oracle, self.network.boxes[0], next(self.ports))
        beside = Beside(film=film)
        stop = threading.Event()
        with film:
            film.setup()
            self.opening(film.seen)  # the helper may have to wait for a processor: no film is lost by that
            film.play()
            workers = [
                threading.Thread(target=self._probe, args=(beside, stop), daemon=True),
                threading.Thread(target=self._look, args=(beside, stop), daemon=True),
            ]
            for worker in workers:
                worker.start()
            try:
                yield beside
            finally:
                stop.set()
                for worker in workers:
                    worker.join(wait * registry.patience())
            beside.films.append(film.teardown())

    def _probe(self, beside: Beside, stop: threading.Event) -> None:
        while not stop.is_set():
            beside.films.append(self.probe(beside))
            stop.wait(_PROBE)

    def probe(self, beside: Beside) -> Seen:
        """Have the second box ask for a film and get its beginning; note how long its way took to open."""
        port = next(self.ports)
        seen = Seen(self.network.boxes[1].address, port)
        try:
            with Viewer(self.network, self.oracle, self.network.boxes[1], port) as viewer:
                seen = viewer.seen
                seen.waited = self.helper.waited()
                viewer.setup()
                beside.opening.append(self.opening(seen)[1])
                viewer.play()
                viewer.teardown()
        except NoFilmError as error:
            seen.trouble = str(error)
        return seen

    def opening(self, seen: Seen, wait: float = 30.0) -> tuple[float, float]:
        """Return the seconds from SETUP to its way, as the helper tells it; infinite if none opened.

        And the same without the time that the helper waited for a processor.
        """
        key = (seen.box, seen.port)
        never = float("inf"), 0.0

        def last() -> tuple[float, float]:
            one = self.helper.opened.get(key, never)
            return one if one[0] > seen.asked else never  # else an earlier film's at this port

        self.until(lambda: last() is not never, wait)
        opened, waited = last()
        return opened - seen.asked, max(0.0, opened - seen.asked - max(0.0, waited - seen.waited))

    def _look(self, beside: Beside, stop: threading.Event) -> None:
        while not stop.wait(_LOOK):
            with contextlib.suppress(NftrtspError):
                beside.illegal.update(str(way) for way in self.illegal())
