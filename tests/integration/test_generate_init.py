"""`nftrtsp init` on a router as the lab has it: what it writes is right as it is."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from nftrtsp.config import load
from nftrtsp.lab.network import Lab

pytestmark = pytest.mark.root


def test_init_finds_the_iptv_interface_and_the_lan_of_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "nftrtsp.toml"
    with Lab.build(stbs=1, media_servers=1) as lab:
        for profile in ("movistar", "generic"):
            run = lab.router.nftrtsp("init", "--profile", profile, "-o", str(file), "--force")
            assert run.stdout == ""
            assert "IPTV interface vlan2: " in run.stderr
            assert "LAN br0 (192.168.1.0/24): " in run.stderr
            config = load(file)
            assert config.profile == profile
            assert config.iptv.interface == "vlan2"
            assert config.lan.interfaces == ("br0",)
            assert config.lan.networks == (IPv4Network("192.168.1.0/24"),)
            checked = lab.router.nftrtsp("check", "-c", str(file), "--helper", "pinhole")
            assert checked.stdout == "valid on this kernel, for the pinhole helper\n"
        shown = lab.router.nftrtsp("init", "--profile", "movistar", "-o", "-")
        assert 'interface = "vlan2"' in shown.stdout
