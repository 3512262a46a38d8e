"""The expectations of the userspace helper on this machine's kernel, which has ctnetlink but no such helper.

Conntrack takes expectations for any connection that has a helper: the built-in ftp stands in for ours.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from nftrtsp.config import load
from nftrtsp.conntrack.dump_filter import DumpFilter, Match
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.conntrack.tuple import IPPROTO_TCP
from nftrtsp.helper.userspace.expectations import Expectations
from nftrtsp.helper.ways import Claim, Connection, Way
from nftrtsp.lab.network import Lab

pytestmark = pytest.mark.root

RULES = """
table ip stand_in {
  ct helper f {
    type "ftp" protocol tcp
    l3proto ip
  }
  chain attach {
    type filter hook forward priority -1;
    tcp dport 554 ct helper set "f"
  }
  chain marking {
    type filter hook forward priority 0;
    ct state related ct mark set 0x100000
  }
  chain masking {
    type nat hook postrouting priority 100;
    oifname "vlan2" masquerade
  }
}
"""
FTP_TIMEOUT = 300  # of the stand-in's policy, in seconds


class Stand:
    """A router with one control connection under a helper, and the expectations to try."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        lab.router.run(["nft", "-f", "-"], input=RULES)
        self.server = lab.isp.call(lambda: socket.create_server((str(lab.rtsp_server), 554)))
        self.box = lab.stbs[0].call(lambda: socket.create_connection((str(lab.rtsp_server), 554), 10))
        self.conntrack = lab.router.call(Conntrack)
        config = load(lab.config_path)
        self.expectations = lab.router.call(lambda: Expectations(config, policy_timeout=FTP_TIMEOUT))
        self.flow = self._flow()
        orig = self.flow.orig
        self.connection = Connection(orig.src, orig.sport or 0, orig.dst, orig.dport or 0)
        self.router = self.flow.reply.dst

    def _flow(self) -> Flow:
        (flow,) = self.conntrack.dump_flows(DumpFilter(orig=Match(proto=IPPROTO_TCP, dport=554)))
        return flow

    def close(self) -> None:
        for one in (self.server, self.box):
            one.close()
        self.expectations.close_sockets()
        self.conntrack.close()

    def way(self, port: int, stb_port: int) -> Way:
        way = Way(port, self.connection.client, stb_port, self.connection, time.monotonic())
        way.claims.append(Claim(self.connection, "rtsp://s/", 1, time.monotonic()))
        return way

    def open(self, way: Way, now: float | None = None) -> None:
        self.expectations.open(way, self.flow.orig, self.router, time.monotonic() if now is None else now)

    def timeouts(self) -> list[int]:
        return [one.timeout for one in self.conntrack.dump_expectations()]

    def film(self, media: int, port: int, text: bytes) -> None:
        with self.lab.isp.call(lambda: udp(str(self.lab.media_servers[media]), 5000)) as source:
            source.sendto(text, (str(IPv4Address(self.router)), port))


