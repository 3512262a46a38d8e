"""Conntrack as witness, on a router with real packets: which connections it vouches for."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.helper.conntrack_entries import ConntrackEntries, has_ended
from nftrtsp.helper.ways import Connection
from nftrtsp.lab.network import Lab
from nftrtsp.rtsp.rewriting import checksum

pytestmark = pytest.mark.root

RULES = """
table ip tracked {
  chain forward { type filter hook forward priority 0; ct state new counter; }
  chain masking { type nat hook postrouting priority 100; oifname "vlan2" masquerade; }
}
"""
#: Of a host that does not even answer with a reset.
SILENCE = """
table ip silent {
  chain input { type filter hook input priority 0; meta l4proto tcp drop; }
}
"""
ACK, PSH = 0x10, 0x08


class Stand:
    """A router that tracks, a box, a server, a witness."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        lab.router.run(["nft", "-f", "-"], input=RULES)
        self.server = lab.isp.call(lambda: socket.create_server((str(lab.rtsp_server), 554)))
        self.conntrack = lab.router.call(Conntrack)
        self.witness = ConntrackEntries(self.conntrack)
        self.box, self.to = socket.inet_aton(lab.stbs[0].address), socket.inet_aton(str(lab.rtsp_server))

    def call(self) -> tuple[socket.socket, socket.socket, Connection]:
        client = self.lab.stbs[0].call(lambda: socket.create_connection((str(self.lab.rtsp_server), 554), 10))
        server, _ = self.server.accept()
        return client, server, self.connection(client.getsockname()[1])

    def connection(self, port: int) -> Connection:
        return Connection(self.box, port, self.to, 554)

    def forge(self, source: bytes, to: bytes, sport: int, dport: int, data: bytes = b"SETUP") -> None:
        """Send a segment out of nowhere from the box's namespace."""
        tcp = struct.pack("!HHIIBBHHH", sport, dport, 7000, 9000, 0x50, ACK | PSH, 1000, 0, 0) + data
        total = checksum(source + to + struct.pack("!BBH", 0, 6, len(tcp)) + tcp)
        tcp = tcp[:16] + total.to_bytes(2, "big") + tcp[18:]
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, source, to)

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
                raw.sendto(head + tcp, (socket.inet_ntoa(to), 0))

        (self.lab.stbs[0] if source == self.box else self.lab.isp).call(send)
        time.sleep(0.1)

    def close(self) -> None:
        self.server.close()
        self.conntrack.close()


@pytest.fixture
def stand() -> Iterator[Stand]:
    with Lab.build(stbs=1, media_servers=1, helper="pinhole") as lab, contextlib.closing(Stand(lab)) as made:
        yield made


def test_a_connection_that_both_ends_opened_is_vouched_for(stand: Stand) -> None:
    client, server, connection = stand.call()
    with client, server:
        client.sendall(b"SETUP")
        assert server.recv(5) == b"SETUP"
        flow = stand.witness.established(connection)
        assert flow is not None
        assert flow.orig.src == stand.box


def test_one_that_conntrack_forgot_is_vouched_for_again_when_both_ends_have_spoken(stand: Stand) -> None:
    client, server, connection = stand.call()
    with client, server:
        (flow,) = [one for one in stand.conntrack.dump_flows() if one.orig.dport == 554]
        stand.conntrack.delete_flow(flow)
        assert stand.witness.established(connection) is None
        client.sendall(b"SETUP")
        assert server.recv(5) == b"SETUP"
        server.sendall(b"RTSP/1.0")
        assert client.recv(8)
        assert stand.witness.established(connection) is not None


def test_one_that_is_closed_or_being_closed_is_not(stand: Stand) -> None:
    client, server, connection = stand.call()
    with server:
        client.close()
        assert server.recv(1) == b""
        assert stand.witness.established(connection) is None
        flow = stand.witness.flow(connection)
        assert flow is not None
        assert has_ended(flow)


def test_a_segment_out_of_nowhere_makes_no_connection(stand: Stand) -> None:
    stand.lab.isp.run(["nft", "-f", "-"], input=SILENCE)
    stand.forge(stand.box, stand.to, 40000, 554)
    flow = stand.witness.flow(stand.connection(40000))
    assert flow is not None, "conntrack does pick it up"
    assert flow.tcp_state == 3
    assert stand.witness.established(stand.connection(40000)) is None


def test_nor_does_one_whose_server_answers_that_it_knows_nothing(stand: Stand) -> None:
    stand.forge(stand.box, stand.to, 40001, 554)
    assert stand.witness.established(stand.connection(40001)) is None


def test_nor_does_an_answer_that_nobody_asked_for(stand: Stand) -> None:
    stand.lab.stbs[0].run(["nft", "-f", "-"], input=SILENCE)
    stand.lab.isp.run(["ip", "route", "add", "192.168.1.0/24", "via", "10.214.0.2"])
    stand.forge(stand.to, stand.box, 554, 40002, b"RTSP/1.0 200 OK")
    connection = stand.connection(40002)
    assert any(one.orig.sport == 554 for one in stand.conntrack.dump_flows()), "conntrack does pick it up"
    assert stand.witness.flow(connection) is None
    assert stand.witness.established(connection) is None


def test_one_that_nobody_knows_is_not(stand: Stand) -> None:
    assert stand.witness.established(stand.connection(4)) is None
