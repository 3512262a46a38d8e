"""Whether nf_tables answers here at all, asked with one netlink message.

libnftables writes to stderr by itself, or ends the process, where netlink or the privilege is absent; so we
ask first. Source: net/netfilter/nfnetlink.c, nfnetlink_rcv(); linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from nftrtsp.errors import KernelError, PrivilegeError, UnsupportedError
from nftrtsp.netlink import wire

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_GETGEN = 16

_NO_NFTABLES = "this kernel has no nf_tables"
_REMEDY = "modprobe nf_tables, or boot a kernel built with CONFIG_NF_TABLES"


def require_nftables() -> None:
    """Raise unless nf_tables answers this process in its network namespace.

    Raises :class:`PrivilegeError` without CAP_NET_ADMIN over the namespace and :class:`UnsupportedError`
    where the kernel has no nf_tables.
    """
    number = _ask()
    if number == 0:
        return
    if number in (errno.EPERM, errno.EACCES):
        raise PrivilegeError("the kernel shows its ruleset to root only", remedy="run it as root")
    if number in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT):
        raise UnsupportedError(_NO_NFTABLES, remedy=_REMEDY, errno=number)
    raise KernelError(f"nf_tables does not answer: {os.strerror(number)}", errno=number)


def _ask() -> int:
    """Ask for the ruleset's generation; return 0 or the errno of the refusal."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
            link.settimeout(5)
            link.send(wire.message(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN, 0))
            answer = link.recv(8192)
    except OSError as error:
        return error.errno or errno.EIO
    kind = struct.unpack_from("=H", answer, 4)[0]
    if kind != wire.NLMSG_ERROR:
        return 0
    return -int(struct.unpack_from("=i", answer, 16)[0])
