"""The map of pinholes over nf_tables netlink, as nft(8) sees it and as the kernel refuses it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from nftrtsp import netns
from nftrtsp.errors import KernelError
from nftrtsp.lab import links
from nftrtsp.ruleset.pinhole import Pinhole, PinholeMap, watch_table

pytestmark = pytest.mark.root

STB = IPv4Address("192.168.1.200").packed
NOTE = "192.168.1.200:40000 172.26.83.10:554 8712 60"


class Room:
    """A network namespace with our map in it, ``size`` elements at most."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.map = links.inside(name, PinholeMap)
        self.watch = links.inside(name, watch_table)

    def nft(self, text: str) -> str:
        command = [*netns.words(self.name), "nft", text]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def make(self, more: str = "") -> None:
        kind = "type inet_service : ipv4_addr . inet_service; flags timeout;"
        self.nft(f"add table inet nftrtsp; add map inet nftrtsp pinholes {{ {kind} {more} }}")


@pytest.fixture
def room() -> Iterator[Room]:
    name = f"nftrtsp-map-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        made = Room(name)
        yield made
        made.map.close()
        made.watch.close()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def pinhole(port: int, comment: str = "", timeout: float = 3600) -> Pinhole:
    return Pinhole(port, STB, port, timeout=timeout, comment=comment)


def refused(action: object, *arguments: object) -> KernelError:
    assert callable(action)
    with pytest.raises(KernelError) as caught:
        action(*arguments)
    return caught.value


def test_nft_shows_what_was_added(room: Room) -> None:
    room.make()
    room.map.add([pinhole(27336, NOTE)])
    shown = " ".join(room.nft("list map inet nftrtsp pinholes").split())
    assert "27336 timeout 1h expires 59m59s" in shown or "27336 timeout 1h expires 1h" in shown
    assert f'comment "{NOTE}" : 192.168.1.200 . 27336' in shown


def test_what_nft_added_is_read(room: Room) -> None:
    room.make()
    room.nft('add element inet nftrtsp pinholes { 4000 timeout 1m comment "by hand" : 10.0.0.9 . 5000 }')
    (one,) = room.map.dump()
    assert (one.port, one.stb, one.stb_port, one.timeout, one.comment) == (
        4000,
        bytes([10, 0, 0, 9]),
        5000,
        60,
        "by hand",
    )
    assert 0 < (one.expires or 0) <= 60


def test_putting_replaces_and_removing_says_whether_it_was_there(room: Room) -> None:
    room.make()
    room.map.put(pinhole(4000, "first"))
    room.map.put(pinhole(4000, "second"))
    room.map.put(Pinhole(4000, bytes([10, 0, 0, 9]), 4000, timeout=60))
    (one,) = room.map.dump()
    assert one.stb == bytes([10, 0, 0, 9])
    assert room.map.remove(4000)
    assert not room.map.remove(4000)


def test_thousands_are_listed_and_begin_their_time_anew(room: Room) -> None:
    room.make()
    room.map.add(pinhole(port, NOTE, timeout=100) for port in range(20000, 24000))
    found = room.map.dump()
    assert sorted(one.port for one in found) == list(range(20000, 24000))
    room.map.replace(pinhole(one.port, NOTE, timeout=5000) for one in found)
    assert all((one.expires or 0) > 4000 for one in room.map.dump())


def test_a_refused_transaction_changes_nothing(room: Room) -> None:
    room.make()
    room.map.add([pinhole(4000)])
    assert refused(room.map.add, [pinhole(5000), pinhole(4000), pinhole(6000)]).errno == errno.EEXIST
    assert [one.port for one in room.map.dump()] == [4000]
    assert refused(room.map.replace, [pinhole(4000), pinhole(7000)]).errno == errno.ENOENT
    room.map.add([pinhole(5000)])
    assert len(room.map.dump()) == 2


def test_a_full_map_is_named(room: Room) -> None:
    room.make("size 2;")
    room.map.add([pinhole(4000), pinhole(4002)])
    error = refused(room.map.put, pinhole(4004))
    assert error.errno == errno.ENFILE
    assert str(error) == "map inet nftrtsp pinholes: is full; raise rtsp.max_total and apply"


def test_without_the_map_the_remedy_is_named(room: Room) -> None:
    for action, arguments in ((room.map.dump, ()), (room.map.put, (pinhole(4000),))):
        error = refused(action, *arguments)
        assert error.errno == errno.ENOENT
        assert "nftrtsp apply" in str(error)


def test_without_privilege_it_says_so(room: Room) -> None:
    room.make()
    program = (
        "from nftrtsp.ruleset.pinhole import *\n"
        "from nftrtsp.errors import PrivilegeError\n"
        "try: PinholeMap().put(Pinhole(4000, bytes(4), 4000))\n"
        "except PrivilegeError as error: print(error)"
    )
    dropped = ["setpriv", "--bounding-set=-net_admin,-sys_admin", "--inh-caps=-all"]
    command = [*netns.words(room.name), *dropped, sys.executable, "-c", program]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said == "map inet nftrtsp pinholes: using it was refused; run it as root\n"


def test_a_replaced_table_is_noticed_and_elements_are_not(room: Room) -> None:
    room.make()
    assert room.watch.changed()
    room.map.add([pinhole(4000)])
    room.nft("add table inet other; add set inet other s { type ipv4_addr; }")
    assert not room.watch.changed()
    room.nft("delete table inet nftrtsp")
    assert room.watch.changed()
