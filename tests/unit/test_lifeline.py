"""The script of the way back, the real one, on a router of paper: who takes the lock, and whose text runs."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nftrtsp.ruleset import apply, lifeline, lock, trial
from nftrtsp.ruleset.apply import Wanted
from nftrtsp.ruleset.trial import TrialState
from tests.unit.paper_router import PaperRouter, stand

BOX, SECOND = "192.168.1.200", "192.168.1.201"
_FLOCK = """\
#!/bin/sh
: >{folder}/asked
exec {flock} "$@"
"""


@pytest.fixture
def router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PaperRouter]:
    """A router whose flock(1) leaves a trace: the file ``asked``."""
    with stand(tmp_path, monkeypatch) as made:
        program = tmp_path / "bin" / "flock"
        program.write_text(_FLOCK.format(folder=tmp_path, flock=shutil.which("flock", path="/usr/bin:/bin")))
        program.chmod(0o755)
        yield made


@pytest.fixture
def old(router: PaperRouter) -> Wanted:
    """A ruleset that was applied and kept, with another one on trial."""
    wanted = router.want(BOX)
    apply.apply(router.nft, wanted)
    apply.apply(router.nft, router.want(BOX, SECOND), confirm_within=600)
    return wanted


def eventually(there: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not there():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_way_back_that_waited_takes_the_lock(router: PaperRouter, old: Wanted) -> None:
    with lock.changing("a test"):
        (router.folder / "late").touch()
        eventually((router.folder / "asked").exists)
        assert trial.folder(TrialState.ARMED).is_dir()
        assert router.table() != old.table
    eventually(trial.folder(TrialState.REVERTED).is_dir)
    assert router.table() == old.table


def test_a_way_back_taken_by_a_command_leaves_the_lock_to_the_command(
    router: PaperRouter, old: Wanted
) -> None:
    assert apply.go_back() is not None
    assert router.table() == old.table
    assert not (router.folder / "asked").exists()


@pytest.mark.parametrize(
    "kept", ["flock --wait 20 9\n", "exit 7\n", None], ids=["drifted", "damaged", "gone"]
)
def test_a_command_goes_back_by_a_script_of_its_own_whatever_lies_there(
    router: PaperRouter, old: Wanted, kept: str | None
) -> None:
    script = trial.folder(TrialState.ARMED) / trial.SCRIPT
    text = script.read_text()
    script.unlink()
    if kept is not None:
        assert "flock -w 20 9\n" in text
        script.write_text(text.replace("flock -w 20 9\n", kept))
    assert apply.go_back() is not None
    assert router.table() == old.table
    assert not (router.folder / "asked").exists()


def test_a_word_for_the_script_is_no_time_to_wait(router: PaperRouter, old: Wanted) -> None:
    """It says ``armed`` to who waits for that only: a command's own output stays the command's."""
    text = lifeline.script("another change")
    done = subprocess.run(
        ["/bin/sh", "-c", text, "back.sh", "locked"], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert not (router.folder / "asked").exists()
    assert trial.folder(TrialState.ARMED).is_dir()  # of another change, so there is nothing to do
