"""The interfaces of this network namespace with their IPv4 addresses, as the kernel lists them.

The one reader of both: `init`, `doctor`, `diff`, `apply` and the dashboard ask here. It needs no root, and
0.1 ms, where importing a netlink library takes 170. Source: rtnetlink(7).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path

import msgspec

from nftrtsp.netlink import wire
from nftrtsp.netlink.link import ADDRESS, AF_INET, LINK, Link, decode_address, decode_link

_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_ATTEMPTS = 5  # a list that interfaces came into while it was told is told again
_LARGEST = 1 << 17  # bytes of an answer; the kernel's are 32 KiB at most


def read() -> dict[str, Link]:
    """Return the interfaces by name, ``lo`` too, in the kernel's order."""
    family = socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    with socket.socket(*family) as asker:
        asker.bind((0, 0))
        addresses: dict[int, list[IPv4Interface]] = {}
        for place in _dump(asker, _RTM_GETADDR, _RTM_NEWADDR, ADDRESS.pack(AF_INET, 0, 0, 0, 0)):
            if found := decode_address(*place):
                addresses.setdefault(found[0], []).append(found[1])
        listed = [
            decode_link(*place)
            for place in _dump(asker, _RTM_GETLINK, _RTM_NEWLINK, LINK.pack(0, 0, 0, 0, 0))
        ]
    defaults = _default_routes()
    return {
        link.name: msgspec.structs.replace(
            link, addresses=tuple(addresses.get(link.index, ())), default_route=link.name in defaults
        )
        for link in listed
    }


def _dump(asker: socket.socket, ask: int, answer: int, body: bytes) -> list[tuple[bytes, int, int]]:
    """Return where the messages of the kernel's answer to ``ask`` lie, headers left out."""
    for number in range(1, _ATTEMPTS + 1):
        flags = wire.NLM_F_REQUEST | wire.NLM_F_DUMP
        asker.send(_HEADER.pack(_HEADER.size + len(body), ask, flags, number, 0) + body)
        found, torn, ended = [], False, False
        while not ended:
            data = asker.recv(_LARGEST)
            for kind, said, of, start, end in _messages(data):
                if of != number:
                    continue
                torn = torn or bool(said & wire.NLM_F_DUMP_INTR)
                ended = ended or kind in (wire.NLMSG_DONE, wire.NLMSG_ERROR)
                if kind == answer:
                    found.append((data, start, end))
        if not torn:
            break
    return found


def _messages(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield type, flags, sequence number and the bounds of each message's body."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, number, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, flags, number, at + _HEADER.size, at + length
        at += length + 3 & ~3


def _default_routes() -> frozenset[str]:
    """Return the interfaces by which IPv4 default routes leave."""
    try:
        lines = Path("/proc/net/route").read_text().splitlines()[1:]
    except OSError:
        return frozenset()
    words = [line.split() for line in lines]
    return frozenset(word[0] for word in words if word[1:2] == ["00000000"] and word[7:8] == ["00000000"])
