"""Routers of the lab in a guest, one for each helper, and the kernel module in its two makes."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nftrtsp.lab import registry
from nftrtsp.lab.network import Lab
from nftrtsp.lab.player import PlayedFilm, Player, ProviderControl

SUITE = os.environ.get("NFTRTSP_GUEST", "")
MODULES = Path("/opt/nftrtsp/module")
#: A film's rate in Mbit/s; an emulated processor moves about a thousand datagrams a second.
MBPS = 0.5


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SUITE:
        return
    skip = pytest.mark.skip(reason="runs in a virtual machine: make test-kernel")
    for item in items:
        item.add_marker(skip)


def pytest_report_header() -> str:
    nft = subprocess.run(["nft", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return f"guest: {SUITE or 'none'}, Linux {platform.release()}, {nft}"


class Router:
    """A lab whose router runs one helper, with its provider and three set-top boxes."""

    def __init__(self, lab: Lab, provider: ProviderControl, players: list[Player]) -> None:
        self.lab, self.provider, self.players = lab, provider, players

    def lines(self, command: str) -> list[dict[str, Any]]:
        """Return what ``nftrtsp COMMAND --json`` prints."""
        printed = self.lab.router.nftrtsp(command, "--json", check=False).stdout
        return [json.loads(line) for line in printed.splitlines()]

    def ways(self, port: int) -> list[dict[str, Any]]:
        """Return the ways open to a port of the router."""
        return [one for one in self.lines("expectations") if one["tuple"]["dport"] == port]

    def watch(self, stb: int, port: int, **behaviour: Any) -> PlayedFilm:
        """Have a set-top box ask for a film, from a media server that nobody was told of."""
        return self.players[stb].watch(port, mbps=MBPS, **behaviour)

    def script(self, commands: str) -> None:
        """Load nft commands in the router."""
        self.lab.router.run(["nft", "-f", "-"], input=commands)


@contextlib.contextmanager
def router(helper: str, *, running: bool = True, apply: bool = True, config: str = "") -> Iterator[Router]:
    """A router with ``helper`` at work and its ruleset applied; ``config`` is added to the lab's.

    Not ``running``: its helper is not started.
    """
    with Lab.build(stbs=3, media_servers=3, helper=helper) as lab, lab.provider() as provider:
        if config:
            lab.write_config(lab.config_path.read_text() + config)
        if running and helper in {"userspace", "pinhole"}:
            start_helper(lab)
        if apply:
            lab.router.nftrtsp("apply", "--yes")
        with contextlib.ExitStack() as stack:
            players = [stack.enter_context(stb.player()) for stb in lab.stbs]
            yield Router(lab, provider, players)


def start_helper(lab: Lab) -> subprocess.Popen[Any]:
    """Start `nftrtsp helper` in the lab's router and return when it publishes."""
    process = lab.router.popen_nftrtsp("helper")
    socket = lab.run_dir / "helper.sock"
    until(lambda: socket.exists() or process.poll() is not None, "the helper runs")
    assert process.poll() is None, "the helper ended"
    return process


def until(condition: Callable[[], Any], what: str, wait: float = 10.0) -> Any:
    """Return what ``condition`` returns once it is true; fail after ``wait`` seconds of a real machine."""
    end = time.monotonic() + wait * registry.patience()
    while not (result := condition()):
        if time.monotonic() > end:
            pytest.fail(f"did not come true in time: {what}")
        time.sleep(0.05)
    return result


@contextlib.contextmanager
def module(make: str) -> Iterator[None]:
    """Load nf_conntrack_rtsp and nf_nat_rtsp, ``stock`` or ``any-source``, and unload them at the end."""
    folder = MODULES / make
    if not folder.is_dir():
        pytest.skip("Debian 13 packages no RTSP module, and Debian 12's does not build for its kernel")
    built = Path("/results/dkms")  # what DKMS itself built, where test_dkms.py ran before
    if make == "any-source" and (built / "nf_nat_rtsp.ko").exists():
        folder = built
    # A name that a userspace helper registered outlives its daemon, and nf_conntrack_rtsp cannot bear
    # to be refused: its init() then unregisters what it never registered, and takes the kernel down.
    until(
        lambda: subprocess.run(["modprobe", "-r", "nfnetlink_cthelper"], check=False).returncode == 0,
        "the registrations of earlier userspace helpers go",
    )
    subprocess.run(["modprobe", "nf_nat"], check=True)
    for name in ("nf_conntrack_rtsp", "nf_nat_rtsp"):
        subprocess.run(["insmod", folder / f"{name}.ko"], check=True)
    try:
        yield
    finally:
        # What names the helper is gone with its namespace a moment after the lab.
        until(
            lambda: (
                subprocess.run(["rmmod", "nf_nat_rtsp", "nf_conntrack_rtsp"], check=False).returncode == 0
            ),
            "the module can be unloaded",
        )


@pytest.fixture(scope="module")
def userspace() -> Iterator[Router]:
    with router("userspace") as made:
        yield made


@pytest.fixture(scope="module")
def pinhole() -> Iterator[Router]:
    with router("pinhole") as made:
        yield made
