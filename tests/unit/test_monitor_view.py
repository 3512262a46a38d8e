"""The view model: words, the top line at any width, problems and where they come from."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.events.news import Checked, HelperLeft
from nftrtsp.health.surroundings import rp_filter_key
from nftrtsp.monitor import view, words
from nftrtsp.monitor.rulesetwatch import read_answer
from nftrtsp.monitor.snapshot import Snapshot
from nftrtsp.monitor.tap import program
from tests.unit.monitor_scenes import (
    SCENES,
    Watched,
    clock_set,
    evening,
    helper_absent,
    interface_back,
    interface_gone,
    no_config,
    no_table,
    overrun,
    pinned_box,
)
from tests.unit.scenes import T0, control


def test_a_sparkline_shows_gaps_and_peaks_in_any_width() -> None:
    history = [0.0] * 30 + [5e6] * 29 + [0.0]
    assert words.sparkline(history, 60)[0] == "▁"
    assert words.sparkline(history, 60)[40] == "▇"
    assert len(words.sparkline(history, 7)) == 7
    assert words.sparkline(history, 7)[-1] == "▇"
    assert words.sparkline([0.0] * 60, 10) == "▁" * 10


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), max_size=30), st.integers(1, 40))
def test_fit_is_exactly_as_wide_as_asked(text: str, columns: int) -> None:
    assert words.width([(words.fit(text, columns), "")]) == columns


@given(st.lists(st.text(alphabet="abcdef", min_size=1, max_size=20), max_size=12), st.integers(8, 60))
def test_wrap_loses_nothing_and_keeps_the_width(parts: list[str], columns: int) -> None:
    lines = words.wrap(" ".join(parts), columns)
    assert all(len(line) <= columns for line in lines)
    assert "".join("".join(lines).split()) == "".join(parts)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("columns", [80, 100, 120, 200])
def test_no_line_is_wider_than_the_screen(scene: str, columns: int) -> None:
    house = SCENES[scene]()
    snapshot = house.snapshot(house.gauge.monotonic)
    now = snapshot.time
    assert words.width(view.top_spans(snapshot.top, now, columns)) <= columns
    lines = [
        *view.box_lines(snapshot, columns, tall=False),
        *view.box_lines(snapshot, 42, tall=True),
        *view.session_lines(snapshot.films[:20], now, columns - 42),
        *view.problem_lines(snapshot.problems, now, columns - 42),
    ]
    assert max(words.width(line.spans) for line in lines) <= columns


@pytest.mark.parametrize("columns", range(60, 201, 7))
def test_the_top_line_always_says_loss_and_helper(columns: int) -> None:
    house = overrun()
    text = "".join(part for part, _ in view.top_spans(house.snapshot(64).top, T0 + 64, columns))
    assert "3 lost" in text
    assert "pinhole" in text
    assert text.rstrip().endswith("22:14:24")


def top(snapshot: Snapshot) -> str:
    return "".join(text for text, _ in view.top_spans(snapshot.top, snapshot.time, 200))


def problems(house: Watched) -> dict[str, str]:
    found = house.snapshot(house.gauge.monotonic).problems
    return {problem.text: problem.remedy for problem in found}


def test_an_interface_that_goes_and_comes_back() -> None:
    gone = interface_gone()
    assert "✗ vlan2 is gone" in top(gone.snapshot(64))
    assert "there is no IPTV interface vlan2" in problems(gone)
    back = interface_back()
    assert "vlan2 10.214.0.2" in top(back.snapshot(71))
    assert not any("vlan2" in text for text in problems(back))
    texts = [event.text for event in back.snapshot(71).events if event.kind == "interface"]
    assert texts == ["vlan2 is gone", "vlan2 is back"]


def test_an_absent_table_and_helper_are_problems_with_remedies() -> None:
    found = problems(no_table())
    assert found["the ruleset is not loaded, so no port is opened for any film"] == "run `nftrtsp apply`"
    assert "the pinhole helper does not run, so nobody reads what boxes ask for" in found
    assert "✗ userspace helper absent" in top(helper_absent().snapshot(8))


@pytest.mark.parametrize(("spoke", "said"), [(True, True), (False, False)])
def test_with_auto_the_helper_that_has_spoken_is_missed(spoke: bool, said: bool) -> None:
    house = Watched(helper="auto")
    if spoke:
        house.hello(kind="userspace")
    house.observer.take(HelperLeft(T0 + 1, "it hung up"))
    assert (
        "the userspace helper does not run, so nobody reads what boxes ask for" in problems(house)
    ) is said


def test_a_helper_less_connection_names_the_box_and_what_to_press() -> None:
    found = problems(helper_absent())
    text = next(text for text in found if "has no conntrack helper" in text)
    assert "192.168.1.200:40000" in text
    assert "press x" in found[text]


def test_a_pinned_way_is_a_problem_in_words() -> None:
    assert any("pinned: only 172.26.83.10 may send" in text for text in problems(pinned_box()))


def test_no_config_is_said_and_flows_are_shown() -> None:
    house = no_config()
    snapshot = house.snapshot(4)
    assert "no config: all flows" in top(snapshot)
    assert {flow.role for flow in snapshot.flows} == {"control", "media"}


def test_a_clock_that_was_set_is_noted_and_films_go_on() -> None:
    house = clock_set()
    snapshot = house.snapshot(64)
    assert [event.text for event in snapshot.events if event.kind == "clock"] == [
        "the wall clock was set forward by 7200 s"
    ]
    playing = next(film for film in snapshot.films if film.phase == "playing")
    assert playing.began == pytest.approx(T0 + 1.12 + 7200)


def test_settings_that_keep_films_away_are_problems() -> None:
    house = evening()
    house.read(64, rp_filter=1, accounting=False, count=64000)
    found = problems(house)
    assert any(text.startswith("net.ipv4.conf.vlan2.rp_filter is 1") for text in found)
    assert any("counts no bytes" in text for text in found)
    assert any("holds 64000 of 65536 flows: soon" in text for text in found)


@pytest.mark.parametrize(
    ("rp_filter", "default_route", "grave"),
    [(0, False, None), (1, True, True), (2, True, None), (2, False, False), (2, None, None)],
)
def test_a_reverse_path_filter_is_a_problem_where_doctor_says_so(
    rp_filter: int, default_route: bool | None, grave: bool | None
) -> None:
    house = evening()
    house.read(64, rp_filter=rp_filter, default_route=default_route)
    found = [problem for problem in house.snapshot(64).problems if problem.key == "rp-filter"]
    assert [problem.grave for problem in found] == ([] if grave is None else [grave])


def test_diffs_older_word_on_the_reverse_path_filter_is_not_said_beside_the_gauges() -> None:
    house = evening()
    warning = (rp_filter_key("vlan2"), "is 1, so films are dropped", "sysctl")
    house.observer.take(Checked(T0 + 64, "in sync", warnings=(warning,)))
    house.read(65, rp_filter=0)
    assert "is 1, so films are dropped" not in problems(house)


def test_warnings_of_diff_become_problems() -> None:
    house = evening()
    warning = ("inet filter forward", "its policy drops the film", "add an accept there")
    house.observer.take(Checked(T0 + 64, "in sync", warnings=(warning,)))
    assert problems(house)["its policy drops the film"] == "add an accept there"


def test_events_per_second_fall_back_to_zero() -> None:
    house = evening()
    for number in range(50):
        house.new(64 + number / 50, control(sport=41000 + number))
    assert house.snapshot(66).top.events == pytest.approx(10.0, abs=1)
    assert house.snapshot(90).top.events == 0.0


def test_serials_rise() -> None:
    house = evening()
    assert house.snapshot(64).serial < house.snapshot(64).serial


# -- what nftrtsp diff says

ADDED_TABLE = '{"op":"add","kind":"table","name":"inet nftrtsp"}\n{"summary":{},"same":false}\n'
CHANGED = '{"op":"change","kind":"rule","name":"media","chain":"from-iptv","old":"a","new":"b"}\n'


@pytest.mark.parametrize(
    ("status", "out", "err", "state", "changes"),
    [
        (0, '{"summary":{},"same":true}\n', "", "in sync", ()),
        (1, ADDED_TABLE, "", "absent", ("+ table inet nftrtsp",)),
        (1, CHANGED, "", "drifted", ("~ rule media in from-iptv: a → b",)),
        (2, "", "nftrtsp: no rights\n", "unknown", ()),
        (1, "not json\n[1]\n", "", "drifted", ()),
    ],
)
def test_the_answer_of_diff(status: int, out: str, err: str, state: str, changes: tuple[str, ...]) -> None:
    checked = read_answer(status, out, err, T0)
    assert (checked.state, checked.changes) == (state, changes)
    assert checked.why == ("no rights" if status == 2 else "")


def test_the_answer_of_diff_carries_warnings() -> None:
    out = '{"warning":{"id":"x","place":"here","message":"it drops","remedy":"fix it"}}\n'
    assert read_answer(0, out, "", T0).warnings == (("here", "it drops", "fix it"),)
    out = out.replace("}}", ',"state":"warning"}}')
    assert read_answer(0, out, "", T0).warnings == (("here", "it drops", "fix it", "warning"),)


# -- the packet filter of the tap


def run_bpf(code: bytes, packet: bytes) -> int:
    """Run the few instructions that the tap's program is made of."""
    import struct

    instructions = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]
    a = x = pc = 0
    while True:
        op, yes, no, k = instructions[pc]
        pc += 1
        if op == 0x30:
            a = packet[k]
        elif op == 0x20:
            a = int.from_bytes(packet[k : k + 4], "big")
        elif op == 0xB1:
            x = (packet[k] & 15) * 4
        elif op == 0x48:
            a = int.from_bytes(packet[x + k : x + k + 2], "big")
        elif op == 0x15:
            pc += yes if a == k else no
        elif op == 0x06:
            return int(k)


