"""A subscription to conntrack events."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import time
from collections.abc import Iterable
from typing import Self

from nftrtsp.conntrack import attribute as cta
from nftrtsp.conntrack import decode
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.netlink import attach, open_netlink, refused

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
SO_RCVBUFFORCE = 33

#: Every flow and expectation group.
ALL_GROUPS = (
    cta.NFNLGRP_CONNTRACK_NEW,
    cta.NFNLGRP_CONNTRACK_UPDATE,
    cta.NFNLGRP_CONNTRACK_DESTROY,
    cta.NFNLGRP_CONNTRACK_EXP_NEW,
    cta.NFNLGRP_CONNTRACK_EXP_DESTROY,
)

#: Bytes that events may occupy in the kernel before it says ENOBUFS. The kernel doubles it and counts its own
#: bookkeeping: an event of 200 bytes costs about 1 KiB, so this holds some 250,000 of them.
RECEIVE_BUFFER = 128 << 20


class Subscription:
    """A socket that hears events. Losses are counted in ``overruns`` and told as events, never hidden.

    ``groups`` are NFNLGRP_* numbers, ``receive_buffer`` is in bytes (see RECEIVE_BUFFER), ``program`` is a
    classic BPF program (:func:`nftrtsp.conntrack.bpf.iptv_filter`). Source: netlink(7), socket(7).
    """

    def __init__(
        self,
        groups: Iterable[int] = ALL_GROUPS,
        *,
        receive_buffer: int = RECEIVE_BUFFER,
        program: bytes | None = None,
    ) -> None:
        #: How often the kernel said ENOBUFS. It never says how many events were lost.
        self.overruns = 0
        self._socket = open_netlink()
        self._socket.setblocking(False)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            if program:
                attach(self._socket, program)
            for group in groups:
                self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        except OSError as error:
            self._socket.close()
            raise refused(error.errno or errno.EIO, "subscribing to events") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """The file descriptor, for select and poll."""
        return self._socket.fileno()

    def receive(self, timeout: float | None = None) -> list[Event]:
        """Wait up to ``timeout`` seconds (None: for ever) and return what came, if anything."""
        ready, _, _ = select.select([self._socket], [], [], timeout)
        events: list[Event] = []
        if not ready:
            return events
        with contextlib.suppress(BlockingIOError):
            while len(events) < 4096:
                try:
                    data = self._socket.recv(1 << 16)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    self.overruns += 1
                    events.append(Event(EventType.OVERRUN, time.time(), lost=1))
                    continue
                events.extend(decode.events(data, time.time()))
        return events
