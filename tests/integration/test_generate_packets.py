"""What the generated ruleset does to real packets, on this machine's kernel, in the lab's namespaces."""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nftrtsp.config import HelperKind
from nftrtsp.lab.network import LAN_ROUTER, Lab
from tests.integration.crossing import (
    ISP,
    QUIET,
    ROUTER,
    WAIT,
    counted,
    flows,
    load,
    nothing_comes,
    open_pinhole,
    port_of,
    run,
    udp,
)

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.build(stbs=2, media_servers=2) as lab:
        run(lab.isp, "ip", "route", "add", "192.168.1.0/24", "via", ROUTER)
        yield lab


# --- what the LAN starts ---------------------------------------------------------------------------------


def test_what_the_lan_starts_goes_out_with_the_routers_address_and_is_answered(lab: Lab) -> None:
    load(lab)
    server = lab.media_servers[0]
    with udp(lab.isp, server, 5000) as far, udp(lab.stbs[0]) as near:
        near.sendto(b"ask", (server, 5000))
        data, seen = far.recvfrom(2048)
        assert (data, seen[0]) == (b"ask", ROUTER)
        far.sendto(b"answer", seen)
        assert near.recv(2048) == b"answer"


def test_snat_gives_the_address_that_the_config_names(lab: Lab) -> None:
    run(lab.router, "ip", "address", "add", "10.214.0.3/32", "dev", "vlan2")
    load(lab, iptv={"nat": "10.214.0.3"})
    server = lab.media_servers[0]
    with udp(lab.isp, server, 5000) as far, udp(lab.stbs[0]) as near:
        near.sendto(b"ask", (server, 5000))
        assert far.recvfrom(2048)[1][0] == "10.214.0.3"
        # The film then comes to that address; to another of the router's it would not be the box's.
        open_pinhole(lab, 27336, lab.stbs[0].address, port_of(near))
        far.sendto(b"elsewhere", (ROUTER, 27336))
        far.sendto(b"film", ("10.214.0.3", 27336))
        assert near.recv(2048) == b"film"
    run(lab.router, "ip", "address", "del", "10.214.0.3/32", "dev", "vlan2")


def test_errors_about_what_the_lan_started_come_back(lab: Lab) -> None:
    load(lab)
    with udp(lab.stbs[0]) as near:
        near.connect((lab.media_servers[0], 5999))  # nobody listens there
        near.send(b"ask")
        with pytest.raises(ConnectionRefusedError):
            near.recv(2048)
    assert counted(lab, "from-iptv-errors") == 1


def test_an_address_that_would_not_be_masqueraded_stays_inside(lab: Lab) -> None:
    load(lab)
    run(lab.stbs[0], "ip", "address", "add", "10.99.0.1/32", "dev", "eth0")
    server = lab.media_servers[0]
    with udp(lab.isp, server, 5000) as far, udp(lab.stbs[0], "10.99.0.1") as near:
        near.sendto(b"ask", (server, 5000))
        assert nothing_comes(far)
    assert counted(lab, "to-iptv-drop") == 1
    run(lab.stbs[0], "ip", "address", "del", "10.99.0.1/32", "dev", "eth0")


# --- what nobody asked for -------------------------------------------------------------------------------


def test_what_nobody_asked_for_is_dropped_counted_and_leaves_no_entry(lab: Lab) -> None:
    load(lab)
    with (
        udp(lab.router, ROUTER, 27336) as at_router,
        udp(lab.stbs[0], port=27336) as near,
        udp(lab.isp, lab.media_servers[0]) as far,
    ):
        far.sendto(b"film", (ROUTER, 27336))
        far.sendto(b"film", (lab.stbs[0].address, 27336))
        assert nothing_comes(near)
        assert nothing_comes(at_router)
    assert counted(lab, "input-drop") == 1
    assert counted(lab, "from-iptv-drop") == 1
    # An entry without DNAT would swallow the film once its way is open.
    assert [flow for flow in flows(lab) if flow.orig.dport == 27336] == []


