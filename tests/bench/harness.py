"""What every benchmark shares: paired runs, medians, namespaces of its own, and its section of RESULTS.md.

A benchmark runs both sides in turn within one run, so that a busy machine hurts both, and judges the ratio.
It is a script ``bench_*.py`` with a ``main()``; ``tests/bench/run.sh`` runs all of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nftrtsp import netns

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("RESULTS.md")
PYTHON = str(ROOT / ".venv/bin/python")
NFTRTSP = str(ROOT / ".venv/bin/nftrtsp")
CONNTRACK_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")

HEAD = """# Results

Each section was written by its benchmark (`make bench`): both sides in one run, in turn, medians of the
paired runs. *Ratio* is the median of the pairs' ratios, theirs to ours unless the row says otherwise.
"""


@dataclass(frozen=True)
class Row:
    """One measure: what it is, both sides with their units, the ratio, the bar it is held against."""

    measure: str
    ours: str
    theirs: str
    ratio: str
    bar: str
    met: bool


@dataclass(frozen=True)
class Pair:
    """Medians of paired runs, in whatever unit was measured; ``ratio`` is theirs to ours."""

    ours: float
    theirs: float
    ratio: float
    runs: int


def paired(ours: Callable[[], float], theirs: Callable[[], float], runs: int = 5) -> Pair:
    """Measure both sides ``runs`` times in turn; return the medians."""
    pairs = []
    for index in range(runs):
        first, second = (ours, theirs) if index % 2 == 0 else (theirs, ours)
        one, two = first(), second()
        pairs.append((one, two) if index % 2 == 0 else (two, one))
    return Pair(
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[1] / pair[0] for pair in pairs),
        runs,
    )


def timed(command: Sequence[str] | str, **options: Any) -> float:
    """Run a command (a text: through the shell) to its end, output thrown away; return its seconds."""
    started = time.perf_counter()
    subprocess.run(command, shell=isinstance(command, str), check=True, stdout=subprocess.DEVNULL, **options)
    return time.perf_counter() - started


class Namespace:
    """A network namespace of this run's own, without any link out. Gone at the end of the block."""

    def __init__(self, name: str) -> None:
        self.name = f"bench-{name}-{os.getpid()}"

    def __enter__(self) -> Namespace:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        for pid in subprocess.run(
            ["ip", "netns", "pids", self.name], check=False, capture_output=True, text=True
        ).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def command(self, command: Sequence[str]) -> list[str]:
        """Return ``command`` as it is run within the namespace."""
        return [*netns.words(self.name), *command]

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run ``command`` within the namespace; an error of it is ours."""
        return subprocess.run(self.command(command), check=True, text=True, **options)

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start ``command`` within the namespace."""
        return subprocess.Popen(self.command(command), text=True, **options)


@contextlib.contextmanager
def conntrack_room(flows: int) -> Iterator[None]:
    """Let conntrack hold ``flows`` flows in this run only: the machine's own limit is put back at the end.

    A second run waits for the first: each would put back what the other had set.
    """
    with (Path(tempfile.gettempdir()) / "nftrtsp-bench.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = CONNTRACK_MAX.read_text().strip()
        try:
            if int(before) < flows:
                CONNTRACK_MAX.write_text(str(flows))
            yield
        finally:
            CONNTRACK_MAX.write_text(before)


def built(source: str) -> str:
    """Compile a C file of this folder once; return the program's path."""
    path = Path(__file__).with_name(source)
    program = ROOT / "build" / "bench" / path.stem
    if not program.exists() or program.stat().st_mtime < path.stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program), str(path)], check=True)
    return str(program)


def machine() -> str:
    """Name this machine: processor, cores, memory, kernel, Python."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    size = f"{int(memory[1]) / 1048576:.0f} GiB" if memory else "? GiB"
    return (
        f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, {size}, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def report(name: str, rows: Sequence[Row], notes: Sequence[str] = ()) -> bool:
    """Print the rows and put them into RESULTS.md as section ``name``; return whether all bars are met."""
    lines = [f"## {name}", "", f"{time.strftime('%Y-%m-%d')}, {machine()}", ""]
    lines += ["| measure | ours | theirs | ratio | bar | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        met = "yes" if row.met else "**no**"
        lines.append(f"| {row.measure} | {row.ours} | {row.theirs} | {row.ratio} | {row.bar} | {met} |")
    if notes:
        lines += ["", *notes]
    text = "\n".join(lines)
    print(text, flush=True)
    sections = RESULTS.read_text() if RESULTS.exists() else HEAD
    parts = re.split(r"(?m)^(?=## )", sections)
    kept = [part.rstrip() for part in parts if not part.startswith(f"## {name}\n")]
    head, others = kept[0], sorted([*kept[1:], text])
    RESULTS.write_text("\n\n".join([head, *others]) + "\n")
    return all(row.met for row in rows)


__all__ = [
    "NFTRTSP",
    "PYTHON",
    "ROOT",
    "Namespace",
    "Pair",
    "Row",
    "built",
    "conntrack_room",
    "machine",
    "paired",
    "report",
    "timed",
]
