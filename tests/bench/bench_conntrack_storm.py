"""A storm of new flows: what is lost, what an event costs, whether films are still seen, how late we are."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.harness import PYTHON, Namespace, Row, built, conntrack_room, report

STORM = 500_000
RUNS = 5
SESSIONS = 20
MARK = 0x100000
BASE = "10.1.0.1"

RULES = """
table inet bench {
  chain outgoing {
    type filter hook output priority 0
    ct state new counter
  }
}
"""

# Counts what comes, in a process of its own; on a line from stdin it prints and ends.
LISTENER = """
import json, os, resource, select, sys, time
from nftrtsp.conntrack.subscription import Subscription
program = bytes.fromhex(sys.argv[1])
marked = seen = 0
films = set()
with Subscription(program=program or None) as subscription:
    print("ready", flush=True)
    before = resource.getrusage(resource.RUSAGE_SELF)
    quiet = 0
    asked = False
    while not (asked and quiet > 2):
        events = subscription.receive(0.1)
        quiet = quiet + 1 if not events else 0
        if not asked and select.select([0], [], [], 0)[0]:
            asked = True
        for event in events:
            flow = event.flow
            if flow is None:
                continue
            seen += 1
            if flow.mark:
                marked += 1
                films.add((event.type.value, flow.orig.dport))
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seen": seen, "marked": marked, "films": len(films), "lost": subscription.lost,
                      "overruns": subscription.overruns, "cpu": cpu,
                      "memory": after.ru_maxrss / 1024}), flush=True)
"""

LATENCY = """
import json, sys, time
from nftrtsp.conntrack.subscription import Subscription
with Subscription() as subscription:
    print("ready", flush=True)
    while True:
        for event in subscription.receive(None):
            print(event.flow.orig.dport if event.flow else 0, time.monotonic(), flush=True)
