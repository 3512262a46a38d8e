"""The comparison of the ruleset that runs beside the dashboard: nobody who leaves has to wait for it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nftrtsp.monitor import rulesetwatch
from nftrtsp.monitor.rulesetwatch import RulesetWatch

#: A comparison that is stuck, as one that waits for the kernel would be.
STUCK = [sys.executable, "-c", "import signal; signal.pause()"]


class Comparisons:
    """Stands for subprocess.Popen: each comparison is stuck. ``watch`` leaves while it begins."""

    def __init__(self) -> None:
        self.begun: list[subprocess.Popen[str]] = []
        self.watch: RulesetWatch | None = None

    def __call__(self, _command: list[str], **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(STUCK, **options)
        self.begun.append(process)
        if self.watch is not None:
            # The moment in which stop() finds no process yet: it sets the flag and waits for the thread.
            self.watch._stopped = True
        return process


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> Comparisons:
    comparisons = Comparisons()

    class Stand:
        Popen = comparisons
        DEVNULL, PIPE, TimeoutExpired = subprocess.DEVNULL, subprocess.PIPE, subprocess.TimeoutExpired

    monkeypatch.setattr(rulesetwatch, "subprocess", Stand)
    monkeypatch.setattr(rulesetwatch, "_LONGEST", 5.0)
    return comparisons


def test_a_comparison_that_began_while_we_left_is_ended(comparisons: Comparisons, tmp_path: Path) -> None:
    watch = RulesetWatch(tmp_path / "config.toml", lambda _: None)
    comparisons.watch = watch
    watch._compare()
    watch.stop()
    # SIGKILL would be the end of its patience: the dashboard would have stood still until then.
    assert [process.returncode for process in comparisons.begun] == [-signal.SIGTERM]


def test_a_comparison_that_runs_is_ended(comparisons: Comparisons, tmp_path: Path) -> None:
    watch = RulesetWatch(tmp_path / "config.toml", lambda _: None)
    watch.start()
    while watch._process is None:
        time.sleep(0.01)
    watch.stop()
    assert [process.returncode for process in comparisons.begun] == [-signal.SIGTERM]