def test_with_policy_accept_nothing_is_dropped(lab: Lab) -> None:
    load(lab, iptv={"policy": "accept"})
    with (
        udp(lab.router, ROUTER, 27336) as at_router,
        udp(lab.stbs[0], port=27336) as near,
        udp(lab.isp, lab.media_servers[0]) as far,
    ):
        far.sendto(b"one", (ROUTER, 27336))
        far.sendto(b"two", (lab.stbs[0].address, 27336))
        assert at_router.recv(2048) == b"one"
        assert near.recv(2048) == b"two"


def test_traffic_that_has_nothing_to_do_with_iptv_is_not_judged(lab: Lab) -> None:
    load(lab)
    other = lab.stbs[1]
    router = str(LAN_ROUTER.ip)
    # A third interface of the router: neither LAN nor IPTV.
    run(lab.router, "ip", "link", "add", "wan0", "type", "veth", "peer", "eth1", "netns", other.name)
    try:
        run(lab.router, "ip", "address", "add", "203.0.113.1/24", "dev", "wan0")
        run(lab.router, "ip", "link", "set", "wan0", "up")
        run(other, "ip", "address", "add", "203.0.113.2/24", "dev", "eth1")
        run(other, "ip", "link", "set", "eth1", "up")
        run(other, "ip", "link", "set", "eth0", "down")
        run(other, "ip", "route", "add", "192.168.1.0/24", "via", "203.0.113.1")
        with udp(other, "203.0.113.2", 6000) as outside, udp(lab.stbs[0], port=6001) as inside:
            outside.sendto(b"unasked", (lab.stbs[0].address, 6001))
            assert inside.recvfrom(2048) == (b"unasked", ("203.0.113.2", 6000))
            with udp(lab.router, port=6002) as at_router:
                outside.sendto(b"to the router", ("203.0.113.1", 6002))
                assert at_router.recv(2048) == b"to the router"
                inside.sendto(b"from the LAN", (router, 6002))
                assert at_router.recv(2048) == b"from the LAN"
    finally:
        run(lab.router, "ip", "link", "del", "wan0")
        run(other, "ip", "link", "set", "eth0", "up")
        run(other, "ip", "route", "add", "default", "via", router)


# --- pinholes --------------------------------------------------------------------------------------------


def test_through_a_pinhole_the_film_comes_from_a_server_nobody_knew(lab: Lab) -> None:
    load(lab, rtsp={"pause": "2h", "mark": "0x40/0xc0"})
    with udp(lab.stbs[0], port=27336) as near, udp(lab.isp, lab.media_servers[1], 48440) as far:
        open_pinhole(lab, 27336, lab.stbs[0].address, 27336)
        for number in range(3):
            far.sendto(f"film {number}".encode(), (ROUTER, 27336))
        received = [near.recvfrom(2048) for _ in range(3)]
    assert received[0] == (b"film 0", (lab.media_servers[1], 48440))
    assert counted(lab, "from-iptv-dnat") == 3
    (film,) = [flow for flow in flows(lab) if flow.orig.dport == 27336]
    assert film.mark == 0x40
    assert film.timeout is not None
    assert 7100 < film.timeout <= 7200


def test_the_media_mark_leaves_bits_of_others(lab: Lab) -> None:
    load(lab)
    lab.router.run(
        ["nft", "-f", "-"],
        input="table ip other {\n"
        " chain c {\n  type filter hook forward priority -300;\n  ct mark set 0x7\n }\n}\n",
    )
    try:
        with udp(lab.stbs[0], port=27336) as near, udp(lab.isp, lab.media_servers[1]) as far:
            open_pinhole(lab, 27336, lab.stbs[0].address, 27336)
            far.sendto(b"film", (ROUTER, 27336))
            assert near.recv(2048) == b"film"
        assert [flow.mark for flow in flows(lab) if flow.orig.dport == 27336] == [0x100007]
    finally:
        run(lab.router, "nft", "delete", "table", "ip", "other")


def test_a_pinhole_for_a_host_that_may_not_ask_carries_nothing(lab: Lab) -> None:
    load(lab, stb=[{"address": lab.stbs[0].address}])
    with udp(lab.stbs[1], port=27336) as near, udp(lab.isp, lab.media_servers[1]) as far:
        open_pinhole(lab, 27336, lab.stbs[1].address, 27336)
        far.sendto(b"film", (ROUTER, 27336))
        assert nothing_comes(near)
    assert counted(lab, "from-iptv-drop") == 1


