"""Print what came of each attack, one line each: ``python -m tests.attacks.table [WORD …]`` (root).

With words, only the scenarios whose name has one of them.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from contextlib import closing
from pathlib import Path

from tests.attacks import scenarios
from tests.attacks.network import Network, network
from tests.attacks.scenarios import Scenario
from tests.attacks.scene import Scene

#: Lines of the [iptv] section.
OPEN, POLICY_ACCEPT, CONE = "", 'policy = "accept"\n', 'policy = "accept"\nfull_cone = true\n'
GROUPS: tuple[tuple[str, dict[str, Scenario]], ...] = (
    (OPEN, scenarios.OPEN),
    (POLICY_ACCEPT, scenarios.ACCEPT),
    (CONE, scenarios.CONE),
)


def one(standing: Network, iptv: str, name: str, scenario: Scenario, folder: Path) -> bool:
    """Run one scenario with a helper of its own and print what came of it."""
    standing.configure(iptv=iptv)
    try:
        with closing(Scene(standing, folder)) as scene:
            outcome = scenario(scene)
    except Exception:  # a table of what goes wrong goes on
        print(f"--    {name}: {traceback.format_exc(limit=-3)}", flush=True)
        return False
    held = outcome.held and outcome.unharmed
    print(f"{'held ' if held else 'BROKE'} {name}: {outcome}", flush=True)
    return held


def main() -> int:
    """Run them all; 1 if any attack came true."""
    words = sys.argv[1:]
    good = True
    with tempfile.TemporaryDirectory() as folder, network() as standing:
        for iptv, group in GROUPS:
            for name, scenario in group.items():
                if not words or any(word in name for word in words):
                    good &= one(standing, iptv, name, scenario, Path(folder))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
