"""What the rules say, read from the plain data that the builder makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nftrtsp.config import Config, HelperKind, parse
from nftrtsp.ruleset import names
from nftrtsp.ruleset.build import build
from nftrtsp.ruleset.model import Chain, CtHelper, CtTimeout, Map, Object, Set, Table
from nftrtsp.ruleset.render import as_lines, render
from tests.unit import goldens

SAFETY = ["from-iptv-spoofed", "from-iptv-own", "to-iptv-invalid"]
KINDS = [HelperKind.KERNEL, HelperKind.USERSPACE, HelperKind.PINHOLE]


def config(**tables: Any) -> Config:
    data: dict[str, Any] = {
        "iptv": {"interface": "vlan2"},
        "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
    }
    for key, value in tables.items():
        data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
    return parse(data)


def chain(table: Table, name: str) -> Chain:
    return next(chain for chain in table.chains if chain.name == name)


def ids(table: Table, name: str) -> list[str]:
    return [rule.id for rule in chain(table, name).rules]


def objects(table: Table) -> dict[str, Object]:
    return {item.name: item for item in table.objects}


@pytest.mark.parametrize("path", sorted(goldens.goldens()), ids=lambda path: path.name)
def test_golden_ruleset_is_what_the_profile_gives(path: Path) -> None:
    assert path.read_text() == goldens.goldens()[path], "run `make goldens` and review the difference"


def test_no_golden_is_left_of_a_profile_that_is_gone() -> None:
    assert set(goldens.FOLDER.glob("*.nft")) == set(goldens.goldens())


def test_kernel_and_userspace_share_one_ruleset() -> None:
    assert build(config(), HelperKind.KERNEL).chains == build(config(), HelperKind.USERSPACE).chains
    assert render(build(config(), HelperKind.KERNEL)) == render(build(config(), HelperKind.USERSPACE))


def test_auto_must_be_settled_first() -> None:
    with pytest.raises(ValueError, match="settle"):
        build(config(), HelperKind.AUTO)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_in_the_config_does_not_matter(kind: HelperKind) -> None:
    one = config(
        lan={"interfaces": ["br0", "br1"], "networks": ["192.168.1.0/24", "10.0.0.0/24"]},
        rtsp={"ports": [554, 1554]},
        stb=[{"address": "192.168.1.9"}, {"address": "192.168.1.10"}],
    )
    other = config(
        lan={"interfaces": ["br1", "br0"], "networks": ["10.0.0.0/24", "192.168.1.0/24"]},
        rtsp={"ports": [1554, 554]},
        stb=[{"address": "192.168.1.10"}, {"address": "192.168.1.9"}],
    )
    assert render(build(one, kind)) == render(build(other, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_has_its_own_id_and_a_comment_the_kernel_takes(kind: HelperKind) -> None:
    table = build(config(iptv={"interface": "vlan2", "full_cone": True, "multicast": ["239.0.0.0/8"]}), kind)
    found = [rule.id for chain in table.chains for rule in chain.rules]
    assert len(found) == len(set(found))
    for rule in table.rules().values():
        assert re.fullmatch(r"nftrtsp:[a-z-]+", rule.comment)
        assert len(rule.comment) < 128  # NFTNL_UDATA_COMMENT_MAXLEN
        assert rule.line.endswith(f'comment "{rule.comment}"')


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_replaces_our_table_in_one_transaction_and_touches_no_other(kind: HelperKind) -> None:
    lines = [line for line in render(build(config(), kind)).splitlines() if not line.startswith("#")]
    assert lines[:3] == ["table inet nftrtsp", "delete table inet nftrtsp", "table inet nftrtsp {"]
    assert lines[-1] == "}"
    assert sum(line.startswith(("table", "delete", "add", "flush")) for line in lines) == 3


def test_without_notes_no_comment_is_left() -> None:
    table = build(config(), HelperKind.PINHOLE)
    bare = render(table, notes=False)
    assert "#" not in bare
    kept = [line.strip() for line in render(table).splitlines() if not line.strip().startswith("#")]
    assert [line for line in kept if line] == [line.strip() for line in bare.splitlines() if line]


def test_ct_helper_form_has_the_object_and_no_map() -> None:
    table = build(config(), HelperKind.USERSPACE)
    helper = objects(table)[names.CT_HELPER]
    assert isinstance(helper, CtHelper)
    assert (helper.type, helper.protocol, helper.l3proto) == ("rtsp", "tcp", "ip")
    assert names.PINHOLE_MAP not in objects(table)
    assert "from-iptv-dnat" not in table.rules()
    assert table.rules()["attach"].action == 'ct helper set "rtsp"'


def test_pinhole_form_has_the_map_and_copies_both_directions_before_the_policy() -> None:
    table = build(config(rtsp={"log_group": 7}), HelperKind.PINHOLE)
    assert isinstance(objects(table)[names.PINHOLE_MAP], Map)
    assert names.CT_HELPER not in objects(table)
    assert ids(table, "attach") == ["copy-starts", "copy-requests", "copy-answers"]
    for rule in chain(table, "attach").rules:
        assert rule.action == 'log prefix "nftrtsp-rtsp" group 7 snaplen 2048 queue-threshold 1'
    hook = chain(table, "attach").hook
    assert hook is not None
    assert (hook.hook, hook.priority) == ("forward", "filter - 1")


@pytest.mark.parametrize("kind", KINDS)
def test_configured_boxes_only_may_ask_else_the_whole_lan(kind: HelperKind) -> None:
    everybody = build(config(), kind)
    assert names.STBS_SET not in objects(everybody)
    assert all("@stbs" not in rule.match for rule in everybody.rules().values())
    boxes = build(config(stb=[{"name": "Living room", "address": "192.168.1.200"}]), kind)
    stbs = objects(boxes)[names.STBS_SET]
    assert isinstance(stbs, Set)
    assert stbs.elements == ("192.168.1.200",)
    for rule in chain(boxes, "attach").rules:
        assert "@stbs" in rule.match


def test_what_is_no_connection_to_conntrack_is_not_copied() -> None:
    """FACTS, section 7: one forged packet opened ways."""
    rules = build(config(), HelperKind.PINHOLE).rules()
    start, request, answer = (rules[f"copy-{part}"].match for part in ("starts", "requests", "answers"))
    assert "ct direction original ct state new tcp flags & (fin | syn | rst | ack) == syn" in start
    assert request.endswith("ct direction original ct state established")
    assert answer.endswith("ct direction reply ct state established")


@pytest.mark.parametrize("policy", ["drop", "accept"])
@pytest.mark.parametrize("kind", KINDS)
def test_forged_sources_are_dropped_before_conntrack_and_nat(kind: HelperKind, policy: str) -> None:
    table = build(config(iptv={"interface": "vlan2", "policy": policy}), kind)
    first = table.chains[0]
    assert ids(table, first.name) == ["from-iptv-spoofed", "from-iptv-own"]
    assert first.hook is not None
    assert (first.hook.hook, first.hook.priority) == ("prerouting", "raw")
    assert ids(table, "to-iptv")[0] == "to-iptv-invalid"


def test_rules_of_a_chain_stand_in_the_order_of_the_design() -> None:
    tv = config(iptv={"interface": "vlan2", "multicast": ["239.0.0.0/16"], "services": ["rip", "igmp"]})
    table = build(tv, HelperKind.USERSPACE)
    assert ids(table, "from-iptv") == [
        "from-iptv-established",
        "from-iptv-errors",
        "from-iptv-media",
        "from-iptv-multicast",
        "from-iptv-drop",
    ]
    assert ids(table, "to-iptv") == ["to-iptv-invalid", "to-iptv-lan", "to-iptv-drop"]
    assert ids(table, "input") == [
        "input-other",
        "input-established",
        "input-errors",
        "input-igmp",
        "input-rip",
        "input-multicast",
        "input-drop",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_an_uplink_that_carries_the_internet_is_not_judged(kind: HelperKind) -> None:
    table = build(config(iptv={"interface": "eth0", "policy": "accept"}), kind)
    drops = [rule.id for rule in table.rules().values() if rule.action == "drop"]
    assert drops == SAFETY  # what no owner can want, whatever other firewall has the say
    assert "input" not in [chain.name for chain in table.chains]


@pytest.mark.parametrize("kind", KINDS)
def test_each_drop_is_counted(kind: HelperKind) -> None:
    drops = [rule for rule in build(config(), kind).rules().values() if rule.action == "drop"]
    assert [rule.id for rule in drops] == [*SAFETY, "to-iptv-drop", "from-iptv-drop", "input-drop"]
    assert all(rule.counter for rule in drops)


def test_nat_is_masquerade_or_snat_and_for_lan_sources_only() -> None:
    rule = build(config(), HelperKind.PINHOLE).rules()["nat"]
    assert (rule.match, rule.action) == ('oifname "vlan2" ip saddr @lan_networks', "masquerade")
    snat = build(config(iptv={"interface": "vlan2", "nat": "10.214.0.2"}), HelperKind.PINHOLE)
    assert snat.rules()["nat"].action == "snat ip to 10.214.0.2"
    # What comes for a port that is open must be addressed to the address the server was told.
    assert "ip daddr 10.214.0.2" in snat.rules()["pinhole"].match


@pytest.mark.parametrize(
    ("mark", "statement"),
    [
        ("0x100000", "ct mark set ct mark | 0x00100000"),
        ("0x100000/0x300000", "ct mark set ct mark & 0xffcfffff | 0x00100000"),
    ],
)
def test_media_mark_sets_its_bits_and_leaves_those_of_others(mark: str, statement: str) -> None:
    for kind, rule in ((HelperKind.USERSPACE, "from-iptv-media"), (HelperKind.PINHOLE, "from-iptv-dnat")):
        action = build(config(rtsp={"mark": mark}), kind).rules()[rule].action
        assert action == f'{statement} ct timeout set "pause" accept'


def test_pause_is_the_timeout_of_both_states() -> None:
    timeout = objects(build(config(rtsp={"pause": "90m"}), HelperKind.USERSPACE))[names.PAUSE_TIMEOUT]
    assert isinstance(timeout, CtTimeout)
    assert timeout.policy == (("unreplied", 5400), ("replied", 5400))


@pytest.mark.parametrize("kind", KINDS)
def test_full_cone_adds_map_fill_dnat_and_accept(kind: HelperKind) -> None:
    table = build(config(iptv={"interface": "vlan2", "full_cone": True}), kind)
    assert {"cone", "cone-fill", "from-iptv-dnat"} <= set(table.rules())
    cone = objects(table)[names.CONE_MAP]
    assert isinstance(cone, Map)
    assert set(cone.flags) == {"dynamic", "timeout"}
    hook = chain(table, "cone-fill").hook
    assert hook is not None
    assert (hook.type, hook.hook) == ("filter", "postrouting")
    plain = build(config(), kind)
    assert names.CONE_MAP not in objects(plain)
    assert not {"cone", "cone-fill"} & set(plain.rules())


@pytest.mark.parametrize("kind", KINDS)
def test_full_cone_leaves_the_router_its_ports(kind: HelperKind) -> None:
    table = build(config(iptv={"interface": "vlan2", "full_cone": True}), kind)
    order = ids(table, "prerouting")
    assert order.index("cone-router") + 1 == order.index("cone")
    assert "socket transparent { 0, 1 }" in table.rules()["cone-router"].match
    assert "udp dport >= 1024" in table.rules()["cone"].match
    fill = table.rules()["cone-fill"].match
    assert fill.startswith('iifname @lan oifname "vlan2" ct direction original')
    assert fill.endswith("udp sport >= 1024")


def test_only_full_cone_needs_the_match_for_sockets() -> None:
    for kind in KINDS:
        assert "socket transparent" not in render(build(config(), kind))


def test_strict_sources_limit_every_way_of_a_film_to_the_servers() -> None:
    iptv = {"interface": "vlan2", "full_cone": True, "servers": ["172.26.80.0/21", "172.26.83.0/24"]}
    for kind in KINDS:
        loose = build(config(iptv=iptv), kind)
        assert names.SERVERS_SET not in objects(loose)
        assert all("@servers" not in rule.match for rule in loose.rules().values())
        strict = build(config(iptv={**iptv, "strict_sources": True}), kind)
        servers = objects(strict)[names.SERVERS_SET]
        assert isinstance(servers, Set)
        assert servers.elements == ("172.26.80.0/21",)  # nft takes no overlaps
        films = {"pinhole", "cone", "from-iptv-media", "from-iptv-dnat"} & set(strict.rules())
        assert films == {rule.id for rule in strict.rules().values() if "@servers" in rule.match}


def test_another_helper_type_stands_in_for_a_scratch_load() -> None:
    table = build(config(), HelperKind.USERSPACE)
    text = render(table.with_helper_type("ftp"))
    assert 'type "ftp" protocol tcp' in text
    assert 'ct helper set "rtsp"' in text
    assert render(table.with_helper_type("rtsp")) == render(table)


def test_a_name_of_a_box_stays_within_its_comment() -> None:
    table = build(config(stb=[{"name": "} drop; #", "address": "192.168.1.2"}]), HelperKind.PINHOLE)
    named = [line for line in render(table).splitlines() if "} drop; #" in line]
    assert len(named) == 1
    assert named[0].lstrip().startswith("#")


def test_json_lines_name_every_rule_with_its_chain_and_text() -> None:
    import json

    table = build(config(), HelperKind.PINHOLE)
    rows = [json.loads(line) for line in as_lines(table).splitlines()]
    assert rows[0] == {"object": "table", "family": "inet", "name": "nftrtsp"}
    rules = {row["id"]: row for row in rows if row["object"] == "rule"}
    assert set(rules) == set(table.rules())
    assert rules["nat"]["chain"] == "postrouting"
    assert rules["nat"]["text"] == table.rules()["nat"].line
