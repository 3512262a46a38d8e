"""Conntrack as witness: whether a connection is what its packets say.

Anybody can send a packet; only two ends that both answer make a connection. The helpers believe no connection
before they have asked here.
"""

from __future__ import annotations

from nftrtsp.conntrack.flow import IPS_DYING, IPS_SEEN_REPLY, Flow
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.conntrack.tuple import IPPROTO_TCP, Tuple
from nftrtsp.errors import NftrtspError
from nftrtsp.helper.ways import Connection

_ESTABLISHED = 3  # TCP_CONNTRACK_ESTABLISHED
_CLOSING = frozenset({4, 5, 6, 7, 8})  # TCP_CONNTRACK_FIN_WAIT .. CLOSE: the connection has ended


class ConntrackEntries:
    """Asks ``conntrack``, which stays the caller's; each question is one look-up in the kernel's hash."""

    def __init__(self, conntrack: Conntrack) -> None:
        self._conntrack = conntrack

    def flow(self, connection: Connection) -> Flow | None:
        """Return the entry that the set-top box's side of ``connection`` began; None: there is none."""
        wanted = Tuple(
            connection.client,
            connection.server,
            IPPROTO_TCP,
            connection.client_port,
            connection.server_port,
        )
        try:
            flow = self._conntrack.get_flow(wanted)
        except (NftrtspError, OSError):
            return None
        # The kernel finds an entry by either direction: one that the server began is none of the box's.
        return flow if flow is not None and flow.orig == wanted else None

    def established(self, connection: Connection) -> Flow | None:
        """Return the entry of ``connection`` if it may ask for something (:func:`is_established`)."""
        flow = self.flow(connection)
        return flow if flow is not None and is_established(flow.tcp_state, flow.status) else None


def is_established(tcp_state: int | None, status: int | None) -> bool:
    """Whether both ends take part in a connection, as far as conntrack can tell, and none has ended it.

    A packet out of nowhere makes an entry that is ESTABLISHED too (nf_conntrack_tcp_loose), but only one that
    was answered has SEEN_REPLY; a host that knows nothing of it answers with a reset, and that makes CLOSE.
    Source: nf_conntrack_proto_tcp.c, tcp_new(); nf_conntrack_core.c, nf_conntrack_in().
    """
    return tcp_state == _ESTABLISHED and (status or 0) & (IPS_SEEN_REPLY | IPS_DYING) == IPS_SEEN_REPLY


def has_ended(flow: Flow) -> bool:
    """Whether one of the ends has closed or reset the connection."""
    return flow.tcp_state in _CLOSING
