"""The pinhole helper under load: from SETUP to open way, and a thousand boxes that ask within ten seconds.

All in a lab's namespaces. The boxes share one namespace (a thousand addresses, a route to each), the RTSP
server and the media server are played by this process. The time of a way is from the moment before the box
sends SETUP to the moment the helper tells, after the kernel's word, that it is open.
"""

from __future__ import annotations

import contextlib
import heapq
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from nftrtsp.config import HelperKind, load
from nftrtsp.helper.note import WayOpen
from nftrtsp.helper.publish import HelperSubscription
from nftrtsp.lab.network import Lab
from nftrtsp.ruleset.build import build
from nftrtsp.ruleset.kernel import Nft
from nftrtsp.ruleset.names import PINHOLE_MAP, TABLE_NAME
from nftrtsp.ruleset.render import render
from tests.bench.harness import Row, report

BOXES = 1000
WITHIN = 10.0  # seconds
SETUPS = 1000
RESTARTS = 10
BEGINS = 0.05  # seconds from PLAY's answer to the film: here no network lies between, and no disk
FIRST = IPv4Address("10.77.0.10")
ROUTER = "10.214.0.2"
CONFIG = """profile = "movistar"
[iptv]
interface = "vlan2"
[lan]
interfaces = ["br0"]
networks = ["10.77.0.0/16"]
[rtsp]
helper = "pinhole"
"""


@contextlib.contextmanager
def standing() -> Iterator[tuple[Lab, subprocess.Popen[Any], HelperSubscription]]:
    """A lab with a thousand addresses behind its router, the ruleset loaded, the helper running."""
    with Lab.build(stbs=1, media_servers=1, helper="pinhole") as lab:
        lab.write_config(CONFIG)
        lab.router.run(["ip", "route", "add", "10.77.0.0/16", "via", lab.stbs[0].address])
        addresses = "".join(f"address add {FIRST + number}/32 dev lo\n" for number in range(BOXES))
        lab.stbs[0].run(["ip", "-batch", "-"], input=addresses)
        text = render(build(load(lab.config_path), HelperKind.PINHOLE))

        def load_it() -> None:
            with Nft() as nft:
                nft.load(text)

        lab.router.call(load_it)
        with (lab.folder / "helper.log").open("wb") as log:
            helper = lab.router.popen_nftrtsp("helper", stderr=log)
        subscription = connect(lab)
        yield lab, helper, subscription
        subscription.close()


def connect(lab: Lab, pause: float = 0.05) -> HelperSubscription:
    """Wait for the helper, looking each ``pause`` seconds; it starts slowly where it is emulated."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return HelperSubscription(lab.run_dir / "helper.sock")
        except OSError:
            time.sleep(pause)
    log = lab.folder / "helper.log"
    raise SystemExit("the helper did not start: " + (log.read_text() if log.exists() else "it has no log"))


def lines(*text: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*text, "")).encode()


def setup(cseq: int, port: int) -> bytes:
    return lines(
        "SETUP rtsp://172.26.83.10/film RTSP/1.0",
        f"CSeq: {cseq}",
        f"Transport: MP2T/H2221/UDP;unicast;client_port={port}",
    )


def ways(subscription: HelperSubscription, wait: float) -> dict[int, float]:
    """Return port and time of the ways that were told to be open."""
    return {
        line.port or 0: line.time or 0.0 for line in subscription.receive(wait) if isinstance(line, WayOpen)
    }


def one_by_one(lab: Lab, subscription: HelperSubscription) -> list[float]:
    """Milliseconds from SETUP to open way, of one box that asks again and again."""
    server = lab.isp.call(lambda: socket.create_server((str(lab.rtsp_server), 554)))
    times = []
    client = lab.stbs[0].call(
        lambda: socket.create_connection((str(lab.rtsp_server), 554), source_address=(str(FIRST), 0))
    )
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with server, client, server.accept()[0] as peer:
        for number in range(SETUPS):
            port = 20000 + number % 8
            sent = time.time()
            client.sendall(setup(number, port))
            opened: dict[int, float] = {}
            while port not in opened:
                opened |= ways(subscription, 5)
            times.append((opened[port] - sent) * 1000)
            peer.recv(4096)
            peer.sendall(lines("RTSP/1.0 454 Session Not Found", f"CSeq: {number}"))
            client.recv(4096)
            time.sleep(0.002)
    return times


def with_nft(lab: Lab) -> list[float]:
    """Milliseconds that `nft add element` takes, as a script in the helper's place would call it."""
    times = []
    for port in range(30000, 30050):
        text = f"add element inet {TABLE_NAME} {PINHOLE_MAP} {{ {port} timeout 1h : {FIRST} . {port} }}"
        command = ["nft", text]
        began = time.perf_counter()
        lab.router.run(command)
        times.append((time.perf_counter() - began) * 1000)
    return times


