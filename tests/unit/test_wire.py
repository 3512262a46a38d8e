from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.errors import MalformedError
from nftrtsp.netlink import wire


def test_an_attribute_is_padded_to_four_bytes_and_says_its_own_length() -> None:
    assert wire.attribute(7, b"abc") == b"\x07\x00\x07\x00abc\x00"


def test_a_nested_attribute_carries_the_nested_flag() -> None:
    outer = wire.nested(1, wire.be16(2, 554))
    assert int.from_bytes(outer[2:4], "little") == 1 | wire.NLA_F_NESTED
    assert list(wire.attributes(outer, 4, len(outer))) == [(2, 8, 10)]


def test_a_message_says_its_length_type_and_flags() -> None:
    data = wire.message(1, 2, wire.NLM_F_ACK, b"abcd", sequence=9, family=2, resource=0x1234)
    assert wire.HEADER.unpack(data[:20]) == (24, 0x0102, 0x05, 9, 0, 2, 0, 0x3412)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=20))
def test_attributes_come_back_as_they_were_written(written: list[tuple[int, bytes]]) -> None:
    data = b"".join(wire.attribute(kind, payload) for kind, payload in written)
    read = [(kind, data[start:end]) for kind, start, end in wire.attributes(data, 0, len(data))]
    assert read == written


@given(st.binary(max_size=200))
def test_any_bytes_end_or_are_malformed_and_never_reach_past_the_end(data: bytes) -> None:
    try:
        for _, start, end in wire.attributes(data, 0, len(data)):
            assert start <= end <= len(data)
    except MalformedError:
        pass


@pytest.mark.parametrize("length", [0, 1, 3, 9, 0xFFFF])
def test_a_length_below_four_or_past_the_end_is_malformed(length: int) -> None:
    data = wire.ATTRIBUTE.pack(length, 1) + b"\0\0\0\0"
    with pytest.raises(MalformedError):
        list(wire.attributes(data, 0, len(data)))
