"""The map of pinholes in the kernel: elements added, refreshed, removed and listed over nf_tables netlink.

One request of libnftables first fetches what all tables hold, so its time grows with other people's rulesets;
a set-top box does not wait for that. These are the messages that libnftables itself would send.
Source: linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c (nft_add_set_elem).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator

import msgspec

from nftrtsp.errors import KernelError, MalformedError, NftrtspError, PrivilegeError
from nftrtsp.netlink import wire
from nftrtsp.netlink.socket import open_netlink, widen
from nftrtsp.ruleset.names import PINHOLE_MAP, TABLE_NAME

NFNL_SUBSYS_NFTABLES = 10
NFPROTO_INET = 1
NFNL_MSG_BATCH_BEGIN = 0x10
NFNL_MSG_BATCH_END = 0x11
NFT_MSG_NEWTABLE = 0
NFT_MSG_DELTABLE = 2
NFT_MSG_NEWSET = 9
NFT_MSG_DELSET = 11
NFT_MSG_NEWSETELEM = 12
NFT_MSG_GETSETELEM = 13
NFT_MSG_DELSETELEM = 14
NFNLGRP_NFTABLES = 7

_LIST_TABLE = 1  # NFTA_SET_ELEM_LIST_*
_LIST_SET = 2
_LIST_ELEMENTS = 3
_LIST_ELEM = 1  # NFTA_LIST_ELEM
_KEY = 1  # NFTA_SET_ELEM_*
_DATA = 2
_TIMEOUT = 4
_EXPIRATION = 5
_USERDATA = 6
_VALUE = 1  # NFTA_DATA_VALUE
_NAME = 1  # NFTA_TABLE_NAME and NFTA_SET_TABLE
_COMMENT = 0  # NFTNL_UDATA_SET_ELEM_COMMENT
_COMMENT_MAX = 128  # bytes; libnftables refuses to print longer ones (NFTNL_UDATA_COMMENT_MAXLEN)
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_PATIENCE = 5  # seconds; the kernel answers before send() returns
_EVENTS = 64  # datagrams at most that one look at what others changed reads
_BATCH = 256  # elements of one transaction, well below the socket's send buffer

_HEADER = struct.Struct("=IHHI4x")  # struct nlmsghdr
_PLACE = f"map inet {TABLE_NAME} {PINHOLE_MAP}"


class Pinhole(msgspec.Struct, frozen=True, gc=False):
    """One element: UDP to ``port`` goes to ``stb`` (packed) at ``stb_port``.

    ``timeout`` and ``expires`` are in seconds: the whole span, and what is left of it (in listings only).
    ``comment`` is what `nft list map` shows beside it: ASCII, 127 bytes at most, longer ones are cut.
    """

    port: int
    stb: bytes
    stb_port: int
    timeout: float = 0
    expires: float = 0
    comment: str = ""


class PinholeMap:
    """The map of this network namespace, through one socket, which no other thread may share.

    Errors are :class:`PrivilegeError` and :class:`KernelError`, whose ``errno`` is ENOENT where the table or
    the map is not there and ENFILE where the map is full.
    """

    def __init__(self) -> None:
        self._socket = open_netlink()
        # Not settimeout(): with it Python waits for data even where MSG_DONTWAIT says not to.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _PATIENCE, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket; the elements stay."""
        self._socket.close()

    def add(self, pinholes: Iterable[Pinhole]) -> None:
        """Add elements in one transaction. EEXIST or EBUSY: one of the ports is there already."""
        self._commit([_element(NFT_MSG_NEWSETELEM, one) for one in pinholes])

    def put(self, pinhole: Pinhole) -> None:
        """Add an element, or replace the one that holds its port."""
        try:
            self.add([pinhole])
        except KernelError as error:
            if error.errno not in (errno.EEXIST, errno.EBUSY):
                raise
            self.replace([pinhole])

    def replace(self, pinholes: Iterable[Pinhole]) -> None:
        """Let elements that are there begin their time anew, with another comment if they bring one.

        Taking away and adding in one transaction: an element's own timeout can be set only since Linux 6.12.
        """
        elements = []
        for one in pinholes:
            elements += [_element(NFT_MSG_DELSETELEM, one), _element(NFT_MSG_NEWSETELEM, one)]
        self._commit(elements)

    def remove(self, port: int) -> bool:
        """Remove the element of ``port``; return whether it was there."""
        try:
            self._commit([_element(NFT_MSG_DELSETELEM, Pinhole(port, b"", 0))])
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def remove_all(self, ports: Iterable[int]) -> None:
        """Remove the elements of ``ports`` in one transaction. ENOENT: one was not there, so all stay."""
        self._commit([_element(NFT_MSG_DELSETELEM, Pinhole(port, b"", 0)) for port in ports])

    def dump(self) -> list[Pinhole]:
        """Return the elements; ENOENT where there is no map."""
        payload = wire.text(_LIST_TABLE, TABLE_NAME) + wire.text(_LIST_SET, PINHOLE_MAP)
        self._sequence += 1
        ask = wire.message(
            NFNL_SUBSYS_NFTABLES,
            NFT_MSG_GETSETELEM,
            wire.NLM_F_DUMP,
            payload,
            sequence=self._sequence,
            family=NFPROTO_INET,
        )
        self._send(ask)
        found: list[Pinhole] = []
        while True:
            data = self._receive()
            for kind, start, end in self._messages(data):
                if kind == wire.NLMSG_DONE:
                    return found
                if kind == wire.NLMSG_ERROR:
                    self._raise(data, start)
                    return found
                found += _elements(data, start + 4, end)

    def _commit(self, elements: list[tuple[int, bytes]]) -> None:
        """Send ``elements`` as one transaction and wait for the kernel's word on each."""
        for first in range(0, len(elements), _BATCH):
            self._commit_some(elements[first : first + _BATCH])

    def _commit_some(self, elements: list[tuple[int, bytes]]) -> None:
        self._sequence += 1
        sequence = self._sequence
        begin = wire.message(0, NFNL_MSG_BATCH_BEGIN, 0, sequence=sequence, resource=NFNL_SUBSYS_NFTABLES)
        end = wire.message(0, NFNL_MSG_BATCH_END, 0, sequence=sequence, resource=NFNL_SUBSYS_NFTABLES)
        # All share one sequence number: only the last is acknowledged, and any may be refused.
        body = b"".join(
            _framed(element, sequence, acknowledge=index == len(elements) - 1)
            for index, element in enumerate(elements)
        )
        self._send(begin + body + end)
        refused = 0
        while True:
            data = self._receive()
            for kind, start, _end in self._messages(data):
                if kind != wire.NLMSG_ERROR:
                    continue
                refused = refused or _errno(data, start)
            # The answers of one batch come in one go; after a refusal no acknowledgement may follow.
            if refused or not self._pending():
                break
        if refused:
            while self._pending():
                self._receive()
            raise _refused(refused)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 17)
        except OSError as error:  # ENOBUFS: an answer was lost; or none came in time
            raise _refused(error.errno or errno.ETIMEDOUT) from None

    def _pending(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise _refused(error.errno or errno.EIO) from None

    def _raise(self, data: bytes, start: int) -> None:
        if number := _errno(data, start):
            raise _refused(number)

    def _messages(self, data: bytes) -> Iterator[tuple[int, int, int]]:
        for kind, sequence, start, end in messages(data):
            if sequence == self._sequence:
                yield kind, start, end


class TableWatch:
    """Hears when our table is replaced, so that the pinholes can be put back. Source: nft monitor."""

    def __init__(self) -> None:
        self._socket = open_netlink()
        self._socket.setblocking(False)
        widen(self._socket, 1 << 20)
        try:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        except OSError as error:
            self._socket.close()
            raise _refused(error.errno or errno.EIO) from None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """The file descriptor, for select and poll."""
        return self._socket.fileno()

    def changed(self) -> bool:
        """Read of what has come; return whether our table or a set of it came or went (or that may be)."""
        changed = False
        for _ in range(_EVENTS):
            try:
                data = self._socket.recv(1 << 17)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                changed = True  # something was lost, so it may have been that
                continue
            changed = changed or any(
                kind >> 8 == NFNL_SUBSYS_NFTABLES
                and kind & 0xFF in (NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE, NFT_MSG_NEWSET, NFT_MSG_DELSET)
                and _first_text(data, start + 4, end) == TABLE_NAME
                for kind, _sequence, start, end in messages(data)
            )
        return changed


def messages(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield ``(type, sequence, start, end)`` of each message in a datagram; start is behind nlmsghdr."""
    position = 0
    while position + 16 <= len(data):
        size, kind, _flags, sequence = _HEADER.unpack_from(data, position)
        if size < 16 or position + size > len(data):
            return
        yield kind, sequence, position + 16, position + size
        position += size + 3 & ~3


def _errno(data: bytes, start: int) -> int:
    return -int.from_bytes(data[start : start + 4], sys.byteorder, signed=True)


def _refused(number: int) -> NftrtspError:
    if number in (errno.EPERM, errno.EACCES):
        return PrivilegeError("watching or changing it was refused", place=_PLACE, remedy="run it as root")
    if number == errno.ENOENT:
        return KernelError(
            "is not there, or lacks that element",
            place=_PLACE,
            remedy="load the ruleset with `nftrtsp apply`",
            errno=number,
        )
    if number in (errno.ENFILE, errno.ENOSPC):
        return KernelError("is full", place=_PLACE, remedy="raise rtsp.max_total and apply", errno=number)
    return KernelError(f"was not changed: {os.strerror(number)}", place=_PLACE, errno=number)


def _framed(element: tuple[int, bytes], sequence: int, *, acknowledge: bool) -> bytes:
    command, payload = element
    flags = wire.NLM_F_ACK if acknowledge else 0
    if command == NFT_MSG_NEWSETELEM:
        flags |= wire.NLM_F_CREATE | wire.NLM_F_EXCL
    return wire.message(NFNL_SUBSYS_NFTABLES, command, flags, payload, sequence=sequence, family=NFPROTO_INET)


def _element(command: int, one: Pinhole) -> tuple[int, bytes]:
    """Return the command and its attributes for one element."""
    parts = [wire.nested(_KEY, wire.attribute(_VALUE, one.port.to_bytes(2, "big")))]
    if command == NFT_MSG_NEWSETELEM:
        # The parts of a concatenation are padded to four bytes each.
        value = one.stb + one.stb_port.to_bytes(2, "big") + bytes(2)
        parts.append(wire.nested(_DATA, wire.attribute(_VALUE, value)))
        parts.append(wire.attribute(_TIMEOUT, int(one.timeout * 1000).to_bytes(8, "big")))
        if one.comment:
            text = one.comment.encode("ascii", "replace")[: _COMMENT_MAX - 1] + b"\0"
            parts.append(wire.attribute(_USERDATA, bytes((_COMMENT, len(text))) + text))
    elements = wire.nested(_LIST_ELEMENTS, wire.nested(_LIST_ELEM, *parts))
    return command, wire.text(_LIST_TABLE, TABLE_NAME) + wire.text(_LIST_SET, PINHOLE_MAP) + elements


def _elements(data: bytes, start: int, end: int) -> Iterator[Pinhole]:
    for kind, first, last in wire.attributes(data, start, end):
        if kind == _LIST_ELEMENTS:
            for _kind, one, its_end in wire.attributes(data, first, last):
                yield _pinhole(data, one, its_end)


def _pinhole(data: bytes, start: int, end: int) -> Pinhole:
    parts = {kind: (first, last) for kind, first, last in wire.attributes(data, start, end)}
    key = _value(data, parts.get(_KEY))
    value = _value(data, parts.get(_DATA))
    if len(key) < 2 or len(value) < 6:
        raise MalformedError("an element is too short", place=_PLACE)
    comment = ""
    if _USERDATA in parts:
        first, last = parts[_USERDATA]
        if last - first > 2 and data[first] == _COMMENT:
            comment = data[first + 2 : last].split(b"\0")[0].decode("ascii", "replace")
    return Pinhole(
        int.from_bytes(key[:2], "big"),
        value[:4],
        int.from_bytes(value[4:6], "big"),
        timeout=_seconds(data, parts.get(_TIMEOUT)),
        expires=_seconds(data, parts.get(_EXPIRATION)),
        comment=comment,
    )


def _value(data: bytes, span: tuple[int, int] | None) -> bytes:
    for kind, first, last in wire.attributes(data, *span) if span else ():
        if kind == _VALUE:
            return data[first:last]
    return b""


def _seconds(data: bytes, span: tuple[int, int] | None) -> float:
    return int.from_bytes(data[span[0] : span[1]], "big") / 1000 if span else 0


def _first_text(data: bytes, start: int, end: int) -> str:
    with contextlib.suppress(MalformedError):
        for kind, first, last in wire.attributes(data, start, end):
            if kind == _NAME:
                return data[first:last].rstrip(b"\0").decode("ascii", "replace")
    return ""
