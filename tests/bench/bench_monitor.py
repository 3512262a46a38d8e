"""The dashboard: how soon it is there, what it costs with films, in a storm, with many rows, over a day.

It runs in a terminal of 120 by 36 that this process holds; time from key to redraw is from writing the key
to the first byte of the new screen. The films are UDP flows with the media mark in a namespace of this
run's own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from nftrtsp.conntrack.event import EventType
from nftrtsp.events.news import Began, Gauged, Heard, Kept, Listed, News, Told
from nftrtsp.events.recording import Recorder, Recording
from tests.bench.harness import NFTRTSP, PYTHON, Namespace, Row, built, conntrack_room, paired, report, timed

FILMS = 20
STORM, RATE = 600_000, 50_000
KEYS = 100
DAY = 86_400.0
DEMO = Path(__file__).parents[2] / "nftrtsp/monitor/demo.nftr"

CONFIG = """profile = "movistar"
[iptv]
interface = "vlan2"
[lan]
interfaces = ["br0"]
networks = ["192.168.1.0/24"]
[rtsp]
helper = "pinhole"
"""

RULES = """
table inet bench {
  chain outgoing {
    type filter hook output priority 0
    ip daddr 192.168.1.0/24 udp dport 27000-28999 ct mark set 0x100000
    ct state new counter
  }
}
"""

SENDER = """
import socket, sys, time
low, high, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + seconds
while time.monotonic() < end:
    for number in range(low, high):
        sender.sendto(bytes(1316), (f"192.168.1.{10 + number}", 27000 + number))
    time.sleep(0.02)
"""


class Screen:
    """The dashboard in a terminal of its own; ``prefix`` is what runs it in a namespace."""

    def __init__(self, words: list[str], prefix: list[str] | None = None) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
        env = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
        }
        env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(
            [*(prefix or []), NFTRTSP, "monitor", *words], stdin=slave, stdout=slave, stderr=slave, env=env
        )
        os.close(slave)
        self.seen = b""

    def read(self, timeout: float) -> bytes:
        ready, _, _ = select.select([self.master], [], [], timeout)
        if not ready:
            return b""
        with contextlib.suppress(OSError):
            data = os.read(self.master, 1 << 16)
            self.seen = (self.seen + data)[-200_000:]
            return data
        return b""

    def wait(self, text: bytes, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.seen:
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"{text!r} never came: {self.seen[-2000:]!r}")
            self.read(0.05)

    def settle(self, silence: float = 0.15, most: float = 3.0) -> None:
        end = time.monotonic() + most
        while time.monotonic() < end and self.read(silence):
            pass

    def press(self, key: bytes) -> tuple[float, float]:
        """Press a key; return seconds to the first byte of the answer and to the last of its burst."""
        while self.read(0):
            pass
        started = time.perf_counter()
        os.write(self.master, key)
        while not self.read(1.0):
            if time.perf_counter() - started > 2.0:
                return 2.0, 2.0
        first = last = time.perf_counter() - started
        while self.read(0.02):
            last = time.perf_counter() - started
        return first, last

    def idle(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.read(left)

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far, those of ended children too."""
        parts = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, parts[11:15])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        if self.process.poll() is None:
            os.write(self.master, b"q")
            self.settle(0.3)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self.master)


@contextlib.contextmanager
def opened(words: list[str], prefix: list[str] | None = None) -> Iterator[Screen]:
    screen = Screen(words, prefix)
    try:
        yield screen
    finally:
        screen.close()


def start() -> Row:
    """From the command to the first full screen, against Python that imports textual.app."""

    def ours() -> float:
        started = time.perf_counter()
        with opened(["--demo"]) as screen:
            screen.wait(b"Living room")
            return time.perf_counter() - started

    pair = paired(ours, lambda: timed([PYTHON, "-c", "import textual.app"]), runs=7)
    more = pair.ours - pair.theirs
    shown = f"{pair.ours * 1000:.0f} ms", f"{pair.theirs * 1000:.0f} ms (import textual.app)"
    return Row("start to first full screen", *shown, f"{more * 1000:+.0f} ms", "under +1000 ms", more < 1.0)


