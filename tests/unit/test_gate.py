"""The gate, fed with packets as NFQUEUE hands them over: what goes on, changed how, and when."""

from __future__ import annotations

import errno
import itertools
import struct
from ipaddress import IPv4Address
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nftrtsp.config import parse
from nftrtsp.conntrack.attribute import (
    CTA_ID,
    CTA_PROTOINFO,
    CTA_PROTOINFO_STATE,
    CTA_PROTOINFO_TCP,
    CTA_STATUS,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_REPLY,
)
from nftrtsp.conntrack.flow import IPS_CONFIRMED, IPS_SEEN_REPLY
from nftrtsp.conntrack.tuple import Tuple, encode_tuple
from nftrtsp.errors import KernelError
from nftrtsp.helper.dialogues import Dialogues
from nftrtsp.helper.note import Note, WayOpen, WayRefused
from nftrtsp.helper.port_policy import PortPolicy, no_ports
from nftrtsp.helper.userspace import nfqueue
from nftrtsp.helper.userspace.expectations import Expectations
from nftrtsp.helper.userspace.gate import LONGEST_WAIT, Gate
from nftrtsp.helper.userspace.nfqueue import Queued
from nftrtsp.helper.ways import Connection, Way, Ways
from nftrtsp.netlink import wire
from nftrtsp.netlink.wire import be32, nested, u8
from nftrtsp.rtsp.rewriting import checksum, replace_payload

SERVER = IPv4Address("172.26.83.10").packed
ROUTER = IPv4Address("10.214.0.2").packed
ISN = {False: 0xFFFFFFF0, True: 5000}  # the client's numbers wrap within the first message
SYN, ACK, FIN = 2, 16, 1


def entry(state: int, status: int) -> bytes:
    """Return what an entry of conntrack says of its TCP state and its status."""
    protoinfo = nested(CTA_PROTOINFO, nested(CTA_PROTOINFO_TCP, u8(CTA_PROTOINFO_STATE, state)))
    return protoinfo + be32(CTA_STATUS, status)


ESTABLISHED = entry(3, IPS_CONFIRMED | IPS_SEEN_REPLY)


class Kernel:
    """Expectations that only remember; ``refuse`` names ports that the kernel will not expect."""

    def __init__(self) -> None:
        self.open_now: dict[int, tuple[bytes, int]] = {}
        self.cut: list[int] = []
        self.refuse: set[int] = set()
        self.unknown: set[int] = set()  # ports of masters that conntrack does not know yet
        self.asked: list[Connection] = []  # connections that conntrack was asked about
        self.established = False  # what it says of them
        self.opened = 0

    def open(self, way: Way, master: Tuple, router: bytes, _now: float) -> None:
        if master.sport in self.unknown:
            raise KernelError("no such connection", errno=errno.ENOENT)
        if way.port in self.refuse:
            raise KernelError("no room")
        self.opened += 1
        way.router = router
        self.open_now[way.port] = (way.stb, way.stb_port)

    def close(self, way: Way, *, cut: bool) -> None:
        self.open_now.pop(way.port, None)
        if cut:
            self.cut.append(way.port)

    def is_fresh(self, way: Way, _master: Tuple, _now: float) -> bool:
        return way.port in self.open_now

    def is_established(self, connection: Connection) -> bool:
        self.asked.append(connection)
        return self.established

    def left(self, _way: Way, _now: float) -> float:
        return 60.0

    def is_mastered_by(self, _way: Way, _master: Tuple) -> bool:
        return False


