"""Beside firewalld, fw4, Docker and libvirt: not a byte of theirs changes, and their drops are named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stand import SECOND_BOX, Stand, config, stand

pytestmark = pytest.mark.root

DATA = Path(__file__).parent / "data"
PROGRAMS = ("firewalld", "fw4", "docker", "libvirt")


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Stand]:
    with stand(tmp_path) as built:
        yield built


@pytest.mark.parametrize("program", [*PROGRAMS, "all"])
def test_not_a_byte_of_others_changes(router: Stand, program: str) -> None:
    for name in PROGRAMS if program == "all" else (program,):
        router.nft("-f", str(DATA / f"{name}.nft"))
    before = router.others()
    assert before.count("# handle") > 10

    router.nftrtsp("apply", "--yes")
    assert router.others() == before
    router.config.write_text(config(more=SECOND_BOX, rtsp="ports = [554, 1554]", iptv="policy = 'accept'"))
    router.nftrtsp("apply", "--yes", "--confirm-within", "60")
    assert router.others() == before
    router.nftrtsp("rollback", "--yes")
    assert router.others() == before
    router.nftrtsp("apply", "--yes")
    router.nftrtsp("rollback", "1", "--yes")
    router.nftrtsp("restore")
    assert router.others() == before
    router.nftrtsp("remove", "--yes")
    assert router.nft("-a", "list", "ruleset") == before


NAMED = {
    "firewalld": [
        "chain inet firewalld filter_FORWARD: drops RTSP and live TV on forward (`reject with icmpx admin-",
        "chain inet firewalld filter_INPUT: drops IGMP and RIP on input (`reject with icmpx admin-",
    ],
    "fw4": [
        "chain inet fw4 forward: drops live TV on forward (`reject comment",
        "chain inet fw4 input: drops RIP on input (`reject comment",
    ],
    "docker": ["chain ip filter FORWARD: drops RTSP, films and live TV on forward (`policy drop`)"],
    "libvirt": [],
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_drop_elsewhere_is_named_with_its_rule_and_only_where_it_is_certain(
    router: Stand, program: str
) -> None:
    router.nft("-f", str(DATA / f"{program}.nft"))
    text = router.nftrtsp("diff", code=1)
    warnings = [line for line in text.splitlines() if line.startswith("warning: chain")]
    for words in NAMED[program]:
        assert [line for line in warnings if words in line], (words, warnings)
    if program == "libvirt":
        assert not warnings


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_named_is_what_the_kernel_does(router: Stand, program: str) -> None:
    """The verdict on films, by real packets: a film arrives exactly where no drop of it is named."""
    router.nft("-f", str(DATA / f"{program}.nft"))
    text = router.nftrtsp("apply", "--yes")
    dropped = any("films" in line for line in text.splitlines() if line.startswith("warning: chain"))
    router.nft("add element inet nftrtsp pinholes { 27336 timeout 1h : 192.168.1.200 . 27336 }")
    router.run("nft", "add table ip seen", inside=router.stb)
    router.run("nft", "add chain ip seen in { type filter hook input priority 0; }", inside=router.stb)
    router.run("nft", "add rule ip seen in udp dport 27336 counter", inside=router.stb)
    router.send(router.isp, "10.214.0.2", 27336, count=3)
    seen = router.run("nft", "list chain ip seen in", inside=router.stb).stdout
    assert ("counter packets 3 " in seen) is not dropped, seen + text


def test_a_config_that_lets_every_host_ask_is_warned_of_before_it_is_applied(router: Stand) -> None:
    named = router.config.read_text()
    assert "[[stb]]" not in router.nftrtsp("diff", code=1)
    router.config.write_text(named.partition("[[stb]]")[0])
    for command in (["diff"], ["apply", "--yes"]):
        text = router.nftrtsp(*command, code=1 if command == ["diff"] else 0)
        assert text.count("warning: [[stb]]: names no set-top box") == 1, text
    first = json.loads(router.nftrtsp("diff", "--json").splitlines()[0])
    assert first["warning"]["id"] == "open-lan"


def test_an_iptv_network_within_the_lans_is_warned_of(router: Stand) -> None:
    text = router.config.read_text()
    router.config.write_text(text.replace('"192.168.1.0/24"', '"192.168.1.0/24", "10.0.0.0/8"'))
    told = " ".join(router.nftrtsp("diff", code=1).split())
    assert "lan.networks: names 10.0.0.0/8, within which vlan2 has 10.214.0.2/9" in told
    assert "would be dropped as forged; name the set-top boxes' own network only" in told


def test_sysctls_that_keep_films_away_are_named(router: Stand) -> None:
    router.nftrtsp("apply", "--yes")
    assert "warning" not in router.nftrtsp("diff")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv4.conf.all.rp_filter=1")
    text = router.nftrtsp("diff")
    assert "net.ipv4.ip_forward: is 0" in text
    assert "net.ipv4.conf.vlan2.rp_filter: is 1" in text
