"""Copies of packets from the ruleset's ``log group`` rules, over NFLOG.

Source: linux/netfilter/nfnetlink_log.h, net/netfilter/nfnetlink_log.c.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Container, Iterator
from pathlib import Path

from nftrtsp.errors import BusyError, KernelError, MalformedError, PrivilegeError, UnsupportedError
from nftrtsp.netlink import wire
from nftrtsp.netlink.socket import open_netlink, widen
from nftrtsp.rtsp.packet import ACK, SYN

_COPY = wire.NFNL_SUBSYS_ULOG << 8  # NFULNL_MSG_PACKET
_CONFIG = 1  # NFULNL_MSG_*
_CFG_CMD = 1  # NFULA_CFG_*
_CFG_MODE = 2
_CFG_QTHRESH = 5
_CMD_BIND = 1  # NFULNL_CFG_CMD_*
_COPY_PACKET = 2  # NFULNL_COPY_*
_PAYLOAD = 9  # NFULA_*
_PREFIX = 10

_LARGEST_DATAGRAM = 1 << 18

#: Bytes that copies may occupy in the kernel before it drops more of them and says ENOBUFS.
RECEIVE_BUFFER = 16 << 20


class Nflog:
    """One NFLOG group of this network namespace; only one process may read a group.

    ``prefix``: copies of rules with another one are passed over. ``copy`` bytes of each packet are asked for
    at most (a rule's ``snaplen`` may say less). Raises :class:`PrivilegeError`, :class:`BusyError` when
    somebody else reads the group, :class:`UnsupportedError` when the kernel has no NFLOG.
    """

    def __init__(self, group: int, prefix: str, *, copy: int = 65535) -> None:
        self.group = group
        #: How often the kernel said ENOBUFS: copies were lost, it never says how many.
        self.overruns = 0
        self._prefix = prefix.encode()
        self._buffer = memoryview(bytearray(_LARGEST_DATAGRAM))
        self._socket = open_netlink()
        try:
            widen(self._socket, RECEIVE_BUFFER)
            self._configure(wire.u8(_CFG_CMD, _CMD_BIND))
            self._configure(
                wire.attribute(_CFG_MODE, struct.pack("!IBB", copy, _COPY_PACKET, 0)),
                wire.be32(_CFG_QTHRESH, 1),  # at once: a set-top box waits
            )
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def close(self) -> None:
        """Stop reading; the rules go on, unread."""
        self._socket.close()

    def fileno(self) -> int:
        """The file descriptor, for select and poll."""
        return self._socket.fileno()

    def receive(self, limit: int = 256) -> list[bytes]:
        """Return the IP packets, or their beginnings, that have come in at most ``limit`` datagrams."""
        packets: list[bytes] = []
        for _ in range(limit):
            try:
                size = self._socket.recv_into(self._buffer)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overruns += 1
                continue
            packets.extend(payloads(bytes(self._buffer[:size]), self._prefix))
        return packets

    def _configure(self, *attributes: bytes) -> None:
        self._socket.send(
            wire.message(
                wire.NFNL_SUBSYS_ULOG,
                _CONFIG,
                wire.NLM_F_ACK,
                b"".join(attributes),
                resource=self.group,
            )
        )
        data = self._socket.recv(1 << 16)
        number = wire.error_number(data, wire.HEADER_SIZE)
        if number:
            raise self._refused(number)

    def _refused(self, number: int) -> Exception:
        place = f"NFLOG group {self.group}"
        if number == errno.EPERM and not _is_read(self.group):
            return PrivilegeError("reading it was refused", place=place, remedy="run it as root")
        if number in (errno.EPERM, errno.EBUSY):  # the kernel says EPERM for both: nfulnl_recv_config()
            return BusyError(
                "another program reads it",
                place=place,
                remedy="stop that one, or set rtsp.log_group and apply",
            )
        if number in (errno.EOPNOTSUPP, errno.EINVAL):
            return UnsupportedError(
                "this kernel has no NFLOG",
                place=place,
                remedy="load nfnetlink_log, or use another rtsp.helper",
                errno=number,
            )
        return KernelError(f"was not opened: {os.strerror(number)}", place=place, errno=number)


def _is_read(group: int) -> bool:
    """Whether somebody reads the group already; the first column of this file are the groups."""
    try:
        lines = Path("/proc/thread-self/net/netfilter/nfnetlink_log").read_text().splitlines()
    except OSError:
        return False
    return any(line.split()[:1] == [str(group)] for line in lines)


def payloads(data: bytes, prefix: bytes) -> Iterator[bytes]:
    """Yield the packets in a datagram of NFLOG whose rule has ``prefix``; malformed ones are passed over."""
    try:
        for kind, _, _, _, start, end in wire.messages(data):
            if kind == _COPY and (copy := _payload(data, start, end, prefix)):
                yield copy
    except MalformedError:
        return  # nothing that follows can be trusted


def _payload(data: bytes, start: int, end: int, prefix: bytes) -> bytes | None:
    try:
        found = wire.spans(data, start, end)
    except MalformedError:
        return None
    first, last = found.get(_PREFIX, (0, 0))
    if data[first:last].rstrip(b"\0") != prefix or _PAYLOAD not in found:
        return None
    first, last = found[_PAYLOAD]
    return data[first:last]


def is_start(copy: bytes) -> bool:
    """Whether an IPv4 packet with TCP, as :func:`asker` took it, is the SYN that begins a connection."""
    flags = (copy[0] & 0x0F) * 4 + 13
    return len(copy) > flags and copy[flags] & (SYN | ACK) == SYN


def asker(copy: bytes, ports: Container[int]) -> bytes | None:
    """Return the packed address of the box that an IPv4 packet with TCP belongs to; None: it is no RTSP.

    ``ports`` are those of RTSP servers: the other end is the box. No more is looked at than that takes.
    """
    head = (copy[0] & 0x0F) * 4 if copy else 0
    if head < 20 or len(copy) < head + 4:
        return None
    if copy[head + 2] << 8 | copy[head + 3] in ports:
        return copy[12:16]
    if copy[head] << 8 | copy[head + 1] in ports:
        return copy[16:20]
    return None