class Bench:
    """A gate, a kernel, a clock, and every verdict by packet number."""

    def __init__(self, **rtsp: Any) -> None:
        config = parse(
            {
                "iptv": {"interface": "vlan2"},
                "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24", "10.0.0.0/24"]},
                "rtsp": rtsp,
            }
        )
        self.kernel = Kernel()
        self.notes: list[Note] = []
        self.ways = Ways("expectation")
        policy = PortPolicy.of(config, substitutes=True, router_ports=no_ports)
        dialogues = Dialogues(policy, self.ways, (554,), confirm=self.confirm)
        self.gate = Gate(config, dialogues, cast(Expectations, self.kernel), self.notes.append)
        self.now = 1000.0
        self.count = 0
        self.unconfirmed = False  # whether the next packets begin entries of conntrack
        self.sent: dict[int, bytes] = {}
        self.gone: dict[int, bytes] = {}  # by packet number: what went on

    def confirm(self, connection: Connection) -> bool:
        return self.gate.confirm(connection)

    def put(self, packet: bytes, key: bytes, ct: bytes, reply: bool) -> int:
        self.count += 1
        self.sent[self.count] = packet
        queued = Queued(self.count, packet, len(packet), key, ct, reply, not self.unconfirmed)
        self.take(self.gate.receive(queued, self.now))
        return self.count

    def pass_time(self, seconds: float) -> None:
        self.now += seconds + 0.001
        self.take(self.gate.tick(self.now))

    def take(self, verdicts: list[bytes]) -> None:
        for data in verdicts:
            ((_, _, _, _, start, end),) = wire.messages(data)
            found = wire.spans(data, start, end)
            verdict, number = struct.unpack_from("!II", data, found[nfqueue.NFQA_VERDICT_HDR][0])
            assert verdict == nfqueue.NF_ACCEPT
            assert number not in self.gone, "one verdict a packet"
            first, last = found.get(nfqueue.NFQA_PAYLOAD, (0, 0))
            self.gone[number] = data[first:last] or self.sent[number]

    def events(self) -> list[str]:
        return [one.event for one in self.notes]


class Line:
    """One TCP connection of a set-top box through the gate."""

    def __init__(
        self, bench: Bench, stb: str = "192.168.1.200", port: int = 40000, *, ct: bytes | None = None
    ) -> None:
        self.bench, self.stb, self.port = bench, IPv4Address(stb).packed, port
        self.next = dict(ISN)
        orig = Tuple(self.stb, SERVER, 6, port, 554)
        reply = Tuple(SERVER, ROUTER, 6, 554, port)
        self.ct = encode_tuple(CTA_TUPLE_ORIG, orig) + encode_tuple(CTA_TUPLE_REPLY, reply)
        self.ct += be32(CTA_ID, port) + (ESTABLISHED if ct is None else ct)
        self.key = self.stb + port.to_bytes(2, "big")
        self.segment(b"", reply=False, flags=SYN)
        self.next[False] = ISN[False] + 1 & 0xFFFFFFFF
        self.segment(b"", reply=True, flags=SYN | ACK)
        self.next = {side: number + 1 & 0xFFFFFFFF for side, number in ISN.items()}

    def segment(self, data: bytes, *, reply: bool = False, flags: int = ACK, seq: int | None = None) -> int:
        """Send one segment; return its packet's number."""
        number = self.next[reply] if seq is None else seq
        ack = self.next[not reply]
        # After NAT: the client's packets carry the router's address.
        ends = (SERVER, self.stb, 554, self.port) if reply else (ROUTER, SERVER, self.port, 554)
        packet = ip_packet(ends, number & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags, data)
        if seq is None:
            self.next[reply] = number + len(data) & 0xFFFFFFFF
        return self.bench.put(packet, self.key, self.ct, reply)

    def read(self, numbers: list[int]) -> bytes:
        """Return the payloads that went on, in the order of ``numbers``."""
        return b"".join(payload(self.bench.gone[number]) for number in numbers)


def ip_packet(ends: tuple[bytes, bytes, int, int], seq: int, ack: int, flags: int, data: bytes) -> bytes:
    src, dst, sport, dport = ends
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + len(data), 1, 0, 64, 6, 0, src, dst)
    tcp = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, 1000, 0, 0)
    return replace_payload(head + tcp, 40, data)


def payload(packet: bytes) -> bytes:
    pseudo = packet[12:20] + struct.pack("!HH", 6, len(packet) - 20)
    assert checksum(pseudo + packet[20:]) == 0, "the TCP checksum is right"
    return packet[40:]


def setup(port: str = "27336", more: str = "", agent: str = "MICA-IP-STB", cseq: int = 1) -> bytes:
    return (
        f"SETUP rtsp://s/film{cseq} RTSP/1.0\r\nCSeq: {cseq}\r\n"
        + (f"User-Agent: {agent}\r\n" if agent else "")
        + f"Transport: MP2T/H2221/UDP;unicast;client_port={port}{more}\r\nx-mayNotify: \r\n\r\n"
    ).encode()


def answer(port: str = "27336", cseq: int = 1, status: str = "200 OK", more: str = "") -> bytes:
    return (
        f"RTSP/1.0 {status}\r\nCSeq: {cseq}\r\nSession: s1;timeout=60\r\nServer: provider/1.0\r\n"
        f"Transport: MP2T/H2221/UDP;unicast;client_port={port}{more};server_port=6000\r\n\r\n"
    ).encode()


