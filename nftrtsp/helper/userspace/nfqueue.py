"""NFQUEUE: packets that wait in the kernel for our verdict, with the conntrack entry they belong to.

The codec is pure; :class:`Queue` is the socket. Source: net/netfilter/nfnetlink_queue.c.
"""

from __future__ import annotations

import contextlib
import errno
import struct
from collections.abc import Iterable
from typing import Self

import msgspec

from nftrtsp.conntrack.attribute import (
    CTA_HELP,
    CTA_HELP_NAME,
    CTA_ID,
    CTA_IP_V4_SRC,
    CTA_PROTOINFO,
    CTA_STATUS,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_REPLY,
)
from nftrtsp.conntrack.flow import IPS_CONFIRMED, protocol_state
from nftrtsp.conntrack.tuple import Tuple, decode_tuple
from nftrtsp.errors import BusyError, MalformedError, UnsupportedError
from nftrtsp.helper.conntrack_entries import is_established
from nftrtsp.netlink import wire
from nftrtsp.netlink.socket import open_netlink, refused, widen
from nftrtsp.netlink.wire import (
    NFNL_SUBSYS_QUEUE,
    NLM_F_ACK,
    NLMSG_ERROR,
    attribute,
    be32,
    message,
    nested,
    text,
)
from nftrtsp.privilege import is_network_admin

NFQNL_MSG_PACKET = 0
NFQNL_MSG_VERDICT = 1
NFQNL_MSG_CONFIG = 2

NFQA_PACKET_HDR = 1
NFQA_VERDICT_HDR = 2
NFQA_PAYLOAD = 10
NFQA_CT = 11
NFQA_CT_INFO = 12
NFQA_CAP_LEN = 13

NFQA_CFG_CMD = 1
NFQA_CFG_PARAMS = 2
NFQA_CFG_QUEUE_MAXLEN = 3
NFQA_CFG_MASK = 4
NFQA_CFG_FLAGS = 5

NFQNL_CFG_CMD_BIND = 1
NFQNL_COPY_PACKET = 2

NFQA_CFG_F_FAIL_OPEN = 1
NFQA_CFG_F_CONNTRACK = 2
NFQA_CFG_F_GSO = 4


NF_ACCEPT = 1

IP_CT_IS_REPLY = 3  # enum ip_conntrack_info: from here on the packet goes in the reply direction

#: Bytes of a packet that are copied to us: all that netlink can carry (NFQNL_MAX_COPY_RANGE). Interleaved
#: media can only be stepped over by the length that each of its frames begins with, so with less, a large
#: (GSO) packet would hide where the next message is. The kernel hands over the pages without copying them.
COPY_RANGE = 0xFFFF - 4

#: Packets that may await a verdict; from then on packets pass unseen (fail-open).
MAX_WAITING = 16384

#: Bytes the kernel may hold for us, doubled by it. At about 1.3 KiB a small packet this fills before
#: MAX_WAITING is reached, so what passes unseen shows as ENOBUFS and is counted.
RECEIVE_BUFFER = 8 << 20

_IPV4_SOURCE = struct.pack("=HH", 8, CTA_IP_V4_SRC)  # of 8 bytes with its head
_PACKET_HDR = struct.Struct("!IHB")
_VERDICT_HDR = struct.Struct("!II")
_LARGEST_DATAGRAM = 1 << 17


class Queued(msgspec.Struct, frozen=True, gc=False):
    """One packet that waits.

    ``payload`` is the IP packet as far as it was copied, ``length`` its real size in bytes. ``key`` is the
    same for all packets of one conntrack entry, in both directions; b"" without an entry. An entry that takes
    the place of one that was deleted may have the same: its first packet is not ``confirmed``.
    ``ct`` are the entry's attributes, for :meth:`tuples`. ``reply`` says the direction.
    """

    id: int
    payload: bytes
    length: int
    key: bytes
    ct: bytes
    reply: bool
    confirmed: bool = True

    @property
    def box(self) -> bytes:
        """The packed address that the connection was begun from; b"" without an entry of IPv4."""
        # The key begins with CTA_TUPLE_ORIG: the heads of CTA_TUPLE_IP and CTA_IP_V4_SRC, then the address.
        return self.key[8:12] if self.key[4:8] == _IPV4_SOURCE else b""

    def is_established(self) -> bool | None:
        """Whether conntrack saw both ends of the connection and neither end it; None: the entry is silent."""
        try:
            found = wire.spans(self.ct, 0, len(self.ct))
            status = wire.number(self.ct, found, CTA_STATUS, 4)
            protoinfo = found.get(CTA_PROTOINFO)
            if status is None or protoinfo is None:
                return None
            return status & IPS_CONFIRMED != 0 and is_established(
                protocol_state(self.ct[protoinfo[0] : protoinfo[1]]), status
            )
        except MalformedError:
            return None

    def tuples(self) -> tuple[Tuple, Tuple]:
        """Decode both directions of the conntrack entry. Raises :class:`MalformedError`."""
        found = wire.spans(self.ct, 0, len(self.ct))
        try:
            orig, reply = found[CTA_TUPLE_ORIG], found[CTA_TUPLE_REPLY]
        except KeyError as error:
            raise MalformedError(f"a conntrack entry without attribute {error}") from None
        return decode_tuple(self.ct, orig), decode_tuple(self.ct, reply)


