"""The fence around the lab's programs: they send nothing before they know that they stand inside a lab.

The programs speak to addresses that belong to real providers: a packet that got out would reach a stranger.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import struct
from pathlib import Path

from nftrtsp.errors import LabError
from nftrtsp.lab import registry
from nftrtsp.lab.registry import Record

VARIABLE = "NFTRTSP_LAB"

# linux/sockios.h and linux/ethtool.h
_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 0x03
_DRVINFO_BYTES = 196
_DRIVERS = {"veth", "bridge"}


def check() -> Record:
    """Return the record of the lab this process stands in; raise :class:`LabError` if it stands in none.

    It stands in the lab ``$NFTRTSP_LAB`` when its network namespace is one that the lab's record lists, by
    device and inode, is not that of process 1, and holds only the links which the lab made, each a veth, a
    bridge or loopback.
    """
    lab_id = os.environ.get(VARIABLE, "")
    if not lab_id:
        raise _outside(f"${VARIABLE} is not set")
    try:
        record = registry.load(lab_id)
    except LabError:
        raise _outside(f"there is no lab {lab_id!r}") from None
    here = _namespace("self")
    names = [name for name, space in record.namespaces.items() if space == here]
    if not names or here == _namespace("1"):
        raise _outside("its network namespace is not one of the lab's")
    for _index, link in socket.if_nameindex():
        if link not in record.links[names[0]]:
            raise _outside(f"its namespace has a link that the lab did not make, {link!r}")
        if link != "lo" and driver(link) not in _DRIVERS:
            raise _outside(f"the link {link!r} is a {driver(link) or 'device'}, no veth")
    return record


def driver(link: str) -> str:
    """Return the kernel driver of ``link``, empty if it does not tell."""
    answer = array.array("B", struct.pack("I", _ETHTOOL_GDRVINFO) + bytes(_DRVINFO_BYTES - 4))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP", link.encode(), answer.buffer_info()[0]))
    return answer.tobytes()[4:36].rstrip(b"\0").decode(errors="replace")


def _namespace(process: str) -> tuple[int, int] | None:
    try:
        space = (Path("/proc") / process / "ns/net").stat()
    except OSError:
        return None
    return space.st_dev, space.st_ino


def _outside(why: str) -> LabError:
    return LabError(
        f"this program runs only inside a lab's network namespace: {why}",
        place="lab",
        remedy="start it with `nftrtsp lab play`",
    )
