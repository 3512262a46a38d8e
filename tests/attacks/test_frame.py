"""The attacks' own parts: the oracle sees what is illegal, the packets are right, nothing is sent outside."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks import packet, programs
from tests.attacks.oracle import GRACE, OpenWay, Oracle
from tests.attacks.packet import ACK, PSH, End, Segment

BOX, OTHER = "192.168.1.200", "192.168.1.201"
MODULES = [path.stem for path in sorted(Path(programs.__path__[0]).glob("[!_]*.py"))]


@pytest.fixture
def oracle() -> Oracle:
    made = Oracle()
    made.asks(BOX, 27336)
    return made


@pytest.mark.parametrize(
    "way",
    [
        OpenWay(27336, OTHER, 27336),  # asked for by another
        OpenWay(27338, BOX, 27338),  # never asked for
        OpenWay(27338, BOX, 27336),  # at another public port
        OpenWay(27336, BOX, 27338),  # to another port of the box
    ],
    ids=str,
)
def test_the_oracle_sees_a_way_that_nobody_asked_for(oracle: Oracle, way: OpenWay) -> None:
    assert oracle.illegal([OpenWay(27336, BOX, 27336), way], 0.0) == [way]


def test_a_privileged_port_is_illegal_whoever_asked(oracle: Oracle) -> None:
    oracle.asks(BOX, 80)
    oracle.asks_among(BOX, range(65536))
    assert oracle.illegal([OpenWay(80, BOX, 80)], 0.0) == [OpenWay(80, BOX, 80)]


def test_a_way_given_back_may_take_a_moment_to_close(oracle: Oracle) -> None:
    oracle.gives_back(100.0, BOX, 27336)
    way = OpenWay(27336, BOX, 27336)
    assert oracle.illegal([way], 100.0 + GRACE / 2) == []
    assert oracle.illegal([way], 100.0 + GRACE * 2) == [way]


def test_a_substitute_is_legal_only_where_there_are_substitutes(oracle: Oracle) -> None:
    way = OpenWay(27340, BOX, 27336)
    assert oracle.illegal([way], 0.0, substitutes=True) == []
    assert oracle.illegal([way], 0.0) == [way]


def test_a_segment_is_read_as_it_was_written() -> None:
    source, target = End(BOX, 40000), End("172.26.83.10", 554)
    whole = packet.tcp(source, target, seq=2**32 + 5, ack=7, flags=ACK | PSH, data=b"odd")
    assert packet.read(whole) == Segment(source, target, 5, 7, ACK | PSH, b"odd")


def test_checksums_are_those_of_the_rfcs() -> None:
    whole = packet.tcp(End(BOX, 1), End(OTHER, 2), seq=1, data=b"text")
    assert packet.checksum(whole[:20]) == 0
    pseudo = whole[12:20] + bytes((0, socket.IPPROTO_TCP)) + (len(whole) - 20).to_bytes(2)
    assert packet.checksum(pseudo + whole[20:]) == 0


def test_fragments_cover_the_packet() -> None:
    whole = packet.udp(End(BOX, 1), End(OTHER, 2), bytes(range(200)))
    payload = bytearray(len(whole) - 20)
    for piece in packet.fragments(whole, 48, ident=7, overlap=16):
        at = (int.from_bytes(piece[6:8]) & 0x1FFF) * 8
        payload[at : at + len(piece) - 20] = piece[20:]
    assert bytes(payload) == whole[20:]


@pytest.mark.parametrize("program", MODULES)
def test_an_attack_refuses_to_run_outside_a_lab(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.attacks.programs.{program}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={"PATH": ""},
    )
    assert done.returncode != 0
    assert "only inside a lab's network namespace" in done.stderr
