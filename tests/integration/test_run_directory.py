"""The helper's run directory, which is the service's own: what others do there, and what root must not do."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nftrtsp.errors import BusyError, StateError
from nftrtsp.helper.lock import Lock
from nftrtsp.helper.note import Hello
from nftrtsp.helper.publish import Publisher
from nftrtsp.helper.userspace.saved_sessions import SavedSessions
from nftrtsp.helper.ways import Ways

pytestmark = pytest.mark.root

SERVICE, STRANGER = 65533, 65534


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A run directory that every user can reach, as /run/nftrtsp is."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Path(folder, "run")
        made.mkdir(mode=0o755)
        yield made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def hold(path: Path, user: int) -> subprocess.Popen[bytes]:
    """Have a user take the lock; return once that was done or refused."""
    words = ["flock", "--nonblock", str(path), "sh", "-c", "echo held; read end"]
    process = subprocess.Popen(
        words, user=user, group=user, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_no_other_user_can_keep_the_helper_from_starting(run_dir: Path) -> None:
    Lock(run_dir).release()
    holder = hold(run_dir / "helper.lock", STRANGER)
    try:
        Lock(run_dir).release()
    finally:
        holder.communicate(b"\n")
    assert holder.returncode != 0


def test_a_lock_that_let_others_in_is_mended(run_dir: Path) -> None:
    (run_dir / "helper.lock").touch()
    (run_dir / "helper.lock").chmod(0o644)
    Lock(run_dir).release()
    assert mode(run_dir / "helper.lock") == 0o600


def test_all_may_read_which_process_the_helper_is(run_dir: Path) -> None:
    lock = Lock(run_dir)
    assert mode(lock.pid_file) == 0o644
    assert lock.pid_file.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_lock_that_is_held_is_waited_for_and_then_worth_another_try(run_dir: Path) -> None:
    first = Lock(run_dir)
    with pytest.raises(BusyError) as caught:
        Lock(run_dir, patience=0.3)
    assert caught.value.exit_code == 1
    first.release()


def test_a_lock_that_another_user_put_there_is_not_used(run_dir: Path) -> None:
    lock = run_dir / "helper.lock"
    lock.touch()
    os.chown(lock, STRANGER, STRANGER)
    with pytest.raises(StateError, match=f"belongs to another user .*; remove it: rm {lock}"):
        Lock(run_dir)


@pytest.mark.parametrize("name", ["helper.lock", "helper.pid", ".helper.pid.part"])
@pytest.mark.parametrize("link", ["to", "of"])
def test_root_changes_nothing_elsewhere_through_a_link(run_dir: Path, name: str, link: str) -> None:
    """A service that was taken over lays links where root, by hand, runs a helper later."""
    victim = run_dir.parent / "victim"
    victim.write_text("precious")
    victim.chmod(0o640)
    os.chown(run_dir, SERVICE, SERVICE)
    if link == "to":
        (run_dir / name).symlink_to(victim)
    else:
        (run_dir / name).hardlink_to(victim)
    if name == "helper.lock":
        with pytest.raises(StateError):
            Lock(run_dir)
    else:
        Lock(run_dir).release()
    status = victim.stat()
    assert (victim.read_text(), mode(victim), status.st_uid) == ("precious", 0o640, 0)


def test_what_root_leaves_there_is_the_service_s(run_dir: Path) -> None:
    os.chown(run_dir, SERVICE, SERVICE)
    lock = Lock(run_dir)
    SavedSessions(run_dir).write(Ways("expectation"))
    publisher = Publisher(Hello, path=run_dir / "helper.sock")
    owners = {path.name: path.stat().st_uid for path in run_dir.iterdir()}
    publisher.close()
    lock.release()
    assert owners == {
        "helper.lock": SERVICE,
        "helper.pid": SERVICE,
        "userspace-ways.json": SERVICE,
        "helper.sock": 0,  # goes with its helper
    }
    assert mode(run_dir / "helper.lock") == mode(run_dir / "userspace-ways.json") == 0o600
