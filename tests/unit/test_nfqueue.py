from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.conntrack.attribute import (
    CTA_ID,
    CTA_PROTOINFO,
    CTA_PROTOINFO_STATE,
    CTA_PROTOINFO_TCP,
    CTA_STATUS,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_REPLY,
)
from nftrtsp.conntrack.flow import IPS_CONFIRMED, IPS_DYING, IPS_SEEN_REPLY
from nftrtsp.conntrack.tuple import Tuple, encode_tuple
from nftrtsp.errors import MalformedError
from nftrtsp.helper.userspace import nfqueue, watchdog
from nftrtsp.netlink import wire
from nftrtsp.netlink.wire import attribute, be32, message, nested, u8

ORIG = Tuple(b"\xc0\xa8\x01\xc8", b"\xac\x1a\x53\x0a", 6, 40000, 554)
REPLY = Tuple(b"\xac\x1a\x53\x0a", b"\x0a\xd6\x00\x02", 6, 554, 40000)


def packet(
    payload: bytes = b"E" * 40,
    *,
    info: int = 0,
    flow_id: int = 77,
    ct: bytes = b"",
    more: bytes = b"",
    orig: Tuple = ORIG,
) -> bytes:
    ct += encode_tuple(CTA_TUPLE_ORIG, orig) + encode_tuple(CTA_TUPLE_REPLY, REPLY)
    return message(
        3,
        0,
        0,
        attribute(nfqueue.NFQA_PACKET_HDR, struct.pack("!IHB", 9, 0x0800, 4))
        + nested(nfqueue.NFQA_CT, ct + be32(CTA_ID, flow_id))
        + be32(nfqueue.NFQA_CT_INFO, info)
        + more
        + attribute(nfqueue.NFQA_PAYLOAD, payload),
        resource=554,
    )


def read(data: bytes) -> nfqueue.Queued:
    ((_, _, _, _, start, end),) = wire.messages(data)
    return nfqueue.decode_packet(data, start, end)


def test_a_packet_comes_with_its_number_its_bytes_and_its_flow() -> None:
    queued = read(packet(b"E" * 40))
    assert (queued.id, queued.payload, queued.length, queued.reply) == (9, b"E" * 40, 40, False)
    assert queued.tuples() == (ORIG, REPLY)


@pytest.mark.parametrize(("status", "confirmed"), [(0, False), (2, False), (8, True), (0x18E, True)])
def test_the_first_packet_of_an_entry_is_told_from_later_ones(status: int, confirmed: bool) -> None:
    assert read(packet(ct=be32(CTA_STATUS, status))).confirmed is confirmed


@pytest.mark.parametrize(("info", "reply"), [(0, False), (2, False), (3, True), (4, True)])
def test_ctinfo_says_the_direction(info: int, reply: bool) -> None:
    assert read(packet(info=info)).reply is reply


def test_a_copy_that_was_cut_short_knows_its_real_length() -> None:
    assert read(packet(more=be32(nfqueue.NFQA_CAP_LEN, 9000))).length == 9000


def test_both_directions_of_a_connection_have_one_key_and_a_later_one_has_another() -> None:
    assert read(packet(info=0)).key == read(packet(info=3)).key
    assert read(packet(flow_id=77)).key != read(packet(flow_id=78)).key
    other = Tuple(ORIG.src, ORIG.dst, 6, 40001, 554)
    assert read(packet()).key != read(packet(orig=other)).key


def test_a_verdict_is_laid_out_as_the_kernel_reads_it() -> None:
    assert nfqueue.encode_verdict(554, 9) == struct.pack(
        "=IHHIIBBH", 32, 3 << 8 | 1, 1, 0, 0, 0, 0, int.from_bytes((554).to_bytes(2, "big"), "little")
    ) + struct.pack("=HH", 12, 2) + struct.pack("!II", 1, 9)


def test_the_watchdog_says_the_same_verdict_without_our_code() -> None:
    assert watchdog.verdict(3 << 8 | 1, 554, 9) == nfqueue.encode_verdict(554, 9)


def test_a_changed_packet_goes_with_its_verdict() -> None:
    data = nfqueue.encode_verdict(554, 9, payload=b"Ex")
    assert data.endswith(struct.pack("=HH", 6, nfqueue.NFQA_PAYLOAD) + b"Ex\0\0")


def test_the_queue_fails_open_and_asks_for_conntrack_and_large_packets() -> None:
    data = nfqueue.encode_settings(554)
    ((_, _, _, _, start, end),) = wire.messages(data)
    found = wire.spans(data, start, end)
    assert wire.number(data, found, nfqueue.NFQA_CFG_FLAGS, 4) == 1 | 2 | 4
    assert wire.number(data, found, nfqueue.NFQA_CFG_MASK, 4) == 1 | 2 | 4


def test_a_packet_without_header_is_malformed() -> None:
    data = message(3, 0, 0, be32(nfqueue.NFQA_CT_INFO, 0))
    with pytest.raises(MalformedError):
        read(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_packet_or_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        nfqueue.decode_packet(data, 0, len(data))


def test_the_box_is_who_began_the_connection_in_either_direction() -> None:
    assert read(packet(info=0)).box == read(packet(info=nfqueue.IP_CT_IS_REPLY)).box == ORIG.src
    assert read(packet(orig=Tuple(b"\x20" * 16, b"\x21" * 16, 6, 40000, 554))).box == b""


@pytest.mark.parametrize(
    ("state", "status", "established"),
    [
        (3, IPS_CONFIRMED | IPS_SEEN_REPLY, True),
        (3, IPS_CONFIRMED, False),  # nobody has answered
        (3, IPS_SEEN_REPLY, False),  # the entry is not in the table yet
        (1, IPS_CONFIRMED, False),  # SYN_SENT
        (4, IPS_CONFIRMED | IPS_SEEN_REPLY, False),  # FIN_WAIT
        (8, IPS_CONFIRMED | IPS_SEEN_REPLY, False),  # CLOSE: reset
        (3, IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_DYING, False),
    ],
)
def test_the_entry_that_comes_with_a_packet_says_whether_its_connection_is_one(
    state: int, status: int, established: bool
) -> None:
    protoinfo = nested(CTA_PROTOINFO, nested(CTA_PROTOINFO_TCP, u8(CTA_PROTOINFO_STATE, state)))
    assert read(packet(ct=protoinfo + be32(CTA_STATUS, status))).is_established() is established


def test_an_entry_that_says_too_little_leaves_it_open() -> None:
    assert read(packet(ct=be32(CTA_STATUS, IPS_CONFIRMED | IPS_SEEN_REPLY))).is_established() is None
    assert read(packet()).is_established() is None
