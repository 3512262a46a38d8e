"""The command line of the dashboard: what it refuses, in one sentence."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

NFTRTSP = [sys.executable, "-c", "from nftrtsp.cli import main; main()", "monitor"]


def run(*words: str, terminal: bool = False, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it; with a terminal on stdin and stdout where ``terminal``."""
    master, slave = pty.openpty()
    try:
        return subprocess.run(
            [*NFTRTSP, *words],
            stdin=slave if terminal else subprocess.DEVNULL,
            stdout=slave if terminal else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **env},
        )
    finally:
        os.close(slave)
        os.close(master)


def test_without_a_terminal_it_names_what_works_there() -> None:
    result = run("--demo")
    assert result.returncode == 2
    assert result.stderr == (
        "nftrtsp: monitor: the dashboard needs a terminal; `nftrtsp events` and `flows` do not\n"
    )


def test_a_recording_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    result = run("--replay", str(tmp_path / "no.nftr"), terminal=True)
    assert result.returncode == 2
    assert "the recording cannot be read: No such file or directory" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_config_that_was_named_and_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    result = run("-c", str(tmp_path / "no.toml"), terminal=True)
    assert result.returncode == 2
    assert "there is no such file" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--demo", "--replay", "x"], "choose one"),
        (["--demo", "--record", "x"], "--record is for live"),
        (["--demo", "--speed", "0"], "is not in the range"),
    ],
)
def test_what_does_not_go_together_is_said(words: list[str], text: str) -> None:
    result = run(*words, terminal=True)
    assert result.returncode == 2
    assert text in " ".join(result.stderr.split())
