"""The elements of nftables' maps as netlink carries them: what is written is what is read."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.errors import MalformedError
from nftrtsp.netlink.elements import Element, decode_elements, encode_element

KEYS = st.binary(min_size=1, max_size=16)
TIMES = st.none() | st.integers(0, 86_400_000).map(lambda milliseconds: milliseconds / 1000)
COMMENTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=127)


@given(KEYS, KEYS, TIMES, COMMENTS)
def test_what_is_written_is_read(key: bytes, data: bytes, timeout: float | None, comment: str) -> None:
    element = Element(key, data, timeout, None, comment)
    written = encode_element(element)
    (read,) = decode_elements(written, 0, len(written))
    assert read.key == key
    assert read.data == data
    assert read.comment == comment
    assert (read.timeout is None) == (timeout is None)
    assert abs((read.timeout or 0) - (timeout or 0)) < 0.002, "the kernel counts whole milliseconds"


def test_a_comment_is_cut_where_nft_would_refuse_to_print_it() -> None:
    written = encode_element(Element(b"\x6a\xc8", bytes(8), comment="x" * 500))
    assert decode_elements(written, 0, len(written))[0].comment == "x" * 127


@given(st.binary(max_size=100))
def test_any_bytes_may_come_as_elements(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        assert isinstance(decode_elements(data, 0, len(data)), list)
