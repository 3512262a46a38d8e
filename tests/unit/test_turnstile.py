"""The turnstile before the gate: who floods waits for itself, goes on unread, and nobody else does."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from nftrtsp.helper.fair_queue import Limits
from nftrtsp.helper.userspace import nfqueue
from nftrtsp.helper.userspace.nfqueue import Queued
from nftrtsp.helper.userspace.turnstile import LONGEST_TURN, Turnstile
from nftrtsp.netlink import wire
from tests.unit.test_gate import ACK, ISN, ROUTER, SERVER, Bench, Line, ip_packet, setup


def ids(verdicts: list[bytes]) -> list[int]:
    """Return the numbers of the packets that go on, in order."""
    found = []
    for data in verdicts:
        ((_, _, _, _, start, end),) = wire.messages(data)
        header = wire.spans(data, start, end)[nfqueue.NFQA_VERDICT_HDR][0]
        verdict, number = struct.unpack_from("!II", data, header)
        assert verdict == nfqueue.NF_ACCEPT
        found.append(number)
    return found


class Hall:
    """A gate with two boxes whose connections are open, and a turnstile before it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.bench = Bench()
        self.flooder = Line(self.bench, "192.168.1.200", 40000)
        self.quiet = Line(self.bench, "192.168.1.201", 40001)
        self.turnstile = Turnstile(self.bench.gate, lambda box: True, limits or Limits())
        self.next = {self.flooder: ISN[False] + 1, self.quiet: ISN[False] + 1}
        self.number = 1000

    def packet(self, line: Line, data: bytes) -> Queued:
        self.number += 1
        seq, self.next[line] = self.next[line], self.next[line] + len(data)
        ends = (ROUTER, SERVER, line.port, 554)
        payload = ip_packet(ends, seq & 0xFFFFFFFF, ISN[True] + 1, ACK, data)
        return Queued(self.number, payload, len(payload), key_of(line), line.ct, False)

    def repeats(self, count: int) -> list[Queued]:
        return [self.packet(self.flooder, setup("27336", cseq=number)) for number in range(count)]

    def ask(self, port: str) -> Queued:
        return self.packet(self.quiet, setup(port))

    def serve(self, count: int) -> list[int]:
        """Let so many packets take their turn."""
        return ids(self.turnstile.serve(ticking(count), 1.0))


def key_of(line: Line) -> bytes:
    """Return a key as the kernel's attributes make it: heads, then the box's address."""
    return bytes(4) + nfqueue._IPV4_SOURCE + line.key


def ticking(count: int) -> Callable[[], float]:
    """Return a clock by which a turn of one second ends after ``count`` readings."""
    times: Iterator[float] = iter(number / count for number in range(count + 10))
    return lambda: next(times)


def test_what_another_box_asks_is_read_before_what_the_flooder_has_sent_before() -> None:
    hall = Hall(Limits(quantum=1000))
    assert hall.turnstile.come(hall.repeats(500), 0) == []
    asked = hall.ask("27400")
    hall.turnstile.come([asked], 0)
    assert asked.id in hall.serve(10)
    assert 27400 in hall.bench.kernel.open_now


def test_what_is_beyond_a_boxs_share_goes_on_unread_in_its_order_and_only_that() -> None:
    hall = Hall(Limits(of_box=20_000))
    asked = hall.ask("27400")
    flood = hall.repeats(100)
    gone = ids(hall.turnstile.come([asked, *flood], 0))
    assert gone == [one.id for one in flood[: len(gone)]]
    assert asked.id not in gone
    assert hall.turnstile.unread == {hall.flooder.stb: len(gone)}
    rest = hall.serve(200)
    assert sorted([*gone, *rest]) == sorted([asked.id, *(one.id for one in flood)]), "one verdict a packet"
    assert 27400 in hall.bench.kernel.open_now


def test_nothing_waits_for_its_turn_for_longer_than_tcp_would() -> None:
    hall = Hall()
    flood = hall.repeats(10)
    hall.turnstile.come(flood, 1.0)
    assert hall.turnstile.let_go(1.0 + LONGEST_TURN - 0.01) == []
    assert ids(hall.turnstile.let_go(1.0 + LONGEST_TURN + 0.01)) == [one.id for one in flood]
    assert len(hall.turnstile) == 0


def test_a_packet_that_cannot_be_read_goes_on_and_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    hall = Hall()

    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("made by the test")

    monkeypatch.setattr(hall.bench.gate.dialogues, "receive", fails)
    monkeypatch.setattr(hall.bench.gate.dialogues, "is_idle", lambda *_, **__: False)
    asked = hall.ask("27400")
    hall.turnstile.come([asked], 0)
    assert hall.serve(5) == [asked.id]
    assert hall.turnstile.faults == {"ZeroDivisionError": "made by the test"}
