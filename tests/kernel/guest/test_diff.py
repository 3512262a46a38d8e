"""The canonical form on this guest's nft and kernel: any config, no false difference, and the way back."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nftrtsp import config
from nftrtsp.config import HelperKind
from nftrtsp.errors import ConfigError
from nftrtsp.lab.network import Lab
from nftrtsp.ruleset import diff, transition
from nftrtsp.ruleset.build import build
from nftrtsp.ruleset.listing import read_table
from nftrtsp.ruleset.model import Table
from nftrtsp.ruleset.render import render
from nftrtsp.ruleset.scratch import Scratch

CONFIGS = 60
PATIENCE = 120.0


def some_config(pick: random.Random) -> dict[str, Any]:
    def some(*items: Any, least: int = 0) -> list[Any]:
        return pick.sample(items, pick.randint(least, len(items)))

    return {
        "profile": pick.choice(config.profiles()),
        "iptv": {
            "interface": pick.choice(["vlan2", "eth0.4"]),
            "nat": pick.choice(["masquerade", "10.214.0.2"]),
            "full_cone": pick.random() < 0.5,
            "policy": pick.choice(["drop", "accept"]),
            "multicast": some("239.0.0.0/16", "232.0.0.0/8", "224.0.1.0/24"),
            "services": some("igmp", "icmp", "dhcp", "rip"),
        },
        "lan": {
            "interfaces": some("br0", "eth1", "wlan0", least=1),
            "networks": ["192.168.1.0/24", *some("10.7.0.0/16", "172.20.0.0/20")],
        },
        "rtsp": {
            "ports": some(554, 1554, 55554, 8554, least=1),
            "pause": pick.choice(["30s", "10m", "1h"]),
            "mark": pick.choice(["0x100000/0x100000", "0x1/0x3"]),
        },
        "stb": [{"address": f"192.168.1.{number}"} for number in some(200, 201, 202, 203)],
    }


def list_table(scratch: Scratch) -> Table | None:
    return read_table(scratch.list_table().replace('type "ftp" protocol', 'type "rtsp" protocol'))


def test_any_config_applied_leaves_no_difference() -> None:
    pick = random.Random(1)
    done = 0
    with Scratch() as wish, Scratch() as live:
        while done < CONFIGS:
            try:
                wanted = config.parse(some_config(pick))
            except ConfigError:
                continue
            wish.load(render(build(wanted, pick.choice([HelperKind.PINHOLE, HelperKind.USERSPACE]))))
            table = list_table(wish)
            assert table is not None
            live.load(transition.transition(list_table(live), table))
            assert diff.compare(list_table(live), table).changes == ()
            whole = read_table(live.run("list table inet nftrtsp"), timed=True)
            live.load(transition.replacement(whole))
            assert diff.compare(list_table(live), table).changes == ()
            done += 1


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab.build(stbs=1, media_servers=1, helper="pinhole") as made:
        yield made


def test_unconfirmed_goes_back_on_this_nft_too(lab: Lab) -> None:
    lab.router.nftrtsp("apply", "--yes")
    lab.router.run(["nft", "add element inet nftrtsp pinholes { 27336 timeout 1h : 192.168.1.200 . 27336 }"])
    text = lab.config_path.read_text()
    lab.config_path.write_text(text.replace("[iptv]\n", '[iptv]\npolicy = "accept"\nfull_cone = true\n'))
    lab.router.nftrtsp("apply", "--yes", "--confirm-within", "30")
    state = Path(lab.environment()["NFTRTSP_STATE_DIR"])
    end = time.monotonic() + PATIENCE
    while not (state / "trial.reverted").is_dir():
        assert time.monotonic() < end, (state / "rollback.log").read_text()
        time.sleep(0.2)
    lab.config_path.write_text(text)
    assert lab.router.nftrtsp("diff", check=False).returncode == 0
    assert "27336" in lab.router.run(["nft", "list map inet nftrtsp pinholes"]).stdout
