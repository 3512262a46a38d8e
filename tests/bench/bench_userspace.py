"""The userspace helper against the kernel module, in one emulated, slow machine with Debian's kernel.

This machine's own kernel has neither, so the figures come from tests/kernel/guest.sh; see userspace_guest.py.
The guest has two processors, as small routers do. Two rows tell what is emulation's share: they measure the
helper's code here, without a kernel.
"""

from __future__ import annotations

import json
import os
import statistics
import struct
import subprocess
import sys
import time

from nftrtsp.conntrack import decode
from nftrtsp.conntrack.wire import attribute, be32, message, nested
from nftrtsp.rtsp import nfqueue
from tests.bench.bench_pinhole import BOXES, WITHIN, quantile
from tests.bench.harness import ROOT, Row, report
from tests.bench.userspace_guest import FRAME, RATE, SETUPS
from tests.unit.test_gate import ACK, SERVER, Bench, Line, answer, ip_packet, setup

CPUS = 2


def queued(number: int, packet: bytes, ct: bytes, *, reply: bool) -> bytes:
    """Return ``packet`` as NFQUEUE hands it over."""
    parts = attribute(nfqueue.NFQA_PACKET_HDR, struct.pack("!IHB", number, 0x0800, 4))
    info = nfqueue.IP_CT_IS_REPLY if reply else 0
    parts += nested(nfqueue.NFQA_CT, ct) + be32(nfqueue.NFQA_CT_INFO, info)
    return message(3, 0, 0, parts + attribute(nfqueue.NFQA_PAYLOAD, packet), resource=554)


def take(bench: Bench, packets: list[bytes]) -> float:
    """Let the helper's code take what NFQUEUE hands over; return for how many seconds."""
    began = time.perf_counter()
    for one in packets:
        for _, _, _, _, first, last in decode.messages(one):
            bench.gate.receive(nfqueue.decode_packet(one, first, last), 1.0)
    return time.perf_counter() - began


class Recorder(Bench):
    """Keeps the packets that its lines send instead of taking them."""

    def __init__(self) -> None:
        super().__init__(max_total=4 * BOXES)
        self.packets: list[bytes] = []

    def put(self, packet: bytes, _key: bytes, ct: bytes, reply: bool) -> int:
        """Keep one."""
        self.packets.append(queued(len(self.packets), packet, ct, reply=reply))
        return len(self.packets)


def crowd_alone() -> float:
    """Seconds that the helper's code takes here for the crowd's packets, without a kernel."""
    bench = Recorder()
    for number in range(BOXES):
        line = Line(bench, f"10.0.0.{number % 250 + 1}", 20000 + number)
        port = str(20000 + 2 * number)
        line.segment(b"")
        stream = number // 250  # of this box; each stream has a port of its own
        line.segment(setup(port, cseq=stream))
        line.segment(b"", reply=True)
        line.segment(answer(port, cseq=stream), reply=True)
        line.segment(b"")
        line.segment(b"PLAY rtsp://s/f RTSP/1.0\r\nCSeq: 9\r\nSession: s1\r\n\r\n")
        line.segment(b"RTSP/1.0 200 OK\r\nCSeq: 9\r\n\r\n", reply=True)
        line.segment(b"")
    took = take(bench, bench.packets)
    if len(bench.ways) != BOXES:
        raise SystemExit(f"only {len(bench.ways)} of {BOXES} ways opened")
    return took


def code_alone(size: int) -> float:
    """Mbit/s of media in packets of ``size`` bytes that the helper's code takes here, without a kernel."""
    bench = Bench()
    line = Line(bench)
    frame = b"$\0" + FRAME.to_bytes(2, "big") + bytes(FRAME)
    data = frame * (4_000_000 // len(frame))
    start = line.next[True]
    packets = []
    for at in range(0, len(data) - size, size):
        ends = (SERVER, line.stb, 554, line.port)
        packet = ip_packet(ends, start + at, line.next[False], ACK, data[at : at + size])
        packets.append(queued(at, packet, line.ct, reply=True))
    return len(packets) * size * 8 / take(bench, packets) / 1e6


def main() -> int:
    """Measure and report; 1 if a bar was not met."""
    command = [
        str(ROOT / "tests/kernel/guest.sh"),
        "bookworm",
        "python3",
        "-m",
        "tests.bench.userspace_guest",
    ]
    environment = {**os.environ, "NFTRTSP_GUEST_CPUS": str(CPUS)}
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    found = json.loads(next(line[6:] for line in printed.splitlines() if line.startswith("FOUND ")))
    ours, theirs = found["setup userspace"], found["setup kernel"]
    small, large = code_alone(1448), code_alone(60_000)
    median = statistics.median(ours), statistics.median(theirs)
    slow = quantile(ours, 0.99), quantile(theirs, 0.99)
    media, plain, many = found["interleaved"], found["interleaved without"], found["crowd"]
    rows = [
        Row(
            f"SETUP through the router, {SETUPS} times, p50, against the kernel module",
            f"{median[0]:.2f} ms",
            f"{median[1]:.2f} ms",
            f"{median[1] / median[0]:.2f}",
            "at most 10 ms more",
            median[0] - median[1] <= 10,
        ),
        Row(
            "… p99",
            f"{slow[0]:.2f} ms",
            f"{slow[1]:.2f} ms",
            f"{slow[1] / slow[0]:.2f}",
            "at most 50 ms more",
            slow[0] - slow[1] <= 50,
        ),
        Row(
            "media inside one control connection, against the same without helper",
            f"{media['mbps']:.0f} Mbit/s, {media['missing']} bytes lost, "
            f"{media['processor']:.0%} of a processor",
            f"{plain['mbps']:.0f} Mbit/s",
            f"{plain['mbps'] / media['mbps']:.2f}",
            f"{RATE / 1e6:.0f} Mbit/s without loss",
            media["missing"] == 0 and media["mbps"] * 1e6 >= 0.99 * RATE,
        ),
        Row(
            "… what the helper's code takes on this machine, not emulated, no kernel: packets of 1,448 bytes",
            f"{small:.0f} Mbit/s (of 60,000 bytes, GSO: {large:.0f})",
            "",
            "",
            "none, for comparison",
            True,
        ),
        Row(
            f"{BOXES} boxes ask within {WITHIN:.0f} s (here {many['took']:.0f} s: all is emulated): "
            "ways open",
            f"{many['opened']} (p99 {many['p99']:.0f} ms), first packet of {many['arrived']} films",
            "",
            "",
            f"{BOXES}, asked within {WITHIN:.0f} s",
            many["opened"] == many["arrived"] == BOXES and many["took"] <= WITHIN,
        ),
        Row(
            "… for whose packets the helper's code takes on this machine, not emulated, no kernel",
            f"{crowd_alone():.2f} s",
            "",
            "",
            "none, for comparison",
            True,
        ),
        Row(
            "the helper's memory at most",
            f"{many['memory']:.0f} MiB",
            "",
            "",
            "< 100 MB",
            many["memory"] * 1.048576 < 100,
        ),
    ]
    notes = [
        f"In a virtual machine under software emulation, Linux {found['kernel']}, {CPUS} processors: slow.",
        "The helper's processor time has in it what the kernel then does with a packet that was let go.",
    ]
    return 0 if report("userspace helper", rows, notes) else 1


if __name__ == "__main__":
    sys.exit(main())
