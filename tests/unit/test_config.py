"""Reading a configuration: what a file, its profile and the defaults come to together."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.config import (
    Config,
    HelperKind,
    Iptv,
    IptvService,
    Lan,
    MarkBits,
    Policy,
    Rtsp,
    Seconds,
    Stb,
    check_interfaces,
    load,
    load_profile,
    parse,
    profiles,
)
from nftrtsp.errors import ConfigError

SITE: dict[str, Any] = {
    "iptv": {"interface": "vlan2"},
    "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
}


def test_the_design_s_example_loads(tmp_path: Path) -> None:
    file = tmp_path / "nftrtsp.toml"
    file.write_text(
        """
        profile = "movistar"
        [iptv]
        interface = "vlan2"
        nat = "masquerade"
        [lan]
        interfaces = ["br0"]
        networks = ["192.168.1.0/24"]
        [rtsp]
        ports = [554]
        helper = "auto"
        pause = "1h"
        [[stb]]
        name = "Living room"
        address = "192.168.1.200"
        """
    )
    config = load(file)
    assert config.iptv.multicast == (IPv4Network("239.0.0.0/16"),)  # the profile's
    assert config.iptv.services == (IptvService.IGMP, IptvService.ICMP, IptvService.RIP)
    assert config.rtsp.helper is HelperKind.AUTO
    assert config.rtsp.pause == 3600
    assert config.stb[0].address == IPv4Address("192.168.1.200")


def test_the_file_overrides_its_profile_key_by_key() -> None:
    config = parse({**SITE, "profile": "movistar", "iptv": {"interface": "eth0.2", "services": ["igmp"]}})
    assert config.iptv.interface == "eth0.2"
    assert config.iptv.services == (IptvService.IGMP,)
    assert config.iptv.multicast == (IPv4Network("239.0.0.0/16"),)


def test_defaults_are_safe() -> None:
    config = parse(SITE)
    assert config.profile == "generic"
    assert config.iptv.policy is Policy.DROP
    assert config.iptv.full_cone is False
    assert config.iptv.snat_address is None
    assert config.rtsp.mark == MarkBits(0x100000, 0x100000)


@pytest.mark.parametrize("name", profiles())
def test_every_profile_makes_a_configuration_with_a_site(name: str) -> None:
    assert isinstance(parse({**SITE, "profile": name}), Config)


def test_the_profiles_of_the_design_are_there() -> None:
    assert profiles() == ["china-unicom", "freebox", "generic", "movistar", "telia-ee"]


@pytest.mark.parametrize("name", profiles())
def test_every_profile_says_in_a_comment_what_each_key_is_for(name: str) -> None:
    file = Path(__file__).parents[2] / "rulesets" / f"{name}.toml"
    keys = [
        line
        for line in file.read_text().splitlines()
        if "=" in line and not line.startswith(("description", "#", "["))
    ]
    assert keys
    plain = {'nat = "masquerade"', "ports = [554]"}  # said in the generic profile
    assert [line for line in keys if "#" not in line and line not in plain] == []
    assert "description" not in load_profile(name)


@pytest.mark.parametrize(
    ("text", "seconds", "again"),
    [("30s", 30, "30s"), ("5m", 300, "5m"), ("1h", 3600, "1h"), ("1d", 86400, "1d"), ("90m", 5400, "90m")],
)
def test_times_are_read_and_written(text: str, seconds: int, again: str) -> None:
    pause = parse({**SITE, "rtsp": {"pause": text}}).rtsp.pause
    assert pause == seconds
    assert str(pause) == again


def test_a_time_of_nothing_is_written_in_seconds() -> None:
    assert str(Seconds(0)) == "0s"


@pytest.mark.parametrize("value", ["0x100000", 0x100000, "1048576", "0x100000/0x100000"])
def test_a_mark_is_written_in_many_ways(value: object) -> None:
    assert parse({**SITE, "rtsp": {"mark": value}}).rtsp.mark == MarkBits(0x100000, 0x100000)


def test_without_boxes_every_host_of_the_lan_may_ask() -> None:
    config = parse(SITE)
    assert config.may_ask(IPv4Address("192.168.1.7"))
    assert not config.may_ask(IPv4Address("192.168.2.7"))


def test_with_boxes_only_they_may_ask() -> None:
    config = parse({**SITE, "stb": [{"address": "192.168.1.200", "name": "Living room"}]})
    assert config.may_ask(IPv4Address("192.168.1.200"))
    assert not config.may_ask(IPv4Address("192.168.1.201"))
    assert config.stb_name(IPv4Address("192.168.1.200")) == "Living room"
    assert config.stb_name(IPv4Address("192.168.1.201")) == "192.168.1.201"


def test_interfaces_are_looked_for_among_those_present() -> None:
    config = parse(SITE)
    check_interfaces(config, {"lo", "vlan2", "br0"})
    with pytest.raises(ConfigError) as caught:
        check_interfaces(config, {"lo", "vlan2", "eth0"}, place="x.toml")
    assert str(caught.value) == (
        "x.toml: lan.interfaces[0]: this machine has no interface 'br0'; it has eth0, vlan2"
    )


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_values = (
    _scalars | st.lists(_scalars, max_size=2) | st.dictionaries(st.sampled_from("ab"), _scalars, max_size=2)
)
_keys = st.sampled_from(
    [
        *("iptv.interface", "iptv.nat", "iptv.policy", "iptv.full_cone", "iptv.multicast", "iptv.services"),
        *("iptv.servers", "lan.interfaces", "lan.networks", "rtsp.ports", "rtsp.helper", "rtsp.pause"),
        "iptv.strict_sources",
        *("rtsp.mark", "rtsp.max_per_stb", "rtsp.queue", "stb", "profile", "iptv", "lan", "rtsp", "x"),
    ]
)


@given(st.dictionaries(_keys, _values, max_size=4))
def test_whatever_stands_in_the_file_it_is_a_config_or_one_sentence(changes: dict[str, Any]) -> None:
    data: dict[str, Any] = {key: dict(table) for key, table in SITE.items()}
    for key, value in changes.items():
        table, _, name = key.partition(".")
        if name and isinstance(data.setdefault(table, {}), dict):
            data[table][name] = value
        else:
            data[table] = value
    refused = None
    try:
        parse(data)
    except ConfigError as error:
        refused = error
    if refused:
        assert (refused.place or "").startswith("nftrtsp.toml")
        assert refused.remedy


def test_the_reference_names_every_key_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    tables = {"iptv": Iptv, "lan": Lan, "rtsp": Rtsp, "stb": Stb}
    for title, struct in tables.items():
        section = re.split(rf"(?m)^## `\[+{title}\]+`", text)[1].partition("\n## ")[0]
        assert re.findall(r"(?m)^\| `(\w+)` \|", section) != []
        assert set(re.findall(r"(?m)^\| `(\w+)` \|", section)) == set(struct.__struct_fields__)
    defaults = Rtsp()
    for key in ("max_per_stb", "max_total", "log_group", "queue"):
        assert f"| `{key}` | `{getattr(defaults, key)}` |" in text
