"""Conntrack helpers that live in userspace: registering one with the kernel over nfnetlink_cthelper.

A registration belongs to the whole machine (all network namespaces), outlives the process that made it, and
cannot be deleted while a ``ct helper`` object uses it. So a new process does not start afresh: it takes the
one that is there over. Where no process reads the queue the helper should be disabled: packets would pass
all the same, but a new connection whose first packet bypassed the queue is never confirmed by conntrack.
Source: net/netfilter/nfnetlink_cthelper.c, nf_conntrack_proto.c (nf_confirm).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Self

import msgspec

from nftrtsp.config import Config
from nftrtsp.conntrack.tuple import AF_INET, IPPROTO_TCP
from nftrtsp.errors import BusyError, KernelError, UnsupportedError
from nftrtsp.netlink import wire
from nftrtsp.netlink.socket import open_netlink, refused
from nftrtsp.netlink.wire import (
    NFNL_SUBSYS_CTHELPER,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    be16,
    be32,
    message,
    nested,
    text,
    u8,
)
from nftrtsp.ruleset.names import CT_HELPER_TYPE

NFNL_MSG_CTHELPER_NEW = 0
NFNL_MSG_CTHELPER_GET = 1
NFNL_MSG_CTHELPER_DEL = 2

NFCTH_NAME = 1
NFCTH_TUPLE = 2
NFCTH_QUEUE_NUM = 3
NFCTH_POLICY = 4
NFCTH_PRIV_DATA_LEN = 5
NFCTH_STATUS = 6

NFCTH_TUPLE_L3PROTONUM = 1
NFCTH_TUPLE_L4PROTONUM = 2

NFCTH_POLICY_SET_NUM = 1
NFCTH_POLICY_SET1 = 2

NFCTH_POLICY_NAME = 1
NFCTH_POLICY_EXPECT_MAX = 2
NFCTH_POLICY_EXPECT_TIMEOUT = 3

#: Expectations that one connection may have at most (NF_CT_EXPECT_MAX_CNT); more are refused with EINVAL.
LARGEST_EXPECT_MAX = 255

_SEQUENCE = 1  # one request at a time on a socket of its own


class Registration(msgspec.Struct, frozen=True):
    """One helper as the kernel knows it.

    ``expect_max`` is how many expectations a connection may have before the oldest gives way (1 to 255),
    ``expect_timeout`` how long each lives, in seconds. ``enabled`` False: its connections are left alone.
    """

    name: str
    queue: int
    expect_max: int
    expect_timeout: int
    family: int = AF_INET
    proto: int = IPPROTO_TCP
    policy: str = CT_HELPER_TYPE
    private_size: int = 0
    enabled: bool = True


def wanted(config: Config) -> tuple[Registration, ...]:
    """Return the registrations that ``config`` needs (pure).

    One serves all of ``rtsp.ports``: what is helped is for the ruleset to say, not for the helper's name. A
    pair of ports makes two expectations, hence the doubled number.
    """
    most = min(2 * config.rtsp.max_per_stb, LARGEST_EXPECT_MAX)
    return (Registration(CT_HELPER_TYPE, config.rtsp.queue, most, int(config.rtsp.pause)),)


def encode(value: Registration, *, policy: bool = True) -> bytes:
    """Return the request that registers ``value`` or changes the registration of that name.

    Without ``policy`` a registration that is there keeps its own expectation policy.
    """
    payload = text(NFCTH_NAME, value.name) + _tuple(value)
    payload += be32(NFCTH_QUEUE_NUM, value.queue)
    if policy:
        one = nested(
            NFCTH_POLICY_SET1,
            text(NFCTH_POLICY_NAME, value.policy),
            be32(NFCTH_POLICY_EXPECT_MAX, value.expect_max),
            be32(NFCTH_POLICY_EXPECT_TIMEOUT, value.expect_timeout),
        )
        payload += nested(NFCTH_POLICY, be32(NFCTH_POLICY_SET_NUM, 1), one)
        payload += be32(NFCTH_PRIV_DATA_LEN, value.private_size)
    payload += be32(NFCTH_STATUS, int(value.enabled))
    return _message(NFNL_MSG_CTHELPER_NEW, NLM_F_CREATE | NLM_F_ACK, payload)


def encode_dump() -> bytes:
    """Return the request for all helpers in userspace."""
    return _message(NFNL_MSG_CTHELPER_GET, NLM_F_DUMP)


def encode_delete(value: Registration) -> bytes:
    """Return the request that takes the registration of that name away."""
    return _message(NFNL_MSG_CTHELPER_DEL, NLM_F_ACK, text(NFCTH_NAME, value.name) + _tuple(value))


def decode_registration(data: bytes, start: int, end: int) -> Registration:
    """Decode the attributes ``data[start:end]`` of one dumped helper; its first policy only.

    Raises :class:`MalformedError` for attributes that do not follow their format.
    """
    found = wire.spans(data, start, end)
    protocols = wire.spans(data, *found.get(NFCTH_TUPLE, (0, 0)))
    sets = wire.spans(data, *found.get(NFCTH_POLICY, (0, 0)))
    policy = wire.spans(data, *sets.get(NFCTH_POLICY_SET1, (0, 0)))
    return Registration(
        wire.string(data, found, NFCTH_NAME) or "",
        wire.number(data, found, NFCTH_QUEUE_NUM, 4) or 0,
        wire.number(data, policy, NFCTH_POLICY_EXPECT_MAX, 4) or 0,
        wire.number(data, policy, NFCTH_POLICY_EXPECT_TIMEOUT, 4) or 0,
        wire.number(data, protocols, NFCTH_TUPLE_L3PROTONUM, 2) or 0,
        wire.number(data, protocols, NFCTH_TUPLE_L4PROTONUM, 1) or 0,
        wire.string(data, policy, NFCTH_POLICY_NAME) or "",
        wire.number(data, found, NFCTH_PRIV_DATA_LEN, 4) or 0,
        wire.number(data, found, NFCTH_STATUS, 4) == 1,
    )


def _tuple(value: Registration) -> bytes:
    return nested(
        NFCTH_TUPLE,
        be16(NFCTH_TUPLE_L3PROTONUM, value.family),
        u8(NFCTH_TUPLE_L4PROTONUM, value.proto),
    )


def _message(command: int, flags: int, payload: bytes = b"") -> bytes:
    return message(NFNL_SUBSYS_CTHELPER, command, flags, payload, sequence=_SEQUENCE)


class Registry:
    """The kernel's list of helpers in userspace. Needs CAP_NET_ADMIN in the initial user namespace."""

    def __init__(self) -> None:
        self._socket: socket.socket = open_netlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket. Registrations stay."""
        self._socket.close()

    def dump(self) -> list[Registration]:
        """Return all helpers in userspace.

        Raises :class:`UnsupportedError` where the kernel has no nfnetlink_cthelper, nor can load it.
        """
        what = "listing the conntrack helpers in userspace"
        try:
            answers = self._ask(encode_dump(), what)
            return [decode_registration(data, start, end) for data, start, end in answers]
        except KernelError as error:
            # nfnetlink_rcv_msg() answers EINVAL for a subsystem that is not there and cannot be loaded.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            raise UnsupportedError(
                "this kernel takes no conntrack helpers from userspace",
                place="rtsp.helper",
                remedy="it needs nfnetlink_cthelper (CONFIG_NF_CT_NETLINK_HELPER); use helper = 'pinhole'",
                errno=error.errno,
            ) from None

    def register(self, value: Registration) -> bool:
        """Register ``value``, or take over the registration of that name; return whether there was one.

        A connection that has the helper keeps it. Raises :class:`UnsupportedError` without nfnetlink_cthelper
        and :class:`BusyError` when the kernel module holds the name.
        """
        before = [one for one in self.dump() if _same(one, value)]
        what = f"registering the conntrack helper {value.name!r}"
        try:
            self._order(encode(value), what)
        except KernelError as error:
            if error.errno == errno.EEXIST:
                raise BusyError(
                    f"another conntrack helper is called {value.name!r}: the kernel module",
                    place="rtsp.helper",
                    remedy="unload it (`modprobe -r nf_nat_rtsp nf_conntrack_rtsp`) or say helper = 'kernel'",
                ) from None
            if error.errno != errno.EBUSY or not before:
                raise
            # Its policy is another one's. Ours does not fit, yet queue and status do: set just these.
            self._order(encode(value, policy=False), what)
        return bool(before)

    def unregister(self, value: Registration) -> bool:
        """Take the registration away; return False where a ruleset or a connection still uses it."""
        try:
            self._order(encode_delete(value), f"unregistering the conntrack helper {value.name!r}")
        except KernelError as error:
            if error.errno in (errno.EBUSY, errno.ENOENT):
                return False
            raise
        return True

    def _order(self, ask: bytes, what: str) -> None:
        for _ in self._ask(ask, what):
            pass

    def _ask(self, ask: bytes, what: str) -> Iterator[tuple[bytes, int, int]]:
        self._socket.send(ask)
        while True:
            data = self._socket.recv(1 << 16)
            for kind, _, _, _, start, end in wire.messages(data):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    self._check(data, start, what)
                    return
                yield data, start, end

    def _check(self, data: bytes, start: int, what: str) -> None:
        code = wire.error_number(data, start)
        if not code:
            return
        raise refused(code, what, "nfnetlink_cthelper")


def register(config: Config) -> tuple[Registration, ...]:
    """Register the helpers that ``config`` needs, enabled: for a process that reads the queue already.

    Raises what :meth:`Registry.register` raises. Repeating it does no harm.
    """
    values = wanted(config)
    with Registry() as registry:
        for value in values:
            registry.register(value)
    return values


def prepare(config: Config) -> None:
    """Make the helpers' names known, so that a ruleset that uses them can be loaded before any helper runs.

    What is not there is registered disabled; what is there is left alone. Raises what :func:`register` does.
    """
    with Registry() as registry:
        there = registry.dump()
        for value in wanted(config):
            if not any(_same(one, value) for one in there):
                registry.register(msgspec.structs.replace(value, enabled=False))


def encode_disable(config: Config) -> bytes:
    """Return the requests that let the helpers' connections pass without a queue, unacknowledged."""
    return b"".join(
        _message(
            NFNL_MSG_CTHELPER_NEW,
            NLM_F_CREATE,
            text(NFCTH_NAME, one.name) + _tuple(one) + be32(NFCTH_STATUS, 0),
        )
        for one in wanted(config)
    )


def _same(one: Registration, other: Registration) -> bool:
    return (one.name, one.family, one.proto) == (other.name, other.family, other.proto)
