"""The rules that keep strangers out, with the userspace helper's expectations on kernels that have it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.integration.crossing import counted, forge

from .rig import MEDIA, ROUTER, Client, Rig, Server, rig, setup

PORT = 27336
STRICT = f'strict_sources = true\nservers = ["{MEDIA[0]}/32"]'


@pytest.fixture(scope="module")
def router() -> Iterator[Rig]:
    with rig(stbs=2, iptv=STRICT) as one:
        server = Server(one.lab)
        box = Client(one.lab)
        assert box.ask(setup(str(PORT)))[""] == "RTSP/1.0 200 OK"
        one.wait_for(lambda: len(one.ways()) == 1, "the way to open")
        yield one
        box.close()
        server.close()


def nothing_comes(film: socket.socket) -> bool:
    film.settimeout(1.0)
    try:
        film.recv(100)
    except TimeoutError:
        return True
    return False


def test_a_film_comes_from_the_configs_servers_only(router: Rig) -> None:
    film = router.listen(0, PORT)
    router.film(PORT, b"from elsewhere", media=1)
    assert nothing_comes(film)
    assert counted(router.lab, "from-iptv-drop") == 1
    film.settimeout(20.0)
    router.film(PORT, b"film", media=0, sport=6000)
    assert film.recvfrom(100) == (b"film", (MEDIA[0], 6000))


def test_a_source_of_the_lan_or_the_routers_own_does_not_come_through_a_way(router: Rig) -> None:
    film = router.listen(0, PORT)
    assert router.lab.router.set_sysctl("net/ipv4/conf/vlan2/accept_local", 1)
    forge(router.lab.isp, (router.lab.stbs[1].address, 5000), (ROUTER, PORT), b"forged")
    forge(router.lab.isp, (ROUTER, 5000), (ROUTER, PORT), b"forged")
    assert nothing_comes(film)
    assert counted(router.lab, "from-iptv-spoofed") == 1
    assert counted(router.lab, "from-iptv-own") == 1
    film.settimeout(20.0)
    router.film(PORT, b"film", media=0, sport=6001)
    assert film.recv(100) == b"film"
