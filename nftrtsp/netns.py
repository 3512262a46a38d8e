"""Entering a named network namespace, as ``ip netns exec`` does, without starting another program."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from nftrtsp.errors import KernelError, PrivilegeError

NETNS_DIR = Path("/var/run/netns")
CLONE_NEWNET = 0x40000000


def words(name: str) -> list[str]:
    """Return the words that have a command run in the namespace ``name``: nsenter(1).

    Not ``ip netns exec``, which mounts /sys anew and for that wants a root that is a mount point: in a chroot
    it fails.
    """
    return ["nsenter", f"--net={NETNS_DIR / name}", "--"]


def enter(name: str) -> None:
    """Move this process (its calling thread) into the network namespace ``name`` of ip-netns(8).

    ``name`` is a name below ``/var/run/netns`` or a path such as ``/proc/1/ns/net``. Call it before any
    netlink socket is opened. Raises :class:`KernelError` when it does not exist and
    :class:`PrivilegeError` without CAP_SYS_ADMIN. Source: setns(2).
    """
    path = Path(name) if "/" in name else NETNS_DIR / name
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KernelError(
            f"there is no network namespace {name!r}", place="--netns", remedy="see `ip netns list`"
        ) from None
    except PermissionError:
        raise PrivilegeError(
            f"the network namespace {name!r} may not be opened", place="--netns", remedy="run it as root"
        ) from None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            if number == errno.EPERM:
                raise PrivilegeError(
                    f"entering the network namespace {name!r} was refused",
                    place="--netns",
                    remedy="run it as root",
                )
            raise KernelError(
                f"entering the network namespace {name!r} failed: {os.strerror(number)}",
                place="--netns",
                errno=number,
            )
    finally:
        os.close(fd)