def udp(address: str, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind((address, port))
    opened.settimeout(5)
    return opened


@pytest.fixture
def stand() -> Iterator[Stand]:
    with Lab.build(stbs=1, media_servers=3) as lab:
        one = Stand(lab)
        yield one
        one.close()


def test_a_way_lets_films_in_from_any_server_one_after_the_other(stand: Stand) -> None:
    stand.open(stand.way(27338, 27336))
    with stand.lab.stbs[0].call(lambda: udp(stand.lab.stbs[0].address, 27336)) as box:
        for media in range(3):
            stand.film(media, 27338, b"%d" % media)
            # All three send from one port number, and the box sees who it is.
            assert box.recvfrom(10) == (b"%d" % media, (str(stand.lab.media_servers[media]), 5000))
    (expectation,) = stand.conntrack.dump_expectations()
    assert expectation.any_source
    assert expectation.flags & 1, "permanent"
    assert expectation.timeout >= 3598, "as rtsp.pause says, not as the helper's policy"


def test_opening_again_changes_nothing_and_closing_ends_it(stand: Stand) -> None:
    way = stand.way(27336, 27336)
    stand.open(way)
    stand.open(way)
    assert len(stand.timeouts()) == 1
    stand.expectations.close(way, cut=False)
    stand.expectations.close(way, cut=False)
    assert stand.timeouts() == []


def test_what_somebody_left_at_the_port_gives_way(stand: Stand) -> None:
    stand.open(stand.way(27336, 27336))
    other = stand.lab.router.call(
        lambda: Expectations(load(stand.lab.config_path), policy_timeout=FTP_TIMEOUT)
    )
    other.open(stand.way(27336, 30000), stand.flow.orig, stand.router, 0)
    other.close_sockets()
    (expectation,) = stand.conntrack.dump_expectations()
    assert expectation.nat is not None
    assert expectation.nat.tuple.sport == 30000


def test_a_session_that_lives_prolongs_its_way_and_a_silent_one_does_not(stand: Stand) -> None:
    now = time.monotonic()
    way = stand.way(27336, 27336)
    way.claims[0].timeout = 60
    stand.open(way, now)
    assert stand.expectations.refresh([way], now + 1800) == ([], False)
    assert stand.expectations.left(way, now + 1800) == pytest.approx(1800, abs=2)
    way.claims[0].seen = now + 1800
    assert stand.expectations.refresh([way], now + 1800) == ([], False)
    assert stand.expectations.left(way, now + 1800) == pytest.approx(3600, abs=2)


def test_a_way_whose_connection_conntrack_has_forgotten_is_reported(stand: Stand) -> None:
    now = time.monotonic()
    way = stand.way(27336, 27336)
    stand.open(way, now)
    assert not stand.expectations.has_ended(stand.connection, 1)
    stand.conntrack.delete_flow(stand.flow)
    assert stand.expectations.refresh([way], now + 1800) == ([way], False)
    assert not stand.expectations.has_ended(stand.connection, 1), "it may be picked up again"
    assert stand.expectations.has_ended(stand.connection, 3600)


def test_what_came_before_its_way_does_not_swallow_the_film(stand: Stand) -> None:
    stand.film(0, 27336, b"too early")  # makes an entry without translation
    stand.lab.router.call(stand.expectations.stale_flows.learn)
    stand.open(stand.way(27336, 27336))
    until = time.monotonic() + 20
    while not stand.expectations.stale_flows.deleted and time.monotonic() < until:
        time.sleep(0.02)
    with stand.lab.stbs[0].call(lambda: udp(stand.lab.stbs[0].address, 27336)) as box:
        stand.film(0, 27336, b"film")
        assert box.recv(10) == b"film"


def test_a_way_that_is_nobody_elses_costs_no_walk(stand: Stand) -> None:
    stand.open(stand.way(27336, 27336))
    time.sleep(0.3)
    assert stand.expectations.stale_flows.walks == 0


@pytest.mark.parametrize("count", [1, 2])
def test_a_cut_ends_the_media_flows_of_its_way_and_no_others(stand: Stand, count: int) -> None:
    ways = [stand.way(port, port) for port in (27336, 27338, 27340)]
    address = stand.lab.stbs[0].address
    boxes = stand.lab.stbs[0].call(lambda: [udp(address, way.port) for way in ways])
    for way, box in zip(ways, boxes, strict=True):
        stand.open(way)
        stand.film(0, way.port, b"x")
        assert box.recv(10) == b"x"
        box.close()
    for way in ways[:count]:
        stand.expectations.close(way, cut=True)
    stale_flows = stand.expectations.stale_flows
    until = time.monotonic() + 20
    while stale_flows.deleted < count and time.monotonic() < until:
        time.sleep(0.05)
    left = [flow.orig.dport for flow in stand.conntrack.dump_flows() if flow.orig.proto == 17]
    assert left.count(27340) == 1
    assert 27336 not in left
    assert stale_flows.deleted == count
