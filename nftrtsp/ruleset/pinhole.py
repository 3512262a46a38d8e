"""The pinholes that are open: the elements of our map, read over netlink.

An element sends UDP of a port of the router to a set-top box: ``{ port timeout T : stb . port }``. Source:
linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c (nf_tables_dump_set).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from typing import Any

import msgspec

from nftrtsp.conntrack.record import of_way
from nftrtsp.conntrack.role import Roles
from nftrtsp.errors import KernelError, MalformedError
from nftrtsp.netlink import wire
from nftrtsp.netlink.socket import Questions
from nftrtsp.netlink.wire import number, spans
from nftrtsp.ruleset.names import PINHOLE_MAP, TABLE_NAME

NFNL_SUBSYS_NFTABLES = 10
NFPROTO_INET = 1
NFT_MSG_NEWSETELEM, NFT_MSG_GETSETELEM = 12, 13

NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_TIMEOUT, NFTA_SET_ELEM_EXPIRATION = 1, 2, 4, 5
NFTA_DATA_VALUE = 1


class Pinhole(msgspec.Struct, frozen=True, gc=False):
    """UDP from any source to the router's ``port`` goes to ``stb`` (packed) at ``stb_port``.

    ``timeout`` is what the element was given and ``left`` what is left of it, in seconds; None: for ever.
    """

    port: int
    stb: bytes
    stb_port: int
    timeout: float | None = None
    left: float | None = None


def pinholes(map_name: str = PINHOLE_MAP, table: str = TABLE_NAME) -> list[Pinhole]:
    """Return the pinholes open in this network namespace; none where there is no such map.

    Raises :class:`PrivilegeError` without CAP_NET_ADMIN.
    """
    questions = Questions("nftables")
    payload = wire.text(NFTA_SET_ELEM_LIST_TABLE, table) + wire.text(NFTA_SET_ELEM_LIST_SET, map_name)
    ask = wire.message(
        NFNL_SUBSYS_NFTABLES,
        NFT_MSG_GETSETELEM,
        wire.NLM_F_DUMP,
        payload,
        sequence=questions.number(),
        family=NFPROTO_INET,
    )
    found: list[Pinhole] = []
    try:
        for data, kind, _, start, end in questions.ask(ask, "listing pinholes"):
            if kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM:
                found += decode_elements(data, start, end)
    except KernelError as error:
        # No table, no map; EOPNOTSUPP and EINVAL: a kernel without nf_tables.
        if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL):
            raise
    finally:
        questions.close()
    return found


def decode_elements(data: bytes, start: int, end: int) -> list[Pinhole]:
    """Decode the attributes ``data[start:end]`` of one NFT_MSG_NEWSETELEM. Raises :class:`MalformedError`."""
    outer = spans(data, start, end)
    found: list[Pinhole] = []
    for _, first, last in wire.attributes(data, *outer.get(NFTA_SET_ELEM_LIST_ELEMENTS, (0, 0))):
        element = spans(data, first, last)
        key = _value(data, element.get(NFTA_SET_ELEM_KEY, (0, 0)), 2)
        goal = _value(data, element.get(NFTA_SET_ELEM_DATA, (0, 0)), 6)
        timeout = number(data, element, NFTA_SET_ELEM_TIMEOUT, 8)
        left = number(data, element, NFTA_SET_ELEM_EXPIRATION, 8)
        found.append(
            Pinhole(
                int.from_bytes(key[:2], "big"),
                goal[:4],
                int.from_bytes(goal[4:6], "big"),
                None if timeout is None else timeout / 1000,
                None if left is None else left / 1000,
            )
        )
    return found


def _value(data: bytes, span: tuple[int, int], least: int) -> bytes:
    inner = spans(data, *span).get(NFTA_DATA_VALUE, (0, 0))
    value = data[inner[0] : inner[1]]
    if len(value) < least:
        raise MalformedError(f"a map element with {len(value)} bytes of data, not {least}")
    return value


def record(pinhole: Pinhole, roles: Roles, told: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON object of ``pinhole``.

    ``told`` is what the running helper tells of it: who asked, and the router's address, which the map does
    not hold.
    """
    told = told or {}
    try:
        router = socket.inet_aton(told["tuple"]["dst"])
    except (KeyError, TypeError, OSError):
        router = bytes(4)
    way = (pinhole.port, pinhole.stb, pinhole.stb_port)
    return {
        **of_way("pinhole", way, roles, timeout=pinhole.left, router=router),
        "master": told.get("master"),
    }
