"""TCP reassembly: whatever the network does to the segments, the stream comes out, or its holes are told."""

from __future__ import annotations

import random

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


def test_of_two_copies_of_a_byte_the_first_counts() -> None:
    stream = begun()
    stream.segment(1000, b"abc")
    assert stream.segment(1000, b"XYZdef") == [b"def"]


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
    assert stream.acknowledged(1010) == [2]
    assert stream.lost == 7
    assert stream.segment(1010, b"x") == [b"x"]


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
