"""The parts of the pinhole helper that need no kernel: packets, copies, comments, the log's sentences."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.helper.adoption import Orphan
from nftrtsp.helper.note import Setup, WayRefused
from nftrtsp.helper.pinhole.comment import comment, read_comment
from nftrtsp.helper.pinhole.nflog import asker, is_start, payloads
from nftrtsp.helper.service import sentence
from nftrtsp.helper.ways import MAX_LIFETIME, Claim, Connection, Way
from nftrtsp.netlink import wire
from nftrtsp.rtsp.packet import ACK, SYN, Packet, read_packet

STB = IPv4Address("192.168.1.200").packed
SERVER = IPv4Address("172.26.83.10").packed
CALL = Connection(STB, 40000, SERVER, 554)


def segment(data: bytes, *, options: bytes = b"", total: int | None = None, flags: int = ACK) -> bytes:
    head = 20 + len(options)
    tcp = struct.pack("!HHIIBBHHH", 40000, 554, 7, 9, head // 4 << 4, flags, 500, 0, 0) + options + data
    size = 20 + len(tcp) if total is None else total
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, 1, 0x4000, 64, 6, 0, STB, SERVER) + tcp


def test_a_segment_is_read_with_its_options() -> None:
    packet = read_packet(segment(b"hello", options=bytes(12), flags=ACK | SYN))
    assert packet == Packet(STB, SERVER, 40000, 554, 7, 9, ACK | SYN, b"hello", 5, 52)


def test_a_copy_that_was_cut_short_knows_its_real_length() -> None:
    packet = read_packet(segment(b"x" * 100, total=20 + 20 + 1400))
    assert packet is not None
    assert (len(packet.data), packet.length) == (100, 1400)


def test_padding_after_the_packet_is_no_data() -> None:
    packet = read_packet(segment(b"ab") + bytes(6))
    assert packet is not None
    assert packet.data == b"ab"


def test_what_is_no_tcp_over_ipv4_is_none() -> None:
    good = bytearray(segment(b"hello"))
    for place, value in ((0, 0x65), (0, 0x44), (9, 17), (7, 1), (32, 0x40), (32, 0xF0), (3, 30)):
        bad = bytearray(good)
        bad[place] = value
        assert read_packet(bytes(bad)) is None, place
    assert read_packet(bytes(good[:39])) is None


@pytest.mark.parametrize("fragment", [0x2000, 0x2001, 0x0001, 0x1FFF])
def test_a_fragment_is_none_for_conntrack_has_put_packets_together(fragment: int) -> None:
    packet = bytearray(segment(b"SETUP rtsp://s/f RTSP/1.0"))
    packet[6:8] = struct.pack("!H", fragment)
    assert read_packet(bytes(packet)) is None


@given(st.binary(max_size=200))
def test_any_bytes_may_come_as_a_packet_a_copy_or_an_answer(data: bytes) -> None:
    packet = read_packet(data)
    assert packet is None or len(packet.data) <= packet.length
    assert isinstance(list(payloads(data, b"nftrtsp-rtsp")), list)


def test_copies_of_other_rules_are_passed_over() -> None:
    def copy(prefix: str) -> bytes:
        body = wire.text(10, prefix) + wire.attribute(9, b"packet")
        data = wire.message(wire.NFNL_SUBSYS_ULOG, 0, 0, body, resource=554)
        return data + bytes(-len(data) % 4)

    both = copy("nftrtsp-rtsp") + copy("firewall") + copy("nftrtsp-rtsp")
    assert list(payloads(both, b"nftrtsp-rtsp")) == [b"packet", b"packet"]
    assert list(payloads(both[:-1], b"nftrtsp-rtsp")) == [b"packet"]


def way(session: str | None = None, timeout: int | None = None) -> Way:
    claim = Claim(CALL, "rtsp://s/f", 1, 0.0)
    claim.session, claim.timeout = session, timeout
    made = Way(27336, STB, 27336, CALL, 0.0)
    made.claims.append(claim)
    return made


def test_what_is_written_beside_an_element_is_read_again() -> None:
    assert comment(way("8712", 60)) == "192.168.1.200:40000 172.26.83.10:554 8712 60"
    assert read_comment(comment(way("8712", 60))) == Orphan(CALL, "8712", 60)
    assert read_comment(comment(way())) == Orphan(CALL, None, None)


@given(st.text(max_size=100), st.none() | st.integers(0, 10**9 - 1))
def test_a_session_of_any_text_does_no_harm(session: str, timeout: int | None) -> None:
    text = comment(way(session, timeout))
    assert len(text) <= 127
    assert text.isascii()
    assert '"' not in text
    known = read_comment(text)
    assert known is not None
    assert known.connection == CALL
    assert known.session in (session, None)
    assert known.timeout == (min(timeout, MAX_LIFETIME) if timeout else None)


def test_what_somebody_else_wrote_is_left_alone() -> None:
    for text in (
        "192.168.1.200:65536 172.26.83.10:554 - -",
        "192.168.1.200:1 172.26.83.10:554 - 99999999999999999999",
        "192.168.1.200:1 172.26.83.10:554 - -1",
        "192.168.1.200:\u0661 172.26.83.10:554 - -",
        "",
        "my server",
        "1.2.3:4 5.6.7.8:9 - -",
        "192.168.1.200:1 172.26.83.10:554 a b c",
    ):
        assert read_comment(text) is None


def test_the_log_says_why() -> None:
    refused = WayRefused(port=80, reason="port 80 is below 1024")
    assert sentence(refused) == "refused: port 80 is below 1024"
    assert sentence(Setup(port=27336)) is None


def test_a_copy_belongs_to_the_box_that_does_not_serve_rtsp() -> None:
    request = segment(b"hello", options=bytes(12))
    assert asker(request, {554}) == STB
    answer = request[:12] + request[16:20] + request[12:16] + request[22:24] + request[20:22] + request[24:]
    assert asker(answer, {554}) == STB
    assert asker(request, {8554}) is None


def test_the_copy_that_begins_a_connection_is_told_by_its_flags() -> None:
    assert is_start(segment(b"", flags=SYN))
    assert not is_start(segment(b"", flags=SYN | ACK))
    assert not is_start(segment(b"SETUP", flags=ACK))
    assert not is_start(segment(b"", flags=SYN)[:33])


@given(st.binary(max_size=60))
def test_any_bytes_may_come_as_a_copy_whose_box_is_asked_for(data: bytes) -> None:
    box = asker(data, {554})
    assert box is None or len(box) == 4