def occupied(**rtsp: Any) -> tuple[Bench, Line]:
    """A bench where another set-top box has 27336 and 27338 already, and the line of a second one."""
    bench = Bench(**rtsp)
    first = Line(bench, "192.168.1.201", 50000)
    first.segment(setup("27336"))
    first.segment(setup("27338", cseq=2))
    return bench, Line(bench)


def test_the_way_is_open_when_the_setup_goes_on() -> None:
    bench = Bench()
    line = Line(bench)
    number = line.segment(setup())
    assert bench.kernel.open_now == {27336: (line.stb, 27336)}
    assert bench.gone[number] == bench.sent[number]
    assert [one.way and one.way.stb for one in bench.notes if isinstance(one, WayOpen)] == ["192.168.1.200"]


def test_nothing_is_held_back_while_nobody_else_has_a_way() -> None:
    bench = Bench()
    line = Line(bench)
    for byte in setup():
        number = line.segment(bytes([byte]))
        assert number in bench.gone


def test_the_server_reads_another_port_and_the_box_its_own() -> None:
    bench, line = occupied()
    asked = line.read([line.segment(setup())])
    assert asked == setup("27334")
    assert bench.kernel.open_now[27334] == (line.stb, 27336)
    assert line.read([line.segment(answer("27334"), reply=True)]) == answer("27336")


def test_a_retransmission_reads_the_same_however_it_is_cut() -> None:
    _, line = occupied()
    start = line.next[False]
    line.segment(setup())
    assert line.read([line.segment(setup(), seq=start)]) == setup("27334")
    for cut in range(1, len(setup())):
        parts = [line.segment(setup()[:cut], seq=start), line.segment(setup()[cut:], seq=start + cut)]
        assert line.read(parts) == setup("27334")


def test_what_was_acknowledged_is_not_kept_for_ever() -> None:
    bench, line = occupied()
    start = line.next[False]
    line.segment(setup())
    line.segment(b"", reply=True)
    # The same numbers come again after four gigabytes, and are other bytes then.
    number = line.segment(setup(), seq=start)
    assert bench.gone[number] == bench.sent[number]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, len(setup()) - 1), max_size=8), st.data())
def test_however_a_setup_is_cut_and_repeated_the_server_reads_one_rewritten_setup(
    cuts: list[int], data: st.DataObject
) -> None:
    bench, line = occupied()
    start = line.next[False]
    bounds = [0, *sorted(set(cuts)), len(setup())]
    pieces = list(itertools.pairwise(bounds))
    again = data.draw(st.lists(st.sampled_from(pieces), max_size=4))
    numbers = {}
    for low, high in [*pieces, *again]:
        number = line.segment(setup()[low:high], seq=(start + low) & 0xFFFFFFFF)
        numbers[number] = (low, high)
    bench.pass_time(LONGEST_WAIT)
    for number, (low, high) in numbers.items():
        assert payload(bench.gone[number]) == setup("27334")[low:high]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, len(setup()) - 1), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_pieces_in_any_order_are_one_setup(cuts: list[int], random: Any) -> None:
    bench, line = occupied()
    start = line.next[False]
    bounds = [0, *sorted(set(cuts)), len(setup())]
    pieces = list(itertools.pairwise(bounds))
    random.shuffle(pieces)
    numbers = {}
    for low, high in pieces:
        numbers[line.segment(setup()[low:high], seq=(start + low) & 0xFFFFFFFF)] = (low, high)
    for number, (low, high) in numbers.items():
        assert payload(bench.gone[number]) == setup("27334")[low:high]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, len(answer("27334")) - 1), max_size=8))
def test_however_an_answer_is_cut_the_box_reads_what_it_asked_for(cuts: list[int]) -> None:
    bench, line = occupied()
    line.segment(setup())
    text = answer("27334")
    bounds = [0, *sorted(set(cuts)), len(text)]
    numbers = [line.segment(text[low:high], reply=True) for low, high in itertools.pairwise(bounds)]
    bench.pass_time(LONGEST_WAIT)
    assert line.read(numbers) == answer("27336")