def encode_config(queue: int, command: int = 0, *attributes: bytes) -> bytes:
    """Return a request about queue number ``queue``, acknowledged."""
    payload = attribute(NFQA_CFG_CMD, struct.pack("!BBH", command, 0, 0)) if command else b""
    payload += b"".join(attributes)
    return message(NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG, NLM_F_ACK, payload, resource=queue)


def encode_settings(queue: int, *, copy_range: int = COPY_RANGE, waiting: int = MAX_WAITING) -> bytes:
    """Return the request that makes a bound queue copy packets with their conntrack entry, and fail open."""
    flags = NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_CONNTRACK | NFQA_CFG_F_GSO
    return encode_config(
        queue,
        0,
        attribute(NFQA_CFG_PARAMS, struct.pack("!IB", copy_range, NFQNL_COPY_PACKET)),
        be32(NFQA_CFG_QUEUE_MAXLEN, waiting),
        be32(NFQA_CFG_MASK, flags),
        be32(NFQA_CFG_FLAGS, flags),
    )


def encode_verdict(
    queue: int, packet: int, verdict: int = NF_ACCEPT, *, payload: bytes | None = None, ct: bytes = b""
) -> bytes:
    """Return the verdict on packet number ``packet``.

    ``payload`` replaces the whole IP packet, checksums and all. ``ct`` are attributes to change its conntrack
    entry with, before the packet goes on.
    """
    parts = attribute(NFQA_VERDICT_HDR, _VERDICT_HDR.pack(verdict, packet))
    if ct:
        parts += nested(NFQA_CT, ct)
    if payload is not None:
        parts += attribute(NFQA_PAYLOAD, payload)
    return message(NFNL_SUBSYS_QUEUE, NFQNL_MSG_VERDICT, 0, parts, resource=queue)


#: For ``ct`` of a verdict: takes the helper off the connection, and its expectations with it. Its packets no
#: longer come to the queue, ever. Source: ctnetlink_change_helper().
CT_WITHOUT_HELPER = nested(CTA_HELP, text(CTA_HELP_NAME, ""))


def decode_packet(data: bytes, start: int, end: int) -> Queued:
    """Decode the attributes ``data[start:end]`` of an NFQNL_MSG_PACKET. Raises :class:`MalformedError`."""
    found = wire.spans(data, start, end)
    header = found.get(NFQA_PACKET_HDR)
    if header is None or header[1] - header[0] < _PACKET_HDR.size:
        raise MalformedError("a queued packet without its header")
    number, _, _ = _PACKET_HDR.unpack_from(data, header[0])
    first, last = found.get(NFQA_PAYLOAD, (0, 0))
    ct, key, status = b"", b"", None
    if NFQA_CT in found:
        begin, stop = found[NFQA_CT]
        ct = data[begin:stop]
        parts = wire.spans(ct, 0, len(ct))
        # The tuple tells connections apart, the id one connection from a later one of the same tuple.
        for kind in (CTA_TUPLE_ORIG, CTA_ID):
            begin, stop = parts.get(kind, (0, 0))
            key += ct[begin:stop]
        status = wire.number(ct, parts, CTA_STATUS, 4)
    info = wire.number(data, found, NFQA_CT_INFO, 4) or 0
    return Queued(
        number,
        data[first:last],
        wire.number(data, found, NFQA_CAP_LEN, 4) or last - first,
        key,
        ct,
        info >= IP_CT_IS_REPLY,
        status is None or bool(status & IPS_CONFIRMED),
    )


