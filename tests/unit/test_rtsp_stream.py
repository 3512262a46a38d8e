"""TCP reassembly: whatever the network does to the segments, the stream comes out, or its holes are told."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nftrtsp.rtsp.stream import Stream, distance

DATA = bytes(random.Random(1).randbytes(2000))


def begun(isn: int = 1000, **options: int) -> Stream:
    stream = Stream(**options)
    stream.begin(isn - 1)
    return stream


def joined(pieces: list[bytes | int]) -> bytes:
    assert all(isinstance(piece, bytes) for piece in pieces), pieces
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


def test_segments_in_order_come_out_at_once() -> None:
    stream = begun()
    assert stream.segment(1000, b"abc") == [b"abc"]
    assert stream.segment(1003, b"def") == [b"def"]


def test_a_segment_that_comes_early_waits_for_the_one_before() -> None:
    stream = begun()
    assert stream.segment(1003, b"def") == []
    assert stream.held == 3
    assert stream.segment(1000, b"abc") == [b"abc", b"def"]
    assert stream.held == 0


def test_what_comes_again_does_not_come_out_again() -> None:
    stream = begun()
    stream.segment(1000, b"abcdef")
    assert stream.segment(1000, b"abcdef") == []
    assert stream.segment(1003, b"defghi") == [b"ghi"]
    assert stream.segment(999, b"\0") == []  # a keep-alive probe


def test_two_copies_of_a_byte_that_differ_end_the_reading_but_not_the_counting() -> None:
    stream = begun()
    stream.segment(1000, b"abc")
    assert stream.segment(1000, b"abXdef") == [3]
    assert stream.contradicted
    assert stream.segment(1006, b"ghi") == [3]
    assert stream.next_seq == 1009


def test_copies_that_wait_for_a_missing_piece_are_compared_too() -> None:
    for later in ((1010, b"xyZ"), (1008, b"vwxX"), (1011, b"Y"), (1000, b"0123456789xY")):
        stream = begun()
        stream.segment(1010, b"xyz")
        stream.segment(*later)
        stream.segment(1000, b"0123456789")
        assert stream.contradicted, later
        assert (stream.held, stream.unacknowledged.held) == (0, 0)


def test_a_copy_of_acknowledged_bytes_may_say_anything_for_its_receiver_throws_it_away() -> None:
    stream = begun()
    stream.segment(1000, b"abcdef")
    stream.acknowledged(1003)
    assert stream.segment(1000, b"XYZdef") == []
    assert not stream.contradicted
    stream.segment(1000, b"XYZXYZ")
    assert stream.contradicted


def test_what_is_kept_to_compare_copies_is_bounded_and_goes_when_it_is_acknowledged() -> None:
    stream = begun()
    for number in range(100):
        stream.segment(1000 + number * 1000, bytes(1000))
        assert stream.unacknowledged.held <= 16384
    assert stream.segment(1000, b"x") == []  # sent again, but long gone: it is not read, nor compared
    assert not stream.contradicted
    stream.acknowledged(101_000 - 10)
    assert stream.unacknowledged.held == 10
    stream.segment(101_000 - 2, b"xx")
    assert stream.contradicted


def test_media_that_passes_is_not_kept_but_the_message_before_it_is() -> None:
    stream = begun()
    stream.segment(1000, b"abc")
    stream.passed(1 << 19)
    stream.segment(1003 + (1 << 19), b"def")
    assert stream.unacknowledged.held == 6
    stream.segment(1000, b"abX")
    assert stream.contradicted


def test_sequence_numbers_wrap() -> None:
    stream = begun(0xFFFFFFFE)
    assert joined(stream.segment(0xFFFFFFFE, b"abcd") + stream.segment(2, b"ef")) == b"abcdef"
    assert stream.next_seq == 4
    assert stream.sequence(0) == 0xFFFFFFFE
    assert distance(1, 0xFFFFFFFF) == 2


def test_a_repeated_syn_changes_nothing_and_a_new_one_begins_anew() -> None:
    stream = begun()
    stream.begin(999)
    assert stream.segment(1000, b"abc") == [b"abc"]
    stream.begin(5000)
    assert stream.segment(5001, b"xyz") == [b"xyz"]
    assert stream.delivered == 3


def test_a_stream_without_a_syn_begins_with_its_first_segment() -> None:
    stream = Stream()
    assert stream.segment(77, b"abc") == [b"abc"]
    assert stream.picked_up


def test_an_acknowledgement_tells_that_a_missing_piece_will_not_come() -> None:
    stream = begun()
    assert stream.segment(1005, b"fgh") == []
    assert stream.acknowledged(1000) == []
    assert stream.acknowledged(1008) == [5, b"fgh"]
    assert stream.acknowledged(1010) == []
    assert stream.unseen == 2
    assert stream.segment(1010, b"x") == [2, b"x"]
    assert (stream.lost, stream.unseen) == (7, 0)


def test_an_acknowledgement_of_what_is_yet_to_come_does_not_hide_it() -> None:
    for ahead in (1 << 30, 1 << 21, 1 << 19, 10):
        stream = begun()
        assert stream.acknowledged(1000 + ahead) == []
        assert stream.segment(1000, b"abc") == [b"abc"], ahead


@pytest.mark.parametrize("start", [1000, 0xFFFFFFF0])
@pytest.mark.parametrize("away", [1 << 21, 1 << 30, (1 << 32) - (1 << 21), 3 << 30])
def test_numbers_out_of_the_window_change_nothing(start: int, away: int) -> None:
    stream = begun(start)
    stream.segment(start, b"abc")
    far = (start + away) % (1 << 32)
    before = (stream.next_seq, stream.delivered, stream.held, stream.lost)
    assert stream.acknowledged(far) == []
    assert stream.segment(far, b"evil") == []
    assert not stream.believes(far)
    assert not stream.may_end_at(far)
    assert (stream.next_seq, stream.delivered, stream.held, stream.lost) == before
    assert stream.segment((start + 3) % (1 << 32), b"def") == [b"def"]


@pytest.mark.parametrize("away", [1 << 22, 1 << 30, 3 << 30])
def test_where_both_ends_agree_that_they_are_far_away_the_stream_goes_on(away: int) -> None:
    stream = begun(0xFFFFFF00)
    stream.segment(0xFFFFFF00, b"abc")
    far = (0xFFFFFF00 + away) % (1 << 32)
    assert stream.segment(far, b"media") == []
    assert stream.segment((far + 5) % (1 << 32), b"more") == []
    assert stream.acknowledged((far + 10) % (1 << 32)) == []
    (missing,) = stream.acknowledged((far + 7) % (1 << 32))
    assert isinstance(missing, int)
    assert stream.delivered == 3 + missing
    assert stream.segment((far + 9) % (1 << 32), b"SETUP") == [b"SETUP"]


@pytest.mark.parametrize("start", [1000, 0xFFFFFFFD])
def test_the_last_word_is_said_between_what_was_acknowledged_and_what_was_seen(start: int) -> None:
    stream = begun(start)
    stream.segment(start, b"abcdef")
    stream.acknowledged((start + 2) % (1 << 32))
    said = [at for at in range(-20, 20) if stream.may_end_at((start + at) % (1 << 32))]
    assert said == [2, 3, 4, 5, 6]
    assert not Stream().may_end_at(0)


def test_the_last_word_after_bytes_that_were_not_seen_is_where_the_receiver_waits() -> None:
    stream = begun()
    stream.acknowledged(1400)
    assert [at for at in range(900, 1500) if stream.may_end_at(at)] == [1000, 1400]


def test_a_copy_that_was_cut_short_tells_what_it_lacks() -> None:
    stream = begun()
    assert stream.segment(1000, b"abc", 10) == [b"abc", 7]
    assert stream.segment(1010, b"x") == [b"x"]


def test_what_waits_is_bounded() -> None:
    stream = begun(max_held=1000, max_pieces=8)
    out: list[bytes | int] = []
    for number in range(1, 100):
        out += stream.segment(1000 + number * 200, b"x" * 100)
        assert stream.held <= 1200
    assert out
    stream = begun(max_pieces=8)
    for number in range(1, 1000):
        stream.segment(1000 + number * 10, b"", 1)
    assert stream.lost > 5000


def test_what_waits_stays_bounded_where_the_receiver_claims_to_have_it_all() -> None:
    stream = begun(max_held=1000, max_pieces=8)
    stream.acknowledged(1001)
    for number in range(1, 100):
        stream.segment(1100 + number * 200, b"x" * 100)
        assert stream.held <= 1200
        assert stream.pieces <= 9


def test_a_segment_far_ahead_is_no_part_of_the_connection() -> None:
    stream = begun()
    assert stream.segment(1000 + (1 << 25), b"abc") == []
    assert stream.held == 0


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 0xFFFFFFFF),
    st.lists(st.tuples(st.integers(0, 1999), st.integers(1, 400)), max_size=40),
    st.randoms(use_true_random=False),
)
def test_any_order_with_any_overlaps_gives_the_stream(
    isn: int, more: list[tuple[int, int]], shuffle: random.Random
) -> None:
    cuts = [(start, 100) for start in range(0, 2000, 100)] + more
    shuffle.shuffle(cuts)
    stream = begun(isn, max_held=1 << 20, max_pieces=1000)
    out: list[bytes | int] = []
    for start, size in cuts:
        out += stream.segment((isn + start) % (1 << 32), DATA[start : start + size])
    assert joined(out) == DATA
    assert stream.held == 0


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("seg"), st.integers(0, 0xFFFFFFFF), st.integers(0, 60), st.integers(0, 90)),
            st.tuples(st.just("near"), st.integers(0, 3000), st.integers(0, 60), st.integers(0, 90)),
            st.tuples(st.just("ack"), st.integers(0, 0xFFFFFFFF), st.just(0), st.just(0)),
        ),
        max_size=60,
    )
)
def test_hostile_segments_neither_break_it_nor_fill_its_memory(
    steps: list[tuple[str, int, int, int]],
) -> None:
    stream = Stream(max_held=500, max_pieces=10)
    for what, number, size, length in steps:
        before = stream.delivered
        seq = ((stream.next_seq or 0) + number) % (1 << 32) if what == "near" else number
        out = stream.acknowledged(seq) if what == "ack" else stream.segment(seq, bytes(size), length)
        assert stream.delivered - before == sum(p if isinstance(p, int) else len(p) for p in out)
        assert stream.held <= 500 + 60
