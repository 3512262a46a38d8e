"""The systemd units in a real systemd on Debian's kernel: boot, crashes, a hanging helper, a wrong config."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nftrtsp import config as configuration

from . import conftest, dialogue, systemd
from .conftest import SUITE, Router

# 90 s, so only once: the guests run side by side, and Debian 12's has the module's tests besides.
pytestmark = pytest.mark.skipif(SUITE == "bookworm", reason="the units are run in Debian 13's guest")

PORT = 27336
CAP_NET_ADMIN = 12
EXPECT_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_expect_max")


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    """A router that has confirmed its ruleset and is now switched off."""
    with conftest.router("userspace", running=False) as made:
        made.lab.router.run(["nft", "flush", "ruleset"])
        yield made


@pytest.fixture(scope="module")
def machine(router: Router) -> Iterator[systemd.Systemd]:
    with systemd.booted(router.lab) as made:
        yield made


def plays(router: Router, port: int) -> None:
    film = router.watch(0, port)
    film.wait(20)
    dialogue.stop(router, film)


@pytest.mark.parametrize("unit", [systemd.HELPER, systemd.RESTORE])
def test_the_sandbox_holds_back_all_that_it_can(machine: systemd.Systemd, unit: str) -> None:
    exposure = machine.exposure(unit)
    print(f"exposure of {unit}: {exposure}")
    assert exposure <= 2.0


def test_after_a_boot_the_ruleset_is_there_and_films_play(router: Router, machine: systemd.Systemd) -> None:
    assert machine.is_active(systemd.HELPER), machine.journal()
    assert machine.is_active(systemd.RESTORE), machine.journal()
    plays(router, PORT)


def test_the_helper_and_its_watchdog_have_one_capability_and_a_user_of_their_own(
    machine: systemd.Systemd,
) -> None:
    uid = machine.run(f"id -u {systemd.USER}")
    pids = machine.run(f"pgrep --uid {systemd.USER}").split()
    assert machine.show()["MainPID"] in pids
    assert len(pids) == 2
    for pid in pids:
        status = machine.run(f"cat /proc/{pid}/status")
        lines = (line.partition(":") for line in status.splitlines())
        facts = {name: value.split() for name, _, value in lines}
        assert set(facts["Uid"]) == {uid}
        for name in ("CapEff", "CapPrm", "CapBnd"):
            assert int(facts[name][0], 16) == 1 << CAP_NET_ADMIN, name
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == (["1"], ["2"])
        assert machine.run(f"ps -o ni= -p {pid}") == "-15"
    assert machine.run("stat -c %U:%a /var/lib/nftrtsp") == "root:700"
    assert machine.run("stat -c %U:%G:%a /run/nftrtsp/helper.sock") == "nftrtsp:nftrtsp:660"


def test_the_machine_holds_as_many_films_as_the_config_may_allow() -> None:
    """In the guest itself: the limit is the machine's, which a router in a network namespace may not set."""
    EXPECT_MAX.write_text("128\n")
    unit = Path("contrib/systemd/nftrtsp-helper.service").read_text().replace("\\\n", "")
    (command,) = re.findall(r"^ExecStartPre=-\+/bin/sh -c '(.*)'$", unit, re.MULTILINE)
    subprocess.run(["sh", "-c", command.replace("$$", "$")], check=False)
    rtsp = configuration.parse(
        {"iptv": {"interface": "v"}, "lan": {"interfaces": ["b"], "networks": ["192.168.1.0/24"]}}
    ).rtsp
    assert int(EXPECT_MAX.read_text()) >= rtsp.max_total + 256


@pytest.mark.parametrize("whom", ["main", "all"])
def test_what_is_killed_runs_again_and_the_film_goes_on(
    router: Router, machine: systemd.Systemd, whom: str
) -> None:
    film = router.watch(1, PORT + 2)
    film.wait(20)
    before = machine.show()
    machine.run(f"systemctl kill --kill-whom={whom} --signal=KILL {systemd.HELPER}")
    after = machine.wait_for_another(before["MainPID"])
    assert int(after["NRestarts"]) == int(before["NRestarts"]) + 1
    plays(router, PORT + 4)
    film.wait(20)
    dialogue.stop(router, film)


