"""`nftrtsp init` on a router as the lab has it: what it writes is right as it is."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network
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
            # Nobody asks, so nobody is named, and that is said.
            assert config.stb == ()
            assert "every host of the LAN may ask: name them" in run.stderr
        shown = lab.router.nftrtsp("init", "--profile", "movistar", "-o", "-")
        assert 'interface = "vlan2"' in shown.stdout


def test_init_names_the_box_that_asks_for_films_and_only_suggests_the_other(tmp_path: Path) -> None:
    file = tmp_path / "nftrtsp.toml"
    with Lab.build(stbs=2, media_servers=1, helper="pinhole") as lab:
        lab.router.nftrtsp("apply", "--yes")
        asking, silent = lab.stbs
        with silent.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as opened:
            opened.sendto(b"met", ("192.168.1.1", 9))
        server = lab.isp.call(lambda: socket.create_server((lab.rtsp_server, 554)))
        with server, asking.call(lambda: socket.create_connection((lab.rtsp_server, 554))):
            run = lab.router.nftrtsp("init", "--profile", "movistar", "-o", str(file))
        assert f"set-top boxes: {asking.address} asks for films now; add your others" in run.stderr
        assert [box.address for box in load(file).stb] == [IPv4Address(asking.address)]
        assert f'# address = "{silent.address}"' in file.read_text()
