"""The systemd units in a real systemd on Debian's kernel: boot, crashes, a hanging helper, a wrong config."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import conftest, dialogue, systemd
from .conftest import SUITE, Router

# 90 s, so only once: the guests run side by side, and Debian 12's has the module's tests besides.
pytestmark = pytest.mark.skipif(SUITE == "bookworm", reason="the units are run in Debian 13's guest")

PORT = 27336


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


def test_after_a_boot_the_ruleset_is_there_and_films_play(router: Router, machine: systemd.Systemd) -> None:
    assert machine.is_active(systemd.HELPER), machine.journal()
    assert machine.is_active(systemd.RESTORE), machine.journal()
    plays(router, PORT)


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