@pytest.mark.parametrize("pause", [LONGEST_WAIT, 0])
def test_a_sender_that_pauses_after_the_ports_is_understood_at_once(pause: float) -> None:
    bench, line = occupied()
    text = setup()
    at = text.index(b"27336") + 7
    first = line.segment(text[:at])
    assert first in bench.gone, "Nagle's algorithm sends no more before this is acknowledged"
    if pause:
        bench.pass_time(pause)
    rest = line.segment(text[at:])
    assert line.read([first, rest]) == setup("27334")
    assert bench.kernel.open_now[27334] == (line.stb, 27336)
    text = answer("27334")
    at = text.index(b";server_port") + 20
    numbers = [line.segment(text[:at], reply=True), line.segment(text[at:], reply=True)]
    assert line.read(numbers) == answer("27336")
    assert "way-refused" not in bench.events()


@pytest.mark.parametrize("pause", [False, True])
def test_no_port_is_told_twice_where_one_transport_is_given_what_the_next_asks_for(pause: bool) -> None:
    bench = Bench()
    Line(bench, "192.168.1.201", 50000).segment(setup("27336"))
    line = Line(bench)
    text = setup("27336,MP2T/H2221/UDP;unicast;client_port=27338")
    at = text.index(b"x-may") if pause else len(text)
    numbers = [line.segment(one) for one in (text[:at], text[at:]) if one]
    assert line.read(numbers) == setup("27338,MP2T/H2221/UDP;unicast;client_port=27340")
    assert {port: stb_port for port, (stb, stb_port) in bench.kernel.open_now.items() if stb == line.stb} == {
        27338: 27336,
        27340: 27338,
    }


def test_a_destination_is_rewritten_before_its_message_is_complete() -> None:
    bench = Bench(rewrite_destination=True)
    line = Line(bench)
    text = setup(more=";destination=192.168.1.200")
    at = text.index(b"x-may")
    numbers = [line.segment(text[:at]), line.segment(text[at:])]
    assert len(line.read(numbers)) == len(text)
    assert b"client_port=27336;destination=10.214.0.2\r\n" in line.read(numbers)
    assert bench.events().count("rewrite") == 1
    assert set(bench.kernel.open_now) == {27336}


def test_each_of_several_messages_in_a_row_is_rewritten_wherever_they_are_cut() -> None:
    text = setup("27336", cseq=1) + setup("27338", cseq=2)
    for cut in range(1, len(text)):
        bench, line = occupied()
        numbers = [line.segment(text[:cut]), line.segment(text[cut:])]
        bench.pass_time(LONGEST_WAIT)
        assert line.read(numbers) == setup("27334", cseq=1) + setup("27340", cseq=2)


def test_a_piece_does_not_wait_for_ever_and_the_box_is_told_no() -> None:
    bench, line = occupied()
    text = setup()
    at = text.index(b"27336") + 5
    first = line.segment(text[:at])
    assert first not in bench.gone
    bench.pass_time(LONGEST_WAIT)
    assert payload(bench.gone[first]) == text[:at]
    rest = line.segment(text[at:])
    assert payload(bench.gone[rest]) == text[at:]
    assert set(bench.kernel.open_now) == {27336, 27338}, "no way to a port that the server never heard of"
    (refused,) = [one for one in bench.notes if isinstance(one, WayRefused)]
    assert refused.reason == "port 27336 is in use, and the request had gone on unchanged"


def test_a_slow_sender_waits_once_a_message_not_once_a_byte() -> None:
    bench, line = occupied()
    text = setup("30000")
    at = text.index(b"Transport") + 4
    first = line.segment(text[:at])
    bench.pass_time(LONGEST_WAIT)
    assert first in bench.gone
    for byte in text[at:]:
        assert line.segment(bytes([byte])) in bench.gone
    assert 30000 in bench.kernel.open_now


def test_other_messages_in_pieces_are_never_held() -> None:
    bench, line = occupied()
    text = b"GET_PARAMETER rtsp://s/ RTSP/1.0\r\nCSeq: 4\r\nTransport: x;client_port=27336\r\n\r\n"
    for byte in text:
        assert line.segment(bytes([byte])) in bench.gone


def test_when_the_kernel_refuses_the_setup_goes_on_and_it_is_said() -> None:
    bench = Bench()
    bench.kernel.refuse.add(27336)
    line = Line(bench)
    number = line.segment(setup())
    assert bench.gone[number] == bench.sent[number]
    assert "way-refused" in bench.events()
    assert len(bench.ways) == 0


