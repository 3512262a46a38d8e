"""--confirm-within on a real kernel: unconfirmed means back, whatever becomes of the one who applied."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nftrtsp import netns
from tests.integration.stand import NFTRTSP, SECOND_BOX, Stand, config, needs_mounts, stand

pytestmark = pytest.mark.root

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
SOON = "5"  # seconds: an apply on a busy machine has ended by then


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Stand]:
    """A router with an applied ruleset, and a config that asks for another one."""
    with stand(tmp_path) as built:
        built.nftrtsp("apply", "--yes")
        built.config.write_text(
            config(more=SECOND_BOX, rtsp="ports = [554, 1554]", iptv='services = ["igmp"]')
        )
        try:
            yield built
        finally:
            for pid in waiting(built):
                with contextlib.suppress(ProcessLookupError):  # it ends by itself meanwhile
                    os.kill(pid, signal.SIGKILL)


def eventually(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)


def waiting(router: Stand) -> list[int]:
    """Processes that wait to take the way back on this router."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and str(router.state).encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_unconfirmed_goes_back_by_itself(router: Stand) -> None:
    before = router.table()
    text = router.nftrtsp("apply", "--yes", "--confirm-within", SOON)
    assert "open a NEW connection to the router, then run `nftrtsp confirm`" in text
    assert router.table() != before
    eventually(lambda: router.table() == before, "the old ruleset")
    eventually((router.state / "trial.reverted").is_dir, "noted as taken back")
    assert "taken back" in router.nftrtsp("status")
    assert "too late" in router.nftrtsp("confirm", code=2)
    assert not waiting(router)


def test_chains_and_objects_that_come_and_go_are_back_too(router: Stand) -> None:
    before = router.table()
    router.config.write_text(config(iptv="policy = 'accept'\nfull_cone = true", rtsp="pause = '10m'"))
    router.nftrtsp("apply", "--yes", "--confirm-within", SOON)
    assert "chain input" not in router.table()
    eventually((router.state / "trial.reverted").is_dir, "taken back")
    assert router.table() == before


def test_confirmed_stays_and_is_loaded_at_boot(router: Stand) -> None:
    router.nftrtsp("apply", "--yes", "--confirm-within", "60")
    after = router.table()
    assert len(waiting(router)) == 1
    router.nftrtsp("confirm")
    eventually(lambda: not waiting(router), "nobody waits any longer")
    router.nft("delete table inet nftrtsp")
    router.nftrtsp("restore")
    assert router.table() == after
    assert "nothing waits for a confirmation" in router.nftrtsp("confirm", code=2)


def test_rollback_goes_back_at_once(router: Stand) -> None:
    before = router.table()
    router.nftrtsp("apply", "--yes", "--confirm-within", "60")
    router.nftrtsp("rollback", "--yes")
    assert router.table() == before
    assert not waiting(router)


def test_a_second_apply_is_refused_while_one_is_pending(router: Stand) -> None:
    router.nftrtsp("apply", "--yes", "--confirm-within", "60")
    router.config.write_text(config())
    text = router.nftrtsp("apply", "--yes", code=2)
    assert "a change by tester waits for its confirmation" in text
    assert "nftrtsp rollback" in text
    facts = json.loads(router.nftrtsp("status", "--json"))
    assert facts["trial"]["state"] == "armed"
    assert 0 < facts["trial"]["left"] <= 60
    router.nftrtsp("rollback", "--yes")


def test_remove_ends_a_trial(router: Stand) -> None:
    router.nftrtsp("apply", "--yes", "--confirm-within", "60")
    router.nftrtsp("remove", "--yes")
    assert router.table() == ""
    assert not waiting(router)


