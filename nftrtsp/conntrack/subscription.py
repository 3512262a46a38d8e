"""A subscription to conntrack events."""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Iterable
from typing import Self

from nftrtsp.conntrack import attribute
from nftrtsp.conntrack.decoder import Decoder
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.netlink.datagrams import BATCH, Datagrams
from nftrtsp.netlink.socket import attach, open_netlink, refused, widen

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
SO_MEMINFO = 55
SK_MEMINFO_DROPS = 8

#: Every flow and expectation group.
ALL_GROUPS = (
    attribute.NFNLGRP_CONNTRACK_NEW,
    attribute.NFNLGRP_CONNTRACK_UPDATE,
    attribute.NFNLGRP_CONNTRACK_DESTROY,
    attribute.NFNLGRP_CONNTRACK_EXP_NEW,
    attribute.NFNLGRP_CONNTRACK_EXP_DESTROY,
)

#: Bytes that events may occupy in the kernel before it drops them. The kernel doubles it and counts its own
#: bookkeeping: an event of 200 bytes costs 768 to 1280, so this holds some 200,000 to 350,000 of them.
#: Memory is taken only while events wait.
RECEIVE_BUFFER = 128 << 20

#: Seconds between two looks into the socket while events pour in. A wake-up for each would cost three times
#: as much processor time as the event itself.
PACE = 0.004

#: So many events in one look are a storm.
STORM = 64

#: Events that are returned by one call at most.
MOST = 8192


class Subscription:
    """A socket that hears events. Losses are counted and told as events, never hidden.

    ``groups`` are NFNLGRP_* numbers, ``receive_buffer`` is in bytes (see RECEIVE_BUFFER), ``program`` is a
    classic BPF program (:func:`nftrtsp.conntrack.socket_filter.iptv_filter`). Source: netlink(7), socket(7),
    net/netlink/af_netlink.c.

    After an overrun the kernel drops everything until we have emptied the socket. The OVERRUN event stands
    where the gap is, after what had been queued before, and tells how many events were dropped.
    """

    def __init__(
        self,
        groups: Iterable[int] = ALL_GROUPS,
        *,
        receive_buffer: int = RECEIVE_BUFFER,
        program: bytes | None = None,
    ) -> None:
        #: How often the kernel said ENOBUFS.
        self.overruns = 0
        #: How many events were dropped.
        self.lost = 0
        self._socket = open_netlink()
        self._socket.setblocking(False)
        try:
            if program:
                attach(self._socket, program)
            widen(self._socket, receive_buffer)
            for group in groups:
                self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        except OSError as error:
            self._socket.close()
            raise refused(error.errno or errno.EIO, "subscribing to events", "conntrack") from None
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._datagrams = Datagrams(self._socket)
        self._decoder = Decoder()
        self._overrun = False
        self._look_at = 0.0

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

    @property
    def malformed(self) -> int:
        """Events that could not be decoded, or were too long to be received whole."""
        return self._decoder.malformed + self._datagrams.truncated

    def receive(self, timeout: float | None = None) -> list[Event]:
        """Wait up to ``timeout`` seconds (None: for ever) and return what came, if anything."""
        if not self._poll.poll(None if timeout is None else timeout * 1000):
            return []
        rest = self._look_at - time.monotonic()
        if rest > 0:
            time.sleep(rest if timeout is None else min(rest, timeout))
        events: list[Event] = []
        while len(events) < MOST:
            try:
                datagrams = self._datagrams.read()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._overrun = True
                self.overruns += 1
                continue
            self._decoder.events(datagrams, time.time(), events)
            if len(datagrams) < BATCH and not (self._overrun and datagrams):
                self._tell_overrun(events)
                break
        self._look_at = time.monotonic() + PACE if len(events) >= STORM else 0.0
        return events

    def _tell_overrun(self, events: list[Event]) -> None:
        """The socket is empty: if it overran, here is the gap."""
        if self._overrun:
            self._overrun = False
            dropped = self._drops() - self.lost
            self.lost += dropped
            events.append(Event(EventType.OVERRUN, time.time(), lost=dropped))

    def _drops(self) -> int:
        """Return how many events the kernel has dropped for this socket (SO_MEMINFO, Linux 4.12)."""
        try:
            told = self._socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 64)
        except OSError:
            return self.lost + 1
        numbers = struct.unpack(f"={len(told) // 4}I", told[: len(told) // 4 * 4])
        return numbers[SK_MEMINFO_DROPS] if len(numbers) > SK_MEMINFO_DROPS else self.lost + 1
