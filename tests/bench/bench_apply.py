"""diff and apply beside a foreign ruleset of 10,000 rules and a set of 100,000 elements.

Held against `nft list table` of our own table in the same namespace: what a program pays that looks at our
table and no other. The plan (list ours, load the wanted ruleset in a scratch namespace, list that, compare)
is measured within one process, the commands from start to end, their Python start-up included.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.harness import NFTRTSP, PYTHON, Namespace, Pair, Row, paired, report, timed

RULES = 10_000
ELEMENTS = 100_000
RUNS = 7
CONFIG = """\
profile = "movistar"
[iptv]
interface = "vlan2"
[lan]
interfaces = ["br0"]
networks = ["192.168.1.0/24"]
[rtsp]
helper = "pinhole"
ports = [{port}]
"""
#: Prints the seconds of one plan, the libnftables context and all imports apart.
PLAN = """\
import sys, time
from nftrtsp import config, paths
from nftrtsp.config import HelperKind
from nftrtsp.ruleset import apply
from nftrtsp.ruleset.build import build
from nftrtsp.ruleset.kernel import Nft
from nftrtsp.ruleset.render import render
text = render(build(config.load(paths.config_file()), HelperKind.PINHOLE))
with Nft() as nft:
    apply.plan(nft, apply.want(text))
    begun = time.perf_counter()
    plan = apply.plan(nft, apply.want(text))
    print(time.perf_counter() - begun)
"""


def foreign() -> str:
    """A blocklist of another program, hooked into forward."""
    elements = ", ".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(ELEMENTS))
    rules = "\n".join(
        f"\t\tip saddr 203.0.{n >> 8}.{n & 255} tcp dport {n % 60000 + 1} counter drop" for n in range(RULES)
    )
    return (
        "table inet theirs {\n"
        f"\tset blocked {{\n\t\ttype ipv4_addr\n\t\telements = {{ {elements} }}\n\t}}\n"
        "\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n"
        f"{rules}\n\t\tip saddr @blocked drop\n\t}}\n}}\n"
    )


class Router:
    """A namespace with our table in it; commands run there with directories of their own."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self.namespace = namespace
        self.config = folder / "nftrtsp.toml"
        self.environment = {
            **os.environ,
            "NFTRTSP_CONFIG": str(self.config),
            "NFTRTSP_STATE_DIR": str(folder / "state"),
            "NFTRTSP_RUN_DIR": str(folder / "run"),
        }
        self.port = 554
        self.ask_for(self.port)
        for link in ("vlan2", "br0"):
            namespace.run(["ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}-peer"])

    def ask_for(self, port: int) -> None:
        self.config.write_text(CONFIG.format(port=port))

    def seconds(self, *command: str) -> float:
        return timed(self.namespace.command(command), env=self.environment, stderr=subprocess.DEVNULL)

    def list_ours(self) -> float:
        return self.seconds("nft", "list", "table", "inet", "nftrtsp")

    def plan(self) -> float:
        done = self.namespace.run([PYTHON, "-c", PLAN], env=self.environment, capture_output=True)
        return float(done.stdout)

    def diff(self) -> float:
        return self.seconds(NFTRTSP, "diff")

    def apply(self) -> float:
        """Apply a config that differs in one port."""
        self.port = 555 if self.port == 554 else 554
        self.ask_for(self.port)
        return self.seconds(NFTRTSP, "apply", "--yes")


def row(measure: str, pair: Pair, bar: float) -> Row:
    times = 1 / pair.ratio
    return Row(
        measure,
        f"{pair.ours * 1000:.1f} ms",
        f"{pair.theirs * 1000:.1f} ms",
        f"{times:.2f}x",
        f"<= {bar:g}x",
        times <= bar,
    )


def main() -> None:
    """Measure, print, and write the section of RESULTS.md."""
    with tempfile.TemporaryDirectory() as folder, Namespace("apply") as namespace:
        router = Router(namespace, Path(folder))
        router.apply()
        router.diff()
        alone = {
            name: min(getattr(router, name)() for _ in range(RUNS)) for name in ("plan", "diff", "apply")
        }
        big = Path(folder) / "theirs.nft"
        big.write_text(foreign())
        namespace.run(["nft", "-f", str(big)])
        rows = [
            row("plan, to `nft list table` of ours", paired(router.plan, router.list_ours, RUNS), 10),
            row("`nftrtsp diff`, to the same", paired(router.diff, router.list_ours, RUNS), 150),
            row("`nftrtsp apply`, to the same", paired(router.apply, router.list_ours, RUNS), 200),
        ]
        for name in ("plan", "diff", "apply"):
            with_them = min(getattr(router, name)() for _ in range(RUNS))
            pair = Pair(with_them, alone[name], alone[name] / with_them, RUNS)
            rows.append(
                row(
                    f"{name} beside them, to {name} alone (best of {RUNS})",
                    pair,
                    1.5 if name == "plan" else 3,
                )
            )
        begun = time.perf_counter()
        namespace.run(["nft", "list", "ruleset"], stdout=subprocess.DEVNULL)
        whole = time.perf_counter() - begun
    notes = [
        f"Foreign: {RULES} rules and a set of {ELEMENTS} elements in one table on forward.",
        f"`nft list ruleset` takes {whole:.2f} s with them. *Ratio* is ours to theirs: less is better.",
        "The commands look at other tables in a child, and wait for it no longer than their own work took.",
    ]
    sys.exit(0 if report("diff and apply beside a large foreign ruleset", rows, notes) else 1)


if __name__ == "__main__":
    main()