@contextlib.contextmanager
def router(folder: Path) -> Iterator[tuple[Namespace, list[str], Path]]:
    """A namespace with both interfaces, where packets to the boxes carry the media mark."""
    config = folder / "nftrtsp.toml"
    config.write_text(CONFIG)
    with Namespace("monitor") as namespace:
        namespace.run(["ip", "link", "set", "lo", "up"])
        for link, address in (("br0", "192.168.1.1/24"), ("vlan2", "10.214.0.2/9")):
            namespace.run(["ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}-end"])
            namespace.run(["ip", "address", "add", address, "dev", link])
            namespace.run(["ip", "link", "set", link, "up"])
            namespace.run(["ip", "link", "set", f"{link}-end", "up"])
        for number in range(2 * FILMS):
            neighbour = ["ip", "neigh", "add", f"192.168.1.{10 + number}", "lladdr", "02:00:00:00:00:01"]
            namespace.run([*neighbour, "dev", "br0"])
        namespace.run(["ip", "neigh", "add", "10.128.0.1", "lladdr", "02:00:00:00:00:02", "dev", "vlan2"])
        namespace.run(["ip", "route", "add", "10.1.0.0/16", "via", "10.128.0.1"])
        namespace.run(["nft", "-f", "-"], input=RULES)
        namespace.run(["sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1"])
        yield namespace, namespace.command([]), config


def films_and_storm(folder: Path) -> list[Row]:
    with conntrack_room(1_000_000), router(folder) as (namespace, prefix, config):
        recording = folder / "storm.nftr"
        words = ["-c", str(config), "--record", str(recording)]
        sender = namespace.popen([PYTHON, "-c", SENDER, "0", str(FILMS), "120"])
        try:
            with opened(words, prefix) as screen:
                screen.wait(b"playing")
                screen.idle(6.0)
                return [_films(screen), *_storm(namespace, screen, recording)]
        finally:
            sender.kill()
            sender.wait()


def _films(screen: Screen) -> Row:
    before, started = screen.cpu, time.monotonic()
    screen.idle(12.0)
    share = (screen.cpu - before) / (time.monotonic() - started)
    return Row(f"{FILMS} films playing", f"{share:.1%} of one core", "-", "-", "under 8 %", share < 0.08)