def test_a_setup_that_begins_its_connection_for_conntrack_opens_its_way_as_it_goes_on() -> None:
    bench = Bench()
    line = Line(bench)
    bench.kernel.unknown.add(line.port)
    number = line.segment(setup())
    assert number in bench.gone
    assert bench.kernel.open_now == {}
    bench.kernel.unknown.clear()
    bench.gate.settle()
    assert bench.kernel.open_now == {27336: (line.stb, 27336)}
    assert bench.events().count("way-open") == 1


@pytest.mark.parametrize("text", [b"", b"OPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n"])
def test_an_entry_in_place_of_a_forgotten_one_gets_the_ways_though_it_has_the_same_id(text: bytes) -> None:
    bench = Bench()
    line = Line(bench)
    line.segment(setup())
    line.segment(answer(), reply=True)
    bench.kernel.open_now.clear()  # conntrack forgot the connection, and its expectations with it
    line.segment(b"", reply=True)
    assert bench.kernel.open_now == {}
    bench.unconfirmed = True
    line.segment(text)
    assert bench.kernel.open_now == {27336: (line.stb, 27336)}


def test_a_connection_that_stays_unknown_is_refused() -> None:
    bench = Bench()
    line = Line(bench)
    bench.kernel.unknown.add(line.port)
    line.segment(setup())
    bench.gate.settle()
    assert "way-refused" in bench.events()
    assert len(bench.ways) == 0


@pytest.mark.parametrize(
    "ct",
    [
        entry(3, IPS_CONFIRMED),  # a segment out of nowhere, that nobody answered
        entry(8, IPS_CONFIRMED | IPS_SEEN_REPLY),  # one that was answered with a reset
        b"",  # too little is said, and conntrack does not know it
    ],
)
def test_a_connection_that_conntrack_does_not_vouch_for_goes_on_and_opens_nothing(ct: bytes) -> None:
    bench = Bench()
    line = Line(bench, ct=ct)
    text = setup("27336")
    assert line.read([line.segment(text)]) == text
    assert bench.kernel.open_now == {}
    assert not bench.gate.has_met(line.stb)


def test_what_the_packet_says_of_its_entry_spares_the_question() -> None:
    bench = Bench()
    line = Line(bench)
    line.segment(setup("27336"))
    assert list(bench.kernel.open_now) == [27336]
    assert bench.kernel.asked == []
    assert bench.gate.has_met(line.stb)


def test_where_the_packet_does_not_say_conntrack_is_asked_once() -> None:
    bench = Bench()
    bench.kernel.established = True
    line = Line(bench, ct=b"")
    for cseq in range(5):
        line.segment(setup("27336", cseq=cseq))
    assert list(bench.kernel.open_now) == [27336]
    assert len(bench.kernel.asked) == 1


def test_a_repeat_that_changes_nothing_asks_nothing_of_the_kernel() -> None:
    bench = Bench()
    line = Line(bench)
    for cseq in range(100):
        line.segment(setup("27336", cseq=cseq))
    assert bench.kernel.opened == 1


def test_teardown_ends_the_flows_and_an_error_only_the_way() -> None:
    bench = Bench()
    line = Line(bench)
    line.segment(setup("27336"))
    line.segment(answer("27336"), reply=True)
    line.segment(setup("27400", cseq=2))
    line.segment(answer("27400", cseq=2, status="454 No"), reply=True)
    assert bench.kernel.open_now == {27336: (line.stb, 27336)}
    line.segment(b"TEARDOWN rtsp://s/film1 RTSP/1.0\r\nCSeq: 3\r\nSession: s1\r\n\r\n")
    assert (bench.kernel.open_now, bench.kernel.cut) == ({}, [27336])


def test_a_destination_becomes_the_routers_address_in_as_many_bytes() -> None:
    bench = Bench(rewrite_destination=True)
    line = Line(bench)
    text = setup(more=";destination=192.168.1.200")
    rewritten = line.read([line.segment(text)])
    assert len(rewritten) == len(text)
    # Shorter by three: blanks before the value.
    assert b"Transport:    MP2T/H2221/UDP;unicast;client_port=27336;destination=10.214.0.2\r\n" in rewritten


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        # Longer by two: from the end of what only people read, else the server takes the sender's address.
        ("MICA-IP-STB", "User-Agent: MICA-IP-S\r\n"),
        ("", "client_port=27336\r\n"),
    ],
)
def test_a_destination_that_becomes_longer_takes_its_bytes_elsewhere(agent: str, expected: str) -> None:
    bench = Bench(rewrite_destination=True)
    line = Line(bench, "10.0.0.9")
    text = setup(more=";destination=10.0.0.9", agent=agent)
    rewritten = line.read([line.segment(text)])
    assert len(rewritten) == len(text)
    assert b"10.0.0.9" not in rewritten
    assert expected.encode() in rewritten


