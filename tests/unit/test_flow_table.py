"""The table against a scripted kernel: merging, losses and their repair, silent flows, limits. No waiting.

tests/integration/test_flow_table.py holds the same promises on the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.conntrack import flow_table
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.flow import IPS_ASSURED, Flow
from nftrtsp.conntrack.flow_table import REMEMBERED, FlowTable
from nftrtsp.conntrack.tuple import Tuple
from tests.unit import scenes
from tests.unit.scripted_conntrack import ScriptedConntrack

CONFIG = scenes.make_config()


def begun(kernel: ScriptedConntrack, *, everything: bool = False, limit: int = 262_144) -> FlowTable:
    """Return a table of that kernel, loaded."""
    table = FlowTable(CONFIG, everything=everything, limit=limit, dumps=kernel, events=kernel, clock=kernel)
    assert table.poll(0) == []
    return table


def follow(table: FlowTable, kernel: ScriptedConntrack, seconds: float) -> list[Event]:
    """Poll for so long of the kernel's time; return what was told."""
    told: list[Event] = []
    ends = kernel.monotonic() + seconds
    while kernel.monotonic() < ends:
        told += table.poll(ends - kernel.monotonic())
    return told


def film(port: int = 27336) -> Flow:
    return msgspec.structs.replace(scenes.media(port=port), id=0)


def other(port: int) -> Flow:
    there = Tuple(scenes.packed("10.9.9.9"), scenes.packed("10.8.8.8"), 17, 5000, port)
    back = Tuple(there.dst, there.src, 17, port, 5000)
    return Flow(2, there, back, status=0x8, timeout=30)


def kinds(events: list[Event]) -> list[tuple[EventType, int]]:
    return [(event.type, event.flow.id) for event in events if event.flow is not None]


@pytest.fixture
def kernel() -> ScriptedConntrack:
    return ScriptedConntrack()


# Merging


def test_what_only_the_first_event_tells_is_kept_through_later_ones(kernel: ScriptedConntrack) -> None:
    table = begun(kernel)
    master = scenes.tcp(scenes.BOX, 40000)
    born = kernel.begin(scenes.media(master=master))
    kernel.change(msgspec.structs.replace(born, status=(born.status or 0) | IPS_ASSURED))
    told = table.poll(1)
    assert [event.flow.master for event in told if event.flow] == [master, master]
    (kept,) = table.flows()
    assert kept.master == master
    assert kept.status is not None
    assert kept.status & IPS_ASSURED


def test_the_end_of_a_flow_tells_all_that_was_known_of_it(kernel: ScriptedConntrack) -> None:
    table = begun(kernel)
    born = kernel.begin(scenes.control(helper="rtsp"))
    table.poll(1)
    kernel.end(born)
    (event,) = table.poll(1)
    assert event.type is EventType.DESTROY
    assert event.flow is not None
    assert event.flow.helper == "rtsp"
    assert table.flows() == []


def test_the_end_of_an_earlier_flow_with_the_same_tuple_takes_nothing_away(kernel: ScriptedConntrack) -> None:
    first = kernel.begin(film())

    def reborn() -> None:
        kernel.end(first)
        kernel.begin(film(27340))
        kernel.begin(film())

    kernel.meanwhile.append(reborn)
    table = begun(kernel)
    follow(table, kernel, 2)
    assert {flow.id for flow in table.flows()} == {flow.id for flow in kernel.flows.values()}


def test_what_happens_during_the_first_dump_is_not_told_twice(kernel: ScriptedConntrack) -> None:
    kernel.begin(film(), heard=False)
    born: list[Flow] = []
    kernel.meanwhile.append(lambda: born.append(kernel.begin(film(27340))))
    table = begun(kernel)
    told = follow(table, kernel, 2)
    assert kinds(told).count((EventType.NEW, born[0].id)) <= 1
    assert {flow.id for flow in table.flows()} == {flow.id for flow in kernel.flows.values()}


# Silent flows


def test_a_film_from_before_anybody_listened_ends_within_a_second(kernel: ScriptedConntrack) -> None:
    old = kernel.begin(film(), heard=False)
    table = begun(kernel)
    kernel.end(old)
    (event,) = follow(table, kernel, 1.0)
    assert (event.type, event.found) == (EventType.DESTROY, True)
    assert event.time == pytest.approx(kernel.time(), abs=1)
    assert table.flows() == []


def test_a_new_flow_in_the_place_of_a_silent_one_ends_that_one_first(kernel: ScriptedConntrack) -> None:
    old = kernel.begin(film(), heard=False)
    table = begun(kernel)
    kernel.end(old)
    new = kernel.begin(film())
    told = follow(table, kernel, 1.0)
    assert kinds(told) == [(EventType.DESTROY, old.id), (EventType.NEW, new.id)]
    assert [event.found for event in told] == [True, False]


def test_a_control_connection_that_sends_events_is_not_asked_for_again(kernel: ScriptedConntrack) -> None:
    table = begun(kernel)
    kernel.begin(scenes.control())
    follow(table, kernel, 5)
    assert kernel.gets == []


