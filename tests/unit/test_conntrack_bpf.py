"""The kernel runs our filter on messages that a kernel sent: AF_UNIX sockets take classic BPF, no root."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from nftrtsp import config
from nftrtsp.conntrack.socket_filter import iptv_filter
from nftrtsp.netlink.socket import attach
from tests.unit.captured import EXPECTATIONS, MESSAGES


def accepted(data: bytes, **changes: Any) -> bool:
    asked: dict[str, Any] = {
        "iptv": {"interface": "vlan2"},
        "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
        **changes,
    }
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setblocking(False)
        attach(receiver, iptv_filter(config.parse(asked)))
        sender.send(data)
        try:
            assert receiver.recv(4096) == data
        except BlockingIOError:
            return False
        return True


@pytest.mark.parametrize("name", sorted(EXPECTATIONS))
def test_every_expectation_passes(name: str) -> None:
    assert accepted(EXPECTATIONS[name])


def test_a_film_passes_by_its_destination() -> None:
    assert accepted(MESSAGES["film-0"])


def test_a_film_for_another_box_than_the_configured_ones_does_not() -> None:
    assert accepted(MESSAGES["film-0"], stb=[{"address": "192.168.1.201"}, {"address": "192.168.1.200"}])
    assert not accepted(MESSAGES["film-0"], stb=[{"address": "192.168.1.201"}])


def test_a_film_for_a_host_outside_the_lan_does_not() -> None:
    assert not accepted(MESSAGES["film-0"], lan={"interfaces": ["br0"], "networks": ["192.168.2.0/24"]})


def test_the_mark_lets_a_flow_pass_whatever_it_is() -> None:
    assert accepted(MESSAGES["udp-mark-0"])
    assert not accepted(MESSAGES["udp-mark-0"], rtsp={"mark": "0x200000"})


@pytest.mark.parametrize("name", ["tcp-0", "tcp-1", "tcp-close-0"])
def test_a_control_connection_passes_by_its_port(name: str) -> None:
    assert accepted(MESSAGES[name], rtsp={"ports": [554, 21]})
    assert not accepted(MESSAGES[name])


@pytest.mark.parametrize("name", ["udp-0", "udp6-0", "udp-zone-0", "icmp-0", "icmp6-0", "igmp-0", "gre-0"])
def test_all_else_is_dropped(name: str) -> None:
    assert not accepted(MESSAGES[name])


def test_udp_that_is_laid_out_unexpectedly_is_let_through() -> None:
    assert accepted(MESSAGES["udp-tuple-zone-0"])


def test_the_end_of_a_film_passes_too() -> None:
    packed = ip_address("172.26.83.137").packed
    ends = [data for name, data in MESSAGES.items() if name.startswith("flush") and packed in data]
    assert ends
    assert all(accepted(data) for data in ends)
