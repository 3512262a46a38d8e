"""Ports of the router stay its own, and films come from whom the config lets: real packets in the lab."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nftrtsp.config import HelperKind
from nftrtsp.lab.network import Lab
from tests.integration.crossing import (
    ROUTER,
    counted,
    forge,
    load,
    nothing_comes,
    open_pinhole,
    run,
    udp,
)

pytestmark = pytest.mark.root

KINDS = [HelperKind.USERSPACE, HelperKind.PINHOLE]
WIREGUARD = 51820
ELSEWHERE = "172.26.83.77"  # an address on the IPTV side that nobody has


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.build(stbs=2, media_servers=2) as lab:
        run(lab.isp, "ip", "route", "add", "192.168.1.0/24", "via", ROUTER)
        yield lab


def cone(lab: Lab) -> str:
    """Return the elements of the full cone's map."""
    return run(lab.router, "nft", "list", "map", "inet", "nftrtsp", "cone").partition("elements = ")[2]


def full_cone_film_arrives(lab: Lab, port: int = 30000) -> bool:
    """A box sends to one server, and another answers."""
    asked, other = lab.media_servers
    with udp(lab.stbs[0], port=port) as near, udp(lab.isp, asked, 5000) as far:
        near.sendto(b"punch", (asked, 5000))
        seen = far.recvfrom(2048)[1]
        with udp(lab.isp, other, 5001) as media:
            media.sendto(b"film", seen)
        return near.recvfrom(2048) == (b"film", (other, 5001))


# --- full cone: ports of the router ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("port", [53, 68, 123, 520, 1023])
def test_a_host_does_not_get_a_port_of_services_by_sending_from_it(
    lab: Lab, kind: HelperKind, port: int
) -> None:
    load(lab, kind, iptv={"full_cone": True, "policy": "accept"})
    asked, other = lab.media_servers
    with udp(lab.stbs[1], port=port) as near, udp(lab.isp, asked, 5000) as far:
        near.sendto(b"punch", (asked, 5000))
        seen = far.recvfrom(2048)[1]
        assert seen == (ROUTER, port)
        assert cone(lab) == ""
        with udp(lab.isp, other, 5001) as media:
            media.sendto(b"for the router", seen)
        assert nothing_comes(near)
    assert full_cone_film_arrives(lab)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("address", ["0.0.0.0", ROUTER])
def test_a_port_that_the_router_listens_on_stays_its_own(lab: Lab, kind: HelperKind, address: str) -> None:
    load(lab, kind, iptv={"full_cone": True, "policy": "accept"})
    asked, other = lab.media_servers
    with udp(lab.stbs[1], port=WIREGUARD) as near, udp(lab.isp, asked, 5000) as far:
        near.sendto(b"punch", (asked, 5000))
        seen = far.recvfrom(2048)[1]
        assert seen == (ROUTER, WIREGUARD)
        # Also a program that starts only now.
        with udp(lab.router, address, WIREGUARD) as service, udp(lab.isp, other, 5001) as peer:
            peer.sendto(b"for the router", seen)
            assert service.recv(2048) == b"for the router"
            assert nothing_comes(near)
            assert counted(lab, "cone-router") == 1
            assert full_cone_film_arrives(lab)


def test_an_ipv6_listener_for_any_address_keeps_its_port_too(lab: Lab) -> None:
    import socket

    load(lab, iptv={"full_cone": True, "policy": "accept"})
    asked, other = lab.media_servers
    service = lab.router.call(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    with service, udp(lab.stbs[1], port=WIREGUARD) as near, udp(lab.isp, asked, 5000) as far:
        service.bind(("::", WIREGUARD))
        service.settimeout(3)
        near.sendto(b"punch", (asked, 5000))
        seen = far.recvfrom(2048)[1]
        with udp(lab.isp, other, 5001) as peer:
            peer.sendto(b"for the router", seen)
        assert service.recv(2048) == b"for the router"
        assert nothing_comes(near)


def test_a_program_that_listens_on_the_lan_only_takes_no_port_of_films(lab: Lab) -> None:
    load(lab, iptv={"full_cone": True})
    with udp(lab.router, "127.0.0.1", 30000), udp(lab.router, "192.168.1.1", 30000):
        assert full_cone_film_arrives(lab, 30000)


@pytest.mark.parametrize("kind", KINDS)
def test_an_iptv_host_cannot_write_the_full_cone_by_way_of_the_router(lab: Lab, kind: HelperKind) -> None:
    load(lab, kind, iptv={"full_cone": True, "policy": "accept"})
    run(lab.isp, "ip", "route", "add", ELSEWHERE, "via", ROUTER)
    try:
        forge(lab.isp, (lab.stbs[0].address, 7777), (ELSEWHERE, 5000), b"in and out again")
        assert cone(lab) == ""
        # The kernel may take that packet for its own; the rule must hold without the drop of forged sources.
        run(lab.router, "nft", "flush", "chain", "inet", "nftrtsp", "sources")
        forge(lab.isp, (lab.stbs[0].address, 7777), (ELSEWHERE, 5000), b"in and out again")
        assert cone(lab) == ""
    finally:
        run(lab.isp, "ip", "route", "del", ELSEWHERE)
    assert full_cone_film_arrives(lab)


def test_a_pinhole_below_1024_carries_nothing_though_the_map_holds_it(lab: Lab) -> None:
    load(lab, iptv={"policy": "accept"})
    with (
        udp(lab.stbs[0], port=27336) as near,
        udp(lab.router, port=53) as service,
        udp(lab.isp, lab.media_servers[1]) as far,
    ):
        open_pinhole(lab, 53, lab.stbs[0].address, 27336)
        far.sendto(b"for the router", (ROUTER, 53))
        assert service.recv(2048) == b"for the router"
        assert nothing_comes(near)
        open_pinhole(lab, 1024, lab.stbs[0].address, 27336)
        far.sendto(b"film", (ROUTER, 1024))
        assert near.recv(2048) == b"film"


# --- strict sources --------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["drop", "accept"])
def test_with_strict_sources_a_film_comes_from_the_configs_servers_only(lab: Lab, policy: str) -> None:
    known, unknown = lab.media_servers
    with udp(lab.stbs[0], port=27336) as near:
        for strict in (False, True):
            load(lab, iptv={"servers": [f"{known}/32"], "strict_sources": strict, "policy": policy})
            open_pinhole(lab, 27336, lab.stbs[0].address, 27336)
            with udp(lab.isp, known, 5001) as media, udp(lab.isp, unknown, 5001) as other:
                other.sendto(b"other", (ROUTER, 27336))
                if strict:
                    assert nothing_comes(near)
                else:
                    assert near.recv(2048) == b"other"
                media.sendto(b"film", (ROUTER, 27336))
                assert near.recvfrom(2048) == (b"film", (known, 5001))


def test_with_strict_sources_full_cone_answers_come_from_the_configs_servers_only(lab: Lab) -> None:
    asked, other = lab.media_servers
    load(lab, iptv={"full_cone": True, "servers": [f"{asked}/32"], "strict_sources": True})
    with udp(lab.stbs[0], port=30000) as near, udp(lab.isp, asked, 5000) as far:
        near.sendto(b"punch", (asked, 5000))
        seen = far.recvfrom(2048)[1]
        with udp(lab.isp, other, 5001) as media, udp(lab.isp, asked, 5002) as known:
            media.sendto(b"other", seen)
            assert nothing_comes(near)
            known.sendto(b"film", seen)
            assert near.recvfrom(2048) == (b"film", (asked, 5002))
