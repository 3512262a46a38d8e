"""One host of the LAN: what neighbours, connections and leases say of it, joined. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

import msgspec

from nftrtsp.conntrack.flow import Flow
from nftrtsp.draft.leases import Lease

_ESTABLISHED = 3  # linux/netfilter/nf_conntrack_tcp.h


class LanHost(msgspec.Struct, frozen=True):
    """One host. ``asks`` is the RTSP server it has a connection to now; texts are empty where not known."""

    address: IPv4Address
    mac: str = ""
    name: str = ""
    vendor: str = ""
    asks: str = ""


def join(
    neighbours: Mapping[IPv4Address, str],
    flows: Iterable[Flow],
    leases: Mapping[IPv4Address, Lease],
    networks: Sequence[IPv4Network],
    uplinks: frozenset[IPv4Address],
) -> list[LanHost]:
    """Return what is known of each host that the router has met; a lease alone is no meeting."""
    asks = {
        IPv4Address(flow.orig.src): str(IPv4Address(flow.orig.dst))
        for flow in flows
        if flow.tcp_state == _ESTABLISHED and IPv4Address(flow.reply.dst) in uplinks
    }
    nobody = Lease(IPv4Address(0))
    return [
        LanHost(
            address,
            neighbours.get(address, ""),
            leases.get(address, nobody).name,
            leases.get(address, nobody).vendor,
            asks.get(address, ""),
        )
        for address in sorted({*neighbours, *asks})
        if any(address in network for network in networks)
    ]
