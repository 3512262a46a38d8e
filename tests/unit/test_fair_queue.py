"""Turns between boxes: who waits for whom, who loses what, and how much is held at most."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from nftrtsp.helper.fair_queue import FairQueue, Limits

SIZE = 272  # of a packet in these tests: 400 with what its handling costs


def box(number: int) -> bytes:
    return bytes([192, 168, number >> 8, number & 0xFF])


FLOODER, QUIET = box(1), box(2)


def turns(*known: bytes, **limits: float) -> FairQueue[int]:
    return FairQueue(frozenset(known).__contains__, Limits(**limits))  # type: ignore[arg-type]


def fill(made: FairQueue[int], whose: bytes, count: int, *, now: float = 0, first: int = 0) -> int:
    """Put packets; return how many were handed back at once."""
    return sum(len(made.put(whose, SIZE, first + number, now)) for number in range(count))


def drain(made: FairQueue[int], now: float = 0) -> list[tuple[bytes, int]]:
    taken = []
    while (one := made.take(now)) is not None:
        taken.append(one)
    return taken


def test_one_box_alone_goes_on_in_order_however_much_it_sends() -> None:
    made = turns(FLOODER)
    fill(made, FLOODER, 600)
    assert drain(made) == [(FLOODER, number) for number in range(600)]
    assert (len(made), made.cost) == (0, 0)


def test_who_sends_little_waits_for_one_quantum_of_who_sends_much() -> None:
    made = turns(FLOODER, QUIET, quantum=4000)
    fill(made, FLOODER, 600)
    drain_some = [made.take(0) for _ in range(3)]
    assert None not in drain_some
    fill(made, QUIET, 1)
    before = [whose for whose, _ in drain(made)].index(QUIET)
    assert before <= 10


def test_a_box_that_has_spent_its_bucket_goes_after_all_who_have_not() -> None:
    made = turns(FLOODER, QUIET, burst=4000, quantum=4000)
    fill(made, FLOODER, 40)
    for _ in range(11):
        made.take(0)
    fill(made, QUIET, 10)
    first = [whose for whose, _ in drain(made)[:11]]
    assert first.count(QUIET) == 10


def test_a_box_that_has_spent_its_bucket_still_goes_on_among_others() -> None:
    others = [box(number) for number in range(10, 60)]
    made = turns(FLOODER, *others, burst=4000, quantum=4000)
    fill(made, FLOODER, 100)
    for _ in range(12):
        made.take(0)
    for other in others:
        fill(made, other, 10)
    served = Counter(whose for whose, _ in [made.take(0) or (b"", 0) for _ in range(200)])
    assert 5 < served[FLOODER] < 30


def test_a_bucket_fills_again_with_time() -> None:
    made = turns(FLOODER, QUIET, burst=4000, rate=4000, quantum=4000)
    fill(made, FLOODER, 20)
    drain(made)
    fill(made, FLOODER, 10, now=2.5)
    fill(made, QUIET, 10, now=2.5)
    first = [whose for whose, _ in [made.take(2.5) or (b"", 0) for _ in range(10)]]
    assert FLOODER in first


def test_what_is_beyond_a_box_queue_is_its_own_loss() -> None:
    made = turns(FLOODER, QUIET, of_box=40_000)
    assert fill(made, FLOODER, 150) == 50
    assert fill(made, QUIET, 5) == 0
    assert Counter(whose for whose, _ in drain(made)) == {FLOODER: 100, QUIET: 5}


def test_what_is_beyond_all_queues_is_the_loss_of_who_has_most() -> None:
    boxes = [box(number) for number in range(10, 20)]
    made = turns(FLOODER, *boxes, of_box=40_000, of_all=60_000)
    fill(made, FLOODER, 100)
    for one in boxes[:5]:
        fill(made, one, 10)
    gone = [one for number in range(10) for one in made.put(boxes[5], SIZE, number, 0)]
    assert {whose for whose, _ in gone} == {FLOODER}
    assert [number for _, number in gone] == list(range(100))
    assert Counter(whose for whose, _ in drain(made)) == dict.fromkeys(boxes[:6], 10)


def test_invented_addresses_do_not_hold_up_a_known_box() -> None:
    made = turns(QUIET, burst=40_000, quantum=4000)
    for number in range(5000):
        fill(made, box(1000 + number), 1)
    for _ in range(101):  # the strangers' common burst
        made.take(0)
    fill(made, QUIET, 10)
    served = [whose for whose, _ in [made.take(0) or (b"", 0) for _ in range(11)]]
    assert served.count(QUIET) == 10


def test_all_invented_addresses_together_have_one_quantum_in_each_round() -> None:
    made = turns(QUIET, quantum=4000, burst=1 << 20)
    for number in range(300):
        fill(made, box(1000 + number), 2)
    assert made.take(0) is not None
    fill(made, QUIET, 1)
    before = [whose for whose, _ in drain(made)].index(QUIET)
    assert before <= 20  # each share of the strangers' had a whole one: 240


def test_strangers_share_their_turns() -> None:
    made = turns(quantum=4000)
    fill(made, FLOODER, 300)
    for number in range(8):  # of eight at least one does not share the flooder's queue
        fill(made, box(100 + number), 1)
    first = [whose for whose, _ in [made.take(0) or (b"", 0) for _ in range(100)]]
    assert set(first) - {FLOODER}


def test_order_is_kept_when_a_stranger_becomes_known() -> None:
    known: set[bytes] = set()
    made: FairQueue[int] = FairQueue(known.__contains__)
    fill(made, QUIET, 5)
    fill(made, box(3), 5)
    known.add(QUIET)
    fill(made, QUIET, 5, first=5)
    known.clear()
    fill(made, QUIET, 5, first=10)
    taken = drain(made)
    assert [number for whose, number in taken if whose == QUIET] == list(range(15))
    assert (len(made), made.cost) == (0, 0)


def test_who_becomes_known_again_and_again_has_one_bucket() -> None:
    known: set[bytes] = {QUIET}
    made: FairQueue[int] = FairQueue(known.__contains__, Limits(burst=4000, quantum=4000))
    for _ in range(20):
        known.add(FLOODER)
        fill(made, FLOODER, 5)
        drain(made)
        known.discard(FLOODER)
        fill(made, FLOODER, 1)
        drain(made)
    known.add(FLOODER)
    fill(made, FLOODER, 10)
    fill(made, QUIET, 10)
    assert [whose for whose, _ in drain(made)[:11]].count(QUIET) == 10


def test_who_has_spent_its_bucket_is_known_and_strangers_have_one() -> None:
    made = turns(FLOODER, QUIET, burst=4000, rate=4000)
    fill(made, FLOODER, 11)
    fill(made, box(5), 11)
    drain(made)
    assert made.has_spent(FLOODER, 0)
    assert made.has_spent(box(6), 0), "it pays for the stranger before it"
    assert not made.has_spent(QUIET, 0)
    assert not made.has_spent(FLOODER, 1)


def test_all_that_waits_of_a_box_can_be_taken_out_at_once() -> None:
    made = turns(FLOODER)
    fill(made, FLOODER, 5)
    fill(made, QUIET, 5)
    fill(made, box(3), 5)
    assert made.clear(FLOODER) == made.clear(QUIET) == list(range(5))
    assert {whose for whose, _ in drain(made)} == {box(3)}


def test_what_has_waited_for_too_long_is_taken_out_with_all_that_follows_it() -> None:
    made = turns(FLOODER, QUIET)
    fill(made, FLOODER, 3, now=1)
    fill(made, FLOODER, 2, now=2, first=3)
    fill(made, QUIET, 2, now=2)
    assert made.late(before=1) == []
    assert made.late(before=1.5) == [(FLOODER, number) for number in range(5)]
    assert drain(made, 2) == [(QUIET, 0), (QUIET, 1)]


_STEP = st.tuples(
    st.sampled_from(["put", "take", "know", "forget", "clear", "late", "wait"]),
    st.integers(1, 12),
    st.integers(0, 3000),
)


@settings(max_examples=300)
@given(st.lists(_STEP, max_size=200))
def test_whatever_happens_nothing_is_lost_or_doubled_and_each_box_keeps_its_order(
    steps: list[tuple[str, int, int]],
) -> None:
    known: set[bytes] = set()
    limits = Limits(rate=5000, burst=5000, quantum=1000, of_box=20_000, of_all=50_000, boxes=4)
    made: FairQueue[int] = FairQueue(known.__contains__, limits)
    waiting: dict[bytes, list[int]] = {}
    now, count = 0.0, 0
    for action, number, size in steps:
        whose = box(number)
        if action == "put":
            count += 1
            waiting.setdefault(whose, []).append(count)
            for gone, item in made.put(whose, size, count, now):
                waiting[gone].remove(item)
        elif action == "take":
            if (one := made.take(now)) is not None:
                assert waiting[one[0]].pop(0) == one[1]
        elif action == "know":
            known.add(whose)
        elif action == "forget":
            known.discard(whose)
        elif action == "clear":
            assert made.clear(whose) == waiting.pop(whose, [])
        elif action == "late":
            for gone, item in made.late(now - size / 1000):
                assert waiting[gone].pop(0) == item
        else:
            now += size / 1000
        assert made.cost <= limits.of_all
        assert len(made) == sum(map(len, waiting.values()))
    for taken, item in drain(made, now):
        assert waiting[taken].pop(0) == item
    assert not any(waiting.values())
    assert made.cost == 0
