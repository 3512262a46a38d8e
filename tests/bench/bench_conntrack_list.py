"""Finding ten films among a million flows, and decoding all of them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.harness import NFTRTSP, PYTHON, Namespace, Row, conntrack_room, paired, report, timed

FLOWS = 1_000_000
FILMS = 10
MARK = 0x100000
PYROUTE2_FLOWS = 10_000

CONFIG = """
profile = "movistar"
[iptv]
interface = "vlan2"
[lan]
interfaces = ["br0"]
networks = ["192.168.1.0/24"]
[[stb]]
name = "Living room"
address = "192.168.1.200"
"""

# Each program below runs in a process of its own within the namespace and prints seconds (and more).
OURS_BY_MARK = """
import time
from nftrtsp.conntrack.dump_filter import DumpFilter
from nftrtsp.conntrack.socket import Conntrack
with Conntrack() as conntrack:
    started = time.perf_counter()
    found = list(conntrack.dump_flows(DumpFilter(mark=(0x100000, 0x100000))))
    print(time.perf_counter() - started, len(found))
"""

OURS_ALL = """
import resource, time
from nftrtsp.conntrack.socket import Conntrack
with Conntrack() as conntrack:
    started = time.perf_counter()
    count = sum(1 for flow in conntrack.dump_flows())
    print(time.perf_counter() - started, count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

# pyroute2's plain dump() decodes an attribute when it is looked at; dump_entries() makes objects, as we do.
PYROUTE2_ALL = """
import time
from pyroute2.conntrack import Conntrack
with Conntrack() as conntrack:
    started = time.perf_counter()
    count = sum(1 for entry in conntrack.dump_entries())
    print(time.perf_counter() - started, count)
"""


def figures(namespace: Namespace, program: str) -> list[float]:
    """Run a Python program in the namespace; return the numbers that it printed."""
    done = namespace.run([PYTHON, "-c", program], stdout=subprocess.PIPE)
    return [float(word) for word in done.stdout.split()]


def populate(namespace: Namespace, count: int, films: int = 0) -> None:
    """Fill the namespace's table."""
    namespace.run([PYTHON, "-m", "tests.bench.populate", str(count), "--films", str(films)])


def by_command(namespace: Namespace, config: Path) -> Row:
    """The whole command against what people do today."""
    ours = namespace.command([NFTRTSP, "flows", "-c", str(config)])
    theirs = namespace.command(["sh", "-c", "conntrack -L 2>/dev/null | grep 192.168.1.200 | grep udp"])
    for command in (ours, theirs):
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert told.count("172.26.83.137") in (FILMS, 2 * FILMS), told
    pair = paired(lambda: timed(ours), lambda: timed(theirs))
    return Row(
        f"{FILMS} films among {FLOWS:,} flows: `nftrtsp flows` and `conntrack -L \\| grep \\| grep`",
        f"{pair.ours:.2f} s",
        f"{pair.theirs:.2f} s",
        f"{pair.ratio:.1f}x",
        "at least 8x",
        pair.ratio >= 8,
    )


def in_process(namespace: Namespace) -> Row:
    """The dump by mark alone, against the C tool's whole run."""

    def theirs() -> float:
        return timed(
            namespace.command(["conntrack", "-L", "-m", f"{MARK}/{MARK}"]), stderr=subprocess.DEVNULL
        )

    pair = paired(lambda: figures(namespace, OURS_BY_MARK)[0], theirs)
    return Row(
        "the same, in process, and `conntrack -L -m MARK` (ours to theirs)",
        f"{pair.ours:.3f} s",
        f"{pair.theirs:.3f} s",
        f"{1 / pair.ratio:.2f}x",
        "at most 1.3x",
        1 / pair.ratio <= 1.3,
    )


def decoding(namespace: Namespace, small: Namespace) -> list[Row]:
    """Entries a second to Flow objects, against pyroute2's."""
    memory: list[float] = []

    def ours() -> float:
        seconds, count, peak = figures(namespace, OURS_ALL)
        memory.append(peak / 1024)
        assert count >= FLOWS
        return seconds / count

    def theirs() -> float:
        seconds, count = figures(small, PYROUTE2_ALL)
        return seconds / count

    pair = paired(ours, theirs)
    peak = max(memory)
    return [
        Row(
            f"full dump to Flow objects ({FLOWS:,}); pyroute2's `dump_entries()` ({PYROUTE2_FLOWS:,})",
            f"{1 / pair.ours:,.0f} /s",
            f"{1 / pair.theirs:,.0f} /s",
            f"{pair.ratio:.0f}x",
            "at least 50x",
            pair.ratio >= 50,
        ),
        Row("peak memory while streaming them", f"{peak:.0f} MiB", "", "", "under 60 MiB", peak < 60),
    ]


def main() -> int:
    """Run it all; return 1 if a bar was missed."""
    with (
        tempfile.TemporaryDirectory() as folder,
        conntrack_room(FLOWS + PYROUTE2_FLOWS + 100_000),
        Namespace("list") as namespace,
        Namespace("small") as small,
    ):
        config = Path(folder) / "nftrtsp.toml"
        config.write_text(CONFIG)
        populate(namespace, FLOWS, FILMS)
        populate(small, PYROUTE2_FLOWS)
        started = time.perf_counter()
        rows = [by_command(namespace, config), in_process(namespace), *decoding(namespace, small)]
        notes = [f"Measured in {time.perf_counter() - started:.0f} s, medians of 5 paired runs."]
    return 0 if report("conntrack: lists and dumps", rows, notes) else 1


if __name__ == "__main__":
    sys.exit(main())
