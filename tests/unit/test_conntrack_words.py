"""What people read: words, columns, and what ``--filter`` takes."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from nftrtsp import config
from nftrtsp.cli import words
from nftrtsp.cli.columns import aligned
from nftrtsp.cli.eventfilter import parse_filters, part_of
from nftrtsp.cli.eventlist import event_line, helper_line
from nftrtsp.cli.plan import _parts
from nftrtsp.conntrack import record
from nftrtsp.conntrack.event import Event, EventType, decode_events
from nftrtsp.conntrack.flow import IPS_DST_NAT, IPS_DYING, IPS_SEEN_REPLY, Flow, merge
from nftrtsp.conntrack.history import FlowHistory
from nftrtsp.conntrack.record import Ends, OpenPortRecord
from nftrtsp.conntrack.role import Role, Roles
from nftrtsp.conntrack.tuple import Tuple
from nftrtsp.errors import ConfigError
from nftrtsp.helper.note import Hello, WayRefused
from nftrtsp.ruleset.review import PlanLine
from nftrtsp.terminal import paint
from tests.unit.captured import MESSAGES
from tests.unit.ttys import pipe, screen

BOX, ROUTER = ip_address("192.168.1.200").packed, ip_address("10.214.0.2").packed
MEDIA, SERVER = ip_address("172.26.83.137").packed, ip_address("172.26.83.10").packed
CONFIG = config.parse(
    {
        "iptv": {"interface": "vlan2"},
        "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
        "stb": [{"name": "Living room", "address": "192.168.1.200"}],
    }
)
ROLES = Roles(CONFIG)


def film(timeout: int = 3600, status: int = IPS_DST_NAT, mark: int = 0x100000) -> Flow:
    orig, reply = Tuple(MEDIA, ROUTER, 17, 4001, 27336), Tuple(BOX, MEDIA, 17, 27336, 4001)
    return Flow(2, orig, reply, 77, status, timeout, mark)


def event(name: str) -> Event:
    return next(decode_events(MESSAGES[name], 1795409655.5))


def test_a_film_plays_pauses_and_says_how_long_its_way_stays_open() -> None:
    assert words.of_flow(film(), Role.MEDIA, 3600) == "playing, port open 1 h, unreplied"
    paused = film(timeout=3560, status=IPS_DST_NAT | IPS_SEEN_REPLY)
    assert words.of_flow(paused, Role.MEDIA, 3600) == "paused 40 s, port open 59 min 20 s"


@pytest.mark.parametrize(
    ("flow", "role", "pause", "does"),
    [
        (film(), Role.MEDIA, 3600, words.Activity.PLAYING),
        (film(timeout=3560), Role.MEDIA, 3600, words.Activity.PAUSED),
        (film(timeout=3560, status=IPS_DYING), Role.MEDIA, 3600, words.Activity.UNKNOWN),
        (film(timeout=29), Role.MEDIA, 0, words.Activity.UNKNOWN),
        (film(), Role.CONTROL, 3600, words.Activity.UNKNOWN),
    ],
)
def test_what_a_film_does_is_told_by_its_timeout(
    flow: Flow, role: Role, pause: int, does: words.Activity
) -> None:
    assert words.activity(flow, role, pause) is does


def test_without_our_timeout_nothing_is_said_of_a_pause() -> None:
    assert words.of_flow(film(timeout=29), Role.MEDIA, 0) == "port open 29 s, unreplied"


def test_ways_say_whether_they_are_pinned() -> None:
    pinned = event("ftp-port-0").expectation
    free = event("expect-0").expectation
    assert pinned is not None
    assert free is not None
    assert words.of_way(record.of_expectation(pinned, ROLES)).startswith(
        "pinned to 172.26.83.10, for the first"
    )
    assert words.of_way(record.of_expectation(free, ROLES)).startswith("any source, stays, open ")


def test_roles_and_names_come_from_the_configuration() -> None:
    part = ROLES.of(film(mark=0))
    assert (part.role, ROLES.name(part.stb)) == (Role.MEDIA, "Living room")
    control = Flow(2, Tuple(BOX, SERVER, 6, 40000, 554), Tuple(SERVER, ROUTER, 6, 554, 40000))
    assert ROLES.of(control).role is Role.CONTROL
    stranger = Flow(2, Tuple(SERVER, BOX, 6, 40000, 554), Tuple(BOX, SERVER, 6, 554, 40000))
    assert ROLES.of(stranger).role is Role.OTHER
    assert ROLES.name(ROUTER) == "10.214.0.2"
    assert ROLES.name(None) == ""


def test_an_expected_flow_belongs_to_the_box_whose_connection_expected_it() -> None:
    master = Tuple(BOX, SERVER, 6, 40000, 554)
    orig, reply = Tuple(MEDIA, ROUTER, 17, 1, 2), Tuple(ROUTER, MEDIA, 17, 2, 1)
    part = ROLES.of(Flow(2, orig, reply, 1, 1, master=master))
    assert (part.role, part.stb) == (Role.MEDIA, BOX)


def test_columns_are_aligned_numbers_to_the_right_and_plain_without_colours() -> None:
    rows = [[("a", "name"), ("1000", "good")], [("longer", ""), ("5", "")]]
    assert list(aligned(("NAME", ">N"), rows, pipe())) == [
        "NAME       N",
        "a       1000",
        "longer     5",
    ]
    assert list(aligned(("NAME",), [], pipe())) == []


def test_a_narrow_terminal_gets_the_last_columns_on_a_second_line() -> None:
    rows = [[("box", ""), ("1000", ""), ("words of it", "good")], [("b", ""), ("5", ""), ("", "")]]
    assert list(aligned(("STB", ">N", "MEANING"), rows, screen(20, TERM="dumb"))) == [
        "STB     N",
        "    MEANING",
        "box  1000",
        "    words of it",
        "b       5",
        "",
    ]
    assert len(list(aligned(("STB", ">N", "MEANING"), rows, screen(22, TERM="dumb")))) == 3


def test_marks_of_a_changed_rule_stay_below_their_words_when_it_is_cut() -> None:
    text = "      iifname vlan2 counter accept"
    line = PlanLine("-", text, ((text.index("vlan2"), len(text)),))
    parts = list(_parts(line, 30))
    assert [part.sign for part in parts] == ["-", " "]
    assert [part.text[a:b] for part in parts for a, b in part.marks] == ["vlan2 counter", "accept"]
    assert all(len(part.text) + 2 <= 30 for part in parts)
    assert list(_parts(line, None)) == [line]


def test_an_event_takes_two_lines_on_a_narrow_terminal() -> None:
    narrow = screen(80, NO_COLOR="1")
    told = event_line(Event(EventType.NEW, 1.0, film()), ROLES.of(film()), ROLES, CONFIG, narrow)
    first, second = told.splitlines()
    assert first.endswith("new               media    Living room       udp")
    assert second == "    172.26.83.137:4001 → 10.214.0.2:27336  playing, port open 1 h, unreplied"


def test_one_port_is_no_ports() -> None:
    hello = Hello(kind="pinhole", pid=7, ways=(OpenPortRecord(tuple=Ends()),), why="so")
    assert helper_line(hello, ROLES).endswith("the pinhole helper runs (pid 7), 1 port open: so")


def test_colours_do_not_change_the_width() -> None:
    (_, line) = aligned(("A", "B"), [[("x", "good"), ("y", "")]], screen(80))
    assert line == f"{paint('x', 'good', coloured=True)}  y"


def test_json_of_a_flow_has_every_field_even_when_nothing_was_told() -> None:
    bare = record.of_flow(Flow(2, film().orig, film().reply), ROLES)
    full = record.of_event(event("flush-0"), ROLES)["flow"]
    assert bare.keys() == full.keys()
    assert bare["status"] is None
    assert {"id", "family", "proto", "orig", "reply", "status", "timeout", "mark", "helper", "master",
            "packets", "bytes", "start", "stb", "role"} <= bare.keys()  # fmt: skip
    assert json.loads(json.dumps(full)) == full


def test_filters_take_names_addresses_roles_protocols_and_types() -> None:
    told = Event(EventType.NEW, 1.0, film())
    part = part_of(told, ROLES)
    for good in (
        "stb=living room",
        "stb=192.168.1.200",
        "role=media,control",
        "proto=udp",
        "proto=17",
        "type=new",
    ):
        assert parse_filters((good,), CONFIG).accepts(told, part, ROLES), good
    for bad in ("stb=192.168.1.201", "role=control", "proto=tcp", "type=destroy"):
        assert not parse_filters((bad,), CONFIG).accepts(told, part, ROLES), bad
    assert not parse_filters(("proto=udp", "role=control"), CONFIG).accepts(told, part, ROLES)


def test_a_loss_passes_every_filter() -> None:
    loss = Event(EventType.OVERRUN, 1.0, lost=7)
    assert parse_filters(("stb=192.168.1.201",), CONFIG).accepts(loss, part_of(loss, ROLES), ROLES)


def test_a_helpers_lines_are_told_and_filtered_like_events() -> None:
    line = WayRefused(time=1.0, stb="192.168.1.200", port=27336, reason="taken")
    assert helper_line(line, ROLES).endswith("Living room       port 27336  taken")
    assert parse_filters(("type=way-refused", "stb=living room"), CONFIG).accepts_line(line, ROLES)
    assert not parse_filters(("role=media",), CONFIG).accepts_line(line, ROLES)
    assert "3 ports" not in helper_line(Hello(kind="pinhole"), ROLES)


@pytest.mark.parametrize(
    "text",
    ["stb", "colour=red", "role=king", "type=", "=x", "stb=Nobody", "stb=1.2.3", "proto=x", "proto=256"],
)
def test_an_odd_filter_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="--filter"):
        parse_filters((text,), CONFIG)


def test_an_event_line_names_the_box_and_a_loss_says_so() -> None:
    line = event_line(Event(EventType.NEW, 1.0, film()), ROLES.of(film()), ROLES, CONFIG)
    assert "media    Living room" in line
    assert "172.26.83.137:4001 → 10.214.0.2:27336" in line
    loss = Event(EventType.OVERRUN, 1.0, lost=1234)
    assert "1,234 events" in event_line(loss, part_of(loss, ROLES), ROLES, CONFIG)


def test_merging_keeps_what_later_events_do_not_say() -> None:
    first, later = event("ftp-data-1").flow, event("ftp-data-3").flow
    assert first is not None
    assert later is not None
    assert later.master is None
    merged = merge(first, later)
    assert merged.master == first.master
    assert merged.status == later.status
    assert merged.state_name == "ESTABLISHED"


def test_a_memory_completes_later_events_and_forgets_after_the_end() -> None:
    memory = FlowHistory()
    told = [memory.complete(event(name)) for name in ("ftp-data-1", "ftp-data-2", "ftp-data-3")]
    assert all(one.flow is not None and one.flow.master is not None for one in told)
    small = FlowHistory(limit=1)
    small.complete(event("ftp-data-1"))
    small.complete(event("tcp-0"))
    forgotten = small.complete(event("ftp-data-3")).flow
    assert forgotten is not None
    assert forgotten.master is None
