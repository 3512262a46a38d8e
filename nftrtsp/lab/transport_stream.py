"""MPEG-TS as the lab's media servers send it and its set-top boxes count it. Pure: no sockets, no clock.

A datagram holds seven packets of 188 bytes. Video (PID 0x100) has continuity counters and a clock reference
in every datagram; PAT and PMT come every tenth of a second. Each datagram also carries a stamp that says
which film it is of and its number, so that a set-top box knows to the datagram what it lost, got twice or got
of another's film, which sixteen values of a continuity counter cannot tell. Source: ISO/IEC 13818-1, 2.4.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

PACKET = 188
PER_DATAGRAM = 7
DATAGRAM = PACKET * PER_DATAGRAM  # 1316 bytes
RTP_HEADER = 12

_SYNC = 0x47
_PAT_PID, _PMT_PID, _VIDEO_PID, _NULL_PID = 0x0000, 0x1000, 0x0100, 0x1FFF
_PAYLOAD, _ADAPTATION = 0x10, 0x20
_PCR_HZ = 27_000_000
_PCR_AT = 6  # header 4, adaptation length 1, flags 1
_STAMP_AT = 12  # after the adaptation field with the clock reference
_STAMP = struct.Struct(">4sII")  # magic, film, number of the datagram
_MAGIC = b"NFTV"
_TABLES_SECONDS = 0.1


class Writer:
    """Writes the datagrams of one film at ``mbps`` Mbit/s of transport stream."""

    def __init__(self, film: int, mbps: float) -> None:
        self.film = film
        self.datagrams_a_second = mbps * 1e6 / 8 / DATAGRAM
        self.number = 0
        self._tables_every = max(2, round(self.datagrams_a_second * _TABLES_SECONDS))
        self._videos = 0
        self._tables = 0
        filler = random.Random(film)  # noqa: S311 - the content of a film, not a secret
        # Seven packets a datagram: after sixteen datagrams the four-bit counters come round.
        self._video = [_video_datagram(index, filler) for index in range(16)]
        self._table = [_table_datagram(index) for index in range(16)]

    def rewind(self) -> None:
        """Take the last datagram back: it could not be sent, and is to be the next one again."""
        self.number -= 1
        if self.number % self._tables_every == 0:
            self._tables -= 1
        else:
            self._videos -= 1

    def datagram(self) -> bytearray:
        """Return the next datagram. It is reused sixteen datagrams later: send it at once."""
        if self.number % self._tables_every == 0:
            data = self._table[self._tables % 16]
            self._tables += 1
        else:
            data = self._video[self._videos % 16]
            self._videos += 1
            clock = int(self.number / self.datagrams_a_second * _PCR_HZ)
            base, extension = divmod(clock, 300)
            data[_PCR_AT : _PCR_AT + 6] = (((base & 0x1FFFFFFFF) << 15) | 0x7E00 | extension).to_bytes(6)
        _STAMP.pack_into(data, _STAMP_AT, _MAGIC, self.film, self.number)
        self.number += 1
        return data


@dataclass(slots=True)
class Tally:
    """What one receiver got of the film ``film``: datagrams, TS packets, bytes, and what is wrong."""

    film: int
    datagrams: int = 0
    packets: int = 0
    octets: int = 0
    duplicates: int = 0
    foreign: int = 0  # datagrams of another film, or no MPEG-TS at all
    continuity_errors: int = 0
    highest: int = -1
    _seen: bytearray = field(default_factory=bytearray)
    _counters: dict[int, int] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Datagrams that a later one proves to be missing."""
        return self.highest + 1 - self.datagrams

    def count(self, data: bytes | bytearray | memoryview) -> bool:
        """Count one datagram, with an RTP header or without; False if it is not of this film."""
        view = memoryview(data)
        if len(view) == DATAGRAM + RTP_HEADER and view[0] >> 6 == 2:
            view = view[RTP_HEADER:]
        if len(view) != DATAGRAM or view[0] != _SYNC:
            self.foreign += 1
            return False
        magic, film, number = _STAMP.unpack_from(view, _STAMP_AT)
        if magic != _MAGIC or film != self.film:
            self.foreign += 1
            return False
        if number >= len(self._seen):
            self._seen.extend(bytes(number + 4096 - len(self._seen)))
        if self._seen[number]:
            self.duplicates += 1
            return True
        self._seen[number] = 1
        self.highest = max(self.highest, number)
        self.datagrams += 1
        self.packets += PER_DATAGRAM
        self.octets += DATAGRAM
        self._check_counters(view)
        return True

    def _check_counters(self, view: memoryview) -> None:
        counters = self._counters
        for at in range(0, DATAGRAM, PACKET):
            pid = (view[at + 1] & 0x1F) << 8 | view[at + 2]
            if view[at] != _SYNC or pid == _NULL_PID:
                self.continuity_errors += view[at] != _SYNC
                continue
            counter = view[at + 3] & 0x0F
            if counters.get(pid, counter) != counter:
                self.continuity_errors += 1
            counters[pid] = counter + 1 & 0x0F


