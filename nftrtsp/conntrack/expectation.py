"""An expectation: conntrack's record that a flow is about to come, as ctnetlink tells it and makes it.

Source: net/netfilter/nf_conntrack_netlink.c (ctnetlink_exp_dump_expect, ctnetlink_create_expect).
"""

from __future__ import annotations

import msgspec

from nftrtsp.conntrack import attribute
from nftrtsp.conntrack.tuple import Tuple, decode_tuple, encode_tuple
from nftrtsp.errors import MalformedError
from nftrtsp.netlink import wire
from nftrtsp.netlink.wire import number, spans, string

EXPECT_NEW = wire.NFNL_SUBSYS_CTNETLINK_EXP << 8 | attribute.IPCTNL_MSG_EXP_NEW
EXPECT_DELETE = wire.NFNL_SUBSYS_CTNETLINK_EXP << 8 | attribute.IPCTNL_MSG_EXP_DELETE


class ExpectationNat(msgspec.Struct, frozen=True, gc=False):
    """The address translation that the expected flow gets: ``direction`` 0 original, 1 reply."""

    direction: int
    tuple: Tuple


class Expectation(msgspec.Struct, frozen=True, gc=False):
    """One expectation. ``tuple`` under ``mask`` is what is awaited, ``master`` the control connection.

    ``timeout`` is in seconds; ``flags`` are the NF_CT_EXPECT_* bits (1 permanent, 2 inactive, 4 userspace).
    Source: nf_conntrack_netlink.c, ctnetlink_exp_dump_expect().
    """

    family: int
    tuple: Tuple
    mask: Tuple
    master: Tuple
    timeout: int = 0
    id: int = 0
    class_: int = 0
    flags: int = 0
    nat: ExpectationNat | None = None
    function: str | None = None
    helper: str | None = None
    zone: int = 0

    @property
    def any_source(self) -> bool:
        """Whether the media may come from any address; the opposite is *pinned*."""
        return not any(self.mask.src)


def decode_expectation(data: bytes, family: int, start: int, end: int) -> Expectation:
    """Decode the attributes ``data[start:end]`` of a message of the expectation subsystem."""
    found = spans(data, start, end)
    try:
        awaited = decode_tuple(data, found[attribute.CTA_EXPECT_TUPLE])
        mask = decode_tuple(data, found[attribute.CTA_EXPECT_MASK])
        master = decode_tuple(data, found[attribute.CTA_EXPECT_MASTER])
    except KeyError as error:
        raise MalformedError(f"an expectation without attribute {error}") from None
    nat = None
    if attribute.CTA_EXPECT_NAT in found:
        inner = spans(data, *found[attribute.CTA_EXPECT_NAT])
        if attribute.CTA_EXPECT_NAT_TUPLE in inner:
            direction = number(data, inner, attribute.CTA_EXPECT_NAT_DIR, 4) or 0
            nat = ExpectationNat(direction, decode_tuple(data, inner[attribute.CTA_EXPECT_NAT_TUPLE]))
    return Expectation(
        family,
        awaited,
        mask,
        master,
        number(data, found, attribute.CTA_EXPECT_TIMEOUT, 4) or 0,
        number(data, found, attribute.CTA_EXPECT_ID, 4) or 0,
        number(data, found, attribute.CTA_EXPECT_CLASS, 4) or 0,
        number(data, found, attribute.CTA_EXPECT_FLAGS, 4) or 0,
        nat,
        string(data, found, attribute.CTA_EXPECT_FN),
        string(data, found, attribute.CTA_EXPECT_HELP_NAME),
        number(data, found, attribute.CTA_EXPECT_ZONE, 2) or 0,
    )


def dump_expectations(*, sequence: int, family: int = 0) -> bytes:
    """Return the request for all expectations."""
    return wire.message(
        wire.NFNL_SUBSYS_CTNETLINK_EXP,
        attribute.IPCTNL_MSG_EXP_GET,
        wire.NLM_F_DUMP,
        sequence=sequence,
        family=family,
    )


def create_expectation(value: Expectation, *, sequence: int, replace: bool = False) -> bytes:
    """Return the request that creates ``value``, or with ``replace`` sets the timeout of the one there is.

    The kernel ignores the timeout at creation and takes the helper's policy; a second request sets it.
    """
    payload = encode_tuple(attribute.CTA_EXPECT_MASTER, value.master)
    payload += encode_tuple(attribute.CTA_EXPECT_TUPLE, value.tuple)
    payload += encode_tuple(attribute.CTA_EXPECT_MASK, value.mask)
    payload += wire.be32(attribute.CTA_EXPECT_TIMEOUT, value.timeout)
    payload += wire.be32(attribute.CTA_EXPECT_FLAGS, value.flags) + wire.be32(
        attribute.CTA_EXPECT_CLASS, value.class_
    )
    if value.helper:
        payload += wire.text(attribute.CTA_EXPECT_HELP_NAME, value.helper)
    if value.zone:
        payload += wire.be16(attribute.CTA_EXPECT_ZONE, value.zone)
    if value.nat is not None:
        payload += wire.nested(
            attribute.CTA_EXPECT_NAT,
            wire.be32(attribute.CTA_EXPECT_NAT_DIR, value.nat.direction),
            encode_tuple(attribute.CTA_EXPECT_NAT_TUPLE, value.nat.tuple),
        )
    if value.function:
        payload += wire.text(attribute.CTA_EXPECT_FN, value.function)
    flags = wire.NLM_F_ACK | wire.NLM_F_CREATE | (0 if replace else wire.NLM_F_EXCL)
    return wire.message(
        wire.NFNL_SUBSYS_CTNETLINK_EXP,
        attribute.IPCTNL_MSG_EXP_NEW,
        flags,
        payload,
        sequence=sequence,
        family=value.family,
    )


def delete_expectation(value: Expectation, *, sequence: int) -> bytes:
    """Return the request that deletes the expectation with the tuple, id and zone of ``value``."""
    payload = encode_tuple(attribute.CTA_EXPECT_TUPLE, value.tuple)
    if value.id:
        payload += wire.be32(attribute.CTA_EXPECT_ID, value.id)
    if value.zone:
        payload += wire.be16(attribute.CTA_EXPECT_ZONE, value.zone)
    return wire.message(
        wire.NFNL_SUBSYS_CTNETLINK_EXP,
        attribute.IPCTNL_MSG_EXP_DELETE,
        wire.NLM_F_ACK,
        payload,
        sequence=sequence,
        family=value.family,
    )