def udp_packet(dst: str, dport: int, *, proto: int = 17, options: int = 0) -> bytes:
    from tests.unit.scenes import MEDIA, packed

    head = bytes([0x45 + options]) + bytes(8) + bytes([proto]) + bytes(2) + packed(MEDIA) + packed(dst)
    return head + bytes(4 * options) + (48440).to_bytes(2, "big") + dport.to_bytes(2, "big") + bytes(4)


@pytest.mark.parametrize("playing", [(), (27336,), tuple(range(27000, 27150))])
@pytest.mark.parametrize("options", [0, 3])
def test_the_tap_takes_udp_but_not_films_that_play(playing: tuple[int, ...], options: int) -> None:
    from ipaddress import IPv4Address

    code = program(IPv4Address("10.214.0.2"), playing)
    assert run_bpf(code, udp_packet("10.214.0.2", 28000, options=options)) > 0
    assert run_bpf(code, udp_packet("10.214.0.3", 28000, options=options)) == 0
    assert run_bpf(code, udp_packet("10.214.0.2", 28000, proto=6, options=options)) == 0
    for port in playing:
        assert run_bpf(code, udp_packet("10.214.0.2", port, options=options)) == 0


def test_snapshots_are_frozen() -> None:
    snapshot = evening().snapshot(64)
    with pytest.raises(AttributeError):
        snapshot.time = 0.0  # type: ignore[misc]
    assert msgspec.structs.replace(snapshot, time=1.0).films == snapshot.films