def rtp_header(number: int, ssrc: int, seconds: float) -> bytes:
    """Return the RTP header of datagram ``number``: version 2, payload type 33 MP2T (RFC 3551), 90 kHz."""
    return struct.pack(">BBHII", 0x80, 33, number & 0xFFFF, int(seconds * 90_000) & 0xFFFFFFFF, ssrc)


def rtcp_sender_report(ssrc: int, seconds: float, datagrams: int) -> bytes:
    """Return an RTCP sender report without report blocks (RFC 3550, 6.4.1)."""
    whole = int(seconds)
    fraction = int((seconds - whole) * 2**32)
    return struct.pack(
        ">BBHIIIIII",
        0x80,
        200,
        6,
        ssrc,
        whole & 0xFFFFFFFF,
        fraction,
        int(seconds * 90_000) & 0xFFFFFFFF,
        datagrams & 0xFFFFFFFF,
        datagrams * DATAGRAM & 0xFFFFFFFF,
    )


def _header(pid: int, counter: int, *, start: bool = False, adaptation: bool = False) -> bytes:
    flags = _PAYLOAD | (_ADAPTATION if adaptation else 0) | (counter & 0x0F)
    return bytes((_SYNC, (0x40 if start else 0) | pid >> 8, pid & 0xFF, flags))


def _video_datagram(index: int, filler: random.Random) -> bytearray:
    data = bytearray()
    for place in range(PER_DATAGRAM):
        counter = index * PER_DATAGRAM + place
        if place == 0:
            # Adaptation field of 7 bytes: the PCR flag and the clock reference, filled in when it is sent.
            head = _header(_VIDEO_PID, counter, adaptation=True) + bytes((7, 0x10)) + bytes(6)
        else:
            head = _header(_VIDEO_PID, counter)
        data += head + filler.randbytes(PACKET - len(head))
    return data


def _table_datagram(index: int) -> bytearray:
    """Null packet with the stamp, PAT, PMT, null packets: null packets have no counters to disturb."""
    program = struct.pack(">HH", 1, 0xE000 | _PMT_PID)
    pat = _section(0x00, 1, program)
    stream = struct.pack(">HHBHH", 0xE000 | _VIDEO_PID, 0xF000, 0x1B, 0xE000 | _VIDEO_PID, 0xF000)
    pmt = _section(0x02, 1, stream)
    null = _header(_NULL_PID, 0).ljust(PACKET, b"\xff")
    tables = [
        (_header(pid, index, start=True) + b"\0" + section).ljust(PACKET, b"\xff")
        for pid, section in ((_PAT_PID, pat), (_PMT_PID, pmt))
    ]
    return bytearray(b"".join([null, *tables, *[null] * (PER_DATAGRAM - 3)]))


def _section(table: int, number: int, body: bytes) -> bytes:
    head = struct.pack(">BHHBBB", table, 0xB000 | len(body) + 9, number, 0xC1, 0, 0)
    return head + body + struct.pack(">I", _crc32(head + body))


def _crc32(data: bytes) -> int:
    """CRC-32/MPEG-2: polynomial 0x04C11DB7, not reflected."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value