def test_live_tv_on_the_port_of_a_pinhole_stays_live_tv(lab: Lab) -> None:
    load(lab)
    with udp(lab.stbs[0], port=27336) as near, udp(lab.router, port=27336) as proxy:
        open_pinhole(lab, 27336, lab.stbs[0].address, 27336)
        join(proxy, "239.0.0.7", ROUTER)
        with udp(lab.isp, ISP) as far:
            multicast(far, b"live", "239.0.0.7", 27336)
        assert proxy.recv(2048) == b"live"
        assert nothing_comes(near)
    assert counted(lab, "input-multicast") == 1


def test_reloading_does_not_interrupt_a_film(lab: Lab) -> None:
    load(lab)
    with udp(lab.stbs[0], port=27336) as near, udp(lab.isp, lab.media_servers[1]) as far:
        open_pinhole(lab, 27336, lab.stbs[0].address, 27336)
        far.sendto(b"before", (ROUTER, 27336))
        assert near.recv(2048) == b"before"
        text = lab.router.nftrtsp("generate", "--helper", "pinhole").stdout
        lab.router.run(["nft", "-f", "-"], input=text)
        far.sendto(b"after", (ROUTER, 27336))
        assert near.recv(2048) == b"after"


# --- RTSP ------------------------------------------------------------------------------------------------


def converse(lab: Lab, box: int = 0, port: int = 554) -> list[str | None]:
    """One TCP connection from a box to the RTSP server: a word each way, then closed. Return its helper."""
    listener = lab.isp.call(lambda: socket.create_server((lab.rtsp_server, port)))
    with listener:
        near = lab.stbs[box].call(lambda: socket.create_connection((lab.rtsp_server, port), WAIT))
        far, _ = listener.accept()
        with near, far:
            near.sendall(b"OPTIONS * RTSP/1.0\r\n\r\n")
            assert far.recv(2048)
            far.sendall(b"RTSP/1.0 200 OK\r\n\r\n")
            assert near.recv(2048)
            helpers = [f.helper for f in flows(lab) if f.orig.dport == port]
            near.shutdown(socket.SHUT_WR)
            assert far.recv(2048) == b""
            far.shutdown(socket.SHUT_WR)
            assert near.recv(2048) == b""
    return helpers


def test_rtsp_is_copied_in_both_directions_up_to_the_fin(lab: Lab) -> None:
    load(lab)
    converse(lab)
    # SYN, ACK, request, ACK, FIN, ACK and their answers: at least four each way, the FIN among them.
    assert counted(lab, "copy-requests") >= 4
    assert counted(lab, "copy-answers") >= 3
    before = counted(lab, "copy-requests")
    with udp(lab.isp, lab.rtsp_server, 554), udp(lab.stbs[0]) as near:
        near.sendto(b"not TCP", (lab.rtsp_server, 554))
        time.sleep(0.05)
    assert counted(lab, "copy-requests") == before


def test_rtsp_of_configured_boxes_gets_the_helper_and_of_others_not(lab: Lab) -> None:
    load(lab, HelperKind.USERSPACE, rtsp={"ports": [554, 1554]}, stb=[{"address": lab.stbs[0].address}])
    for box, port, helper in ((0, 554, "ftp"), (0, 1554, "ftp"), (0, 8554, None), (1, 554, None)):
        lab.router.run(["conntrack", "-F"])
        assert converse(lab, box, port) == [helper]


def test_without_boxes_the_whole_lan_gets_the_helper(lab: Lab) -> None:
    load(lab, HelperKind.USERSPACE, boxes=False)
    assert converse(lab, 1) == ["ftp"]


# --- what the router takes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "source", "target"), [("rip", 520, ("224.0.0.9", 520)), ("dhcp", 67, (ROUTER, 68))]
)
def test_a_service_is_taken_only_where_the_config_names_it(
    lab: Lab, service: str, source: int, target: tuple[str, int]
) -> None:
    with udp(lab.router, port=target[1]) as at_router, udp(lab.isp, ISP, source) as far:
        if target[0].startswith("224."):
            join(at_router, target[0], ROUTER)
            far.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ISP))
        load(lab, iptv={"services": []})
        far.sendto(b"no", target)
        assert nothing_comes(at_router)
        load(lab, iptv={"services": [service]})
        far.sendto(b"yes", target)
        assert at_router.recv(2048) == b"yes"
        assert counted(lab, f"input-{service}") == 1


