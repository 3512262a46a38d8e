"""The userspace helper against the kernel module, on Debian's kernel: natively and emulated.

This machine's own kernel has neither, so the figures come from guests (tests/kernel/guest.sh) and
userspace_guest.py: Debian's kernel built as a process of this machine (User Mode Linux), where nothing is
emulated, and Debian's own binary in an emulated, slow machine with two processors. Two more rows measure the
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
from collections.abc import Iterator
from typing import Any

from nftrtsp.helper.userspace import nfqueue
from nftrtsp.netlink import wire
from nftrtsp.netlink.wire import attribute, be32, message, nested
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
        for _, _, _, _, first, last in wire.messages(one):
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


def figures(guest: str, cpus: int) -> dict[str, Any]:
    """Return what userspace_guest.py found there."""
    command = [str(ROOT / "tests/kernel/guest.sh"), guest, "python3", "-m", "tests.bench.userspace_guest"]
    environment = {**os.environ, "NFTRTSP_GUEST_CPUS": str(cpus)}
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    found: dict[str, Any] = json.loads(
        next(line[6:] for line in printed.splitlines() if line.startswith("FOUND "))
    )
    return found


def setups(found: dict[str, Any], where: str) -> Iterator[Row]:
    """Return the rows of a SETUP's way."""
    ours, theirs = found["setup userspace"], found["setup kernel"]
    for part, name, bar in ((0.5, "p50", 10), (0.99, "p99", 50)):
        mine, other = quantile(ours, part), quantile(theirs, part)
        yield Row(
            f"{where}: SETUP through the router, {SETUPS} times, {name}, against the kernel module",
            f"{mine:.2f} ms",
            f"{other:.2f} ms",
            f"{other / mine:.2f}",
            f"at most {bar} ms more",
            mine - other <= bar,
        )


def interleaved(found: dict[str, Any], where: str) -> Row:
    """Return the row of media inside a control connection."""
    media, plain = found["interleaved"], found["interleaved without"]
    return Row(
        f"{where}: media inside one control connection, against the same without helper",
        f"{media['mbps']:.0f} Mbit/s, {media['missing']} bytes lost, {media['processor']:.0%} of a processor",
        f"{plain['mbps']:.0f} Mbit/s",
        f"{plain['mbps'] / media['mbps']:.2f}",
        f"{RATE / 1e6:.0f} Mbit/s without loss",
        media["missing"] == 0 and media["mbps"] * 1e6 >= 0.99 * RATE,
    )


def crowd(found: dict[str, Any], where: str, *, timed: bool) -> Iterator[Row]:
    """Return the rows of the thousand boxes; without ``timed`` they may take longer than they should."""
    many = found["crowd"]
    every = many["opened"] == many["arrived"] == BOXES
    yield Row(
        f"{where}: {BOXES} boxes ask, in {many['took']:.1f} s: ways open",
        f"{many['opened']} (p99 {many['p99']:.1f} ms), first packet of {many['arrived']} films",
        "",
        "",
        f"{BOXES}, asked within {WITHIN:.0f} s" if timed else f"{BOXES}; to ask takes emulated boxes longer",
        every and (not timed or many["took"] <= WITHIN),
    )
    memory = many["memory"]
    yield Row(
        f"{where}: the helper's memory then", f"{memory:.0f} MiB", "", "", "< 100 MB", memory * 1.048576 < 100
    )


def restarted(found: dict[str, Any], where: str, bar: str) -> Iterator[Row]:
    """Return the rows of a helper that was killed and started anew."""
    for key, what in (("restarts", ""), ("restarts with ways", f", {BOXES} ways to take over")):
        times = found[key]
        yield Row(
            f"{where}: killed and started anew, {len(times)} times, until it serves{what}",
            f"{statistics.median(times):.0f} ms ({min(times):.0f} to {max(times):.0f})",
            "",
            "",
            bar,
            True,
        )


def main() -> int:
    """Measure and report; 1 if a bar was not met."""
    native, emulated = figures("um", 1), figures("bookworm", CPUS)
    small, large = code_alone(1448), code_alone(60_000)
    rows = [
        *setups(native, "UML"),
        interleaved(native, "UML"),
        *crowd(native, "UML", timed=True),
        *restarted(native, "UML", "none here: a page fault takes 0.3 ms"),
        *setups(emulated, "emulated"),
        interleaved(emulated, "emulated"),
        *crowd(emulated, "emulated", timed=False),
        *restarted(emulated, "emulated", "none here: Python starts 12 times slower"),
        Row(
            "the helper's code alone, no kernel: media inside a connection, packets of 1,448 bytes",
            f"{small:.0f} Mbit/s (of 60,000 bytes, GSO: {large:.0f})",
            "",
            "",
            "none, for comparison",
            True,
        ),
        Row(
            f"the helper's code alone, no kernel: the packets of {BOXES} boxes",
            f"{crowd_alone():.2f} s",
            "",
            "",
            "none, for comparison",
            True,
        ),
    ]
    notes = [
        f"UML: Debian's Linux {native['kernel']} built as a process of this machine. One processor; code as",
        "fast as here, a system call 50 us, a page fault 300 us.",
        f"Emulated: Debian's Linux {emulated['kernel']} in a virtual machine of software, {CPUS} processors.",
        "The helper's processor time has in it what the kernel then does with a packet that was let go.",
    ]
    return 0 if report("userspace helper", rows, notes) else 1


if __name__ == "__main__":
    sys.exit(main())