@pytest.mark.parametrize("command", ["remove", "confirm"])
@needs_mounts
def test_where_the_state_cannot_be_written_the_way_back_stays_armed(router: Stand, command: str) -> None:
    before = router.table()
    router.nftrtsp("apply", "--yes", "--confirm-within", "8")
    words = [*NFTRTSP, command, *(["--yes"] if command == "remove" else [])]
    mounted = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    done = router.run("unshare", "-m", "sh", "-c", mounted, str(router.state), *words, check=False)
    assert done.returncode == 2, done
    assert "read-only file system; mount that file system writable" in done.stderr
    assert router.table() not in ("", before)
    assert len(waiting(router)) == 1
    assert (router.state / "good.nft").exists()
    eventually(lambda: router.table() == before, "the old ruleset")
    eventually((router.state / "trial.reverted").is_dir, "noted as taken back")


def test_the_first_apply_of_all_goes_back_to_nothing(tmp_path: Path) -> None:
    with stand(tmp_path) as router:
        router.nftrtsp("apply", "--yes", "--confirm-within", SOON)
        assert router.table() != ""
        eventually(lambda: router.nft("list", "ruleset") == "", "nothing, as before")
        assert "none to load" in router.nftrtsp("restore")


def test_the_way_back_works_when_the_program_is_gone(router: Stand) -> None:
    package = router.folder / "package"
    for name in ("nftrtsp", "rulesets"):
        shutil.copytree(ROOT / name, package / name)
    before = router.table()
    done = router.run("env", f"PYTHONPATH={package}", *NFTRTSP, "apply", "--yes", "--confirm-within", SOON)
    assert done.returncode == 0
    shutil.rmtree(package)
    assert router.table() != before
    eventually(lambda: router.table() == before, "the old ruleset")


