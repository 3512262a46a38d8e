"""The part of bench_userspace.py that runs in a guest; prints its figures as one line of JSON.

On purpose one process plays the set-top box and the provider: what it spends is the same with every helper,
and what differs between them is the router.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nftrtsp.helper.publish import HelperSubscription
from nftrtsp.helper.userspace import cthelper
from nftrtsp.lab.network import Lab
from tests.bench.bench_pinhole import (
    BOXES,
    FIRST,
    ROUTER,
    WITHIN,
    connect,
    lines,
    peak_memory,
    restarts,
    setup,
    udp,
    ways,
)

MODULE = Path("/opt/nftrtsp/module/any-source")
SETUPS = 200
RATE = 100e6  # bit/s of interleaved media
SECONDS = 5.0
ASKING = 0.95 * WITHIN  # seconds over which the boxes ask: the last ones may be late
LONGEST = 120.0  # seconds that the thousand boxes may take in all
FRAME = 1328  # seven TS packets and an RTP header
EXPECT_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_expect_max")
CONFIG = """profile = "movistar"
[iptv]
interface = "vlan2"
[lan]
interfaces = ["br0"]
networks = ["10.77.0.0/16", "192.168.1.0/24"]
[rtsp]
helper = "{kind}"
"""


@contextlib.contextmanager
def router(kind: str) -> Iterator[tuple[Lab, subprocess.Popen[Any] | None, HelperSubscription | None]]:
    """A lab whose router has that helper and its ruleset."""
    with Lab.build(stbs=1, media_servers=1, helper=kind) as lab:
        lab.write_config(CONFIG.format(kind=kind))
        lab.router.run(["ip", "route", "add", "10.77.0.0/16", "via", lab.stbs[0].address])
        # The kernel module reads linear packets only; the same for both.
        lab.stbs[0].run(["ethtool", "-K", "eth0", "sg", "off", "tso", "off", "gso", "off"])
        helper, subscription = None, None
        if kind == "userspace":
            helper = lab.router.popen_nftrtsp("helper", stderr=subprocess.DEVNULL)
            subscription = connect(lab)
            while not (lab.run_dir / "userspace-ways.json").exists():
                time.sleep(0.1)
        lab.router.run(["nft", "-f", "-"], input=lab.router.nftrtsp("generate").stdout)
        yield lab, helper, subscription
        if subscription is not None:
            subscription.close()


class Crowd:
    """A thousand boxes, one loop: each connects, asks, plays, and waits for its film.

    They have all the time they need: an emulated machine cannot ask as fast as they should.
    """

    def __init__(self, lab: Lab, subscription: HelperSubscription) -> None:
        self.lab, self.subscription = lab, subscription
        self.loop = selectors.DefaultSelector()
        self.sent: dict[int, float] = {}
        self.opened: dict[int, float] = {}
        self.arrived: set[int] = set()
        self.films: list[tuple[float, int]] = []  # when they begin, where they go
        self.media = lab.isp.call(lambda: udp(str(lab.media_servers[0]), 5000))
        self.listener = lab.isp.call(lambda: socket.create_server((str(lab.rtsp_server), 554), backlog=BOXES))
        self.listener.setblocking(False)
        # All sockets in one go: entering a namespace takes long here.
        self.ready = iter(lab.stbs[0].call(self.make))
        self.sockets: list[socket.socket] = [self.media, self.listener]

    def make(self) -> list[tuple[socket.socket, socket.socket]]:
        return [(udp(str(FIRST + number), 10000 + 2 * number), socket.socket()) for number in range(BOXES)]

    def watch(self, one: socket.socket, ready: Callable[[], None]) -> None:
        self.sockets.append(one)
        self.loop.register(one, selectors.EVENT_READ, ready)

    def accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                peer, _ = self.listener.accept()
                self.watch(peer, lambda peer=peer: self.serve(peer))  # type: ignore[misc]

    def serve(self, peer: socket.socket) -> None:
        """Answer SETUP and PLAY; the film begins a little after the answer."""
        said = peer.recv(4096).decode()
        if said.startswith("SETUP"):
            peer.sendall(
                lines("RTSP/1.0 200 OK", "CSeq: 1", "Session: s" + said.partition("client_port=")[2])
            )
        elif said.startswith("PLAY"):
            port = int(said.partition("Session: s")[2].split("\r\n")[0])
            peer.sendall(lines("RTSP/1.0 200 OK", "CSeq: 2"))
            self.films.append((time.monotonic() + 0.02, port))

    def box(self, number: int) -> None:
        """Let one more box ask."""
        film, line = next(self.ready)
        port = 10000 + 2 * number
        line.bind((str(FIRST + number), 0))
        line.connect((str(self.lab.rtsp_server), 554))
        self.watch(film, lambda: self.arrived.add(port) if film.recv(100) else None)
        self.watch(line, lambda: self.answered(line, port))
        self.sent[port] = time.time()
        line.sendall(setup(1, port))

    def answered(self, line: socket.socket, port: int) -> None:
        if b"CSeq: 1\r\n" in line.recv(4096):
            line.sendall(lines("PLAY rtsp://s/f RTSP/1.0", "CSeq: 2", f"Session: s{port}"))

    def run(self) -> None:
        """Let all ask, evenly spread over the time as far as this machine can, and wait for all films."""
        self.loop.register(self.listener, selectors.EVENT_READ, self.accept)
        self.loop.register(
            self.subscription, selectors.EVENT_READ, lambda: self.opened.update(ways(self.subscription, 0))
        )
        began = time.monotonic()
        asked = 0
        while (now := time.monotonic()) - began < LONGEST and len(self.arrived) < BOXES:
            if asked < BOXES and now - began >= asked * ASKING / BOXES:
                self.box(asked)
                asked += 1
            while self.films and self.films[0][0] <= now:
                self.media.sendto(b"film", (ROUTER, self.films.pop(0)[1]))
            for key, _ in self.loop.select(0.002):
                key.data()
        self.took = max(self.sent.values()) - min(self.sent.values())

    def close(self) -> None:
        self.loop.close()
        for one in self.sockets:
            one.close()


def call(lab: Lab) -> tuple[socket.socket, socket.socket]:
    """Open a control connection; return both of its ends."""
    with lab.isp.call(lambda: socket.create_server((str(lab.rtsp_server), 554))) as server:
        box = lab.stbs[0].call(lambda: socket.create_connection((str(lab.rtsp_server), 554), 60))
        provider, _ = server.accept()
    for end in (box, provider):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end.settimeout(60)
    return box, provider


def setup_times(lab: Lab) -> list[float]:
    """Milliseconds from the box's send() to the provider's recv(), SETUP after SETUP."""
    box, provider = call(lab)
    times = []
    with box, provider:
        for number in range(SETUPS + 10):
            transport = f"Transport: MP2T/H2221/UDP;unicast;client_port={20000 + 2 * (number % 4)}"
            text = lines(f"SETUP rtsp://s/{number} RTSP/1.0", f"CSeq: {number}", transport)
            began = time.perf_counter()
            box.sendall(text)
            provider.recv(4096)
            times.append((time.perf_counter() - began) * 1000)
            provider.sendall(lines("RTSP/1.0 454 Session Not Found", f"CSeq: {number}"))
            box.recv(4096)
            time.sleep(0.02)
    return times[10:]  # the first ones warm up caches


def processor(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def interleaved(lab: Lab, helper: int | None) -> dict[str, float]:
    """Send media inside one control connection at RATE; return what arrived and what it cost."""
    box, provider = call(lab)
    with box, provider:
        transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
        box.sendall(lines("SETUP rtsp://s/film RTSP/1.0", "CSeq: 1", transport))
        provider.recv(4096)
        provider.sendall(lines("RTSP/1.0 200 OK", "CSeq: 1", "Session: s", transport))
        box.recv(4096)
        block = (b"$\0" + FRAME.to_bytes(2, "big") + bytes(FRAME)) * 48
        total = int(RATE * SECONDS / 8 / len(block)) * len(block)
        got = 0

        def read() -> None:
            nonlocal got
            with contextlib.suppress(TimeoutError):
                while got < total:
                    got += len(box.recv(1 << 20))

        reader = threading.Thread(target=read)
        used, began = processor(helper) if helper else 0.0, time.perf_counter()
        reader.start()
        for sent in range(0, total, len(block)):
            ahead = sent * 8 / RATE - (time.perf_counter() - began)
            if ahead > 0:
                time.sleep(ahead)
            provider.sendall(block)
        reader.join()
        took = time.perf_counter() - began
        return {
            "mbps": got * 8 / took / 1e6,
            "missing": total - got,
            "processor": ((processor(helper) if helper else 0.0) - used) / took,
        }


def crowd(lab: Lab, helper: int, subscription: HelperSubscription) -> dict[str, Any]:
    """Let a thousand boxes ask within ten seconds."""
    addresses = "".join(f"address add {FIRST + number}/32 dev lo\n" for number in range(BOXES))
    lab.stbs[0].run(["ip", "-batch", "-"], input=addresses)
    everyone = Crowd(lab, subscription)
    everyone.run()
    everyone.close()
    opened = everyone.opened
    delays = sorted((opened[port] - sent) * 1000 for port, sent in everyone.sent.items() if port in opened)
    return {
        "asked": len(everyone.sent),
        "took": everyone.took,
        "opened": len(delays),
        "arrived": len(everyone.arrived),
        "p99": delays[int(len(delays) * 0.99)] if delays else None,
        "memory": peak_memory(helper),
    }


def forget_helper() -> None:
    """Take our registration away, so that the kernel module can have the name."""
    name = cthelper.Registration("rtsp", 0, 0, 0)
    with cthelper.Registry() as registry:
        for _ in range(200):
            if not any(one.name == "rtsp" for one in registry.dump()) or registry.unregister(name):
                return
            time.sleep(0.1)
    raise SystemExit("the userspace helper's registration is still in use")


def main() -> None:
    """Measure with the userspace helper, then with the kernel module."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
    subprocess.run(["modprobe", "nf_conntrack"], check=True)
    EXPECT_MAX.write_text("8192")
    found: dict[str, Any] = {"kernel": os.uname().release}
    with router("userspace") as (lab, helper, subscription):
        assert helper is not None
        assert subscription is not None
        found["setup userspace"] = setup_times(lab)
        found["interleaved"] = interleaved(lab, helper.pid)
        found["crowd"] = crowd(lab, helper.pid, subscription)
        found["restarts with ways"] = restarts(lab, helper)
        found["interleaved without"] = interleaved(lab, None)
    with router("userspace") as (lab, helper, _):
        assert helper is not None
        found["restarts"] = restarts(lab, helper)
    if MODULE.is_dir():
        forget_helper()
        subprocess.run(["modprobe", "nf_nat"], check=True)
        for name in ("nf_conntrack_rtsp", "nf_nat_rtsp"):
            subprocess.run(["insmod", MODULE / f"{name}.ko"], check=True)
        with router("kernel") as (lab, _, _):
            found["setup kernel"] = setup_times(lab)
    sys.stdout.write("\nFOUND " + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
