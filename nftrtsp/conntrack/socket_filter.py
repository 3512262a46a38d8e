"""The socket filter that lets only what concerns IPTV reach us. Pure: a configuration in, a program out.

A classic BPF program runs in the kernel before an event is queued, so what it rejects can neither overrun our
buffer nor cost us time. It accepts every expectation; flows with the media mark; IPv4 TCP to an RTSP port;
IPv4 UDP that is sent on (DNAT) to a host that may ask. What is laid out in another way than expected is
accepted.

Offsets are those of a conntrack event: nlmsghdr 16, nfgenmsg 4, then CTA_TUPLE_ORIG with CTA_TUPLE_IP and
CTA_TUPLE_PROTO, then CTA_TUPLE_REPLY. Source: nf_conntrack_netlink.c, ctnetlink_conntrack_event();
Documentation/networking/filter.rst.
"""

from __future__ import annotations

import struct
import sys

from nftrtsp.config import Config
from nftrtsp.conntrack.attribute import CTA_MARK, CTA_TUPLE_REPLY
from nftrtsp.conntrack.tuple import AF_INET, IPPROTO_TCP, IPPROTO_UDP
from nftrtsp.netlink.wire import (
    HEADER_SIZE,
    NFNL_SUBSYS_CTNETLINK,
    NFNL_SUBSYS_CTNETLINK_EXP,
    NLA_F_NESTED,
)

LD_WORD, LD_HALF, LD_BYTE = 0x20, 0x28, 0x30  # BPF_LD|BPF_ABS: A = packet[k]
LD_WORD_AT_X = 0x40  # BPF_LD|BPF_IND: A = packet[X + k]
LD_NUMBER, LDX_NUMBER = 0x00, 0x01  # BPF_IMM
AND, TAX = 0x54, 0x07
JUMP_EQUAL, JUMP_EQUAL_X = 0x15, 0x1D
RETURN = 0x06

NETLINK_ATTRIBUTE = (
    0xFFFFF000 + 12
)  # SKF_AD_OFF + SKF_AD_NLATTR: A = offset of attribute X, searched from A on

SUBSYSTEM = 5 if sys.byteorder == "little" else 4
FAMILY = 16
ORIG_DST, PROTOCOL, DPORT = 40, 52, 68
REPLY_TYPE, REPLY_SRC = 74, 84

ACCEPT, DROP = 0xFFFFFFFF, 0

Instruction = tuple[int, int, int, int]

#: The kernel takes 4096 instructions; 8-bit jumps and sense set a lower bound.
MOST_ADDRESSES = 1000


def _accept_if_equal(number: int) -> list[Instruction]:
    return [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ACCEPT)]


def iptv_filter(config: Config) -> bytes:
    """Return the program, as an array of struct sock_filter, that accepts only what concerns ``config``."""
    mark, ports = config.rtsp.mark, config.rtsp.ports
    reply = int.from_bytes(struct.pack("=H", CTA_TUPLE_REPLY | NLA_F_NESTED), "big")
    program: list[Instruction] = [
        (LD_BYTE, 0, 0, SUBSYSTEM),
        *_accept_if_equal(NFNL_SUBSYS_CTNETLINK_EXP),
        (JUMP_EQUAL, 1, 0, NFNL_SUBSYS_CTNETLINK),
        (RETURN, 0, 0, DROP),
        # The media mark, wherever it stands.
        (LD_NUMBER, 0, 0, HEADER_SIZE),
        (LDX_NUMBER, 0, 0, CTA_MARK),
        (LD_BYTE, 0, 0, NETLINK_ATTRIBUTE),
        (JUMP_EQUAL, 5, 0, 0),
        (TAX, 0, 0, 0),
        (LD_WORD_AT_X, 0, 0, 4),
        (AND, 0, 0, mark.mask),
        *_accept_if_equal(mark.value),
        (LD_BYTE, 0, 0, FAMILY),
        (JUMP_EQUAL, 1, 0, AF_INET),
        (RETURN, 0, 0, DROP),
        # Control connections: TCP to an RTSP port.
        (LD_BYTE, 0, 0, PROTOCOL),
        (JUMP_EQUAL, 0, 2 + 2 * len(ports), IPPROTO_TCP),
        (LD_HALF, 0, 0, DPORT),
        *(step for port in ports for step in _accept_if_equal(port)),
        (RETURN, 0, 0, DROP),
        # Films: UDP that goes on to another host than it was addressed to.
        (JUMP_EQUAL, 1, 0, IPPROTO_UDP),
        (RETURN, 0, 0, DROP),
        (LD_HALF, 0, 0, REPLY_TYPE),
        (JUMP_EQUAL, 1, 0, reply),
        (RETURN, 0, 0, ACCEPT),
        (LD_WORD, 0, 0, REPLY_SRC),
        (TAX, 0, 0, 0),
        (LD_WORD, 0, 0, ORIG_DST),
        (JUMP_EQUAL_X, 0, 1, 0),
        (RETURN, 0, 0, DROP),
        *_inside(config),
        (RETURN, 0, 0, DROP),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def _inside(config: Config) -> list[Instruction]:
    """Accept when the host that answers may ask; with very many set-top boxes, when the LAN holds it."""
    if config.stb and len(config.stb) <= MOST_ADDRESSES:
        boxes = [step for box in config.stb for step in _accept_if_equal(int(box.address))]
        return [(LD_WORD, 0, 0, REPLY_SRC), *boxes]
    steps: list[Instruction] = []
    for network in config.lan.networks:
        steps += [(LD_WORD, 0, 0, REPLY_SRC), (AND, 0, 0, int(network.netmask))]
        steps += _accept_if_equal(int(network.network_address))
    return steps
