from __future__ import annotations

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.config import parse
from nftrtsp.errors import MalformedError
from nftrtsp.helper.userspace import cthelper
from nftrtsp.helper.userspace.cthelper import Registration
from nftrtsp.netlink import wire

CONFIG = {
    "iptv": {"interface": "vlan2"},
    "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
}
RTSP = Registration("rtsp", 554, 16, 3600)


def read(message: bytes) -> tuple[int, Registration]:
    (kind, _, _, _, start, end), *rest = wire.messages(message)
    assert not rest
    return kind, cthelper.decode_registration(message, start, end)


def test_a_registration_reads_back_as_it_was_written() -> None:
    assert read(cthelper.encode(RTSP)) == (9 << 8 | 0, RTSP)


@given(
    st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=15),
    st.integers(0, 65535),
    st.integers(1, 255),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_any_registration_reads_back(name: str, queue: int, most: int, timeout: int, enabled: bool) -> None:
    value = Registration(name, queue, most, timeout, enabled=enabled)
    assert read(cthelper.encode(value))[1] == value


def test_the_layout_is_the_kernels() -> None:
    """As nfnetlink_cthelper.c parses it: names end with a zero, numbers are big-endian."""
    data = cthelper.encode(RTSP)[20:]
    assert data[:12] == struct.pack("=HH", 9, 1) + b"rtsp\0\0\0\0"
    tuple_ = struct.pack("=HH", 8 + 8 + 4, 2 | 0x8000)
    assert data[12:16] == tuple_
    assert data[16:24] == struct.pack("=HH", 6, 1) + b"\0\x02\0\0"
    assert data[24:32] == struct.pack("=HH", 5, 2) + b"\x06\0\0\0"
    assert data[32:40] == struct.pack("=HH", 8, 3) + (554).to_bytes(4, "big")


def test_without_policy_only_queue_and_status_change() -> None:
    _, value = read(cthelper.encode(RTSP, policy=False))
    assert (value.queue, value.enabled, value.policy) == (554, True, "")


def test_the_config_says_what_is_registered() -> None:
    config = parse({**CONFIG, "rtsp": {"queue": 7, "pause": "5m", "max_per_stb": 3}})
    assert cthelper.wanted(config) == (Registration("rtsp", 7, 6, 300),)


def test_the_kernel_takes_no_more_than_255_expectations_a_connection() -> None:
    config = parse({**CONFIG, "rtsp": {"max_per_stb": 64}})
    assert cthelper.wanted(config)[0].expect_max == 128
    assert cthelper.LARGEST_EXPECT_MAX == 255


def test_disabling_names_the_helper_and_nothing_but_its_status() -> None:
    _, value = read(cthelper.encode_disable(parse(CONFIG)))
    assert (value.name, value.enabled, value.queue, value.policy) == ("rtsp", False, 0, "")


@given(st.binary(max_size=200))
def test_bytes_that_are_no_registration_are_malformed_or_empty(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        cthelper.decode_registration(data, 0, len(data))
