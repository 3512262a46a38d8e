"""Add up what the runs of tests/kernel/run.sh counted.

usage: python -m tests.kernel.counts FOLDER SECONDS RUN...
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

NAMES = ("passed", "failed", "errors", "skipped")
#: A run that tested nothing, or died before it could say so, failed as a whole.
NONE = {"passed": 0, "failed": 1, "errors": 0, "skipped": 0}


def count(report: Path) -> dict[str, int]:
    """Return the counts of one JUnit report."""
    try:
        (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    except (OSError, ElementTree.ParseError, ValueError):
        return NONE
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    if not counts["tests"]:
        return NONE
    bad = counts["failures"] + counts["errors"] + counts["skipped"]
    return {
        "passed": counts["tests"] - bad,
        "failed": counts["failures"],
        "errors": counts["errors"],
        "skipped": counts["skipped"],
    }


def main(folder: str, seconds: str, *runs: str) -> int:
    """Print a line for each run and the closing line; return the exit status."""
    total = dict.fromkeys(NAMES, 0)
    print(f"\n{'':10}" + "".join(f"{name:>9}" for name in NAMES))
    for run in runs:
        counts = count(Path(folder, f"{run}.xml"))
        print(f"{run:10}" + "".join(f"{counts[name]:9}" for name in NAMES))
        for name in NAMES:
            total[name] += counts[name]
    said = [f"{total[name]} {name}" for name in NAMES if total[name] or name in {"passed", "failed"}]
    print(f"\n{', '.join(said)} in {seconds} s")
    return 1 if total["failed"] or total["errors"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
