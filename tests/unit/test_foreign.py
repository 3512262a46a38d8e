"""What chains of other programs surely do with our packets, and where nothing is sure."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.health import foreign
from nftrtsp.health.foreign import Probe, Ruling

FILM = Probe("films", "vlan2", "br0", state="new", status="dnat", daddr=IPv4Network("192.168.1.200"))
ASK = Probe("RTSP", "br0", "vlan2", "tcp", saddr=IPv4Network("192.168.1.200"), dport=554)


def verdict(*rules: str, packet: Probe = FILM, policy: str = "accept", **others: list[str]) -> Ruling:
    chains = {"base": list(rules), **others}
    return foreign.walk("base", policy, packet, lambda name: chains.get(name, []))


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ("accept", True),
        ("counter accept", True),
        ("counter packets 4 bytes 9 accept", True),
        ('iifname "vlan2" accept', True),
        ('iifname "vlan*" accept', True),
        ('iifname != "vlan2" accept', False),
        ('iifname { "eth0", "vlan2" } accept', True),
        ('oifname { "eth0", "eth1" } accept', False),
        ("iifname @lan accept", None),
        ("ct state established,related accept", False),
        ("ct state { new, established } accept", True),
        ("ct state invalid accept", False),
        ("ct status dnat accept", True),
        ("meta l4proto udp accept", True),
        ("meta l4proto { tcp, 17 } accept", True),
        ("ip protocol igmp accept", False),
        ("meta nfproto ipv4 accept", True),
        ("meta nfproto ipv6 accept", False),
        ("tcp dport 554 accept", False),
        ("udp dport 1-65535 accept", None),
        ("ip daddr 192.168.0.0/16 accept", True),
        ("ip daddr 10.0.0.0/8 accept", False),
        ("ip daddr 192.168.1.200-192.168.1.210 accept", None),
        ("ip saddr 10.0.0.0/8 accept", None),
        ("ip6 daddr fe80::/64 udp dport 546 accept", False),
        ("icmp type echo-request accept", False),
        ("fib daddr type local accept", None),
        ("limit rate 25/second burst 50 packets accept", None),
        ('log prefix "drop all" accept comment "no drop"', True),
        ("tcp flags syn / fin,syn,rst,ack accept", False),
    ],
)
def test_whether_a_rule_matches_a_film(rule: str, matches: bool | None) -> None:
    assert foreign.read(rule, FILM) == (matches, *(("", "") if matches is False else ("accept", "")))


def test_the_first_sure_match_decides() -> None:
    assert verdict('iifname "eth9" accept', "udp sport 53 accept", "drop") == Ruling("drop", "drop", False)
    assert verdict('iifname "eth9" accept', 'iifname "vlan2" drop', "accept").word == "drop"
    assert verdict("ct status dnat accept", "drop").word == "accept"


def test_a_policy_counts_when_no_rule_does() -> None:
    assert verdict('oifname "docker0" accept', policy="drop") == Ruling("drop", "policy drop", True)


def test_a_rule_that_might_accept_ends_the_certainty_and_one_that_might_drop_does_not() -> None:
    assert not verdict("meta mark 0x1 accept", policy="drop").certain
    assert verdict("meta mark 0x1 drop", policy="drop").certain


def test_jumps_come_back_and_gotos_do_not() -> None:
    assert verdict("jump a", "drop", a=["return"]).rule == "drop"
    assert verdict("goto a", "drop", a=[]) == Ruling("accept", "policy accept", True)
    assert (
        verdict("jump a", "accept", a=["jump b"], b=['iifname "vlan2" reject with tcp reset']).word == "drop"
    )
    assert verdict("jump a", "accept", a=["goto b", "drop"], b=["return"]).word == "accept"


def test_verdict_maps_are_looked_up() -> None:
    zones = 'iifname vmap { "br0" : jump lan, "vlan2" : goto wan }'
    assert verdict(zones, lan=["accept"], wan=["reject"], policy="drop").rule == "reject"
    assert verdict(zones, packet=ASK, lan=["accept"], wan=["reject"], policy="drop").word == "accept"
    assert verdict("ct state vmap { established : accept, related : accept }", policy="drop").certain
    assert not verdict("iifname vmap @zones", policy="drop").certain


def test_a_loop_of_jumps_ends() -> None:
    assert verdict("jump a", a=["jump a"]).word == "accept"


@given(st.lists(st.text(alphabet='adropceptjum{}:!=@", 0', max_size=40), max_size=5))
def test_nothing_that_stands_in_a_chain_is_too_much(rules: list[str]) -> None:
    assert verdict(*rules, policy="drop").word in ("accept", "drop")
