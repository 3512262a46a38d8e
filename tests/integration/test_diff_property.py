"""Any config, on the real kernel: apply, and nothing differs; change one thing, and just that is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nftrtsp import config
from nftrtsp.config import HelperKind
from nftrtsp.errors import ConfigError, KernelError
from nftrtsp.ruleset import diff, transition
from nftrtsp.ruleset.build import build
from nftrtsp.ruleset.listing import read_table
from nftrtsp.ruleset.model import Table
from nftrtsp.ruleset.render import render
from nftrtsp.ruleset.scratch import Scratch

pytestmark = [pytest.mark.root, pytest.mark.slow]

Toml = dict[str, Any]


class Kernel:
    """Two scratch namespaces: one says what is wanted, the other is the router."""

    def __init__(self, stack: ExitStack) -> None:
        self.wish, self.live = stack.enter_context(Scratch()), stack.enter_context(Scratch())

    def want(self, data: Toml, kind: HelperKind) -> Table:
        self.wish.load(render(build(config.parse(data), kind)))
        table = read_table(self.wish.list_table())
        assert table is not None
        return table

    def have(self) -> Table | None:
        text = self.live.list_table().replace('type "ftp" protocol', 'type "rtsp" protocol')
        return read_table(text)

    def counted(self) -> Table | None:
        try:
            return read_table(self.live.run("list table inet nftrtsp"), timed=True)
        except KernelError:
            return None

    def apply(self, wanted: Table) -> None:
        self.live.load(transition.transition(self.have(), wanted, self.counted()))


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with ExitStack() as stack:
        yield Kernel(stack)


def subset(*items: Any, least: int = 0) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(items), unique=True, min_size=least)


def boxes(least: int = 0) -> st.SearchStrategy[list[Toml]]:
    hosts = st.lists(st.integers(2, 250), unique=True, min_size=least, max_size=6)
    return hosts.map(lambda numbers: [{"address": f"192.168.1.{number}"} for number in numbers])


CONFIGS = st.fixed_dictionaries(
    {
        "profile": st.sampled_from(config.profiles()),
        "iptv": st.fixed_dictionaries(
            {
                "interface": st.sampled_from(["vlan2", "eth0.4", "ppp-iptv", "br.tv_2"]),
                "nat": st.sampled_from(["masquerade", "10.214.0.2"]),
                "full_cone": st.booleans(),
                "policy": st.sampled_from(["drop", "accept"]),
                "multicast": subset("239.0.0.0/16", "232.0.0.0/8", "239.1.2.0/24", "224.0.1.0/24"),
                "services": subset("igmp", "icmp", "dhcp", "rip"),
                "servers": subset("172.26.80.0/21", "172.26.83.0/24", "212.27.38.253/32"),
                "strict_sources": st.booleans(),
            }
        ),
        "lan": st.fixed_dictionaries(
            {
                "interfaces": subset("br0", "eth1", "wlan0", "lan.10", least=1),
                "networks": subset("10.7.0.0/16", "192.168.2.0/24", "172.20.0.0/20").map(
                    lambda networks: ["192.168.1.0/24", *networks]
                ),
            }
        ),
        "rtsp": st.fixed_dictionaries(
            {
                "ports": st.lists(st.integers(1, 65535), unique=True, min_size=1, max_size=5),
                "pause": st.sampled_from(["30s", "10m", "1h", "1d"]),
                "mark": st.sampled_from(["0x100000/0x100000", "0x1/0x3", "0xff000000/0xff000000"]),
                "log_group": st.integers(1, 65535),
            }
        ),
        "stb": boxes(),
    }
)
KINDS = st.sampled_from([HelperKind.PINHOLE, HelperKind.KERNEL])
MANY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def valid(data: Toml) -> bool:
    try:
        config.parse(data)
    except ConfigError:
        return False
    return True


@MANY
@given(data=CONFIGS, kind=KINDS)
def test_after_an_apply_nothing_differs(kernel: Kernel, data: Toml, kind: HelperKind) -> None:
    """From whatever the example before left in the kernel."""
    assume(valid(data))
    wanted = kernel.want(data, kind)
    kernel.apply(wanted)
    assert diff.compare(kernel.have(), wanted).changes == ()


@MANY
@given(data=CONFIGS, kind=KINDS)
def test_what_is_saved_whole_comes_back_whole(kernel: Kernel, data: Toml, kind: HelperKind) -> None:
    assume(valid(data))
    wanted = kernel.want(data, kind)
    kernel.live.load(transition.replacement(wanted))
    kernel.live.load(transition.replacement(kernel.counted()))
    assert diff.compare(kernel.have(), wanted).changes == ()


def _with(data: Toml, section: str, key: str, value: Any) -> Toml:
    return {**data, section: {**data[section], key: value}}


def _rules(table: Table, words: str) -> set[tuple[str, str, str]]:
    return {
        ("change", "rule", rule.id) for chain in table.chains for rule in chain.rules if words in rule.text
    }


#: What is changed in the config, and what the diff must name, given the table before.
ONE_THING: dict[str, tuple[Callable[[Toml], Toml], Callable[[Table], set[tuple[str, str, str]]]]] = {
    "a port": (
        lambda data: _with(data, "rtsp", "ports", [*data["rtsp"]["ports"], 9]),
        lambda _table: {("change", "set", "rtsp_ports")},
    ),
    "a box": (
        lambda data: {**data, "stb": [*data["stb"], {"address": "192.168.1.251"}]},
        lambda _table: {("change", "set", "stbs")},
    ),
    "a LAN interface": (
        lambda data: _with(data, "lan", "interfaces", [*data["lan"]["interfaces"], "br9"]),
        lambda _table: {("change", "set", "lan")},
    ),
    "a LAN network": (
        lambda data: _with(data, "lan", "networks", [*data["lan"]["networks"], "192.168.99.0/24"]),
        lambda _table: {("change", "set", "lan_networks")},
    ),
    "the pause": (
        lambda data: _with(data, "rtsp", "pause", "77s"),
        lambda _table: {("change", "ct timeout", "pause")},
    ),
    "the mark": (
        lambda data: _with(data, "rtsp", "mark", "0x40/0x40"),
        lambda table: _rules(table, "ct mark set"),
    ),
    "the log group": (
        lambda data: _with(data, "rtsp", "log_group", data["rtsp"]["log_group"] % 65535 + 1),
        lambda table: _rules(table, " group "),
    ),
}


@pytest.mark.parametrize("what", ONE_THING)
@settings(MANY, max_examples=25)
@given(data=CONFIGS, kind=KINDS)
def test_one_thing_changed_is_the_one_thing_named(
    kernel: Kernel, what: str, data: Toml, kind: HelperKind
) -> None:
    change, expect = ONE_THING[what]
    after = change(data)
    assume(data["stb"] and 9 not in data["rtsp"]["ports"] and valid(data) and valid(after))
    old = kernel.want(data, kind)
    kernel.apply(old)
    new = kernel.want(after, kind)
    plan = diff.compare(kernel.have(), new)
    assert {(str(item.op), item.kind, item.name) for item in plan.changes} == expect(old)
    kernel.apply(new)
    assert diff.compare(kernel.have(), new).changes == ()
