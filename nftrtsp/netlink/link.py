"""One interface with its IPv4 addresses, and how rtnetlink tells of it. Pure; ``links`` does the asking.

Source: rtnetlink(7), linux/if_link.h, linux/if_addr.h, linux/if.h.
"""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Address, IPv4Interface

import msgspec

from nftrtsp.netlink import wire

LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
AF_INET = 2
_IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO = 3, 10, 18
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_VLAN_ID = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000


class Link(msgspec.Struct, frozen=True):
    """One interface: ``up`` as its owner set it, ``carrier`` as the cable has it.

    ``kind`` is the kernel's (``bridge``, ``vlan``, empty for hardware), ``vlan`` a VLAN's number, ``bridged``
    whether it is part of a bridge or bond, ``default_route`` whether an IPv4 one leaves by it.
    """

    name: str
    kind: str = ""
    vlan: int | None = None
    addresses: tuple[IPv4Interface, ...] = ()
    default_route: bool = False
    bridged: bool = False
    index: int = 0
    up: bool = True
    carrier: bool = True


def decode_address(data: bytes, start: int, end: int) -> tuple[int, IPv4Interface] | None:
    """Return the interface's number and its address; of a point-to-point link our end, not the peer's."""
    _, length, _, _, index = ADDRESS.unpack_from(data, start)
    found = wire.spans(data, start + ADDRESS.size, end)
    packed = wire.raw(data, found, _IFA_LOCAL) or wire.raw(data, found, _IFA_ADDRESS)
    return (index, IPv4Interface((IPv4Address(packed), length))) if len(packed) == 4 else None


def decode_link(data: bytes, start: int, end: int) -> Link:
    """Return an interface, its addresses and routes left out, for these are told apart from it."""
    _, _, index, flags, _ = LINK.unpack_from(data, start)
    found = wire.spans(data, start + LINK.size, end)
    kind, vlan = "", None
    if _IFLA_LINKINFO in found:
        info = wire.spans(data, *found[_IFLA_LINKINFO])
        kind = wire.string(data, info, _IFLA_INFO_KIND) or ""
        if kind == "vlan" and _IFLA_INFO_DATA in info:
            said = wire.raw(data, wire.spans(data, *info[_IFLA_INFO_DATA]), _IFLA_VLAN_ID)
            vlan = int.from_bytes(said, sys.byteorder) if said else None
    return Link(
        name=wire.string(data, found, _IFLA_IFNAME) or "",
        kind=kind,
        vlan=vlan,
        bridged=_IFLA_MASTER in found,
        index=index,
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_LOWER_UP),
    )
