"""A first configuration from what a machine has: which link is guessed to be what, and what is written."""

from __future__ import annotations

import tomllib
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.config import Stb, load_profile, parse, profiles
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.tuple import Tuple
from nftrtsp.draft.configuration import Guess, draft, guess
from nftrtsp.draft.file import write
from nftrtsp.draft.host import LanHost, join
from nftrtsp.errors import ConfigError
from nftrtsp.netlink.link import Link


def link(name: str, *addresses: str, kind: str = "", vlan: int | None = None, **more: bool) -> Link:
    return Link(name, kind, vlan, tuple(IPv4Interface(address) for address in addresses), **more)


BRIDGE = link("br0", "192.168.1.1/24", kind="bridge")
LAN_PORT = link("eth1", bridged=True)
INTERNET = link("ppp0", "203.0.113.7/32", default_route=True)
TV = link("vlan2", "10.214.0.2/9", kind="vlan", vlan=2)
DOCKER = link("docker0", "172.17.0.1/16", kind="bridge")
FOREIGN = [DOCKER, link("virbr0", "192.168.122.1/24", kind="bridge"), link("wg0", "10.8.0.1/24")]

# links, profile -> IPTV interface, LAN interfaces, a word of each reason
GUESSES = {
    "a router as the design has it": (
        [INTERNET, LAN_PORT, BRIDGE, TV],
        "movistar",
        ("vlan2", ("br0",), "usual name", "bridge"),
    ),
    "a VLAN of the usual number by another name": (
        [INTERNET, BRIDGE, link("wan-tv", kind="vlan", vlan=2), link("eth0.3", kind="vlan", vlan=3)],
        "movistar",
        ("wan-tv", ("br0",), "usual number, 2", "bridge"),
    ),
    "a VLAN told by its name only": (
        [link("eth0.4"), BRIDGE],
        "telia-ee",
        ("eth0.4", ("br0",), "usual number, 4", "bridge"),
    ),
    "no profile: the VLAN with a 10.x address, not the one without": (
        [link("eth0.3", "198.51.100.1/24", kind="vlan", vlan=3), TV, INTERNET, BRIDGE],
        "generic",
        ("vlan2", ("br0",), "10.214.0.2/9", "bridge"),
    ),
    "no profile, a plain interface with a 10.x address": (
        [INTERNET, link("eth3", "10.20.0.2/16"), BRIDGE],
        "generic",
        ("eth3", ("br0",), "10.20.0.2/16", "bridge"),
    ),
    "TV that comes with the Internet": (
        [link("eth0", "203.0.113.7/24", default_route=True), BRIDGE],
        "freebox",
        ("eth0", ("br0",), "Internet", "bridge"),
    ),
    "bridges and tunnels of other programs are no LAN and no uplink": (
        [*FOREIGN, INTERNET, BRIDGE],
        "generic",
        ("vlan2", ("br0",), "not found", "bridge"),
    ),
    "a LAN without a bridge": (
        [INTERNET, TV, link("lan0", "192.168.7.1/24")],
        "movistar",
        ("vlan2", ("lan0",), "usual name", "an interface"),
    ),
    "a LAN within 10.x is not taken for TV when it is a bridge": (
        [INTERNET, link("br-lan", "10.0.0.1/24", kind="bridge"), TV],
        "generic",
        ("vlan2", ("br-lan",), "10.214.0.2/9", "bridge"),
    ),
    "nothing at all": ([], "movistar", ("vlan2", ("br0",), "not found", "no private network")),
    "an IPTV interface that is called like our example LAN": (
        [link("br0", "10.1.0.1/16", kind="vlan", vlan=9)],
        "generic",
        ("br0", ("br-lan",), "10.1.0.1/16", "no private network"),
    ),
}


@pytest.mark.parametrize("case", GUESSES)
def test_guess(case: str) -> None:
    links, profile, (iptv, lan, why_iptv, why_lan) = GUESSES[case]
    found = guess(links, load_profile(profile))
    assert (found.iptv, found.lan) == (iptv, lan)
    assert why_iptv in found.why_iptv
    assert why_lan in found.why_lan


@pytest.mark.parametrize("profile", profiles())
@pytest.mark.parametrize("case", GUESSES)
def test_whatever_is_guessed_the_draft_loads_and_says_it(case: str, profile: str) -> None:
    defaults = load_profile(profile)
    found = guess(GUESSES[case][0], defaults)
    config = parse(tomllib.loads(draft(found, profile, defaults)))
    assert config.profile == profile
    assert config.iptv.interface == found.iptv
    assert config.lan.interfaces == found.lan
    assert config.lan.networks == found.networks
    assert config.stb == ()


@pytest.mark.parametrize("profile", profiles())
def test_the_keys_that_are_commented_out_are_what_holds(profile: str) -> None:
    defaults = load_profile(profile)
    text = draft(guess([BRIDGE, TV], defaults), profile, defaults)
    uncommented = "\n".join(
        line.removeprefix("# ") if " = " in line.partition("  ")[0] and line.startswith("# ") else line
        for line in text.splitlines()
        if "[[stb]]" not in line and "Living room" not in line and "# address" not in line
    )
    assert uncommented != text
    assert parse(tomllib.loads(uncommented)) == parse(tomllib.loads(text))