class Queue:
    """One bound queue in the current network namespace.

    It is bound while the socket is open, in this process or another one. Without it the packets of helped
    connections bypass the queue, but a new connection's first should not
    (:mod:`nftrtsp.helper.userspace.watchdog`).
    ``overruns`` counts how often packets passed unseen because we were too slow.
    """

    def __init__(self, number: int, *, receive_buffer: int = RECEIVE_BUFFER) -> None:
        self.number = number
        self.overruns = 0
        #: Whether the kernel says that the queue is no longer ours: bind() it again.
        self.lost = False
        self._buffer = memoryview(bytearray(_LARGEST_DATAGRAM))
        self._socket = open_netlink()
        widen(self._socket, receive_buffer)
        self._socket.settimeout(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket: the queue is unbound, what waits in it is dropped and sent again by TCP."""
        self._socket.close()

    def fileno(self) -> int:
        """The file descriptor, for select and poll, and for the watchdog of a stuck process."""
        return self._socket.fileno()

    def bind(self) -> None:
        """Bind the queue and set it up; packets come from now on.

        Raises :class:`BusyError` when another process has it, :class:`UnsupportedError` without the glue
        between NFQUEUE and conntrack.
        """
        self._socket.settimeout(5)
        self._config(encode_config(self.number, NFQNL_CFG_CMD_BIND))
        self._config(encode_settings(self.number))
        self._socket.setblocking(False)
        self.lost = False

    def _config(self, ask: bytes) -> None:
        for _ in range(2):
            self._socket.send(ask)
            code = self._acknowledged()
            if code != errno.EAGAIN:  # it says so after it loaded the module for the glue
                break
        if code in (errno.EBUSY, errno.EPERM) and is_network_admin():
            error = BusyError(
                f"another process reads NFQUEUE {self.number}",
                place="rtsp.queue",
                remedy="stop it, or give rtsp.queue another number",
            )
            error.exit_code = 1  # a forerunner that still ends, it may be
            raise error
        if code == errno.EOPNOTSUPP:
            raise UnsupportedError(
                "this kernel has no glue between NFQUEUE and conntrack",
                place="rtsp.helper",
                remedy="it needs CONFIG_NETFILTER_NETLINK_GLUE_CT; use helper = 'pinhole'",
                errno=code,
            )
        if code == errno.EINVAL:
            raise UnsupportedError(
                "this kernel has no NFQUEUE",
                place="rtsp.helper",
                remedy="it needs CONFIG_NETFILTER_NETLINK_QUEUE; use helper = 'pinhole'",
                errno=code,
            )
        if code:
            raise refused(code, "binding it", f"NFQUEUE {self.number}")

    def _acknowledged(self) -> int:
        """Wait for the answer to a request; packets that come in between pass by their bytes: fail-open."""
        while True:
            data = self._socket.recv(_LARGEST_DATAGRAM)
            for kind, _, _, _, start, end in wire.messages(data):
                if kind == NLMSG_ERROR:
                    return wire.error_number(data, start)
                if kind >> 8 == NFNL_SUBSYS_QUEUE:
                    self.answer([encode_verdict(self.number, decode_packet(data, start, end).id)])

    def receive(self, most: int = 64) -> list[Queued]:
        """Return the packets that wait for us, up to ``most``, without blocking."""
        packets: list[Queued] = []
        with contextlib.suppress(BlockingIOError):
            for _ in range(most):
                try:
                    size = self._socket.recv_into(self._buffer)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    self.overruns += 1
                    continue
                with contextlib.suppress(MalformedError):  # the kernel sends none; it would end no helper
                    self._take(bytes(self._buffer[:size]), packets)
        return packets

    def _take(self, data: bytes, packets: list[Queued]) -> None:
        for kind, _, _, _, start, end in wire.messages(data):
            if kind == NLMSG_ERROR:
                self._note_error(data, start)
            elif kind == NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET:
                packets.append(decode_packet(data, start, end))

    def _note_error(self, data: bytes, start: int) -> None:
        code = wire.error_number(data, start)
        # ENOENT: the packet is gone, flushed with its interface, or our watchdog let it go.
        if code in (errno.ENODEV, errno.EPERM):
            self.lost = True

    def answer(self, verdicts: Iterable[bytes]) -> None:
        """Send verdicts, as many in one datagram as fit the socket's send buffer."""
        batch: list[bytes] = []
        size = 0
        for verdict in verdicts:
            if size + len(verdict) > _LARGEST_DATAGRAM:
                self._send(b"".join(batch))
                batch, size = [], 0
            batch.append(verdict)
            size += len(verdict)
        if batch:
            self._send(b"".join(batch))

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            # An error of receiving that waits on the socket comes instead, once.
            self.overruns += 1
            self._socket.send(data)
