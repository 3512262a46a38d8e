"""Hearing from nftables when a table comes or goes, over multicast. Source: nft monitor."""

from __future__ import annotations

import errno
from collections.abc import Callable

from nftrtsp.errors import MalformedError
from nftrtsp.netlink import wire
from nftrtsp.netlink.socket import open_netlink, widen
from nftrtsp.netlink.wire import NFNL_SUBSYS_NFTABLES

NFNLGRP_NFTABLES = 7
NFT_MSG_NEWTABLE = 0
NFT_MSG_DELTABLE = 2
NFT_MSG_NEWSET = 9
NFT_MSG_DELSET = 11

_COMINGS = frozenset((NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE, NFT_MSG_NEWSET, NFT_MSG_DELSET))
_NAME = 1  # NFTA_TABLE_NAME and NFTA_SET_TABLE
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_MOST = 64  # datagrams that one look reads
_RECEIVE_BUFFER = 1 << 20


class TableWatch:
    """Hears when a table with the name ``table``, of any family, or a set of it comes or goes.

    ``refused`` makes the error of an errno.
    """

    def __init__(self, table: str, refused: Callable[[int], Exception]) -> None:
        self._table = table
        self._socket = open_netlink()
        self._socket.setblocking(False)
        widen(self._socket, _RECEIVE_BUFFER)
        try:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        except OSError as error:
            self._socket.close()
            raise refused(error.errno or errno.EIO) from None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """The file descriptor, for select and poll."""
        return self._socket.fileno()

    def changed(self) -> bool:
        """Read off what has come; return whether the table or a set of it came or went (or that may be)."""
        changed = False
        for _ in range(_MOST):
            try:
                data = self._socket.recv(1 << 17)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                changed = True  # something was lost, so it may have been that
                continue
            changed = changed or self._concerns(data)
        return changed

    def _concerns(self, data: bytes) -> bool:
        try:
            for kind, _, _, _, start, end in wire.messages(data):
                is_coming = kind >> 8 == NFNL_SUBSYS_NFTABLES and kind & 0xFF in _COMINGS
                if is_coming and wire.string(data, wire.spans(data, start, end), _NAME) == self._table:
                    return True
        except MalformedError:
            return True
        return False
