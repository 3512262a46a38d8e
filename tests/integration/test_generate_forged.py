"""Forged packets against the generated ruleset: attacks come to nothing, and the film beside them plays."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nftrtsp.config import HelperKind
from nftrtsp.lab.namespace import Namespace
from nftrtsp.lab.network import Lab
from tests.integration.crossing import (
    ISP,
    QUIET,
    ROUTER,
    WAIT,
    copied,
    counted,
    forge,
    load,
    nothing_comes,
    numbers,
    open_pinhole,
    run,
    udp,
)

pytestmark = pytest.mark.root

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
PORT = 27336
ANSWER = (
    b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nSession: 1\r\n"
    b"Transport: MP2T/H2221/UDP;unicast;client_port=5353-5354\r\n\r\n"
)
SETUP = (
    b"SETUP rtsp://s/film RTSP/1.0\r\nCSeq: 2\r\nTransport: MP2T/H2221/UDP;unicast;client_port=27400\r\n\r\n"
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.build(stbs=2, media_servers=2) as lab:
        run(lab.isp, "ip", "route", "add", "192.168.1.0/24", "via", ROUTER)
        yield lab


def film_arrives(lab: Lab) -> bool:
    """Open a way and send a film's datagram from a server that nobody knew."""
    with udp(lab.stbs[0], port=PORT) as near, udp(lab.isp, lab.media_servers[1]) as far:
        open_pinhole(lab, PORT, lab.stbs[0].address, PORT)
        far.sendto(b"film", (ROUTER, PORT))
        return near.recv(2048) == b"film"