def _storm(namespace: Namespace, screen: Screen, recording: Path) -> list[Row]:
    storm = namespace.popen([built("storm.c"), str(STORM), "10.1.0.1", str(RATE)], stdout=subprocess.PIPE)
    time.sleep(0.5)
    more = namespace.popen([PYTHON, "-c", SENDER, str(FILMS), str(2 * FILMS), "5"])
    before, started = screen.cpu, time.monotonic()
    times = []
    for number in range(KEYS):
        times.append(screen.press(b"j" if number % 20 < 10 else b"k")[0])
        screen.idle(0.05)
    passed = time.monotonic() - started
    share = (screen.cpu - before) / passed
    storming = storm.poll() is None
    spent = float(storm.communicate()[0])
    more.wait()
    screen.idle(2.0)
    heard = {
        news.event.flow.orig.dport
        for _, news in Recording(recording).read()
        if isinstance(news, Heard) and news.event.type is EventType.NEW and news.event.flow
    }
    lost = sum(
        isinstance(news, Heard) and news.event.type is EventType.OVERRUN
        for _, news in Recording(recording).read()
    )
    fresh = sum(27000 + FILMS <= (port or 0) < 27000 + 2 * FILMS for port in heard)
    p99 = sorted(times)[len(times) * 99 // 100 - 1]
    pace = STORM / spent
    during = "" if storming else " (the storm ended before the keys did)"
    return [
        Row(
            f"storm of {pace:,.0f} other events/s: IPTV events lost",
            f"{FILMS - fresh} of {FILMS} new films, {lost} overruns",
            "-",
            "-",
            "none",
            fresh == FILMS and not lost,
        ),
        Row(
            f"storm: key to redraw, p99{during}", f"{p99 * 1000:.0f} ms", "-", "-", "under 150 ms", p99 < 0.15
        ),
        Row("storm: processor", f"{share:.1%} of one core", "-", "-", "under 35 %", share < 0.35),
    ]


def many_rows(folder: Path) -> Row:
    from tests.unit.monitor_scenes import many_flows

    house = many_flows()
    recording = folder / "flows.nftr"
    recorder = Recorder(recording)
    recorder.write(Began(house.gauge.time - 3, "router", "0", None))
    flows = tuple(flow.flow for flow in house.snapshot(3.0).flows)
    recorder.write(Listed(house.gauge.time, flows, ()))
    recorder.write(msgspec.structs.replace(house.gauge))
    recorder.close()
    with opened(["--replay", str(recording)]) as screen:
        screen.wait(b"2,000")
        screen.press(b"2")
        screen.settle()
        frames = [screen.press(key)[1] for key in [b"\x1b[6~"] * 80 + [b"s"] * 34 + [b"G", b"g"] * 20]
    worst = sorted(frames)[len(frames) * 99 // 100]
    shown = f"median {statistics.median(frames) * 1000:.0f} ms, p99 {worst * 1000:.0f} ms"
    return Row("2,000 media flows: scroll, sort", shown, "-", "-", "a frame under 100 ms", worst < 0.1)


_WATCHER = """
import gc, sys
from pathlib import Path
from nftrtsp.monitor.replay import Replay
replay = Replay(Path(sys.argv[1]))
length = replay.position.last
def memory():
    gc.collect()
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1]) / 1024
for quarter in range(1, 5):
    while replay.position.now < length * quarter / 4 - 1:
        replay._advance(replay._clock + 60)
    print(memory(), flush=True)
"""


def day(folder: Path) -> Row:
    """Play a day of the lab's evening over and over; memory after the first quarter and at the end."""
    recording = folder / "day.nftr"
    demo = [(at, news) for at, news in Recording(DEMO).read() if not isinstance(news, Kept)]
    length = demo[-1][0] + 1.0
    clock = [0.0]
    recorder = Recorder(recording, clock=lambda: clock[0])
    for turn in range(int(DAY / length)):
        for at, news in demo:
            if turn and isinstance(news, Began):
                continue
            clock[0] = turn * length + at
            recorder.write(_later(news, turn * length))
    recorder.close()
    started = time.perf_counter()
    result = subprocess.run(
        [PYTHON, "-c", _WATCHER, str(recording)], check=True, capture_output=True, text=True
    )
    spent = time.perf_counter() - started
    first, *_, last = map(float, result.stdout.split())
    shown = f"{first:.0f} MiB after 6 h, {last:.0f} MiB after 24 h (played in {spent:.0f} s)"
    return Row("24 h of lab traffic replayed", shown, "-", f"{last / first:.2f}", "flat", last < first * 1.05)


def _later(news: News, seconds: float) -> News:
    if isinstance(news, Heard):
        return Heard(msgspec.structs.replace(news.event, time=news.event.time + seconds))
    if isinstance(news, Told):
        return Told(news.time + seconds, msgspec.structs.replace(news.line, time=news.time + seconds))
    if isinstance(news, Gauged):
        return msgspec.structs.replace(news, time=news.time + seconds, monotonic=news.monotonic + seconds)
    return msgspec.structs.replace(news, time=news.time + seconds)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="nftrtsp-bench-") as name:
        folder = Path(name)
        rows = [start(), *films_and_storm(folder), many_rows(folder), day(folder)]
    return 0 if report("Dashboard", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
