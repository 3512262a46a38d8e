"""The hosts of the LAN as this router has met them: which of them are set-top boxes, for a first draft.

:func:`survey` asks the kernel and the DHCP server's files; nothing is sent to anybody, and nothing is
guessed: a host that asks an RTSP server for films over the IPTV interface is a box, of others only what is
known is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec

from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.tuple import AF_INET, IPPROTO_TCP
from nftrtsp.draft.leases import Lease
from nftrtsp.draft.leases import read as read_leases
from nftrtsp.errors import NftrtspError
from nftrtsp.netlink import links

_NUD_INCOMPLETE, _NUD_FAILED, _NUD_NOARP = 0x01, 0x20, 0x40  # linux/neighbour.h
_ESTABLISHED = 3  # linux/netfilter/nf_conntrack_tcp.h


class Host(msgspec.Struct, frozen=True):
    """One host. ``asks`` is the RTSP server it has a connection to now; texts are empty where not known."""

    address: IPv4Address
    mac: str = ""
    name: str = ""
    vendor: str = ""
    asks: str = ""


def survey(
    lan: Iterable[str],
    networks: Sequence[IPv4Network],
    uplinks: Iterable[IPv4Address],
    ports: Iterable[int],
    *,
    root: Path = Path("/"),
) -> list[Host]:
    """Return the hosts of ``networks`` behind the interfaces ``lan``, in the order of their addresses.

    ``uplinks`` are the router's addresses on the IPTV interface, ``ports`` the TCP ports of RTSP servers.
    Without root the kernel does not tell who asks.
    """
    return join(_neighbours(set(lan)), _flows(ports), read_leases(root), networks, frozenset(uplinks))


def join(
    neighbours: Mapping[IPv4Address, str],
    flows: Iterable[Flow],
    leases: Mapping[IPv4Address, Lease],
    networks: Sequence[IPv4Network],
    uplinks: frozenset[IPv4Address],
) -> list[Host]:
    """Return what is known of each host that the router has met; a lease alone is no meeting (pure)."""
    asks = {
        IPv4Address(flow.orig.src): str(IPv4Address(flow.orig.dst))
        for flow in flows
        if flow.tcp_state == _ESTABLISHED and IPv4Address(flow.reply.dst) in uplinks
    }
    nobody = Lease(IPv4Address(0))
    return [
        Host(
            address,
            neighbours.get(address, ""),
            leases.get(address, nobody).name,
            leases.get(address, nobody).vendor,
            asks.get(address, ""),
        )
        for address in sorted({*neighbours, *asks})
        if any(address in network for network in networks)
    ]


def _neighbours(lan: set[str]) -> dict[IPv4Address, str]:
    """Return the hardware addresses of the hosts that the router has spoken with on these interfaces."""
    from pyroute2 import IPRoute  # 170 ms: only here

    with IPRoute() as route:
        indexes = {link.index for name, link in links.read().items() if name in lan}
        return {
            IPv4Address(message.get_attr("NDA_DST")): message.get_attr("NDA_LLADDR") or ""
            for message in route.get_neighbours(family=AF_INET)
            if message["ifindex"] in indexes
            and message["state"]
            and not message["state"] & (_NUD_INCOMPLETE | _NUD_FAILED | _NUD_NOARP)
        }


def _flows(ports: Iterable[int]) -> list[Flow]:
    """Return the connections to RTSP servers; none where the kernel does not tell."""
    from nftrtsp.conntrack.dump_filter import DumpFilter, Match
    from nftrtsp.conntrack.socket import Conntrack

    try:
        with Conntrack() as conntrack:
            return [
                flow
                for port in ports
                for flow in conntrack.dump_flows(
                    DumpFilter(orig=Match(proto=IPPROTO_TCP, dport=port), family=AF_INET)
                )
            ]
    except NftrtspError:
        return []
