"""ctnetlink sockets in the current network namespace: dumps and requests, and a subscription to events.

:class:`Conntrack` asks and gets answers; :class:`Subscription` hears what happens. Neither may be shared
between threads. Both raise :class:`PrivilegeError` without CAP_NET_ADMIN and :class:`KernelError` for what
the kernel refuses.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Self

from nftrtsp.conntrack import attribute as cta
from nftrtsp.conntrack import decode, request
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow, Tuple
from nftrtsp.conntrack.request import DumpFilter
from nftrtsp.conntrack.wire import NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR
from nftrtsp.errors import KernelError, PrivilegeError, UnsupportedError

NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
SO_RCVBUFFORCE = 33
SO_ATTACH_FILTER = 26

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


def open_netlink() -> socket.socket:
    """Return a NETLINK_NETFILTER socket of this network namespace."""
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        opened.bind((0, 0))
    except OSError as error:
        raise UnsupportedError(
            f"this kernel has no nfnetlink ({error.strerror})",
            place="conntrack",
            remedy="it needs CONFIG_NF_CT_NETLINK",
            errno=error.errno,
        ) from None
    return opened


def refused(number: int, what: str) -> KernelError | PrivilegeError:
    """Return the error for an errno that the kernel answered to ``what``."""
    if number in (errno.EPERM, errno.EACCES):
        return PrivilegeError(f"{what} was refused", place="conntrack", remedy="run it as root")
    return KernelError(f"{what} failed: {os.strerror(number)}", place="conntrack", errno=number)


def attach(opened: socket.socket, program: bytes) -> None:
    """Attach a classic BPF program (an array of struct sock_filter) to a socket. Source: socket(7)."""
    steps = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HP", len(program) // 8, ctypes.addressof(steps))  # struct sock_fprog
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)


class Conntrack:
    """Questions to conntrack: dump, get, delete, create. One request at a time."""

    def __init__(self) -> None:
        self._socket = open_netlink()
        self._sequence = 0
        #: Dumps that the kernel marked as interrupted (NLM_F_DUMP_INTR), since the start.
        self.interrupted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket. A dump that is under way ends with it."""
        self._socket.close()

    def dump_flows(self, wanted: DumpFilter | None = None) -> Iterator[Flow]:
        """Yield the flows that ``wanted`` accepts, filtered in the kernel where it can and here again."""
        wanted = wanted or DumpFilter()
        ask = request.dump_flows(wanted, sequence=self._next())
        try:
            yield from self._flows(ask, wanted)
        except KernelError as error:
            # Kernels before 5.8 refuse the tuple filter; the mark and status filters were never refused.
            if (wanted.orig is None and wanted.reply is None) or error.errno not in (
                errno.EOPNOTSUPP,
                errno.EINVAL,
            ):
                raise
            yield from self._flows(request.dump_flows(wanted, sequence=self._next(), tuples=False), wanted)

    def _flows(self, ask: bytes, wanted: DumpFilter) -> Iterator[Flow]:
        accepts = None if wanted == DumpFilter() else wanted.accepts
        for data, kind, family, start, end in self._answers(ask, "listing flows"):
            if kind == decode.FLOW_NEW:
                flow = decode.flow(data, family, start, end)
                if accepts is None or accepts(flow):
                    yield flow

    def get_flow(self, orig: Tuple, *, zone: int = 0) -> Flow | None:
        """Return the flow whose original direction is ``orig``, or None. Costs one hash look-up."""
        ask = request.get_flow(orig, sequence=self._next(), zone=zone)
        found = None
        try:
            for data, kind, family, start, end in self._answers(ask, "looking for a flow"):
                if kind == decode.FLOW_NEW:
                    found = decode.flow(data, family, start, end)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
        return found

    def delete_flow(self, flow: Flow) -> bool:
        """Delete ``flow``, and only it (by its id); return whether it was still there."""
        ask = request.delete_flow(flow.orig, sequence=self._next(), zone=flow.zone, flow_id=flow.id)
        return self._order(ask, "deleting a flow")

    def dump_expectations(self) -> Iterator[Expectation]:
        """Yield every expectation."""
        ask = request.dump_expectations(sequence=self._next())
        for data, kind, family, start, end in self._answers(ask, "listing expectations"):
            if kind == decode.EXPECT_NEW:
                yield decode.expectation(data, family, start, end)

    def create_expectation(self, expectation: Expectation) -> None:
        """Create ``expectation`` and set its timeout (which takes a second request, FACTS 2).

        Raises :class:`KernelError`: ENOENT when the master flow is gone, EEXIST when there is one already.
        """
        self._order(
            request.create_expectation(expectation, sequence=self._next()),
            "creating an expectation",
            absent_is_error=True,
        )
        if expectation.timeout:
            self._order(
                request.create_expectation(expectation, sequence=self._next(), replace=True),
                "setting an expectation's timeout",
            )

    def delete_expectation(self, expectation: Expectation) -> bool:
        """Delete ``expectation``; return whether it was still there."""
        ask = request.delete_expectation(expectation, sequence=self._next())
        return self._order(ask, "deleting an expectation")

    def _next(self) -> int:
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        return self._sequence

    def _order(self, ask: bytes, what: str, *, absent_is_error: bool = False) -> bool:
        try:
            for _ in self._answers(ask, what):
                pass
        except KernelError as error:
            if error.errno != errno.ENOENT or absent_is_error:
                raise
            return False
        return True

    def _answers(self, ask: bytes, what: str) -> Iterator[tuple[bytes, int, int, int, int]]:
        """Send ``ask`` and yield ``(data, type, family, start, end)`` up to its end or acknowledgement."""
        self._send(ask, what)
        sequence = self._sequence
        while True:
            data = self._socket.recv(1 << 16)
            for kind, flags, number, family, start, end in decode.messages(data):
                if number != sequence:  # what is left of a dump that was given up half-way
                    continue
                if flags & NLM_F_DUMP_INTR:
                    self.interrupted += 1
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    code = -int.from_bytes(data[start - 4 : start], sys.byteorder, signed=True)
                    if code:
                        raise refused(code, what)
                    return
                yield data, kind, family, start, end

    def _send(self, ask: bytes, what: str) -> None:
        try:
            self._socket.send(ask)
        except OSError as error:
            raise refused(error.errno or errno.EIO, what) from None


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
