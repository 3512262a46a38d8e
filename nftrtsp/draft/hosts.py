"""The hosts of the LAN as this router has met them: which of them are set-top boxes, for a first draft.

:func:`survey` asks the kernel and the DHCP server's files; nothing is sent to anybody, and nothing is
guessed: a host that asks an RTSP server for films over the IPTV interface is a box, of others only what is
known is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.tuple import AF_INET, IPPROTO_TCP
from nftrtsp.draft.host import LanHost, join
from nftrtsp.draft.leases import read as read_leases
from nftrtsp.errors import NftrtspError
from nftrtsp.netlink import links

_NUD_INCOMPLETE, _NUD_FAILED, _NUD_NOARP = 0x01, 0x20, 0x40  # linux/neighbour.h


def survey(
    lan: Iterable[str],
    networks: Sequence[IPv4Network],
    uplinks: Iterable[IPv4Address],
    ports: Iterable[int],
    *,
    root: Path = Path("/"),
) -> list[LanHost]:
    """Return the hosts of ``networks`` behind the interfaces ``lan``, in the order of their addresses.

    ``uplinks`` are the router's addresses on the IPTV interface, ``ports`` the TCP ports of RTSP servers.
    Without root the kernel does not tell who asks.
    """
    return join(_neighbours(set(lan)), _flows(ports), read_leases(root), networks, frozenset(uplinks))


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