def test_a_destination_stays_where_the_profile_does_not_ask() -> None:
    bench = Bench()
    line = Line(bench)
    text = setup(more=";destination=192.168.1.200")
    assert line.read([line.segment(text)]) == text


def test_naming_somebody_else_opens_nothing() -> None:
    bench = Bench(rewrite_destination=True)
    line = Line(bench)
    text = setup(more=";destination=192.168.1.66")
    assert line.read([line.segment(text)]) == text
    assert bench.kernel.open_now == {}
    assert "way-refused" in bench.events()


def test_garbage_goes_on_untouched() -> None:
    bench, line = occupied()
    for data in (b"\x16\x03\x01\0\0", setup(), b"more"):
        number = line.segment(data)
        assert bench.gone[number] == bench.sent[number]
    assert bench.events().count("garbage") == 1
    assert len(bench.kernel.open_now) == 2


def test_a_closed_connection_lets_go_of_all_that_waits() -> None:
    bench, line = occupied()
    text = setup()
    first = line.segment(text[: text.index(b"27336") + 2])
    assert first not in bench.gone
    line.segment(b"", reply=True, flags=ACK | FIN)
    assert first in bench.gone


def test_many_connections_that_wait_are_all_let_go() -> None:
    bench, _ = occupied()
    text = setup()
    held = [
        Line(bench, "192.168.1.7", port).segment(text[: text.index(b"27336") + 2])
        for port in range(1024, 1024 + 9000)
    ]
    bench.pass_time(LONGEST_WAIT)
    assert all(number in bench.gone for number in held)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60), st.integers(0, 63)), max_size=30))
def test_whatever_comes_each_packet_gets_one_verdict(things: list[tuple[bool, bytes, int]]) -> None:
    bench, line = occupied(rewrite_destination=True)
    for reply, data, flags in things:
        line.segment(data, reply=reply, flags=flags)
    bench.pass_time(LONGEST_WAIT)
    assert set(bench.gone) == set(bench.sent)


def frames(sizes: list[int]) -> bytes:
    """Interleaved frames of media whose bytes look like anything, RTSP and frames too."""
    return b"".join(b"$\0" + size.to_bytes(2, "big") + (b"RTSP/1.0 200 $\r\n" * 90)[:size] for size in sizes)


THINGS = st.lists(
    st.one_of(
        st.lists(st.sampled_from([0, 1, 188, 1328]), min_size=1, max_size=4).map(
            lambda sizes: (True, frames(sizes))
        ),
        st.sampled_from(
            [
                (False, setup()),
                (True, answer()),
                (False, setup("27338", cseq=2)),
                (True, answer("27338", cseq=2)),
                (True, answer(cseq=3, status="454 Session Not Found")),
                (False, b"TEARDOWN rtsp://s/film RTSP/1.0\r\nCSeq: 4\r\nSession: s1\r\n\r\n"),
                (True, b"neither one nor the other\r\n\r\n"),
                (False, b""),
                (True, b""),
            ]
        ),
    ),
    max_size=12,
)


@given(things=THINGS, sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=8), lose=st.integers(0, 20))
@settings(deadline=None, max_examples=300)
def test_the_short_way_ends_where_the_long_one_does(
    things: list[tuple[bool, bytes]], sizes: list[int], lose: int
) -> None:
    ends = []
    for short in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not short:
                patch.setattr(Gate, "_is_idle", lambda *_: False)
            bench, line = occupied()
            count = 0
            for reply, data in things:
                at = 0
                while True:
                    size = sizes[count % len(sizes)]
                    count += 1
                    if count == lose:  # a segment that passed unseen
                        line.next[reply] = line.next[reply] + len(data[at : at + size]) & 0xFFFFFFFF
                    else:
                        line.segment(data[at : at + size], reply=reply)
                    at += size
                    if at >= len(data):
                        break
            bench.pass_time(LONGEST_WAIT)
            dialogue = next(one for one in bench.gate.dialogues if one.connection.client == line.stb)
            said = list(bench.notes)
            ends.append(
                (
                    said,
                    bench.kernel.open_now,
                    bench.kernel.cut,
                    bench.gone,
                    dialogue.conversation.lost,
                    dialogue.last,
                )
            )
    assert ends[0] == ends[1]
