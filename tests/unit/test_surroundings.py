"""What a ruleset cannot fix: decided from facts."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network
from typing import Any

import msgspec
import pytest

from nftrtsp import config
from nftrtsp.config import HelperKind
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.role import Roles
from nftrtsp.conntrack.tuple import Tuple
from nftrtsp.health.facts import Drop, Surroundings
from nftrtsp.health.other_tables import base_chains, packets
from nftrtsp.health.surroundings import warnings
from nftrtsp.netlink.link import Link
from nftrtsp.ruleset import adoption, lifeline

CONFIG = config.parse(
    {
        "profile": "movistar",
        "iptv": {"interface": "vlan2"},
        "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
        "stb": [{"address": "192.168.1.200"}],
    }
)
LINKS: dict[str, Link | None] = {
    "br0": Link("br0", addresses=(IPv4Interface("192.168.1.1/24"),)),
    "vlan2": Link("vlan2", addresses=(IPv4Interface("10.214.0.2/9"),)),
}
WELL = Surroundings(LINKS, ip_forward=1, rp_filter=0, default_routes=frozenset({"ppp0"}), drops=())


def found(**changed: Any) -> list[str]:
    return [finding.id for finding in warnings(CONFIG, msgspec.structs.replace(WELL, **changed))]


def iptv(address: str) -> dict[str, Any]:
    return {"links": {**LINKS, "vlan2": Link("vlan2", addresses=(IPv4Interface(address),))}}


def test_where_all_is_well_nothing_is_said() -> None:
    assert found() == []
    assert found(ip_forward=None, rp_filter=None) == []  # not readable is no obstacle


def test_a_config_that_names_no_box_lets_every_host_ask_and_is_told_so() -> None:
    networks = ("192.168.1.0/24", "192.168.7.0/24")
    lan = msgspec.structs.replace(CONFIG.lan, networks=tuple(map(IPv4Network, networks)))
    (said,) = warnings(msgspec.structs.replace(CONFIG, lan=lan, stb=()), WELL)
    assert f"{said.text}; {said.remedy}" == (
        "[[stb]] names no set-top box, so every host of 192.168.1.0/24 and 192.168.7.0/24 can open ports "
        "from the IPTV side to itself, and take one that a box needs; name the boxes, and only they can"
    )


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"links": {**LINKS, "vlan2": None}}, ["interface"]),
        ({"links": {"br0": None, "vlan2": None}}, ["interface", "interface"]),
        ({"links": {**LINKS, "vlan2": Link("vlan2")}}, ["no-address"]),
        ({"ip_forward": 0}, ["ip-forward"]),
        (iptv("192.168.1.7/24"), ["lan-overlap"]),
        (iptv("192.168.200.7/16"), ["lan-overlap"]),
        ({"rp_filter": 1}, ["rp-filter"]),
        ({"rp_filter": 2}, []),
        ({"rp_filter": 2, "default_routes": frozenset()}, ["rp-filter"]),
        ({"uncounted_flowtables": ("flowtable inet fw4 ft",)}, ["flowtable"]),
        (
            {"drops": (Drop("ip", "filter", "FORWARD", "forward", "policy drop", ("films",)),)},
            ["foreign-drop"],
        ),
    ],
)
def test_each_obstacle_is_found(changed: dict[str, Any], expected: list[str]) -> None:
    assert found(**changed) == expected


@pytest.mark.parametrize(
    ("table", "words"),
    [("firewalld", "firewall-cmd"), ("fw4", "/etc/config/firewall"), ("other", "accept it there")],
)
def test_the_remedy_speaks_the_language_of_the_chains_owner(table: str, words: str) -> None:
    drop = Drop("inet", table, "forward", "forward", "reject", ("RTSP", "films", "live TV"))
    (obstacle,) = warnings(CONFIG, msgspec.structs.replace(WELL, drops=(drop,)))
    assert words in obstacle.remedy
    assert "drops RTSP, films and live TV on forward (`reject`)" in obstacle.message


def test_films_are_related_with_a_helper_and_translated_with_pinholes() -> None:
    def film(kind: HelperKind) -> tuple[str, str]:
        (packet,) = (packet for _, packet in packets(CONFIG, kind) if packet.title == "films")
        return packet.state, packet.status

    assert film(HelperKind.PINHOLE) == ("new", "dnat")
    assert film(HelperKind.KERNEL) == ("related", "")


def test_base_chains_of_others_on_forward_and_input_are_found() -> None:
    forward = "\t\ttype filter hook forward priority filter; policy drop;\n\t}\n"
    listing = (
        f"table inet nftrtsp {{\n\tchain forward {{\n{forward}}}\n"
        f"table ip6 x {{\n\tchain a {{\n{forward}}}\n"
        "table ip y {\n\tchain b {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n\t}\n"
        "\tchain c {\n\t}\n"
        '\tchain d {\n\t\tcomment "x"\n'
        "\t\ttype filter hook input priority filter + 10; policy drop;\n\t}\n}\n"
    )
    assert list(base_chains(listing)) == [("ip", "y", "d", "input", "drop")]


def flow(src: str, dport: int, back_to: str, helper: str | None = None) -> Flow:
    def packed(text: str) -> bytes:
        return bytes(int(part) for part in text.split("."))

    server = packed("172.26.83.10")
    return Flow(
        family=2,
        orig=Tuple(packed(src), server, 6, 40000, dport),
        reply=Tuple(server, packed(back_to), 6, dport, 40000),
        helper=helper,
    )


@pytest.mark.parametrize(
    ("given", "lost"),
    [
        (flow("192.168.1.200", 554, "10.214.0.2"), True),
        (flow("192.168.1.200", 554, "10.214.0.2", helper="rtsp"), False),
        (flow("192.168.1.200", 443, "10.214.0.2"), False),
        (flow("192.168.1.77", 554, "10.214.0.2"), False),  # not a box that may ask
        (flow("192.168.1.200", 554, "203.0.113.5"), False),  # left by another uplink
        (flow("192.168.1.200", 554, "192.168.1.200"), False),  # not translated: it would break
    ],
)
def test_only_control_connections_over_iptv_without_a_helper_are_picked_up_again(
    given: Flow, lost: bool
) -> None:
    assert adoption.is_lost(given, Roles(CONFIG), frozenset({bytes([10, 214, 0, 2])})) is lost


def test_the_way_back_is_known_by_all_but_what_comes_and_goes() -> None:
    head, tail = "table inet nftrtsp {\n\tset s {\n\t}\n\n", "\n\tchain c {\n\t}\n}\n"
    assert lifeline.landmark(f"{head}\tmap pinholes {{\n\t\tflags timeout\n\t}}\n{tail}") == head + tail
    assert lifeline.landmark(None) == ""