def test_ping_is_answered_only_where_the_config_names_icmp(lab: Lab) -> None:
    assert not pinged(lab, services=[])
    assert pinged(lab, services=["icmp"])


def pinged(lab: Lab, services: list[str]) -> bool:
    load(lab, iptv={"services": services})
    icmp = lab.isp.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    with icmp:
        request = struct.pack("!BBHHH", 8, 0, 0xF7FD, 1, 1)  # echo request with its checksum
        icmp.sendto(request, (ROUTER, 0))
        icmp.settimeout(QUIET if not services else WAIT)
        try:
            return icmp.recv(2048)[20] == 0  # echo reply, behind the IP header
        except TimeoutError:
            return False


def test_igmp_queries_are_taken_only_where_the_config_names_igmp(lab: Lab) -> None:
    raw = lab.isp.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP))
    with raw:
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ISP))
        query = struct.pack("!BBH4s", 0x11, 100, 0xEE9B, bytes(4))
        for services, rule in (([], "input-drop"), (["igmp"], "input-igmp")):
            load(lab, iptv={"services": services})
            before = counted(lab, rule)
            raw.sendto(query, ("224.0.0.1", 0))
            assert eventually(lambda rule=rule, before=before: counted(lab, rule) > before)


def eventually(holds: Any) -> bool:
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return False


# --- live TV ---------------------------------------------------------------------------------------------


def join(opened: socket.socket, group: str, interface: str) -> None:
    membership = socket.inet_aton(group) + socket.inet_aton(interface)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)


def multicast(opened: socket.socket, data: bytes, group: str, port: int) -> None:
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ISP))
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
    opened.sendto(data, (group, port))


@contextmanager
def multicast_routes(lab: Lab, groups: list[str]) -> Iterator[None]:
    """Route ``groups`` from vlan2 to br0, as an IGMP proxy does. Source: linux/mroute.h."""
    mrt_init, mrt_add_vif, mrt_add_mfc, use_ifindex = 200, 202, 204, 8
    raw = lab.router.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP))
    with raw:
        try:
            raw.setsockopt(socket.IPPROTO_IP, mrt_init, 1)
        except OSError as error:
            if error.errno in (errno.ENOPROTOOPT, errno.EOPNOTSUPP):
                pytest.skip("this kernel does not route multicast")
            raise
        links = [lab.router.call(lambda: socket.if_nametoindex("vlan2"))]
        links.append(lab.router.call(lambda: socket.if_nametoindex("br0")))
        for vif, index in enumerate(links):
            raw.setsockopt(
                socket.IPPROTO_IP,
                mrt_add_vif,
                struct.pack("=HBBIi4s", vif, use_ifindex, 1, 0, index, bytes(4)),
            )
        for group in groups:
            thresholds = bytes([0, 1] + [0] * 30)
            entry = socket.inet_aton(ISP) + socket.inet_aton(group) + struct.pack("=H", 0) + thresholds
            raw.setsockopt(socket.IPPROTO_IP, mrt_add_mfc, entry + bytes(2) + bytes(16))
        yield


def test_configured_groups_of_live_tv_pass_and_others_do_not(lab: Lab) -> None:
    load(lab)
    with (
        multicast_routes(lab, ["239.0.0.5", "239.200.0.5"]),
        udp(lab.stbs[0], port=8208) as near,
        udp(lab.isp, ISP) as far,
    ):
        join(near, "239.0.0.5", lab.stbs[0].address)
        join(near, "239.200.0.5", lab.stbs[0].address)
        multicast(far, b"not configured", "239.200.0.5", 8208)
        multicast(far, b"live", "239.0.0.5", 8208)
        assert near.recv(2048) == b"live"
        assert nothing_comes(near)
    assert counted(lab, "from-iptv-multicast") == 1
    assert counted(lab, "from-iptv-drop") == 1


