"""A disk that is full behind stdout: one sentence, as for all that a user can cause."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NFTRTSP = [sys.executable, "-c", "from nftrtsp.cli import main; main()"]


@pytest.mark.parametrize("arguments", [["--help"], ["lab", "break"], ["generate", "--help"]])
def test_stdout_on_a_full_disk_is_told_in_one_sentence(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [*NFTRTSP, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False
        )
    assert run.returncode == 2
    assert run.stderr == "nftrtsp: stdout: cannot be written: No space left on device; make room there\n"
