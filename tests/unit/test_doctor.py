"""Doctor's checks and verdict, fact by fact: a healthy router, and one thing wrong at a time."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import msgspec
import pytest

from nftrtsp.config import HelperKind, parse
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.tuple import IPPROTO_TCP, IPPROTO_UDP, Tuple
from nftrtsp.health.checks import diagnose
from nftrtsp.health.facts import Drop, Facts, Route, Ruleset, Surroundings
from nftrtsp.health.finding import Finding, State, listed
from nftrtsp.health.verdict import conclude
from nftrtsp.helper.note import Hello, HelperCounters, LastRefusal
from nftrtsp.netlink.link import Link

CONFIG = parse(
    {
        "profile": "movistar",
        "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
        "rtsp": {"helper": "userspace"},
        "stb": [
            {"name": "Living room", "address": "192.168.1.200"},
            {"name": "Bedroom", "address": "192.168.1.201"},
        ],
    }
)
STB, SERVER, ROUTER = bytes([192, 168, 1, 200]), bytes([172, 26, 83, 10]), bytes([10, 214, 0, 2])
VOD = IPv4Network("172.26.80.0/21")
IPTV = Link("vlan2", addresses=(IPv4Interface("10.214.0.2/9"),))
LINKS: dict[str, Link | None] = {
    "vlan2": IPTV,
    "br0": Link("br0", addresses=(IPv4Interface("192.168.1.1/24"),)),
}
WELL = Surroundings(LINKS, ip_forward=1, rp_filter=0, default_routes=frozenset(), drops=())
HEALTHY = Facts(
    CONFIG,
    HelperKind.USERSPACE,
    surroundings=WELL,
    routes=(Route(VOD, "vlan2"),),
    conntrack={"acct": 1, "count": 10, "events": 2, "max": 1000},
    ruleset=Ruleset("ct helper", 0),
    greeting=Hello(kind="userspace", pid=7),
    flows=(),
    expectations=(),
    heard=frozenset({IPv4Address("192.168.1.200")}),
)


def control(helper: str | None, state: int = 3) -> Flow:
    orig = Tuple(STB, SERVER, IPPROTO_TCP, 40000, 554)
    reply = Tuple(SERVER, ROUTER, IPPROTO_TCP, 554, 40000)
    return Flow(2, orig, reply, helper=helper, tcp_state=state)


def film(timeout: int = 3600) -> Flow:
    orig = Tuple(bytes([172, 26, 83, 137]), ROUTER, IPPROTO_UDP, 48440, 27336)
    reply = Tuple(STB, bytes([172, 26, 83, 137]), IPPROTO_UDP, 27336, 48440)
    return Flow(2, orig, reply, mark=0x100000, timeout=timeout)


def expectation(source: bytes, mask: bytes) -> Expectation:
    master = control("rtsp").orig
    awaited = Tuple(source, ROUTER, IPPROTO_UDP, 0, 27336)
    return Expectation(2, awaited, Tuple(mask, b"\xff" * 4, IPPROTO_UDP, 0, 65535), master, helper="rtsp")


def around(**changes: Any) -> dict[str, Any]:
    return {"surroundings": msgspec.structs.replace(WELL, **changes)}


def links(**changes: Link | None) -> dict[str, Any]:
    return around(links={**LINKS, **changes})


def drop(*packets: str) -> Drop:
    return Drop("inet", "fw4", "forward", "forward", "policy drop", packets)


FAULT, WARNING, UNKNOWN = State.FAULT, State.WARNING, State.UNKNOWN

# What is wrong -> the changed facts, the check that finds it, how grave, words of text and of remedy
WRONG: dict[str, tuple[dict[str, Any], str, State, str, str]] = {
    "IPTV interface absent": (links(vlan2=None), "interface", FAULT, "no IPTV interface vlan2", "br0"),
    "LAN interface absent": (links(br0=None), "interface", FAULT, "no LAN interface br0", "vlan2"),
    "interface down": (
        links(vlan2=Link("vlan2", addresses=IPTV.addresses, up=False, carrier=False)),
        "interface",
        FAULT,
        "vlan2 is down",
        "ip link set vlan2 up",
    ),
    "no carrier": (
        links(vlan2=Link("vlan2", addresses=IPTV.addresses, carrier=False)),
        "interface",
        FAULT,
        "vlan2 has no carrier",
        "cable",
    ),
    "no IPTV address": (links(vlan2=Link("vlan2")), "address", FAULT, "no IPv4 address", "DHCP"),
    "LAN address elsewhere": (
        links(br0=Link("br0", addresses=(IPv4Interface("192.168.7.1/24"),))),
        "address",
        FAULT,
        "within lan.networks (192.168.1.0/24)",
        "correct lan.networks",
    ),
    "no route": (
        {"routes": (Route(VOD, None),)},
        "route",
        FAULT,
        "no route to the servers in 172.26.80.0/21",
        "RIP daemon",
    ),
    "route elsewhere": (
        {"routes": (Route(VOD, "ppp0"),)},
        "route",
        FAULT,
        "leave by ppp0, not by vlan2",
        "RIP",
    ),
    "forwarding off": (
        around(ip_forward=0),
        "ip_forward",
        FAULT,
        "net.ipv4.ip_forward is 0",
        "sysctl -w net.ipv4.ip_forward=1",
    ),
    "strict reverse path filter": (
        around(rp_filter=1),
        "rp_filter",
        FAULT,
        "dropped before any rule",
        "net.ipv4.conf.vlan2.rp_filter=0",
    ),
    "strict with a default route elsewhere": (
        around(rp_filter=1, default_routes=frozenset({"ppp0"})),
        "rp_filter",
        FAULT,
        "dropped before any rule",
        "net.ipv4.conf.all.rp_filter=0",
    ),
    "loose reverse path filter": (
        around(rp_filter=2),
        "rp_filter",
        WARNING,
        "no route leads to",
        "sysctl -w",
    ),
    "ruleset absent": ({"ruleset": None}, "ruleset", FAULT, "not loaded", "nftrtsp apply"),
    "ruleset refused": (
        {"ruleset": None, "refused": "libnftables is not installed", "remedy": "apt-get install it"},
        "ruleset",
        FAULT,
        "libnftables is not installed",
        "apt-get install it",
    ),
    "ruleset of the other form": (
        {"ruleset": Ruleset("pinhole", 5)},
        "ruleset",
        FAULT,
        "of the pinhole form, but the helper is userspace",
        "nftrtsp apply",
    ),
    "ruleset drifted": (
        {"ruleset": Ruleset("ct helper", 2)},
        "ruleset",
        WARNING,
        "differs from the config in 2 places",
        "nftrtsp diff",
    ),
    "ruleset not to be seen": (
        {"ruleset": None, "may_list": False},
        "ruleset",
        UNKNOWN,
        "by root only",
        "run it as root",
    ),
    "helper does not run": (
        {"greeting": None},
        "helper",
        FAULT,
        "the userspace helper does not run",
        "systemctl start nftrtsp-helper",
    ),
    "helper stuck": (
        {"greeting": None, "silent": True},
        "helper",
        FAULT,
        "is there but does not answer",
        "restart",
    ),
    "another helper runs": (
        {"greeting": Hello(kind="pinhole")},
        "helper",
        FAULT,
        "that runs is pinhole, not userspace",
        "restart",
    ),
    "helper not to be asked": (
        {"greeting": None, "may_greet": False},
        "helper",
        UNKNOWN,
        "root and its group only",
        "run it as root",
    ),
    "module not loaded": (
        {"kind": HelperKind.KERNEL},
        "helper",
        FAULT,
        "nf_conntrack_rtsp is not loaded",
        "modprobe nf_nat_rtsp",
    ),
    "half the module": (
        {"kind": HelperKind.KERNEL, "module": True},
        "helper",
        FAULT,
        "nf_nat_rtsp is not loaded",
        "modprobe nf_nat_rtsp",
    ),
    "pinned": (
        {"expectations": (expectation(SERVER, b"\xff" * 4),)},
        "pinned",
        FAULT,
        "from 172.26.83.10 only",
        '"userspace"',
    ),
    "pinned module": (
        {"kind": HelperKind.KERNEL, "module": True, "nat_module": True, "pinned": True},
        "pinned",
        FAULT,
        "from the RTSP server only",
        '"userspace"',
    ),
    "another table drops films": (
        around(drops=(drop("films"),)),
        "other rules",
        FAULT,
        "chain inet fw4 forward drops films",
        "/etc/config/firewall",
    ),
    "another table drops live TV only": (
        around(drops=(drop("live TV"),)),
        "other rules",
        WARNING,
        "drops live TV",
        "/etc/config/firewall",
    ),
    "a flowtable hides counters": (
        around(uncounted_flowtables=("flowtable inet fw4 ft",)),
        "other rules",
        WARNING,
        "flowtable inet fw4 ft has no counter",
        "counter",
    ),
    "conntrack full": (
        {"conntrack": {"count": 1000, "max": 1000}},
        "conntrack",
        FAULT,
        "1000 of 1000 flows: new ones are dropped",
        "nf_conntrack_max=2000",
    ),
    "conntrack nearly full": (
        {"conntrack": {"count": 901, "max": 1000}},
        "conntrack",
        WARNING,
        "soon",
        "nf_conntrack_max=2000",
    ),
    "conntrack not there": ({"conntrack": {}}, "conntrack", UNKNOWN, "cannot be told", ""),
    "connection without helper": (
        {"flows": (control(None),)},
        "connection",
        FAULT,
        "of Living room is older than the ruleset",
        "nftrtsp apply",
    ),
    "refusals": (
        {"greeting": Hello(kind="userspace", counters=HelperCounters(refused=3))},
        "requests",
        WARNING,
        "refused 3 requests",
        "journalctl",
    ),
    "two that want one port": (
        {
            "greeting": Hello(
                kind="userspace",
                counters=HelperCounters(refused=2),
                refused=(
                    LastRefusal(1.0, "192.168.1.9", 80, "port 80 is below 1024"),
                    LastRefusal(
                        2.0,
                        "192.168.1.200",
                        27400,
                        "port 27400 is in use by 192.168.1.66, which asked first",
                    ),
                ),
            )
        },
        "requests",
        WARNING,
        "refused 2 requests, the last to Living room (192.168.1.200): port 27400 is in use by 192.168.1.66",
        "journalctl",
    ),
    "two boxes that want one port": (
        {
            "greeting": Hello(
                kind="userspace",
                counters=HelperCounters(refused=1),
                refused=(
                    LastRefusal(
                        2.0, "192.168.1.201", 27400, "port 27400 is in use by …", holder="192.168.1.200"
                    ),
                ),
            )
        },
        "requests",
        WARNING,
        "the last to Bedroom (192.168.1.201): port 27400 is in use by Living room (192.168.1.200), which",
        "journalctl",
    ),
    "refused to a host without a name": (
        {
            "greeting": Hello(
                kind="userspace",
                counters=HelperCounters(refused=1),
                refused=(LastRefusal(1.0, "192.168.1.9", 80, "port 80 is below 1024"),),
            )
        },
        "requests",
        WARNING,
        "the last to 192.168.1.9: port 80 is below 1024",
        "journalctl",
    ),
    "overruns": (
        {"greeting": Hello(kind="userspace", counters=HelperCounters(overruns=2))},
        "requests",
        WARNING,
        "2 times",
        "router",
    ),
    "all boxes silent": (
        {"heard": frozenset()},
        "boxes",
        WARNING,
        "Living room (192.168.1.200), Bedroom (192.168.1.201)",
        "switch one on",
    ),
    "no events": (
        {"conntrack": {"acct": 1, "count": 1, "events": 0, "max": 1000}},
        "accounting",
        WARNING,
        "tells no events",
        "nf_conntrack_events=1",
    ),
    "no byte counters": (
        {"conntrack": {"acct": 0, "count": 1, "events": 1, "max": 1000}},
        "accounting",
        WARNING,
        "counts no bytes",
        "nf_conntrack_acct=1",
    ),
}


def wrong(case: str) -> Facts:
    return msgspec.structs.replace(HEALTHY, **WRONG[case][0])


def not_ok(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.state is not State.OK]


def test_a_healthy_router_has_no_complaint() -> None:
    findings = diagnose(HEALTHY)
    assert not_ok(findings) == []
    verdict = conclude(HEALTHY, findings)
    assert verdict.works is True
    assert verdict.text == "VoD should work here: nothing found that stops a film, none plays now"


@pytest.mark.parametrize("case", WRONG)
def test_one_thing_wrong_gives_one_finding_with_its_remedy(case: str) -> None:
    _, check, state, text, remedy = WRONG[case]
    (found,) = not_ok(diagnose(wrong(case)))
    assert (found.check, found.state) == (check, state)
    assert text in found.text
    assert remedy in found.remedy
    assert found.remedy or state is UNKNOWN


@pytest.mark.parametrize("case", [case for case in WRONG if WRONG[case][2] is FAULT])
def test_a_fault_is_the_verdict_in_one_sentence(case: str) -> None:
    facts = wrong(case)
    (found,) = not_ok(diagnose(facts))
    verdict = conclude(facts, diagnose(facts))
    assert verdict.works is False
    assert verdict.text == f"VoD does not work here: {found.text}; {found.remedy}"
    assert "\n" not in verdict.text


@pytest.mark.parametrize("case", [case for case in WRONG if WRONG[case][2] is WARNING])
def test_a_warning_alone_is_no_verdict_against_it(case: str) -> None:
    verdict = conclude(wrong(case), diagnose(wrong(case)))
    assert verdict.works is True
    assert "1 warning below" in verdict.text


def test_every_check_is_seen_to_find_something() -> None:
    found = {check for _, check, *_ in WRONG.values()}
    checks = {finding.check for case in WRONG for finding in diagnose(wrong(case))}
    assert found == checks - {"traffic"}  # it only tells


def test_the_first_fault_on_a_film_s_way_is_the_cause() -> None:
    facts = msgspec.structs.replace(wrong("helper does not run"), ruleset=None, **around(ip_forward=0))
    verdict = conclude(facts, diagnose(facts))
    assert verdict.text.startswith("VoD does not work here: net.ipv4.ip_forward is 0")
    assert verdict.text.endswith("(2 more below)")


def test_a_film_that_plays_is_the_best_evidence() -> None:
    facts = msgspec.structs.replace(HEALTHY, flows=(control("rtsp"), film()))
    assert conclude(facts, diagnose(facts)).text == "VoD works here: a film plays at Living room"


def test_a_film_that_plays_does_not_hide_a_fault() -> None:
    facts = msgspec.structs.replace(wrong("helper does not run"), flows=(film(),))
    verdict = conclude(facts, diagnose(facts))
    assert verdict.works is False
    assert verdict.text.startswith("a film plays at Living room, but the next may not: the userspace helper")


def test_the_kernel_s_own_timeout_tells_whether_a_film_plays() -> None:
    older = Ruleset("ct helper", 1, pause=600)  # of a config before: pause was 10m
    facts = msgspec.structs.replace(HEALTHY, ruleset=older, flows=(film(timeout=599),))
    assert "a film plays at Living room" in conclude(facts, diagnose(facts)).text
    facts = msgspec.structs.replace(facts, flows=(film(timeout=500),))
    assert "none plays now" in conclude(facts, diagnose(facts)).text


def test_a_paused_film_does_not_play() -> None:
    facts = msgspec.structs.replace(HEALTHY, flows=(film(timeout=3000),))
    assert "none plays now" in conclude(facts, diagnose(facts)).text


def test_what_only_root_may_see_leaves_the_verdict_open() -> None:
    facts = msgspec.structs.replace(HEALTHY, ruleset=None, may_list=False, greeting=None, may_greet=False)
    verdict = conclude(facts, diagnose(facts))
    assert verdict.works is None
    assert "ruleset and helper need root" in verdict.text


def test_a_connection_that_closes_needs_no_helper() -> None:
    facts = msgspec.structs.replace(HEALTHY, flows=(control(None, state=7),))
    assert not_ok(diagnose(facts)) == []


def test_pinholes_need_no_conntrack_helper_on_the_connection() -> None:
    facts = msgspec.structs.replace(
        HEALTHY,
        kind=HelperKind.PINHOLE,
        ruleset=Ruleset("pinhole", 0),
        greeting=Hello(kind="pinhole"),
        flows=(control(None),),
    )
    assert not_ok(diagnose(facts)) == []


def test_any_source_expectations_are_as_they_should_be() -> None:
    facts = msgspec.structs.replace(HEALTHY, expectations=(expectation(bytes(4), bytes(4)),))
    assert not_ok(diagnose(facts)) == []


def test_without_known_servers_the_route_is_not_judged() -> None:
    config = parse(
        {"iptv": {"interface": "vlan2"}, "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]}}
    )
    facts = msgspec.structs.replace(HEALTHY, config=config, routes=())
    found, everybody = not_ok(diagnose(facts))
    assert (everybody.check, everybody.state) == ("boxes", State.WARNING)
    assert everybody.text.startswith("[[stb]] names no set-top box, so every host of 192.168.1.0/24")
    assert (found.check, found.state) == ("route", State.UNKNOWN)
    assert conclude(facts, diagnose(facts)).works is True


def test_what_the_ruleset_counted_is_told() -> None:
    counters = {"attach": 1, "input-drop": 3, "from-iptv-drop": 4}
    facts = msgspec.structs.replace(HEALTHY, ruleset=Ruleset("ct helper", 0, counters))
    (told,) = [finding.text for finding in diagnose(facts) if finding.check == "traffic"]
    assert told.startswith("since the ruleset was loaded: RTSP from boxes (1 packet), 7 packets dropped")


def test_snat_to_an_address_that_the_router_does_not_have() -> None:
    iptv = msgspec.structs.replace(CONFIG.iptv, nat="10.214.0.9")
    facts = msgspec.structs.replace(HEALTHY, config=msgspec.structs.replace(CONFIG, iptv=iptv))
    (found,) = not_ok(diagnose(facts))
    assert found.state is FAULT
    assert "10.214.0.9, which this router does not have" in found.text


def test_three_boxes_are_listed_as_people_say_it() -> None:
    assert [listed(["A"]), listed(["A", "B"]), listed(["A", "B", "C"])] == ["A", "A and B", "A, B and C"]


@pytest.mark.parametrize(
    ("value", "defaults", "state"),
    [
        (0, set(), State.OK),
        (1, {"vlan2"}, State.OK),  # the profile's TV comes with the Internet: all is answered over it
        (1, {"ppp0"}, FAULT),
        (2, {"ppp0"}, State.OK),
        (2, set(), WARNING),
    ],
)
def test_the_reverse_path_filter_is_judged_as_the_kernel_does(
    value: int, defaults: set[str], state: State
) -> None:
    facts = msgspec.structs.replace(HEALTHY, **around(rp_filter=value, default_routes=frozenset(defaults)))
    assert [found.state for found in diagnose(facts) if found.check == "rp_filter"] == [state]


def test_a_conntrack_table_without_a_limit_is_never_full() -> None:
    facts = msgspec.structs.replace(HEALTHY, conntrack={"acct": 1, "count": 10, "events": 2, "max": 0})
    assert not_ok(diagnose(facts)) == []


def test_what_was_not_looked_at_is_not_judged() -> None:
    facts = Facts(CONFIG, HelperKind.USERSPACE, may_list=False, may_greet=False)
    found = {finding.check: finding.state for finding in diagnose(facts)}
    assert FAULT not in found.values()
    assert not {"interface", "address", "ip_forward", "rp_filter", "other rules"} & set(found)
