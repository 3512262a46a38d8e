"""The lab stands alone and leaves nothing, however its builder ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nftrtsp.errors import LabError
from nftrtsp.lab import registry
from nftrtsp.lab.network import Lab

pytestmark = pytest.mark.root

_SYSCTLS = ("net/ipv4/ip_forward", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter")


@pytest.fixture(autouse=True)
def _own_labs(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder of labs of our own: whoever builds beside us would sweep up the dead labs made here."""
    monkeypatch.setenv("NFTRTSP_LAB_DIR", str(tmp_path_factory.mktemp("labs")))


def _outside() -> tuple[str, ...]:
    """What the machine's own namespace holds: links, addresses, routes, rules, sysctls."""
    shown = [
        subprocess.run(words, capture_output=True, text=True, check=False).stdout
        for words in (
            ["ip", "-o", "address"],
            ["ip", "route", "show", "table", "all"],
            ["ip", "-o", "link"],
            ["nft", "list", "ruleset"],
        )
    ]
    return (*shown, *((Path("/proc/sys") / key).read_text() for key in _SYSCTLS))


def _wait(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10 * registry.patience()
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def _traces(lab_id: str) -> list[str]:
    names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout.split()
    return [name for name in names if lab_id in name] + [
        str(folder) for folder in registry.labs_dir().glob(lab_id)
    ]


def _runs(pid: int) -> bool:
    """Whether a process runs; a zombie that pid 1 has not reaped does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_the_lab_has_the_network_of_the_design() -> None:
    with Lab.build(stbs=2, media_servers=2) as lab:
        router = lab.router.run(["ip", "-br", "address"]).stdout
        assert "192.168.1.1/24" in router
        assert "10.214.0.2/9" in router
        assert lab.media_servers == ["172.26.83.137", "172.26.83.138"]
        assert [stb.address for stb in lab.stbs] == ["192.168.1.200", "192.168.1.201"]
        assert "172.26.80.0/21 via 10.128.0.1 dev vlan2" in lab.router.run(["ip", "route"]).stdout
        assert lab.router.run(["cat", "/proc/sys/net/ipv4/ip_forward"]).stdout == "1\n"
        for name in ("all", "vlan2"):
            assert lab.router.run(["cat", f"/proc/sys/net/ipv4/conf/{name}/rp_filter"]).stdout == "0\n"
        offload = lab.stbs[0].run(["ethtool", "-k", "eth0"]).stdout
        assert "generic-segmentation-offload: off" in offload


def test_the_lab_changes_nothing_outside_and_has_no_way_out() -> None:
    before = _outside()
    with Lab.build(stbs=1) as lab:
        assert _outside() == before
        for space in (lab.router, lab.isp, *lab.stbs):
            routes = space.run(["ip", "route", "show", "default"]).stdout
            assert not routes or "via 192.168.1.1 dev eth0" in routes
            links = space.run(["ip", "-o", "-d", "link"]).stdout
            assert all(kind in line for line, kind in _kinds(links))
    assert _outside() == before
    assert not _traces(lab.id)


def _kinds(links: str) -> list[tuple[str, str]]:
    wanted = {"lo": "loopback", "br0": "bridge"}
    return [(line, wanted.get(line.split(": ")[1], "veth")) for line in links.splitlines()]


def test_two_labs_stand_side_by_side() -> None:
    with Lab.build(stbs=1) as one, Lab.build(stbs=1) as other:
        assert one.id != other.id
        assert one.router.run(["true"]).returncode == other.router.run(["true"]).returncode == 0
    assert not _traces(one.id)
    assert not _traces(other.id)


_BUILDER = """
import sys, time
from nftrtsp.lab.network import Lab
lab = Lab.build(stbs=2)
lab.isp.popen(["sleep", "600"])
print(lab.id, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_lab_goes_when_its_builder_is_killed(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _BUILDER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as builder:
        try:
            assert builder.stdout is not None
            lab_id = builder.stdout.readline().strip()
            assert _wait(lambda: len(registry.processes(registry.load(lab_id))) == 1)
            sleeper = registry.processes(registry.load(lab_id))[0]
        finally:
            builder.send_signal(number)
    assert _wait(lambda: not _traces(lab_id))
    assert not _runs(sleeper)


def test_a_lab_without_guardian_is_swept_up_by_the_next() -> None:
    builder = subprocess.run(
        [
            sys.executable,
            "-c",
            """import os; from nftrtsp.lab.network import Lab; lab = Lab.build(stbs=1); lab._guardian.kill()
lab._guardian.wait(); print(lab.id, flush=True); os._exit(1)""",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    dead = builder.stdout.strip()
    assert _traces(dead)
    with Lab.build(stbs=1):
        assert not _traces(dead)


def test_a_lab_whose_builder_lives_is_not_swept_up() -> None:
    with Lab.build(stbs=1) as lab:
        assert registry.sweep() == []
        assert _traces(lab.id)


def test_a_lab_that_fails_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def fail(lab: Lab) -> None:
        assert len(_traces(lab.id)) > 1
        begun.append(lab.id)
        raise ZeroDivisionError

    monkeypatch.setattr(Lab, "_make_links", fail)
    with pytest.raises(ZeroDivisionError):
        Lab.build(stbs=1)
    assert [_traces(lab_id) for lab_id in begun] == [[]]


def test_too_many_boxes_are_refused_in_one_sentence() -> None:
    with pytest.raises(LabError, match=r"51 set-top boxes .* out of range; 1 to 50"):
        Lab.build(stbs=51)


def test_ctrl_c_reaches_no_program_of_a_set_top_box_or_provider() -> None:
    with Lab.build(stbs=1) as lab, lab.provider(), lab.stbs[0].player():
        programs = [
            pid for pid in registry.processes(registry.load(lab.id)) if b"nftrtsp.lab." in _command(pid)
        ]
        assert len(programs) == 2
        assert os.getpgrp() not in {os.getpgid(pid) for pid in programs}


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
