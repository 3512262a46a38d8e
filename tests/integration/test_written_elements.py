"""What the helper asks of the map of pinholes: as little as can be. The test gives the time."""

from __future__ import annotations

import errno
import socket

import pytest

from nftrtsp.errors import KernelError
from nftrtsp.helper.pinhole.written_elements import AT_ONCE, WrittenElements
from nftrtsp.ruleset.pinhole import Pinhole
from tests.integration.test_pinhole_map import NOTE, STB, Room, pinhole, room

__all__ = ["room"]
pytestmark = pytest.mark.root

OTHER = bytes([192, 168, 1, 201])


class Table:
    """Elements in a real map, and how many transactions the kernel was asked for and carried out."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.map = room.map
        self.elements = WrittenElements(room.map)
        self.asked = 0
        commit = room.map._elements._commit_some

        def counted(steps: list[tuple[int, bytes]]) -> None:
            self.asked += 1
            commit(steps)

        room.map._elements._commit_some = counted  # type: ignore[method-assign]  # counts, and does what it did

    def count(self) -> int:
        """Return how many transactions there were since the last call."""
        count, self.asked = self.asked, 0
        return count

    def ports(self) -> dict[int, bytes]:
        return {one.port: one.stb for one in self.map.dump()}


@pytest.fixture
def table(room: Room) -> Table:
    room.make("size 4096;")
    return Table(room)


def test_a_repeat_asks_nothing_of_the_kernel_until_half_of_its_time_has_passed(table: Table) -> None:
    for now in (0, 1, 100, 1799):
        table.elements.open(pinhole(4000, NOTE), now)
    assert table.count() == 1
    assert not table.elements.due
    table.elements.open(pinhole(4000, NOTE), 1801)
    assert table.count() == 0, "the box does not wait for it"
    assert table.elements.take_due() == [4000]
    table.elements.flush([pinhole(4000, NOTE)], 1801)
    assert table.count() == 1
    assert table.elements.left(4000, 1801) == 3600
    assert list(table.ports()) == [4000]


def test_what_is_to_be_written_again_is_written_in_one_transaction(table: Table) -> None:
    ports = range(4000, 4000 + AT_ONCE)
    for port in ports:
        table.elements.open(pinhole(port), 0)
        table.elements.write_again(port)
    table.elements.write_again(9)  # not ours
    table.count()
    due = table.elements.take_due()
    table.elements.flush([pinhole(port, NOTE) for port in due], 1)
    assert due == list(ports)
    assert table.count() == 1
    assert {one.comment for one in table.map.dump()} == {NOTE}


def test_a_port_that_changes_hands_does_so_in_one_transaction_and_at_once(table: Table) -> None:
    table.elements.open(pinhole(4000), 0)
    table.count()
    table.elements.open(Pinhole(4000, OTHER, 4000, timeout=60), 1)
    assert table.count() == 1
    assert table.ports() == {4000: OTHER}


def test_many_ways_close_in_one_transaction(table: Table) -> None:
    for port in range(4000, 4100):
        table.elements.open(pinhole(port), 0)
    table.count()
    table.elements.close(range(4000, 4100), 1)
    assert table.count() == 1
    assert table.ports() == {}
    table.elements.close(range(4000, 4100), 1)
    assert table.count() == 0, "what is not there is not removed: the kernel would refuse, and take its time"


def test_what_has_run_out_by_itself_is_not_removed_but_added_anew(table: Table) -> None:
    table.elements.open(pinhole(4000, timeout=60), 0)
    table.count()
    table.elements.close([4000], 60)
    assert table.count() == 0
    table.map.remove(4000)  # time has not really passed for the kernel
    table.elements.open(pinhole(5000, timeout=60), 0)
    table.map.remove(5000)
    table.count()
    table.elements.open(pinhole(5000, timeout=60), 60)
    assert table.count() == 1
    assert table.ports() == {5000: STB}


def test_what_somebody_else_removed_does_not_keep_the_others_open(table: Table) -> None:
    for port in (4000, 4001, 4002):
        table.elements.open(pinhole(port), 0)
    table.map.remove(4001)
    table.elements.close([4000, 4001, 4002], 1)
    assert table.ports() == {}


def test_what_somebody_else_wrote_at_a_port_gives_way(table: Table) -> None:
    table.map.add([Pinhole(4000, OTHER, 4000, timeout=60)])
    table.elements.open(pinhole(4000), 0)
    assert table.ports() == {4000: STB}


def test_a_map_that_is_not_there_is_asked_once_a_second(table: Table) -> None:
    table.room.nft("delete table inet nftrtsp")
    for now in (0, 0.1, 0.5, 0.9):
        with pytest.raises(KernelError) as caught:
            table.elements.open(pinhole(4000), now)
        assert caught.value.errno == errno.ENOENT
    assert table.count() == 1
    table.room.make()
    table.elements.open(pinhole(4000), 1.1)
    assert table.ports() == {4000: STB}


def test_a_full_map_is_asked_once_a_second_or_when_a_way_has_closed(room: Room) -> None:
    room.make("size 2;")
    table = Table(room)
    for port in (4000, 4001):
        table.elements.open(pinhole(port), 0)
    table.count()
    for _ in range(5):
        with pytest.raises(KernelError) as caught:
            table.elements.open(pinhole(4002), 0)
        assert caught.value.errno == errno.ENFILE
    assert table.count() == 1
    table.elements.close([4000], 0)
    table.elements.open(pinhole(4002), 0)
    assert sorted(table.ports()) == [4001, 4002]


def test_a_listing_is_the_truth(table: Table) -> None:
    for port in (4000, 4001):
        table.elements.open(pinhole(port), 0)
    table.map.remove(4000)
    table.map.add([pinhole(5000)])
    assert table.elements.learn(table.map.dump(), 10) == {4001, 5000}
    assert table.elements.left(4000, 10) == table.elements.left(5000, 10) == 0
    assert table.elements.left(4001, 10) == pytest.approx(3600, abs=1)


def test_an_answer_that_does_not_come_is_an_error_and_no_end(room: Room) -> None:
    room.make()
    room.map._elements._socket.setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVTIMEO, b"\0" * 8 + b"\x10\x27" + b"\0" * 6
    )
    real = room.map._elements._send
    room.map._elements._send = lambda data: None  # type: ignore[method-assign]  # the kernel never hears of it
    with pytest.raises(KernelError, match="was not changed"):
        room.map.put(pinhole(4000))
    room.map._elements._send = real  # type: ignore[method-assign]
    room.map.put(pinhole(4000))
    assert len(room.map.dump()) == 1
