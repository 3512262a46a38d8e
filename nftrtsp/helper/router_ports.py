"""The UDP ports that the router itself uses in this network namespace: no way may take one from it.

A way turns new flows to its port over to a set-top box, WireGuard's and DNS's as well. Which ports those are
the kernel tells in /proc/thread-self/net: there also without the rest of /proc (``ProcSubset=pid``), for any
user, and of the network namespace that this thread is in. It lists sockets of the kernel (WireGuard, VXLAN)
as well. Any local address counts, and a socket that is connected too. Reading takes 0.05 ms, 0.12 ms with 50
sockets and 2.3 ms with 1,000; so it is done once a second at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from nftrtsp.errors import UnsupportedError

_NET = Path("/proc/thread-self/net")
_TABLES = ("udp", "udp6")
_KEPT = 1.0  # seconds


class RouterPorts:
    """Tells which UDP ports have a socket, as it was a second ago at most.

    Call it for the set. ``net`` is the folder with the kernel's tables, ``clock`` gives seconds, monotonic.
    """

    def __init__(self, net: Path = _NET, clock: Callable[[], float] = time.monotonic) -> None:
        self._net = net
        self._clock = clock
        self._read_at: float | None = None
        self._ports: frozenset[int] = frozenset()

    def __call__(self) -> frozenset[int]:
        """Return the ports; what was read last where the kernel's tables cannot be read any more.

        Raises :class:`UnsupportedError` where they never could: without them ports of the router would open.
        """
        now = self._clock()
        if self._read_at is None or not 0 <= now - self._read_at < _KEPT:
            try:
                self._ports = listening(self._net)
            except UnsupportedError:
                if self._read_at is None:
                    raise
            self._read_at = now
        return self._ports


def listening(net: Path = _NET) -> frozenset[int]:
    """Return the UDP ports, IPv4's and IPv6's, that have a socket in this thread's network namespace.

    IPv6's count because such a socket takes IPv4 as well unless told not to. Raises
    :class:`UnsupportedError`.
    """
    ports: set[int] = set()
    for name in _TABLES:
        try:
            table = (net / name).read_bytes()
        except FileNotFoundError:
            if name == "udp6":  # a kernel without IPv6
                continue
            raise _unreadable(net / name, "No such file") from None
        except OSError as error:
            raise _unreadable(net / name, error.strerror or "unreadable") from None
        ports.update(read_table(table))
    return frozenset(ports)


def read_table(table: bytes) -> set[int]:
    """Return the local ports in a table of the kernel: ``  12: 0100007F:0035 00000000:0000 07 …``.

    Source: net/ipv4/udp.c, udp4_format_sock.
    """
    return {int(line.split(None, 2)[1].rpartition(b":")[2], 16) for line in table.splitlines()[1:]}


def _unreadable(path: Path, why: str) -> UnsupportedError:
    return UnsupportedError(
        f"the UDP ports of the router cannot be read: {why}",
        place=str(path),
        remedy="the helper needs /proc, of which the part about itself is enough",
    )