def test_the_way_back_survives_the_death_of_the_whole_session(router: Stand) -> None:
    """As when SSH breaks: everything of the session gets SIGHUP, then SIGKILL."""
    before = router.table()
    words = [*NFTRTSP, "apply", "--yes", "--confirm-within", SOON]
    command = " ".join(f"'{word}'" for word in words)
    session = subprocess.Popen(
        [*netns.words(router.name), "script", "-qec", command, "/dev/null"],
        env=router.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    eventually(lambda: router.table() != before, "the new ruleset")
    os.killpg(session.pid, signal.SIGHUP)
    os.killpg(session.pid, signal.SIGKILL)
    session.wait()
    eventually(lambda: router.table() == before, "the old ruleset")


def test_a_watchdog_that_was_killed_too_is_made_up_for_by_the_next_command(router: Stand) -> None:
    before = router.table()
    router.nftrtsp("apply", "--yes", "--confirm-within", SOON)
    for pid in waiting(router):
        os.kill(pid, signal.SIGKILL)
    assert router.table() != before
    time.sleep(float(SOON))
    assert "not confirmed in time" in router.nftrtsp("restore")
    assert router.table() == before


@needs_mounts
def test_after_a_reboot_the_good_ruleset_is_loaded_and_the_trial_is_over(router: Stand) -> None:
    before = router.table()
    router.nftrtsp("apply", "--yes", "--confirm-within", "600")
    for pid in waiting(router):
        os.kill(pid, signal.SIGKILL)
    router.nft("delete table inet nftrtsp")  # what a reboot leaves of the kernel's part
    other = router.folder / "boot_id"
    other.write_text("00000000-0000-4000-8000-000000000000\n")
    restore = " ".join(f"'{word}'" for word in [*NFTRTSP, "restore"])
    done = router.run(
        "unshare", "-m", "sh", "-ec", f"mount --bind {other} /proc/sys/kernel/random/boot_id; {restore}"
    )
    assert "booted before the last change was confirmed" in done.stderr
    assert router.table() == before
    assert (router.state / "trial.reverted").is_dir()


@pytest.mark.parametrize("room", [4, 12, 20, 28])  # KiB: full at the first files, and at later ones
@needs_mounts
def test_a_full_disk_stops_the_change_before_it_begins(router: Stand, room: int) -> None:
    before = router.nft("-a", "list", "ruleset")
    command = " ".join(f"'{word}'" for word in [*NFTRTSP, "apply", "--yes", "--confirm-within", "30"])
    state = router.state
    done = router.run(
        "unshare",
        "-m",
        "sh",
        "-c",
        f"cp -a {state} {state}.kept; mount -t tmpfs -o mode=700,size={room}k none {state} && "
        f"cp {state}.kept/good.nft {state}/ 2>/dev/null; {command}",
        check=False,
    )
    assert done.returncode == 2
    assert "no space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert router.nft("-a", "list", "ruleset") == before
    assert not waiting(router)


def test_the_countdown_ends_with_the_confirmation_from_elsewhere(router: Stand) -> None:
    command = " ".join(f"'{word}'" for word in [*NFTRTSP, "apply", "--yes", "--confirm-within", "60"])
    terminal = router.popen("script", "-qec", command, "/dev/null")
    eventually((router.state / "trial.armed" / "lifeline").exists, "armed")
    eventually(lambda: "1554" in router.nft("list table inet nftrtsp"), "loaded")
    router.nftrtsp("confirm")
    out, _ = terminal.communicate(timeout=PATIENCE)
    assert terminal.returncode == 0
    assert "s left" in out
    assert "confirmed: kept" in out


def test_ctrl_c_ends_the_countdown_and_not_the_trial(router: Stand) -> None:
    before = router.table()
    command = " ".join(f"'{word}'" for word in [*NFTRTSP, "apply", "--yes", "--confirm-within", "15"])
    terminal = router.popen("script", "-qec", command, "/dev/null", stdin=subprocess.PIPE)
    assert terminal.stdout is not None
    seen = ""
    while "s left" not in seen:
        char = terminal.stdout.read(1)
        assert char, seen
        seen += char
    out, _ = terminal.communicate("\x03", timeout=PATIENCE)
    assert terminal.returncode == 130
    assert "the way back is still armed" in out
    assert "Traceback" not in out
    assert (router.state / "trial.armed" / "lifeline").exists()
    assert router.table() not in ("", before)
    eventually(lambda: router.table() == before, "the old ruleset")


def test_the_countdown_ends_with_the_way_back(router: Stand) -> None:
    command = " ".join(f"'{word}'" for word in [*NFTRTSP, "apply", "--yes", "--confirm-within", SOON])
    done = router.run("script", "-qec", command, "/dev/null", check=False)
    assert done.returncode == 3
    assert "the old ruleset is back" in done.stdout


def test_systemd_is_asked_where_it_runs(router: Stand) -> None:
    """With a stand-in for systemd-run, for the sign that systemd runs, and for PID 1's network namespace."""
    bin_dir = router.folder / "bin"
    bin_dir.mkdir()
    asked = router.folder / "asked"
    for name in ("systemd-run", "systemctl"):
        (bin_dir / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{asked}\n')
        (bin_dir / name).chmod(0o755)
    code = (
        "import sys\nfrom pathlib import Path\nfrom nftrtsp.ruleset import lifeline\n"
        "real = Path.is_dir\n"
        "Path.is_dir = lambda self: str(self) == '/run/systemd/system' or real(self)\n"
        "lifeline._shares_namespace_with_init = lambda: True\n"
        "sys.argv = ['nftrtsp', *sys.argv[1:]]\nfrom nftrtsp.cli import main; main()"
    )
    path = f"PATH={bin_dir}:{os.environ['PATH']}"
    router.run("env", path, sys.executable, "-c", code, "apply", "--yes", "--confirm-within", "45")
    router.run("env", path, sys.executable, "-c", code, "confirm")
    armed, stopped = asked.read_text().splitlines()
    assert armed.startswith("systemd-run --quiet --collect --unit=nftrtsp-back-")
    assert "--on-active=45s" in armed
    assert armed.endswith(f"/bin/sh {router.state}/trial.armed/back.sh")
    assert stopped.startswith("systemctl stop nftrtsp-back-")
    assert not waiting(router)
