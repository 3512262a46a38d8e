"""The pinholes that are open: the elements of our map, for who fills it and for who lists it.

An element sends UDP of a port of the router to a set-top box: ``{ port timeout T : stb . port }``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable

import msgspec

from nftrtsp.conntrack.record import OpenPortRecord, of_way
from nftrtsp.conntrack.role import Roles
from nftrtsp.errors import KernelError, MalformedError, NftrtspError, PrivilegeError
from nftrtsp.netlink.elements import Element, MapElements
from nftrtsp.netlink.table_watch import TableWatch
from nftrtsp.ruleset.names import PINHOLE_MAP, TABLE_NAME

_PLACE = f"map inet {TABLE_NAME} {PINHOLE_MAP}"


class Pinhole(msgspec.Struct, frozen=True, gc=False):
    """UDP from any source to the router's ``port`` goes to ``stb`` (packed) at ``stb_port``.

    ``timeout`` and ``expires`` are in seconds: the whole span, and what is left of it (in listings only);
    None: it stays. ``comment`` is what `nft list map` shows beside it, ASCII of 127 bytes at most.
    """

    port: int
    stb: bytes
    stb_port: int
    timeout: float | None = None
    expires: float | None = None
    comment: str = ""


class PinholeMap:
    """The map of this network namespace, through one socket, which no other thread may share.

    Errors are :class:`PrivilegeError` and :class:`KernelError`, whose ``errno`` is ENOENT where the table or
    the map is not there and ENFILE where the map is full.
    """

    def __init__(self) -> None:
        self._elements = MapElements(TABLE_NAME, PINHOLE_MAP, _refused)

    def close(self) -> None:
        """Close the socket; the elements stay."""
        self._elements.close()

    def add(self, pinholes: Iterable[Pinhole]) -> None:
        """Add elements in one transaction. EEXIST or EBUSY: one of the ports is there already."""
        self._elements.add(_element(one) for one in pinholes)

    def put(self, pinhole: Pinhole) -> None:
        """Add an element, or replace the one that holds its port."""
        try:
            self.add([pinhole])
        except KernelError as error:
            if error.errno not in (errno.EEXIST, errno.EBUSY):
                raise
            self.replace([pinhole])

    def replace(self, pinholes: Iterable[Pinhole]) -> None:
        """Let elements that are there begin their time anew, with what else the pinholes bring."""
        self._elements.replace(_element(one) for one in pinholes)

    def remove(self, port: int) -> bool:
        """Remove the element of ``port``; return whether it was there."""
        try:
            self.remove_all([port])
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def remove_all(self, ports: Iterable[int]) -> None:
        """Remove the elements of ``ports`` in one transaction. ENOENT: one was not there, so all stay."""
        self._elements.remove(_key(port) for port in ports)

    def dump(self) -> list[Pinhole]:
        """Return the pinholes; ENOENT where there is no map."""
        return [_pinhole(one) for one in self._elements.dump()]


def watch_table() -> TableWatch:
    """Return what hears when our table is replaced, so that the pinholes can be put back."""
    return TableWatch(TABLE_NAME, _refused)


def pinholes() -> list[Pinhole]:
    """Return the pinholes open in this network namespace; none where there is no such map.

    Raises :class:`PrivilegeError` without CAP_NET_ADMIN.
    """
    try:
        with contextlib.closing(PinholeMap()) as opened:
            return opened.dump()
    except KernelError as error:
        # No table, no map; EOPNOTSUPP and EINVAL: a kernel without nf_tables.
        if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL):
            raise
    return []


def record(pinhole: Pinhole, roles: Roles, told: OpenPortRecord | None = None) -> OpenPortRecord:
    """Return ``pinhole`` as lists and events show it.

    ``told`` is what the running helper tells of it: who asked, and the router's address, which the map does
    not hold.
    """
    way = (pinhole.port, pinhole.stb, pinhole.stb_port)
    router = told.router if told is not None else bytes(4)
    return msgspec.structs.replace(
        of_way("pinhole", way, roles, timeout=pinhole.expires, router=router),
        master=told.master if told is not None else None,
    )


def _key(port: int) -> bytes:
    return port.to_bytes(2, "big")


def _element(one: Pinhole) -> Element:
    # The parts of a concatenation are padded to four bytes each.
    data = one.stb + one.stb_port.to_bytes(2, "big") + bytes(2)
    return Element(_key(one.port), data, one.timeout, None, one.comment)


def _pinhole(one: Element) -> Pinhole:
    if len(one.key) < 2 or len(one.data) < 6:
        raise MalformedError("an element is too short", place=_PLACE)
    return Pinhole(
        int.from_bytes(one.key[:2], "big"),
        one.data[:4],
        int.from_bytes(one.data[4:6], "big"),
        one.timeout,
        one.expires,
        one.comment,
    )


def _refused(number: int) -> NftrtspError:
    if number in (errno.EPERM, errno.EACCES):
        return PrivilegeError("using it was refused", place=_PLACE, remedy="run it as root")
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
