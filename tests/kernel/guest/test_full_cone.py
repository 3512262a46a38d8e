"""Full cone NAT in plain nftables, for boxes that send before they ask: no helper, no module."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.integration.crossing import counted

from .conftest import Router, router, until

PORT = 27336
WIREGUARD = 51820
SEND = (
    "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    "s.bind((sys.argv[1], int(sys.argv[2]))); s.sendto(b'punch', (sys.argv[3], int(sys.argv[4])))"
)


@pytest.fixture(scope="module")
def cone() -> Iterator[Router]:
    with router("pinhole", apply=False) as made:
        text = made.lab.config_path.read_text()
        made.lab.write_config(text.replace("[iptv]\n", "[iptv]\nfull_cone = true\n"))
        made.lab.router.nftrtsp("apply", "--yes")
        yield made


def test_a_server_of_another_address_reaches_the_box_that_punched(cone: Router) -> None:
    stb, heard = cone.lab.stbs[0], cone.players[0].listen(PORT + 1)
    python = ["python3", "-c", SEND]
    # The box sends from the port it will listen at; then a server it never spoke to sends there.
    cone.lab.isp.run([*python, cone.lab.media_servers[1], "5000", "10.214.0.2", str(PORT)])
    heard.unlisten()
    stb.run([*python, stb.address, str(PORT), cone.lab.media_servers[0], "5000"])
    film = cone.players[0].listen(PORT)
    cone.lab.isp.run([*python, cone.lab.media_servers[1], "5001", "10.214.0.2", str(PORT)])
    until(lambda: f"{cone.lab.media_servers[1]}:5001" in film.report().sources, "the datagram came")
    film.unlisten()


def test_nobody_is_reached_who_did_not_punch(cone: Router) -> None:
    film = cone.players[1].listen(PORT + 5)
    python = ["python3", "-c", SEND]
    cone.lab.isp.run([*python, cone.lab.media_servers[1], "5000", "10.214.0.2", str(PORT + 5)])
    assert film.report().sources == {}
    film.unlisten()


def test_what_the_router_listens_on_and_what_lies_below_1024_stays_its_own(cone: Router) -> None:
    router, box = cone.lab.router, cone.lab.stbs[1]
    service = router.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with service:
        service.bind(("0.0.0.0", WIREGUARD))
        for port in (53, WIREGUARD):
            box.run(["python3", "-c", SEND, box.address, str(port), cone.lab.media_servers[0], "5000"])
            film = cone.players[1].listen(port)
            cone.lab.isp.run(
                ["python3", "-c", SEND, cone.lab.media_servers[1], "5002", "10.214.0.2", str(port)]
            )
            until(lambda: counted(cone.lab, "input-drop") > 0, "the datagram came as far as the router")
            assert film.report().sources == {}
            film.unlisten()
    assert counted(cone.lab, "cone-router") == 1
    assert "53 " not in router.run(["nft", "list", "map", "inet", "nftrtsp", "cone"]).stdout
