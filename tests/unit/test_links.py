"""Interfaces and addresses out of rtnetlink messages, where this machine's kernel may lack the device."""

from __future__ import annotations

import sys
from ipaddress import IPv4Interface

from nftrtsp.netlink import wire
from nftrtsp.netlink.link import ADDRESS, LINK, decode_address, decode_link


def test_a_vlan_says_its_number() -> None:
    number = wire.attribute(1, (2).to_bytes(2, sys.byteorder))  # IFLA_VLAN_ID
    info = wire.attribute(18, wire.text(1, "vlan") + wire.attribute(2, number))  # IFLA_LINKINFO
    data = LINK.pack(0, 1, 5, 0x1, 0) + wire.text(3, "eth0.2") + info
    link = decode_link(data, 0, len(data))
    assert (link.name, link.kind, link.vlan, link.index) == ("eth0.2", "vlan", 2, 5)
    assert (link.up, link.carrier) == (True, False)


def test_of_a_point_to_point_link_our_end_is_the_address() -> None:
    local, peer = bytes([10, 214, 0, 2]), bytes([10, 0, 0, 1])
    data = ADDRESS.pack(2, 32, 0, 0, 5) + wire.attribute(1, peer) + wire.attribute(2, local)
    assert decode_address(data, 0, len(data)) == (5, IPv4Interface("10.214.0.2/32"))