class Crowd:
    """A thousand boxes, one loop: each connects, asks, plays, and waits for one packet of its film."""

    def __init__(self, lab: Lab, subscription: HelperSubscription) -> None:
        self.lab = lab
        self.subscription = subscription
        self.loop = selectors.DefaultSelector()
        self.sent: dict[int, float] = {}
        self.opened: dict[int, float] = {}
        self.arrived: set[int] = set()
        self.films: deque[tuple[float, int]] = deque()  # when which begins
        self.media = lab.isp.call(lambda: udp(str(lab.media_servers[0]), 5000))
        self.listener = lab.isp.call(lambda: socket.create_server((str(lab.rtsp_server), 554), backlog=512))
        self.listener.setblocking(False)
        self.sockets: list[socket.socket] = [self.media, self.listener]

    def watch(self, one: socket.socket, call: Callable[[], None]) -> None:
        self.sockets.append(one)
        self.loop.register(one, selectors.EVENT_READ, call)

    def accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                peer, _ = self.listener.accept()
                self.watch(peer, lambda peer=peer: self.serve(peer))  # type: ignore[misc]

    def serve(self, peer: socket.socket) -> None:
        """Answer SETUP and PLAY; the film begins soon after the answer to PLAY."""
        said = peer.recv(4096).decode()
        if said.startswith("SETUP"):
            port = int(said.partition("client_port=")[2].split("\r\n")[0])
            peer.sendall(lines("RTSP/1.0 200 OK", "CSeq: 1", f"Session: {port}"))
        elif said.startswith("PLAY"):
            port = int(said.partition("Session: ")[2].split("\r\n")[0])
            peer.sendall(lines("RTSP/1.0 200 OK", "CSeq: 2"))
            self.films.append((time.monotonic() + BEGINS, port))

    def box(self, number: int) -> None:
        """Let one more box ask."""
        address, port = str(FIRST + number), 10000 + 2 * number
        film, call = self.lab.stbs[0].call(lambda: (udp(address, port), socket.socket()))
        call.bind((address, 0))
        call.connect((str(self.lab.rtsp_server), 554))
        self.watch(film, lambda: self.film(film, port))
        self.watch(call, lambda: self.answered(call, port))
        self.sent[port] = time.time()
        call.sendall(setup(1, port))

    def answered(self, call: socket.socket, port: int) -> None:
        if b"CSeq: 1\r\n" in call.recv(4096):
            call.sendall(lines("PLAY rtsp://s/f RTSP/1.0", "CSeq: 2", f"Session: {port}"))

    def film(self, film: socket.socket, port: int) -> None:
        if film.recv(100) == b"film":
            self.arrived.add(port)

    def run(self) -> None:
        """Let all ask, evenly spread over the time, and wait for what is under way."""
        self.loop.register(self.listener, selectors.EVENT_READ, self.accept)
        self.loop.register(
            self.subscription, selectors.EVENT_READ, lambda: self.opened.update(ways(self.subscription, 0))
        )
        began = time.monotonic()
        due = [(began + number * WITHIN / BOXES, number) for number in range(BOXES)]
        heapq.heapify(due)
        end = began + WITHIN + 3
        while (now := time.monotonic()) < end and (due or len(self.arrived) < BOXES):
            while due and due[0][0] <= now:
                self.box(heapq.heappop(due)[1])
            while self.films and self.films[0][0] <= now:
                self.media.sendto(b"film", (ROUTER, self.films.popleft()[1]))
            next_film = self.films[0][0] if self.films else end
            wait = min(due[0][0] if due else end, next_film, end) - time.monotonic()
            for key, _ in self.loop.select(max(0, wait)):
                key.data()

    def close(self) -> None:
        self.loop.close()
        for one in self.sockets:
            one.close()


def udp(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, port))
    return made


def restarts(lab: Lab, helper: subprocess.Popen[Any]) -> list[float]:
    """Milliseconds until a killed helper that is started anew answers, several times; ends the last one."""
    times = []
    for _ in range(RESTARTS):
        helper.kill()
        helper.wait()
        time.sleep(0.2)
        began = time.perf_counter()
        helper = lab.router.popen_nftrtsp("helper", stderr=subprocess.DEVNULL)
        with contextlib.closing(connect(lab, 0.02)) as subscription:
            while not subscription.receive(1):
                pass
        times.append((time.perf_counter() - began) * 1000)
        time.sleep(0.5)
    helper.terminate()
    helper.wait()
    return times


def peak_memory(pid: int) -> float:
    """MiB that a process held at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def main() -> int:
    """Measure and report; 1 if a bar was not met."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
    with standing() as (lab, helper, subscription):
        alone = one_by_one(lab, subscription)
        script = with_nft(lab)
        crowd = Crowd(lab, subscription)
        crowd.run()
        crowd.close()
        delays = [
            (crowd.opened[port] - sent) * 1000 for port, sent in crowd.sent.items() if port in crowd.opened
        ]
        memory = peak_memory(helper.pid)
        again = restarts(lab, helper)
    p99, crowd_p99 = quantile(alone, 0.99), quantile(delays, 0.99)
    rows = [
        Row(
            f"SETUP sent to way open, {SETUPS} times, p99",
            f"{p99:.2f} ms (median {statistics.median(alone):.2f})",
            f"{quantile(script, 0.99):.1f} ms (`nft add element` alone)",
            f"{quantile(script, 0.99) / p99:.1f}",
            "< 3 ms",
            p99 < 3,
        ),
        Row(
            f"{BOXES} boxes ask within {WITHIN:.0f} s: ways open",
            f"{len(delays)} (p99 {crowd_p99:.2f} ms, longest {max(delays):.2f})",
            "",
            "",
            f"{BOXES}",
            len(delays) == BOXES,
        ),
        Row(
            f"… whose film's very first packet arrived, {BEGINS * 1000:.0f} ms after PLAY",
            f"{len(crowd.arrived)}",
            "",
            "",
            f"{BOXES}",
            len(crowd.arrived) == BOXES,
        ),
        Row(
            f"killed and started anew, {RESTARTS} times: until it serves",
            f"{statistics.median(again):.0f} ms (longest {max(again):.0f})",
            "",
            "",
            "< 1 s",
            max(again) < 1000,
        ),
        Row("the helper's memory at most", f"{memory:.0f} MiB", "", "", "< 100 MB", memory * 1.048576 < 100),
    ]
    return 0 if report("pinhole helper", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
