"""`nftrtsp generate` as a process, against a Python that does nothing: what a start costs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.harness import NFTRTSP, PYTHON, Row, paired, report, timed

BAR = 8.0
RUNS = 31  # each is short, and the first ones read from disk

# An installed program finds its bytecode; a shell that forbids writing it would have us compile each time.
BYTECODE = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
CONFIG = """profile = "movistar"
[lan]
interfaces = ["br0"]
networks = ["192.168.1.0/24"]
[[stb]]
name = "Living room"
address = "192.168.1.200"
"""


def main() -> int:
    """Measure, write the section, return 0 if the bar is met."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nftrtsp.toml"
        config.write_text(CONFIG)
        for title, more in (("helper auto", []), ("helper named", ["--helper", "pinhole"])):
            command = [NFTRTSP, "generate", "-c", str(config), *more]
            pair = paired(
                lambda command=command: timed(command, stderr=subprocess.DEVNULL, env=BYTECODE),  # type: ignore[misc]
                lambda: timed([PYTHON, "-c", "pass"], env=BYTECODE),
                RUNS,
            )
            ratio = 1 / pair.ratio
            rows.append(
                Row(
                    f"generate, {title}",
                    f"{pair.ours * 1000:.0f} ms",
                    f"{pair.theirs * 1000:.0f} ms (python -c pass)",
                    f"{ratio:.1f} (ours to theirs)",
                    f"at most {BAR:g}",
                    ratio <= BAR,
                )
            )
    return 0 if report("Start-up of `nftrtsp generate`", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