"""


def prepare(namespace: Namespace) -> None:
    """Make a link whose other end takes nothing, and let conntrack see what goes into it."""
    namespace.run(["ip", "link", "set", "lo", "up"])
    namespace.run(["ip", "link", "add", "sink", "type", "veth", "peer", "name", "end"])
    namespace.run(["ip", "link", "set", "sink", "arp", "off", "up"])
    namespace.run(["ip", "link", "set", "end", "up"])
    namespace.run(["ip", "addr", "add", "10.0.0.1/8", "dev", "sink"])
    namespace.run(["nft", "-f", "-"], input=RULES)
    # A flow that ends during the storm would be an event more.
    namespace.run(["sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=600"])


def flush(namespace: Namespace) -> None:
    """Forget every flow."""
    namespace.run(["conntrack", "-F"], capture_output=True)


@contextmanager
def listening(namespace: Namespace, program: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run our listener; it is ready when this begins."""
    listener = namespace.popen(
        [PYTHON, "-c", LISTENER, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert listener.stdout is not None
    assert listener.stdout.readline() == "ready\n"
    try:
        yield listener
    finally:
        listener.kill()
        listener.wait()


def stop(listener: subprocess.Popen[str]) -> dict[str, float]:
    """Let the listener finish what has arrived, and return what it counted."""
    assert listener.stdin is not None
    assert listener.stdout is not None
    listener.stdin.write("\n")
    listener.stdin.flush()
    told: dict[str, float] = json.loads(listener.stdout.readline())
    return told


def storm(namespace: Namespace, program: str, base: str = BASE) -> float:
    """Make STORM new flows as fast as it goes; return the seconds."""
    done = namespace.run([program, str(STORM), base], stdout=subprocess.PIPE)
    return float(done.stdout)


def by_us(namespace: Namespace, generator: str) -> dict[str, float]:
    """One storm that we hear alone."""
    flush(namespace)
    with listening(namespace) as listener:
        seconds = storm(namespace, generator)
        told = stop(listener)
    told["seconds"] = seconds
    return told


def by_conntrack(namespace: Namespace, generator: str) -> dict[str, float]:
    """One storm that `conntrack -E` hears alone, with a buffer as large as ours: lines, CPU."""
    flush(namespace)
    with Path(os.devnull).open("w") as nowhere:
        reader = namespace.popen(
            ["conntrack", "-E", "-o", "extended", "-b", str(128 << 20)],
            stdout=nowhere,
            stderr=subprocess.PIPE,
        )
        time.sleep(0.3)
        seconds = storm(namespace, generator)
        before, cpu = -1.0, 0.0
        while cpu != before:  # it has finished when it costs nothing more
            before = cpu
            time.sleep(0.5)
            cpu = _cpu_of(reader.pid)
        reader.send_signal(signal.SIGINT)
        _, complaint = reader.communicate(timeout=30)
    shown = re.search(r"(\d+) flow events have been shown", complaint)
    return {"seconds": seconds, "cpu": cpu, "seen": float(shown[1]) if shown else 0.0}


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def default_conntrack(namespace: Namespace, generator: str) -> dict[str, float]:
    """`conntrack -E` as people run it, into a pipe that is read at once, beside us: both hear one storm."""
    flush(namespace)
    with listening(namespace) as listener:
        reader = namespace.popen(
            ["conntrack", "-E", "-e", "NEW"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        time.sleep(0.3)
        counter = subprocess.Popen(["wc", "-l"], stdin=reader.stdout, stdout=subprocess.PIPE, text=True)
        storm(namespace, generator)
        time.sleep(1.5)
        reader.send_signal(signal.SIGINT)
        assert reader.stderr is not None
        complaint = reader.stderr.read()
        reader.wait()
        lines, _ = counter.communicate()
        told = stop(listener)
    told["theirs"] = float(lines)
    told["their_overruns"] = complaint.count("ENOBUFS")
    return told


def filtered(namespace: Namespace, generator: str) -> dict[str, float]:
    """The storm with our filter on, while SESSIONS films begin and end."""
    from nftrtsp import config
    from nftrtsp.conntrack.socket_filter import iptv_filter

    flush(namespace)
    wanted = config.parse(
        {
            "iptv": {"interface": "vlan2"},
            "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
        }
    )
    with listening(namespace, iptv_filter(wanted).hex()) as listener:
        runner = namespace.popen([generator, str(STORM), BASE], stdout=subprocess.PIPE)
        started = time.perf_counter()
        made = 0
        while runner.poll() is None:
            namespace.run([PYTHON, "-m", "tests.bench.populate", "0", "--films", str(SESSIONS)], stderr=-3)
            made += SESSIONS
            namespace.run(["conntrack", "-D", "-m", f"{MARK}/{MARK}"], capture_output=True)
        seconds = time.perf_counter() - started
        told = stop(listener)
    told["made"] = made
    told["seconds"] = seconds
    return told


def latency(namespace: Namespace) -> list[float]:
    """Seconds from the packet to our line, for single flows outside storms."""
    flush(namespace)
    reader = namespace.popen([PYTHON, "-c", LATENCY], stdout=subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    program = (
        "import socket, time\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for port in range(2000, 2500):\n"
        "    began = time.monotonic(); s.sendto(b'x', ('10.9.9.9', port)); print(port, began)\n"
        "    time.sleep(0.003)\n"
    )
    sent = namespace.run([PYTHON, "-c", program], stdout=subprocess.PIPE).stdout.splitlines()
    began = {port: float(at) for port, at in (line.split() for line in sent)}
    spent: list[float] = []
    while len(spent) < len(began):
        port, at = reader.stdout.readline().split()
        if port in began:
            spent.append(float(at) - began[port])
    reader.kill()
    reader.wait()
    return sorted(spent)


def main() -> int:
    """Run it all; return 1 if a bar was missed."""
    generator = built("storm.c")
    with conntrack_room(3 * STORM), Namespace("storm") as namespace:
        prepare(namespace)
        ours = [by_us(namespace, generator) for _ in range(RUNS)]
        beside = [default_conntrack(namespace, generator) for _ in range(RUNS)]
        theirs = [by_conntrack(namespace, generator) for _ in range(RUNS)]
        alone = [filtered(namespace, generator) for _ in range(RUNS)]
        spent = latency(namespace)
    rows = rows_of(ours, beside, theirs, alone, spent)
    rate = STORM / statistics.median(run["seconds"] for run in ours)
    notes = [f"{STORM:,} new flows a storm, {rate:,.0f} a second; {RUNS} runs of each."]
    return 0 if report("conntrack: storms", rows, notes) else 1


def rows_of(
    ours: list[dict[str, float]],
    beside: list[dict[str, float]],
    theirs: list[dict[str, float]],
    alone: list[dict[str, float]],
    spent: list[float],
) -> list[Row]:
    """Make the rows out of what was counted."""
    lost = sum(run["lost"] for run in ours + beside)
    complete = all(run["seen"] == STORM for run in ours + beside)
    missed = [STORM - int(run["theirs"]) for run in beside]
    our_cost = statistics.median(run["cpu"] / run["seen"] for run in ours)
    their_cost = statistics.median(run["cpu"] / run["seen"] for run in theirs)
    share = max(run["cpu"] / run["seconds"] for run in alone)
    seen = sum(run["marked"] for run in alone)
    made = 2 * sum(run["made"] for run in alone)
    late = spent[int(len(spent) * 0.99)]
    return [
        Row(
            f"storm of {STORM:,}: events lost in {2 * RUNS} runs; `conntrack -E` beside us in half of them",
            f"{lost:.0f}",
            f"{min(missed):,} to {max(missed):,} a run",
            "",
            "0 by us",
            lost == 0 and complete,
        ),
        Row(
            "CPU an event, decoded; `conntrack -E -o extended` to /dev/null (ours to theirs)",
            f"{our_cost * 1e6:.2f} us",
            f"{their_cost * 1e6:.2f} us",
            f"{our_cost / their_cost:.2f}x",
            "below 1.0x",
            our_cost < their_cost,
        ),
        Row(
            f"the storm with our kernel filter, {SESSIONS} films at a time: film events lost",
            f"{made - seen:.0f} of {made:.0f}",
            "",
            "",
            "0",
            made == seen,
        ),
        Row(
            "our CPU in that storm, of its time (worst run)",
            f"{share * 100:.2f} %",
            "",
            "",
            "under 2 %",
            share < 0.02,
        ),
        Row(
            f"packet to our consumer, {len(spent)} single flows, p99",
            f"{late * 1e3:.2f} ms",
            "",
            "",
            "under 20 ms",
            late < 0.02,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
