"""RTSP connections that were open before the ruleset get the helper too.

A connection gets its helper with its first packet, or never. So the conntrack entry of a helper-less control
connection is deleted: the connection goes on, is picked up again, and gets the helper (FACTS, section 3).
"""

from __future__ import annotations

from nftrtsp.config import Config
from nftrtsp.conntrack.dump_filter import DumpFilter
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.role import Role, Roles
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.conntrack.tuple import AF_INET
from nftrtsp.netlink import links


def adopt(config: Config) -> int:
    """Delete the conntrack entries of control connections to the IPTV side that have no helper.

    Returns how many. Raises :class:`KernelError` when conntrack does not answer.
    """
    roles = Roles(config)
    ours = iptv_addresses(config)
    with Conntrack() as conntrack:
        # The dump ends before the first deletion: one socket, one question at a time.
        lost = [
            flow for flow in conntrack.dump_flows(DumpFilter(family=AF_INET)) if is_lost(flow, roles, ours)
        ]
        return sum(conntrack.delete_flow(flow) for flow in lost)


def is_lost(flow: Flow, roles: Roles, ours: frozenset[bytes]) -> bool:
    """Whether ``flow`` should have a helper and has none; ``ours`` are the router's IPTV addresses. Pure.

    One that left with another address of the router goes through another uplink: it is left alone. So is one
    that left with its own address: picked up again it would be masqueraded, and break.
    """
    if flow.helper is not None or roles.of(flow).role is not Role.CONTROL:
        return False
    return flow.reply.dst in ours


def iptv_addresses(config: Config) -> frozenset[bytes]:
    """Return the packed addresses under which connections leave by the IPTV interface."""
    addresses = {config.iptv.snat_address.packed} if config.iptv.snat_address else set()
    link = links.read().get(config.iptv.interface)
    # Absent, or without an address: nothing goes out there.
    return frozenset(addresses | {address.ip.packed for address in (link.addresses if link else ())})
