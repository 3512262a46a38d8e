"""The elements of one of nftables' maps: added, replaced, removed and listed over netlink.

One request of libnftables first fetches what all tables hold, so its time grows with other people's rulesets.
These are the messages that libnftables itself would send. Source: linux/netfilter/nf_tables.h,
net/netfilter/nf_tables_api.c (nft_add_set_elem, nf_tables_dump_set).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable, Iterator

import msgspec

from nftrtsp.netlink import wire
from nftrtsp.netlink.socket import open_netlink
from nftrtsp.netlink.wire import NFNL_SUBSYS_NFTABLES, NFPROTO_INET

NFNL_MSG_BATCH_BEGIN = 0x10
NFNL_MSG_BATCH_END = 0x11
NFT_MSG_NEWSETELEM = 12
NFT_MSG_GETSETELEM = 13
NFT_MSG_DELSETELEM = 14

NFTA_SET_ELEM_LIST_TABLE = 1
NFTA_SET_ELEM_LIST_SET = 2
NFTA_SET_ELEM_LIST_ELEMENTS = 3
NFTA_LIST_ELEM = 1
NFTA_SET_ELEM_KEY = 1
NFTA_SET_ELEM_DATA = 2
NFTA_SET_ELEM_TIMEOUT = 4
NFTA_SET_ELEM_EXPIRATION = 5
NFTA_SET_ELEM_USERDATA = 6
NFTA_DATA_VALUE = 1
NFTNL_UDATA_SET_ELEM_COMMENT = 0
_COMMENT_MAX = 128  # bytes; libnftables refuses to print longer ones (NFTNL_UDATA_COMMENT_MAXLEN)
_LONGEST_WAIT = 5  # seconds; the kernel answers before send() returns
_BATCH = 256  # elements of one transaction, well below the socket's send buffer


class Element(msgspec.Struct, frozen=True, gc=False):
    """One element of a map: ``key`` and ``data`` as the kernel keeps them, the parts padded to four bytes.

    ``timeout`` and ``expires`` are in seconds: the whole span, and what is left of it (in listings only);
    None: it stays. ``comment`` is what `nft list map` shows beside it: ASCII, 127 bytes at most, longer ones
    are cut.
    """

    key: bytes
    data: bytes = b""
    timeout: float | None = None
    expires: float | None = None
    comment: str = ""


class MapElements:
    """The elements of the map ``name`` in the inet table ``table`` of this network namespace.

    One socket, which no other thread may share. ``refused`` makes the error of an errno: ENOENT where the
    table, the map or an element is not there, EEXIST or EBUSY where a key is taken, ENFILE where it is full.
    """

    def __init__(self, table: str, name: str, refused: Callable[[int], Exception]) -> None:
        self._map = wire.text(NFTA_SET_ELEM_LIST_TABLE, table) + wire.text(NFTA_SET_ELEM_LIST_SET, name)
        self._refused = refused
        self._socket = open_netlink()
        # Not settimeout(): with it Python waits for data even where MSG_DONTWAIT says not to.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _LONGEST_WAIT, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket; the elements stay."""
        self._socket.close()

    def add(self, elements: Iterable[Element]) -> None:
        """Add elements in one transaction. EEXIST or EBUSY: one of the keys is there already."""
        self._commit([(NFT_MSG_NEWSETELEM, encode_element(one)) for one in elements])

    def replace(self, elements: Iterable[Element]) -> None:
        """Let elements that are there begin their time anew, with other data or another comment.

        Taking away and adding in one transaction: an element's own timeout can be set only since Linux 6.12.
        """
        steps = []
        for one in elements:
            steps.append((NFT_MSG_DELSETELEM, encode_element(Element(one.key))))
            steps.append((NFT_MSG_NEWSETELEM, encode_element(one)))
        self._commit(steps)

    def remove(self, keys: Iterable[bytes]) -> None:
        """Remove the elements of ``keys`` in one transaction. ENOENT: one was not there, so all stay."""
        self._commit([(NFT_MSG_DELSETELEM, encode_element(Element(key))) for key in keys])

    def dump(self) -> list[Element]:
        """Return the elements; ENOENT where there is no map."""
        self._sequence += 1
        ask = wire.message(
            NFNL_SUBSYS_NFTABLES,
            NFT_MSG_GETSETELEM,
            wire.NLM_F_DUMP,
            self._map,
            sequence=self._sequence,
            family=NFPROTO_INET,
        )
        self._send(ask)
        found: list[Element] = []
        while True:
            data = self._receive()
            for kind, start, end in self._answers(data):
                if kind == wire.NLMSG_DONE:
                    return found
                if kind == wire.NLMSG_ERROR:
                    if number := wire.error_number(data, start):
                        raise self._refused(number)
                    return found
                found += decode_elements(data, start, end)

    def _commit(self, steps: list[tuple[int, bytes]]) -> None:
        """Send ``steps`` (command, element) as one transaction and wait for the kernel's word on each."""
        for first in range(0, len(steps), _BATCH):
            self._commit_some(steps[first : first + _BATCH])

    def _commit_some(self, steps: list[tuple[int, bytes]]) -> None:
        self._sequence += 1
        sequence = self._sequence
        begin = wire.message(0, NFNL_MSG_BATCH_BEGIN, 0, sequence=sequence, resource=NFNL_SUBSYS_NFTABLES)
        end = wire.message(0, NFNL_MSG_BATCH_END, 0, sequence=sequence, resource=NFNL_SUBSYS_NFTABLES)
        # All share one sequence number: only the last is acknowledged, and any may be refused.
        last = len(steps) - 1
        body = [self._step(*step, acknowledge=index == last) for index, step in enumerate(steps)]
        self._send(b"".join([begin, *body, end]))
        refused = 0
        while True:
            data = self._receive()
            for kind, start, _end in self._answers(data):
                if kind == wire.NLMSG_ERROR:
                    refused = refused or wire.error_number(data, start)
            # The answers of one batch come in one go; after a refusal no acknowledgement may follow.
            if refused or not self._pending():
                break
        if refused:
            while self._pending():
                self._receive()
            raise self._refused(refused)

    def _step(self, command: int, element: bytes, *, acknowledge: bool) -> bytes:
        flags = wire.NLM_F_ACK if acknowledge else 0
        if command == NFT_MSG_NEWSETELEM:
            flags |= wire.NLM_F_CREATE | wire.NLM_F_EXCL
        return wire.message(
            NFNL_SUBSYS_NFTABLES,
            command,
            flags,
            self._map + element,
            sequence=self._sequence,
            family=NFPROTO_INET,
        )

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 17)
        except OSError as error:  # ENOBUFS: an answer was lost; or none came in time
            raise self._refused(error.errno or errno.ETIMEDOUT) from None

    def _pending(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise self._refused(error.errno or errno.EIO) from None

    def _answers(self, data: bytes) -> Iterator[tuple[int, int, int]]:
        for kind, _, sequence, _, start, end in wire.messages(data):
            if sequence == self._sequence:
                yield kind, start, end


def encode_element(one: Element) -> bytes:
    """Return the list of elements that holds ``one``; without data it is one to be removed."""
    parts = [wire.nested(NFTA_SET_ELEM_KEY, wire.attribute(NFTA_DATA_VALUE, one.key))]
    if one.data:
        parts.append(wire.nested(NFTA_SET_ELEM_DATA, wire.attribute(NFTA_DATA_VALUE, one.data)))
    if one.timeout is not None:
        parts.append(wire.attribute(NFTA_SET_ELEM_TIMEOUT, int(one.timeout * 1000).to_bytes(8, "big")))
    if one.comment:
        text = one.comment.encode("ascii", "replace")[: _COMMENT_MAX - 1] + b"\0"
        noted = bytes((NFTNL_UDATA_SET_ELEM_COMMENT, len(text))) + text
        parts.append(wire.attribute(NFTA_SET_ELEM_USERDATA, noted))
    return wire.nested(NFTA_SET_ELEM_LIST_ELEMENTS, wire.nested(NFTA_LIST_ELEM, *parts))


def decode_elements(data: bytes, start: int, end: int) -> list[Element]:
    """Decode the attributes ``data[start:end]`` of one NFT_MSG_NEWSETELEM. Raises :class:`MalformedError`."""
    outer = wire.spans(data, start, end)
    elements = outer.get(NFTA_SET_ELEM_LIST_ELEMENTS, (0, 0))
    return [_element(data, first, last) for _, first, last in wire.attributes(data, *elements)]


def _element(data: bytes, start: int, end: int) -> Element:
    found = wire.spans(data, start, end)
    timeout = wire.number(data, found, NFTA_SET_ELEM_TIMEOUT, 8)
    expires = wire.number(data, found, NFTA_SET_ELEM_EXPIRATION, 8)
    noted = wire.raw(data, found, NFTA_SET_ELEM_USERDATA)
    is_comment = len(noted) > 2 and noted[0] == NFTNL_UDATA_SET_ELEM_COMMENT
    return Element(
        _value(data, found.get(NFTA_SET_ELEM_KEY)),
        _value(data, found.get(NFTA_SET_ELEM_DATA)),
        None if timeout is None else timeout / 1000,
        None if expires is None else expires / 1000,
        noted[2:].split(b"\0")[0].decode("ascii", "replace") if is_comment else "",
    )


def _value(data: bytes, span: tuple[int, int] | None) -> bytes:
    return wire.raw(data, wire.spans(data, *span), NFTA_DATA_VALUE) if span else b""
