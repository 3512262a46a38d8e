"""Whatever is wrong with a configuration: one sentence with place and remedy, over the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

IPTV = 'interface = "vlan2"'
LAN = 'interfaces = ["br0"]\nnetworks = ["192.168.1.0/24"]'


def document(*, head: str = "", iptv: str = IPTV, lan: str = LAN, rtsp: str = "", tail: str = "") -> str:
    return f"{head}\n[iptv]\n{iptv}\n[lan]\n{lan}\n[rtsp]\n{rtsp}\n{tail}\n"


def box(address: str, name: str = "") -> str:
    return f'[[stb]]\naddress = "{address}"\nname = "{name}"\n'


# text of the file -> what follows "nftrtsp: nftrtsp.toml: " on stderr
CASES = {
    "empty": ("", "the table [lan] is missing; see `nftrtsp init`"),
    "syntax": ("x = [", "not valid TOML: Invalid value (at end of document); correct that line"),
    "unknown key": (document(head='profil = "x"'), "profil: unknown key; did you mean 'profile'?"),
    "unknown key in a table": (
        document(iptv=IPTV + "\nnta = 1"),
        "iptv.nta: unknown key; did you mean 'nat'?",
    ),
    "unknown key of a box": (
        document(tail='[[stb]]\nadress = "192.168.1.2"'),
        "stb[0].adress: unknown key; did you mean 'address'?",
    ),
    "no such profile": (
        document(head='profile = "movista"'),
        "profile: there is no profile 'movista'; did you mean 'movistar'?",
    ),
    "profile with a path": (
        document(head='profile = "../rulesets/movistar"'),
        (
            "profile: there is no profile '../rulesets/movistar'; "
            "choose one of china-unicom, freebox, generic, movistar, telia-ee"
        ),
    ),
    "profile of a wrong type": (
        document(head="profile = 3"),
        "profile: must be a text; choose one of china-unicom, freebox, generic, movistar, telia-ee",
    ),
    "table of a wrong type": (
        "iptv = 3\n[lan]\n" + LAN,
        "iptv: must be a table, not a whole number; write [iptv] and its keys below it",
    ),
    "interface missing": (document(iptv=""), 'iptv.interface: is missing; write interface = "vlan2"'),
    "interface of a wrong type": (
        document(iptv="interface = 3"),
        'iptv.interface: must be a text, not a whole number; write interface = "vlan2"',
    ),
    "interface with a blank": (
        document(iptv='interface = "a b"'),
        "iptv.interface: 'a b' is no interface name; 1 to 15 characters, no '/', '*' or blank",
    ),
    "interface with nft's wildcard": (
        document(iptv='interface = "vlan*"'),
        "iptv.interface: 'vlan*' is no interface name; 1 to 15 characters, no '/', '*' or blank",
    ),
    "interface that would end nft's string": (
        document(iptv="interface = 'a\"b'"),
        "iptv.interface: 'a\"b' is no interface name; 1 to 15 characters, no '/', '*' or blank",
    ),
    "interface too long": (
        document(lan='interfaces = ["sixteen-letters-"]\nnetworks = ["192.168.1.0/24"]'),
        "lan.interfaces[0]: 'sixteen-letters-' is no interface name; 1 to 15 characters, no '/', '*'",
    ),
    "LAN and IPTV the same": (
        document(lan='interfaces = ["vlan2"]\nnetworks = ["192.168.1.0/24"]'),
        "lan.interfaces[0]: 'vlan2' is the IPTV interface too; they must be two",
    ),
    "LAN interface twice": (
        document(lan='interfaces = ["br0", "br0"]\nnetworks = ["192.168.1.0/24"]'),
        "lan.interfaces[1]: 'br0' is listed twice; list it once",
    ),
    "no LAN interface": (
        document(lan='interfaces = []\nnetworks = ["192.168.1.0/24"]'),
        "lan.interfaces: is empty; name the interface of the set-top boxes",
    ),
    "no list": (
        document(lan='interfaces = "br0"\nnetworks = ["192.168.1.0/24"]'),
        'lan.interfaces: must be a list, not a text; write interfaces = ["br0"]',
    ),
    "no network": (
        document(lan='interfaces = ["br0"]\nnetworks = []'),
        "lan.networks: is empty; name the network of the set-top boxes",
    ),
    "overlapping networks": (
        document(lan='interfaces = ["br0"]\nnetworks = ["192.168.1.0/24", "192.168.1.128/25"]'),
        "lan.networks[1]: 192.168.1.128/25 overlaps 192.168.1.0/24; keep one of them",
    ),
    "address for a network": (
        document(lan='interfaces = ["br0"]\nnetworks = ["192.168.1.7/24"]'),
        "lan.networks[0]: 192.168.1.7/24 is an address within a network; the network is 192.168.1.0/24",
    ),
    "IPv6 network": (
        document(lan='interfaces = ["br0"]\nnetworks = ["fd00::/64"]'),
        "lan.networks[0]: 'fd00::/64' is no IPv4 network; write it as '192.168.1.0/24'",
    ),
    "number for a network": (
        document(lan='interfaces = ["br0"]\nnetworks = [3]'),
        "lan.networks[0]: 3 is no IPv4 network; write it as '192.168.1.0/24'",
    ),
    "the whole Internet for a LAN": (
        document(lan='interfaces = ["br0"]\nnetworks = ["0.0.0.0/0"]'),
        "lan.networks[0]: 0.0.0.0/0 is no network of a LAN; name the set-top boxes' own",
    ),
    "neither masquerade nor address": (
        document(iptv=IPTV + '\nnat = "snat"'),
        "iptv.nat: 'snat' is neither 'masquerade' nor an IPv4 address; write one of them",
    ),
    "snat to the LAN": (
        document(iptv=IPTV + '\nnat = "192.168.1.1"'),
        "iptv.nat: 192.168.1.1 lies within lan.networks (192.168.1.0/24); name the IPTV side's address",
    ),
    "snat to no host": (
        document(iptv=IPTV + '\nnat = "239.0.0.1"'),
        "iptv.nat: 239.0.0.1 is no address of a host; name the IPTV interface's own",
    ),
    "unicast for multicast": (
        document(iptv=IPTV + '\nmulticast = ["10.0.0.0/8"]'),
        "iptv.multicast[0]: 10.0.0.0/8 is not multicast; it must lie within 224.0.0.0/4",
    ),
    "overlapping groups": (
        document(iptv=IPTV + '\nmulticast = ["239.0.0.0/8", "239.1.0.0/16"]'),
        "iptv.multicast[1]: 239.1.0.0/16 overlaps 239.0.0.0/8; keep one of them",
    ),
    "unknown service": (
        document(iptv=IPTV + '\nservices = ["ssh"]'),
        "iptv.services[0]: 'ssh' is not known; choose one of igmp, icmp, dhcp, rip",
    ),
    "unknown policy": (
        document(iptv=IPTV + '\npolicy = "reject"'),
        "iptv.policy: 'reject' is not known; choose one of drop, accept",
    ),
    "text for a truth": (
        document(iptv=IPTV + '\nfull_cone = "yes"'),
        "iptv.full_cone: must be true or false, not a text; write full_cone = true",
    ),
    "servers in the LAN": (
        document(iptv=IPTV + '\nservers = ["192.168.0.0/16"]'),
        "iptv.servers[0]: 192.168.0.0/16 overlaps lan.networks (192.168.1.0/24); correct one of them",
    ),
    "port 0": (document(rtsp="ports = [0]"), "rtsp.ports[0]: 0 is no TCP port; 1 to 65535"),
    "port 70000": (document(rtsp="ports = [554, 70000]"), "rtsp.ports[1]: 70000 is no TCP port; 1 to 65535"),
    "port twice": (document(rtsp="ports = [554, 554]"), "rtsp.ports[1]: 554 is listed twice; list it once"),
    "no port": (document(rtsp="ports = []"), "rtsp.ports: is empty; 554 is RTSP's port"),
    "text for a port": (
        document(rtsp='ports = ["554"]'),
        "rtsp.ports[0]: must be a whole number, not a text; write ports = [554]",
    ),
    "unknown helper": (
        document(rtsp='helper = "magic"'),
        "rtsp.helper: 'magic' is not known; choose one of auto, kernel, userspace, pinhole",
    ),
    "unknown unit of time": (
        document(rtsp='pause = "1w"'),
        "rtsp.pause: '1w' is not a time; write it as '30s', '5m' or '1h'",
    ),
    "number for a time": (
        document(rtsp="pause = 3600"),
        "rtsp.pause: 3600 is not a time; write it as '30s', '5m' or '1h'",
    ),
    "pause too short": (document(rtsp='pause = "1s"'), "rtsp.pause: 1s is out of range; 10s to 1d"),
    "pause too long": (
        document(rtsp='pause = "25h"'),
        (
            "rtsp.pause: 25h is longer than a port may stay open without a sign of its box "
            '(1d, 86,400 seconds); write pause = "1d" or less'
        ),
    ),
    "strict about servers that nobody named": (
        document(iptv=IPTV + "\nstrict_sources = true"),
        (
            "iptv.strict_sources: is true, but iptv.servers names no network, so no film could come from "
            "anywhere; list the servers' networks in iptv.servers, or leave strict_sources out"
        ),
    ),
    "strict in words": (
        document(iptv=IPTV + '\nstrict_sources = "yes"'),
        "iptv.strict_sources: must be true or false, not a text; write strict_sources = true",
    ),
    "no mark": (
        document(rtsp='mark = "x"'),
        "rtsp.mark: 'x' is not a mark; write it as '0x100000/0x100000'",
    ),
    "mark outside its mask": (
        document(rtsp='mark = "0x3/0x1"'),
        "rtsp.mark: '0x3/0x1' is not a mark of 32 bits; neither 0 nor outside its own mask",
    ),
    "mark of 33 bits": (
        document(rtsp='mark = "0x100000000"'),
        "rtsp.mark: '0x100000000' is not a mark of 32 bits; neither 0 nor outside its own mask",
    ),
    "no box may have a way": (
        document(rtsp="max_per_stb = 0"),
        "rtsp.max_per_stb: 0 is out of range; 1 to 64",
    ),
    "log group too large": (
        document(rtsp="log_group = 70000"),
        "rtsp.log_group: 70000 is out of range; 1 to 65535",
    ),
    "box twice": (
        document(tail=box("192.168.1.2", "a") + box("192.168.1.2", "b")),
        "stb[1].address: 192.168.1.2 is listed twice; each set-top box once",
    ),
    "name twice": (
        document(tail=box("192.168.1.2", "a") + box("192.168.1.3", "a")),
        "stb[1].name: 'a' is used twice; give each its own name",
    ),
    "name with control characters": (
        document(tail=box("192.168.1.2", "a\\n}")),
        "stb[0].name: holds control characters or is longer than 64; shorten it",
    ),
    "box outside the LAN": (
        document(tail=box("192.168.2.2")),
        "stb[0].address: 192.168.2.2 lies outside lan.networks (192.168.1.0/24); correct one of them",
    ),
    "box with the LAN's own address": (
        document(tail=box("192.168.1.255")),
        "stb[0].address: 192.168.1.255 is no host's address in 192.168.1.0/24; name the box's own",
    ),
    "no address": (
        document(tail=box("192.168.1.999")),
        "stb[0].address: '192.168.1.999' is no IPv4 address; write it as '192.168.1.200'",
    ),
    "address missing": (
        document(tail='[[stb]]\nname = "x"'),
        'stb[0].address: is missing; write address = "192.168.1.200"',
    ),
    "one table for a list of boxes": (
        document(tail='[stb]\naddress = "192.168.1.2"'),
        "stb: must be a list of tables; write [[stb]]",
    ),
}


def nftrtsp(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the real command line in a process of its own."""
    command = [sys.executable, "-c", "from nftrtsp.cli import main; main()", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def assert_one_sentence(run: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr == f"nftrtsp: {sentence}\n"


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_in_the_file_is_said_in_one_sentence(case: str, tmp_path: Path) -> None:
    text, sentence = CASES[case]
    (tmp_path / "nftrtsp.toml").write_text(text)
    run = nftrtsp("generate", "--helper", "pinhole", "-c", "nftrtsp.toml", cwd=tmp_path)
    assert_one_sentence(run, f"nftrtsp.toml: {sentence}")


def test_missing_file(tmp_path: Path) -> None:
    run = nftrtsp("generate", "-c", "none.toml", cwd=tmp_path)
    assert_one_sentence(run, "none.toml: there is no such file; write one with `nftrtsp init -o FILE`")


def test_missing_default_file(tmp_path: Path) -> None:
    run = nftrtsp("check", cwd=tmp_path, NFTRTSP_CONFIG=str(tmp_path / "x.toml"))
    assert_one_sentence(
        run, f"{tmp_path}/x.toml: there is no such file; write one with `nftrtsp init -o FILE`"
    )


def test_directory_for_a_file(tmp_path: Path) -> None:
    run = nftrtsp("generate", "-c", ".", cwd=tmp_path)
    assert_one_sentence(run, ".: is a directory; name the file in it")


def test_binary_file(tmp_path: Path) -> None:
    (tmp_path / "nftrtsp.toml").write_bytes(b"[iptv]\n\xff\xfe")
    run = nftrtsp("generate", "-c", "nftrtsp.toml", cwd=tmp_path)
    assert_one_sentence(run, "nftrtsp.toml: is not UTF-8 at byte 7; save it as UTF-8")


def test_absent_interface(tmp_path: Path) -> None:
    (tmp_path / "nftrtsp.toml").write_text(document(iptv='interface = "absent0"'))
    run = nftrtsp("check", "-c", "nftrtsp.toml", cwd=tmp_path)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith(
        "nftrtsp: nftrtsp.toml: iptv.interface: this machine has no interface 'absent0'; it has "
    )
    assert run.stderr.count("\n") == 1


def test_unknown_option_and_unknown_choice_say_so_without_traceback(tmp_path: Path) -> None:
    for arguments in (["generate", "--frobnicate"], ["generate", "--helper", "magic"], ["frobnicate"]):
        run = nftrtsp(*arguments, cwd=tmp_path)
        assert run.returncode == 2
        assert run.stdout == ""
        assert "Error: " in run.stderr
        assert "Traceback" not in run.stderr


def test_init_does_not_overwrite(tmp_path: Path) -> None:
    file = tmp_path / "nftrtsp.toml"
    file.write_text("mine")
    run = nftrtsp("init", "-o", "nftrtsp.toml", cwd=tmp_path)
    assert_one_sentence(run, "nftrtsp.toml: is there already; --force overwrites it, -o FILE names another")
    assert file.read_text() == "mine"


def test_init_with_an_unknown_profile_writes_nothing(tmp_path: Path) -> None:
    run = nftrtsp("init", "--profile", "movistarr", "-o", "x.toml", cwd=tmp_path)
    assert_one_sentence(run, "--profile: there is no profile 'movistarr'; did you mean 'movistar'?")
    assert list(tmp_path.iterdir()) == []


def test_the_ruleset_is_the_same_at_each_run(tmp_path: Path) -> None:
    (tmp_path / "nftrtsp.toml").write_text(document(tail=box("192.168.1.3", "b") + box("192.168.1.2", "a")))
    runs = [
        nftrtsp("generate", "--helper", "pinhole", "-c", "nftrtsp.toml", cwd=tmp_path, PYTHONHASHSEED=seed)
        for seed in ("1", "2", "3")
    ]
    assert {(run.returncode, run.stderr) for run in runs} == {(0, "")}
    assert len({run.stdout for run in runs}) == 1