# --- full cone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [HelperKind.USERSPACE, HelperKind.PINHOLE])
def test_full_cone_lets_another_server_answer_and_marks_the_film(lab: Lab, kind: HelperKind) -> None:
    load(lab, kind, iptv={"full_cone": True})
    asked, other = lab.media_servers
    with udp(lab.stbs[0], port=30000) as near, udp(lab.isp, asked, 5000) as far:
        near.sendto(b"punch", (asked, 5000))
        seen = far.recvfrom(2048)[1]
        with udp(lab.isp, other, 5001) as media:
            media.sendto(b"film", seen)
        assert near.recvfrom(2048) == (b"film", (other, 5001))
    (film,) = [flow for flow in flows(lab) if flow.orig.sport == 5001]
    assert film.mark == 0x100000


def test_without_full_cone_only_the_server_that_was_asked_may_answer(lab: Lab) -> None:
    load(lab)
    asked, other = lab.media_servers
    with udp(lab.stbs[0], port=30000) as near, udp(lab.isp, asked, 5000) as far:
        near.sendto(b"punch", (asked, 5000))
        seen = far.recvfrom(2048)[1]
        with udp(lab.isp, other, 5001) as media:
            media.sendto(b"film", seen)
        assert nothing_comes(near)


def test_full_cone_knows_the_port_that_nat_had_to_change(lab: Lab) -> None:
    load(lab, iptv={"full_cone": True})
    asked, other = lab.media_servers
    boxes = lab.stbs
    with (
        udp(boxes[0], port=30000) as first,
        udp(boxes[1], port=30000) as second,
        udp(lab.isp, asked, 5000) as far,
        udp(lab.isp, other, 5001) as media,
    ):
        first.sendto(b"one", (asked, 5000))
        seen_first = far.recvfrom(2048)[1]
        second.sendto(b"two", (asked, 5000))
        seen_second = far.recvfrom(2048)[1]
        assert seen_first != seen_second  # one of them has another port now
        media.sendto(b"film one", seen_first)
        media.sendto(b"film two", seen_second)
        assert first.recv(2048) == b"film one"
        assert second.recv(2048) == b"film two"


def test_full_cone_is_for_boxes_only(lab: Lab) -> None:
    load(lab, iptv={"full_cone": True}, stb=[{"address": lab.stbs[0].address}])
    asked, other = lab.media_servers
    with udp(lab.stbs[1], port=30000) as near, udp(lab.isp, asked, 5000) as far:
        near.sendto(b"punch", (asked, 5000))
        seen = far.recvfrom(2048)[1]
        with udp(lab.isp, other, 5001) as media:
            media.sendto(b"film", seen)
        assert nothing_comes(near)


# --- IPv6 ------------------------------------------------------------------------------------------------


def test_ipv6_from_the_iptv_side_is_judged_too(lab: Lab) -> None:
    load(lab, iptv={"services": ["icmp"]})
    for space, link, address in ((lab.router, "vlan2", "fd00:2::2/64"), (lab.isp, "iptv", "fd00:2::1/64")):
        space.run(["sysctl", "-qw", f"net.ipv6.conf.{link}.disable_ipv6=0"], check=False)
        try:
            space.run(["ip", "-6", "address", "add", address, "dev", link, "nodad"])
        except Exception:
            pytest.skip("this kernel has no IPv6")
    try:
        at_router = lab.router.call(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        far = lab.isp.call(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        with at_router, far:
            at_router.bind(("fd00:2::2", 27336))
            before = counted(lab, "input-drop")
            far.sendto(b"unasked", ("fd00:2::2", 27336))
            # Neighbour discovery had to work for the packet to come as far as the drop.
            assert eventually(lambda: counted(lab, "input-drop") > before)
            assert nothing_comes(at_router)
            at_router.sendto(b"asked", ("fd00:2::1", far.getsockname()[1]))
            far.settimeout(WAIT)
            data, sender = far.recvfrom(2048)
            far.sendto(b"answer", sender)
            assert (data, at_router.recv(2048)) == (b"asked", b"answer")
    finally:
        lab.router.run(["ip", "-6", "address", "del", "fd00:2::2/64", "dev", "vlan2"])
        lab.isp.run(["ip", "-6", "address", "del", "fd00:2::1/64", "dev", "iptv"])