def test_other_silent_flows_leave_with_the_next_full_dump(kernel: ScriptedConntrack) -> None:
    old = kernel.begin(other(1), heard=False)
    table = begun(kernel, everything=True)
    kernel.end(old)
    told = follow(table, kernel, 2)
    assert kinds(told) == [(EventType.DESTROY, old.id)]


def test_full_dumps_take_a_tenth_of_the_time_at_most(kernel: ScriptedConntrack) -> None:
    kernel.begin(other(1), heard=False)
    kernel.dump_seconds = 2.0
    table = begun(kernel, everything=True)
    before, began = len([wanted for wanted in kernel.dumps if wanted is None]), kernel.monotonic()
    follow(table, kernel, 400)
    full = len([wanted for wanted in kernel.dumps if wanted is None]) - before
    assert full >= 2
    assert full * kernel.dump_seconds <= 0.1 * (kernel.monotonic() - began) + kernel.dump_seconds


def test_no_full_dump_is_repeated_once_every_flow_sends_events(kernel: ScriptedConntrack) -> None:
    table = begun(kernel, everything=True)
    kernel.begin(other(1))
    before = kernel.dumps.count(None)
    follow(table, kernel, 20)
    assert kernel.dumps.count(None) == before


# Losses


def test_an_overrun_is_told_and_repaired(kernel: ScriptedConntrack) -> None:
    table = begun(kernel, everything=True)
    kept = kernel.begin(other(1))
    table.poll(1)
    kernel.room = 3
    born = [kernel.begin(other(port)) for port in range(2, 8)]
    kernel.end(kept)
    told = follow(table, kernel, 1.0)
    assert (table.overruns, table.lost) == (1, 4)
    assert [event.lost for event in told if event.type is EventType.OVERRUN] == [4]
    found = {(event.type, event.flow.id) for event in told if event.found and event.flow}
    assert found == {(EventType.NEW, flow.id) for flow in born[3:]} | {(EventType.DESTROY, kept.id)}


def test_what_a_repair_told_is_not_told_again_by_events_that_waited(kernel: ScriptedConntrack) -> None:
    table = begun(kernel, everything=True)
    table_of = kernel.begin(other(1))
    table.poll(1)
    kernel.room = 0
    lost = kernel.begin(other(2))  # dropped: an overrun
    kernel.room = 100
    late: list[Flow] = []

    def happen() -> None:
        kernel.end(table_of)
        late.append(kernel.begin(other(3)))

    kernel.meanwhile.append(happen)
    told = follow(table, kernel, 3)
    for flow, kind in ((lost, EventType.NEW), (late[0], EventType.NEW), (table_of, EventType.DESTROY)):
        assert kinds(told).count((kind, flow.id)) == 1, (kind, flow.id, told)


def test_repairs_leave_half_of_the_time_for_reading(kernel: ScriptedConntrack) -> None:
    kernel.dump_seconds = 0.3
    table = begun(kernel, everything=True)
    began, before = kernel.monotonic(), kernel.dumps.count(None)
    kernel.room = 1
    for port in range(1, 200):
        for number in range(3):
            kernel.begin(other(port * 10 + number))
        kernel.pass_time(0.05)
        table.poll(0)
    spent = (kernel.dumps.count(None) - before) * kernel.dump_seconds
    assert spent <= 0.6 * (kernel.monotonic() - began)


# Expectations


def test_expectations_count_down_between_dumps(kernel: ScriptedConntrack) -> None:
    table = begun(kernel)
    kernel.expect(msgspec.structs.replace(scenes.expectation(), timeout=300))
    assert [event.type for event in table.poll(1)] == [EventType.EXPECT_NEW]
    kernel.pass_time(7.5)
    assert [value.timeout for value in table.expectations()] == [293]


def test_an_expectation_that_went_in_silence_is_told_within_a_second(kernel: ScriptedConntrack) -> None:
    made = kernel.expect(scenes.expectation())
    table = begun(kernel)
    table.poll(0)
    del kernel.expectations[made.id]
    told = follow(table, kernel, 1.0)
    assert [(event.type, event.found) for event in told] == [(EventType.EXPECT_DESTROY, True)]
    assert table.expectations() == []


# Counters


def test_rates_are_of_the_last_second_or_so(kernel: ScriptedConntrack) -> None:
    table = begun(kernel)
    playing = kernel.begin(film())
    packets = 0
    for _ in range(40):
        packets += 50
        kernel.carry(playing, packets)
        follow(table, kernel, 0.1)
    rate = table.rates[playing.id]
    assert rate.packets == pytest.approx(500, rel=0.1)
    assert rate.bytes == pytest.approx(500_000, rel=0.1)
    kernel.end(playing)
    follow(table, kernel, 1)
    assert table.rates == {}


# Limits


def test_flows_past_the_limit_are_counted_and_not_kept(kernel: ScriptedConntrack) -> None:
    table = begun(kernel, everything=True, limit=5)
    for port in range(1, 9):
        kernel.begin(other(port))
    table.poll(0)
    assert len(table.flows()) == 5
    assert table.overflow == 3