def test_the_example_box_lies_in_the_lan() -> None:
    for network in ("192.168.1.0/24", "192.168.1.0/29", "10.0.0.0/8"):
        found = Guess("vlan2", ("br0",), (IPv4Network(network),), "a", "b")
        text = draft(found, "generic", {}).replace("# [[stb]]", "[[stb]]").replace("# address", "address")
        config = parse(tomllib.loads(text))
        assert config.stb[0].address in IPv4Network(network)


def test_write_never_leaves_half_a_file_and_never_overwrites_unasked(tmp_path: Path) -> None:
    target = tmp_path / "etc" / "nftrtsp.toml"
    write(target, "one")
    assert target.read_text() == "one"
    with pytest.raises(ConfigError, match="is there already"):
        write(target, "two")
    assert target.read_text() == "one"
    write(target, "three", overwrite=True)
    assert target.read_text() == "three"
    assert [file.name for file in target.parent.iterdir()] == ["nftrtsp.toml"]


def test_write_says_where_it_may_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write(tmp_path / "file" / "nftrtsp.toml", "text")


def test_a_draft_that_cannot_be_written_leaves_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "nftrtsp.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        write(tmp_path / "nftrtsp.toml", "text", overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["nftrtsp.toml"]


# --- set-top boxes ---------------------------------------------------------------------------------------

FOUND = Guess("vlan2", ("br0",), (IPv4Network("192.168.1.0/24"),), "a", "b")
ASKING = LanHost(
    IPv4Address("192.168.1.200"), "02:00:00:00:00:01", "stb-living", "[IAL]", asks="172.26.83.10"
)
SILENT = LanHost(IPv4Address("192.168.1.66"), "02:00:00:00:00:02", "laptop")


def test_who_asks_for_films_is_a_box_and_others_are_only_suggested() -> None:
    text = draft(FOUND, "generic", {}, [SILENT, ASKING])
    assert parse(tomllib.loads(text)).stb == (Stb(ASKING.address, "stb-living"),)
    assert "# 02:00:00:00:00:01, [IAL], asks 172.26.83.10" in text
    assert "Add your other boxes: with one named, nobody else may." in text
    both = text.replace("# [[stb]]", "[[stb]]").replace('# name = "lap', 'name = "lap')
    both = both.replace('# address = "192.168.1.66"', 'address = "192.168.1.66"')
    assert [box.name for box in parse(tomllib.loads(both)).stb] == ["stb-living", "laptop"]


def test_where_nobody_asks_nobody_is_named() -> None:
    text = draft(FOUND, "generic", {}, [SILENT])
    assert parse(tomllib.loads(text)).stb == ()
    assert '# address = "192.168.1.66"' in text
    assert "Living room" not in text  # an example is for where nothing is known


def test_a_large_lan_does_not_fill_the_draft() -> None:
    hosts = [LanHost(IPv4Address(f"192.168.1.{number}")) for number in range(2, 250)]
    text = draft(FOUND, "generic", {}, hosts)
    assert text.count("# [[stb]]") == 32
    assert "216 more: `ip neighbour` shows them" in text


@given(
    st.lists(st.tuples(st.text(max_size=80), st.text(max_size=200), st.booleans()), min_size=1, max_size=6)
)
def test_whatever_hosts_call_themselves_the_draft_loads_and_names_those_who_ask(
    said: list[tuple[str, str, bool]],
) -> None:
    hosts = [
        LanHost(IPv4Address(f"192.168.1.{number}"), "m", name, vendor, "172.26.83.10" if asks else "")
        for number, (name, vendor, asks) in enumerate(said, 2)
    ]
    text = draft(FOUND, "generic", {}, hosts)
    assert all(line.isprintable() for line in text.split("\n"))
    config = parse(tomllib.loads(text))
    assert [box.address for box in config.stb] == [host.address for host in hosts if host.asks]


def test_a_host_asks_only_over_the_iptv_interface_and_only_while_connected() -> None:
    box, uplink = IPv4Address("192.168.1.200"), IPv4Address("10.214.0.2")
    networks = [IPv4Network("192.168.1.0/24")]

    def flow(source: str, outside: str, state: int) -> Flow:
        server, near = IPv4Address("172.26.83.10").packed, IPv4Address(source).packed
        return Flow(
            2,
            Tuple(near, server, 6, 40000, 554),
            Tuple(server, IPv4Address(outside).packed, 6, 554, 40000),
            tcp_state=state,
        )

    def asking(*flows: Flow) -> list[str]:
        met = {box: "02:00:00:00:00:01"}
        return [
            str(host.address) for host in join(met, flows, {}, networks, frozenset({uplink})) if host.asks
        ]

    assert asking(flow("192.168.1.200", "10.214.0.2", 3)) == ["192.168.1.200"]
    assert asking(flow("192.168.1.200", "203.0.113.7", 3)) == []  # another uplink
    assert asking(flow("192.168.1.200", "10.214.0.2", 1)) == []  # SYN_SENT: nobody has answered
    assert asking(flow("192.168.9.9", "10.214.0.2", 3)) == []  # not of the LAN
