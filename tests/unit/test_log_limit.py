"""A flood fills no log, and what was left out is told."""

from __future__ import annotations

from nftrtsp.helper.log_limit import LogLimit


def test_an_asker_causes_a_few_lines_of_each_kind_and_then_one_now_and_then() -> None:
    limit = LogLimit(burst=3, every=10)
    assert [limit.admit("a", "garbage", 0.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert limit.admit("a", "way-refused", 0.0)
    assert limit.admit("b", "garbage", 0.0)
    assert limit.admit("a", "garbage", 10.0)
    assert not limit.admit("a", "garbage", 11.0)


def test_a_flood_from_one_address_for_an_hour_is_a_few_hundred_lines() -> None:
    limit = LogLimit()
    assert sum(limit.admit("a", "response", second / 10) for second in range(36000)) <= 10 + 360


def test_a_flood_from_many_addresses_is_not_more_than_a_line_a_second() -> None:
    limit = LogLimit()
    logged = sum(limit.admit(str(number), "response", number / 1000) for number in range(20000))
    assert logged <= 100 + 20
    assert len(limit._buckets) <= limit.askers


def test_what_was_left_out_is_told_when_it_is_over() -> None:
    limit = LogLimit(burst=1)
    for number in range(5):
        limit.admit("a", "garbage", float(number))
    limit.admit("b", "response", 4.0)
    limit.admit("b", "response", 4.0)
    assert limit.left_out(13.0) is None
    found = limit.left_out(14.0)
    assert found is not None
    assert (found.lines, found.kinds, found.asker, found.of_asker) == (
        5,
        {"garbage": 4, "response": 1},
        "a",
        4,
    )
    assert limit.left_out(100.0) is None


def test_while_it_goes_on_it_is_told_once_a_minute() -> None:
    limit = LogLimit(burst=1, every=10**6)
    told = 0
    for second in range(600):
        limit.admit("a", "garbage", float(second))
        told += limit.left_out(float(second)) is not None
    assert told == 9
    assert limit.left_out(600.0, end=True) is not None