def test_a_film_is_kept_where_there_is_no_room_for_others(kernel: ScriptedConntrack) -> None:
    table = begun(kernel, everything=True, limit=2)
    for port in range(1, 9):
        kernel.begin(other(port))
    playing = kernel.begin(film())
    table.poll(0)
    assert [flow.id for flow, _ in table.parts()] == [playing.id]


def test_films_and_expectations_have_their_limit_too(
    kernel: ScriptedConntrack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_table, "MATTERING", 3)
    table = begun(kernel)
    for port in range(20000, 20005):
        kernel.begin(film(port))
        kernel.expect(scenes.expectation(port=port))
    table.poll(0)
    assert (len(table.flows()), len(table.expectations())) == (3, 3)
    assert table.overflow == 4


@pytest.mark.parametrize("everything", [False, True], ids=["iptv", "everything"])
def test_the_number_of_those_left_out_does_not_grow_by_seeing_them_again(
    kernel: ScriptedConntrack, monkeypatch: pytest.MonkeyPatch, everything: bool
) -> None:
    monkeypatch.setattr(flow_table, "MATTERING", 3)
    for number in range(5):
        kernel.begin(other(number) if everything else film(27336 + 2 * number), heard=False)
    table = begun(kernel, everything=everything, limit=3)
    late = kernel.begin(other(9) if everything else film(30000))
    kernel.change(late)
    told = follow(table, kernel, 20)
    assert len(table.flows()) == 3
    assert len(told) == 2
    assert table.overflow == (3 if everything else 7)  # the first two films are in three dumps each


def test_what_dumps_told_is_remembered_up_to_a_number(kernel: ScriptedConntrack) -> None:
    table = begun(kernel, everything=True)
    for port in range(1, REMEMBERED + 500):
        kernel.begin(other(port), heard=False)
    kernel.room = 0
    kernel.begin(other(60_000))
    follow(table, kernel, 1)
    assert len(table.flows()) == REMEMBERED + 500
    assert len(table._found) <= REMEMBERED


# All of it together

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "end", "change", "expect", "unexpect", "poll", "wait"]),
        st.integers(0, 5),
    ),
    max_size=60,
)


def happen(kernel: ScriptedConntrack, make: Callable[[int], Flow], what: str, number: int) -> None:
    """Let the step happen in the kernel, if it can."""
    flow = make(number)
    there = kernel.flows.get((flow.orig, flow.zone))
    if what == "begin" and there is None:
        kernel.begin(flow)
    elif what == "end" and there is not None:
        kernel.end(there)
    elif what == "change" and there is not None:
        kernel.change(msgspec.structs.replace(there, timeout=number))
    elif what == "expect" and len(kernel.expectations) < 6:
        kernel.expect(scenes.expectation(port=20000 + number))
    elif what == "unexpect" and kernel.expectations:
        kernel.unexpect(next(iter(kernel.expectations.values())))


def happen_all(kernel: ScriptedConntrack, make: Callable[[int], Flow], steps: list[tuple[str, int]]) -> None:
    for what, number in steps:
        happen(kernel, make, what, number)


@given(st.data())
def test_the_table_and_what_it_told_come_to_be_what_the_kernel_has(data: st.DataObject) -> None:
    kernel = ScriptedConntrack(
        room=data.draw(st.integers(0, 6), "room"), most=data.draw(st.sampled_from([1, 2, 8192]), "most")
    )
    everything = data.draw(st.booleans(), "everything")
    make = other if everything else lambda number: film(27336 + 2 * number)
    for number in data.draw(st.sets(st.integers(0, 5)), "before"):
        kernel.begin(make(number), heard=False)
    for batch in data.draw(st.lists(STEPS, max_size=2), "during dumps"):
        kernel.meanwhile.append(partial(happen_all, kernel, make, batch))
    steps = data.draw(STEPS, "steps")
    table = begun(kernel, everything=everything)
    heard = {flow.id for flow in table.flows()}
    ways = {value.id for value in table.expectations()}

    def take(events: list[Event]) -> None:
        for event in events:
            if event.type is EventType.OVERRUN:
                continue
            named = event.flow or event.expectation
            assert named is not None
            into = heard if event.flow else ways
            if event.type in (EventType.DESTROY, EventType.EXPECT_DESTROY):
                into.discard(named.id)
            else:
                into.add(named.id)

    for what, number in steps:
        if what == "poll":
            take(table.poll(0))
        elif what == "wait":
            take(follow(table, kernel, 0.3))
        else:
            happen(kernel, make, what, number)
    kernel.room = 1000
    take(follow(table, kernel, 3.0))
    truth = {flow.id for flow in kernel.flows.values()}
    assert {flow.id for flow in table.flows()} == truth
    assert {value.id for value in table.expectations()} == set(kernel.expectations)
    assert heard == truth
    assert ways == set(kernel.expectations)
