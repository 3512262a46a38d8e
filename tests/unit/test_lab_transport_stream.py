"""MPEG-TS as the lab writes it, and what the counting at the other end sees."""

from __future__ import annotations

import pytest

from nftrtsp.lab import transport_stream as ts
from nftrtsp.lab.transport_stream import DATAGRAM, PACKET, Tally, Writer


def _datagrams(count: int, film: int = 7) -> list[bytes]:
    writer = Writer(film, 6.0)
    return [bytes(writer.datagram()) for _ in range(count)]


def _tally(datagrams: list[bytes], film: int = 7) -> Tally:
    tally = Tally(film)
    for datagram in datagrams:
        tally.count(datagram)
    return tally


def test_a_whole_film_arrives_without_loss() -> None:
    tally = _tally(_datagrams(1000))
    assert (tally.datagrams, tally.packets, tally.lost, tally.continuity_errors) == (1000, 7000, 0, 0)
    assert tally.octets == 1000 * DATAGRAM


@pytest.mark.parametrize("gone", [{0}, {500}, {10, 11, 12}, set(range(16, 32)), set(range(0, 999, 3))])
def test_each_missing_datagram_is_counted_as_lost(gone: set[int]) -> None:
    # Sixteen in a row bring the continuity counters round: only the stamp sees those.
    tally = _tally([data for number, data in enumerate(_datagrams(1000)) if number not in gone])
    assert tally.lost == len(gone)


def test_a_missing_datagram_shows_in_the_continuity_counters() -> None:
    datagrams = _datagrams(100)
    assert _tally(datagrams[:50] + datagrams[51:]).continuity_errors == 1


def test_a_datagram_that_comes_twice_counts_once() -> None:
    datagrams = _datagrams(20)
    tally = _tally([*datagrams, datagrams[3]])
    assert (tally.datagrams, tally.duplicates, tally.lost) == (20, 1, 0)


def test_datagrams_out_of_order_are_not_lost() -> None:
    datagrams = _datagrams(20)
    assert _tally([*datagrams[:5], datagrams[6], datagrams[5], *datagrams[7:]]).lost == 0


@pytest.mark.parametrize(
    "data", [b"", b"\x47" * 100, b"x" * DATAGRAM, bytes(DATAGRAM), _datagrams(1, film=8)[0]]
)
def test_what_is_not_of_this_film_is_foreign(data: bytes) -> None:
    tally = _tally([data])
    assert (tally.foreign, tally.datagrams) == (1, 0)


def test_a_film_within_rtp_counts_alike() -> None:
    tally = _tally([ts.rtp_header(n, 7, 0.5) + data for n, data in enumerate(_datagrams(50))])
    assert (tally.packets, tally.foreign) == (350, 0)


def test_a_datagram_that_could_not_be_sent_is_written_again_the_same() -> None:
    writer = Writer(7, 6.0)
    for _ in range(200):
        first = bytes(writer.datagram())
        writer.rewind()
        assert bytes(writer.datagram()) == first


def test_every_packet_begins_with_the_sync_byte_and_tables_are_sound() -> None:
    data = _datagrams(1)[0]
    assert {data[at] for at in range(0, DATAGRAM, PACKET)} == {0x47}
    for place, pid in ((1, 0x0000), (2, 0x1000)):
        packet = data[place * PACKET : (place + 1) * PACKET]
        assert (packet[1] & 0x1F) << 8 | packet[2] == pid
        length = (packet[6] & 0x0F) << 8 | packet[7]
        assert ts._crc32(packet[5 : 5 + 3 + length]) == 0  # a section with its CRC leaves no remainder


def test_the_clock_reference_runs_at_27_mhz() -> None:
    def clock(data: bytes) -> int:
        value = int.from_bytes(data[6:12])
        return (value >> 15) * 300 + (value & 0x1FF)

    one, other = (_datagrams(700)[number] for number in (1, 571))
    seconds = (clock(other) - clock(one)) / 27e6
    assert seconds == pytest.approx(570 * DATAGRAM * 8 / 6e6, abs=0.001)