def test_a_helper_that_hangs_is_ended_and_started_anew(router: Router, machine: systemd.Systemd) -> None:
    machine.run("mkdir -p /run/systemd/system/nftrtsp-helper.service.d")
    short = "[Service]\nWatchdogSec=5\n"  # 30 s as it comes
    machine.run("tee /run/systemd/system/nftrtsp-helper.service.d/short.conf", stdin=short)
    machine.run("systemctl daemon-reload")
    machine.run(f"systemctl restart {systemd.HELPER}")
    pid = machine.show()["MainPID"]
    machine.run(f"kill -STOP {pid}")
    machine.wait_for_another(pid, 30)
    assert "Watchdog timeout" in machine.journal()
    plays(router, PORT + 6)


def test_an_upgrade_from_a_helper_that_was_root_keeps_its_films(
    router: Router, machine: systemd.Systemd
) -> None:
    machine.run(f"systemctl stop {systemd.HELPER}")
    machine.run("chown -R root:root /run/nftrtsp")
    machine.run("chmod 644 /run/nftrtsp/helper.lock")
    machine.run(f"systemctl start {systemd.HELPER}")
    machine.install(systemd.BEFORE)
    assert machine.run("stat -c %U /run/nftrtsp/helper.sock") == "root"
    film = router.watch(2, PORT + 8)
    film.wait(20)
    machine.install()
    assert machine.is_active(), machine.journal()
    names = machine.run("find /run/nftrtsp -mindepth 1 -printf '%f:%u\\n'").split()
    assert {"helper.lock:nftrtsp", "helper.sock:nftrtsp", "userspace-ways.json:nftrtsp"} <= set(names)
    film.wait(20)
    dialogue.stop(router, film)
    plays(router, PORT + 10)


def test_the_other_kind_of_helper_serves_in_the_same_sandbox(
    router: Router, machine: systemd.Systemd
) -> None:
    place = "/etc/nftrtsp/nftrtsp.toml"
    config = machine.run(f"cat {place}")
    router.lab.router.nftrtsp("apply", "--yes", "--helper", "pinhole")
    machine.run(f"tee {place}", stdin=config.replace('helper = "userspace"', 'helper = "pinhole"'))
    machine.run(f"systemctl restart {systemd.HELPER}")
    assert machine.is_active(), machine.journal()
    plays(router, PORT + 12)


def test_the_way_back_is_taken_in_the_sandbox_too(router: Router, machine: systemd.Systemd) -> None:
    """Not confirmed in time, and nobody was there to take it back: for pinhole, as before it."""
    router.lab.router.nftrtsp("apply", "--yes", "--helper", "userspace", "--confirm-within", "600")
    trial = router.lab.state_dir / "trial.armed"
    kind, pid = (trial / "lifeline").read_text().split()
    assert kind == "process"
    os.kill(int(pid), signal.SIGKILL)
    facts = json.loads((trial / "trial.json").read_text())
    (trial / "trial.json").write_text(json.dumps({**facts, "ends": 1.0}))
    machine.run(f"systemctl restart {systemd.RESTORE}")
    assert "not confirmed in time; went back now" in machine.journal()
    assert not trial.exists()
    plays(router, PORT + 14)


def test_a_config_that_is_wrong_is_not_tried_again_and_again(machine: systemd.Systemd) -> None:
    place = "/etc/nftrtsp/nftrtsp.toml"
    config = machine.run(f"cat {place}")
    machine.run(f"tee {place}", stdin=config.replace("helper =", "hepler ="))
    machine.run(f"systemctl restart {systemd.HELPER}", check=False)
    now = machine.show()
    assert (now["ActiveState"], now["ExecMainStatus"], now["NRestarts"]) == ("failed", "2", "0")
    assert "nftrtsp.toml: rtsp.hepler" in machine.journal()
    machine.run(f"tee {place}", stdin=config + "\n")
    machine.run(f"systemctl restart {systemd.HELPER}")
    assert machine.is_active()