@contextmanager
def connection(lab: Lab) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A box's TCP connection to the RTSP server: its end, and the server's."""
    with lab.isp.call(lambda: socket.create_server((lab.rtsp_server, 554))) as listener:
        near = lab.stbs[0].call(lambda: socket.create_connection((lab.rtsp_server, 554), WAIT))
        far, _ = listener.accept()
        far.settimeout(WAIT)
        with near, far:
            yield near, far


def said(sender: socket.socket, receiver: socket.socket, data: bytes) -> None:
    """Send and wait until it is there."""
    sender.sendall(data)
    assert receiver.recv(2048) == data


# --- copies of RTSP --------------------------------------------------------------------------------------


def test_an_answer_without_a_connection_is_not_copied(lab: Lab) -> None:
    load(lab)
    box = (lab.stbs[0].address, 40000)
    for _ in range(4):
        forge(lab.isp, ("172.26.83.66", 554), box, ANSWER, flags=PSH | ACK)
    time.sleep(QUIET)
    assert copied(lab) == 0
    assert film_arrives(lab)


def test_a_setup_forged_into_no_connection_is_not_copied(lab: Lab) -> None:
    load(lab)
    box = (lab.stbs[0].address, 40000)
    for number in range(3):  # the later ones meet the conntrack entry of the first
        forge(lab.stbs[1], box, (lab.rtsp_server, 554), SETUP, flags=PSH | ACK, seq=1 + number * len(SETUP))
        time.sleep(QUIET)
    # The server resets what it does not know: that alone may be copied.
    assert counted(lab, "copy-requests") == 0


def test_a_segment_beyond_the_window_of_a_connection_is_not_copied(lab: Lab) -> None:
    """One before it is, since Linux 6.0 takes such for late: that the helper must tell by itself."""
    load(lab)
    with connection(lab) as (near, far):
        said(near, far, b"OPTIONS * RTSP/1.0\r\n\r\n")
        said(far, near, b"RTSP/1.0 200 OK\r\n\r\n")
        box, server = near.getsockname(), (lab.rtsp_server, 554)
        sent, received = numbers(near)
        before = copied(lab)
        for flags, data in ((RST, b""), (PSH | ACK, SETUP), (FIN | ACK, b"")):
            request = {"seq": (sent + (1 << 30)) & 0xFFFFFFFF, "ack": received}
            answer = {"seq": (received + (1 << 30)) & 0xFFFFFFFF, "ack": sent}
            forge(lab.stbs[1], box, server, data, flags=flags, **request)
            forge(lab.isp, server, (ROUTER, box[1]), data, flags=flags, **answer)
        time.sleep(QUIET)
        assert copied(lab) == before
        said(near, far, SETUP)
        assert copied(lab) > before
        assert film_arrives(lab)


@pytest.mark.parametrize("last", ["fin", "rst"])
def test_what_ends_a_connection_is_still_copied(lab: Lab, last: str) -> None:
    load(lab)
    with connection(lab) as (near, far):
        said(near, far, b"OPTIONS * RTSP/1.0\r\n\r\n")
        said(far, near, b"RTSP/1.0 200 OK\r\n\r\n")
        before = counted(lab, "copy-requests"), counted(lab, "copy-answers")
        if last == "rst":
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            near.close()
            with pytest.raises(ConnectionResetError):
                far.recv(2048)
            assert counted(lab, "copy-requests") == before[0] + 1
            return
        near.shutdown(socket.SHUT_WR)
        assert far.recv(2048) == b""
        far.shutdown(socket.SHUT_WR)
        assert near.recv(2048) == b""
        # A FIN each way; acknowledgements may come on their own or not.
        assert counted(lab, "copy-requests") > before[0]
        assert counted(lab, "copy-answers") > before[1]


def test_a_connection_that_conntrack_forgot_is_copied_again_once_both_sides_have_spoken(lab: Lab) -> None:
    load(lab)
    with connection(lab) as (near, far):
        said(near, far, b"OPTIONS * RTSP/1.0\r\n\r\n")
        lab.router.run(["conntrack", "-F"])
        load(lab)
        near.sendall(b"GET_PARAMETER")
        assert far.recv(2048) == b"GET_PARAMETER"
        assert counted(lab, "copy-starts") == 0
        said(far, near, b"RTSP/1.0 200 OK\r\n\r\n")
        answers, requests = counted(lab, "copy-answers"), counted(lab, "copy-requests")
        assert answers >= 1
        said(near, far, SETUP)
        assert counted(lab, "copy-requests") > requests


# --- sources that cannot be there ------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["drop", "accept"])
def test_a_source_of_the_lan_does_not_come_in_from_the_iptv_side(lab: Lab, policy: str) -> None:
    load(lab, iptv={"policy": policy})
    with udp(lab.stbs[0], port=PORT) as near, udp(lab.router, port=6002) as at_router:
        open_pinhole(lab, PORT, lab.stbs[0].address, PORT)
        forged = (lab.stbs[1].address, 5000)
        forge(lab.isp, forged, (ROUTER, PORT), b"forged")  # through the way
        forge(lab.isp, forged, (lab.stbs[0].address, PORT), b"forged")  # to the box
        forge(lab.isp, forged, (ROUTER, 6002), b"forged")  # to the router
        assert nothing_comes(near)
        assert nothing_comes(at_router)
        assert counted(lab, "from-iptv-spoofed") == 3
    assert film_arrives(lab)


@pytest.mark.parametrize("policy", ["drop", "accept"])
def test_a_source_of_the_routers_own_does_not_come_in_from_the_iptv_side(lab: Lab, policy: str) -> None:
    load(lab, iptv={"policy": policy})
    # Where an owner set this, the kernel's own check of sources lets such packets pass.
    assert lab.router.set_sysctl("net/ipv4/conf/vlan2/accept_local", 1)
    try:
        with udp(lab.stbs[0], port=PORT) as near:
            open_pinhole(lab, PORT, lab.stbs[0].address, PORT)
            forge(lab.isp, (ROUTER, 5000), (ROUTER, PORT), b"forged")
            assert nothing_comes(near)
            assert counted(lab, "from-iptv-own") == 1
    finally:
        lab.router.set_sysctl("net/ipv4/conf/vlan2/accept_local", 0)
    assert film_arrives(lab)


def test_what_the_router_sends_to_a_group_still_comes_back_to_its_own_listeners(lab: Lab) -> None:
    load(lab)
    with udp(lab.router, port=8208) as listener, udp(lab.router, ROUTER) as sender:
        membership = socket.inet_aton("239.0.0.7") + socket.inet_aton(ROUTER)
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ROUTER))
        sender.sendto(b"own", ("239.0.0.7", 8208))
        assert listener.recv(2048) == b"own"
    assert counted(lab, "from-iptv-own") == 0


# --- what leaves untranslated ----------------------------------------------------------------------------


@contextmanager
def seen_at(space: Namespace, protocol: int) -> Iterator[socket.socket]:
    raw = space.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol))
    with raw:
        raw.settimeout(QUIET)
        yield raw


def sources(raw: socket.socket) -> set[str]:
    """Return whom packets came from until none came for a while."""
    found = set()
    try:
        while True:
            found.add(socket.inet_ntoa(raw.recv(2048)[12:16]))
    except TimeoutError:
        return found


@pytest.mark.parametrize("policy", ["drop", "accept"])
@pytest.mark.parametrize("kind", [HelperKind.USERSPACE, HelperKind.PINHOLE])
def test_what_belongs_to_no_connection_does_not_leave_with_an_address_of_the_lan(
    lab: Lab, kind: HelperKind, policy: str
) -> None:
    load(lab, kind, iptv={"policy": policy})
    with seen_at(lab.isp, socket.IPPROTO_TCP) as raw:
        forge(lab.stbs[0], (lab.stbs[0].address, 40001), (lab.rtsp_server, 554), flags=RST)
        assert sources(raw) == set()
        assert counted(lab, "to-iptv-invalid") == 1
        with connection(lab) as (near, far):
            said(near, far, SETUP)
        assert sources(raw) == {ROUTER}


def test_what_somebody_exempts_from_conntrack_does_not_leave_with_an_address_of_the_lan(lab: Lab) -> None:
    load(lab)
    chain = "chain c {\n  type filter hook prerouting priority -300\n  udp dport 5999 notrack\n }\n"
    lab.router.run(["nft", "-f", "-"], input=f"table ip other {{\n {chain}}}\n")
    try:
        with udp(lab.stbs[0]) as near, seen_at(lab.isp, socket.IPPROTO_UDP) as raw:
            near.sendto(b"untracked", (ISP, 5999))
            assert sources(raw) == set()
            near.sendto(b"tracked", (ISP, 5998))
            assert sources(raw) == {ROUTER}
    finally:
        run(lab.router, "nft", "delete", "table", "ip", "other")
    assert counted(lab, "to-iptv-invalid") == 1
