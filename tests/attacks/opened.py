"""What is really open, as the kernel tells it: elements of the map of pinholes, or expectations."""

from __future__ import annotations

import socket
import threading
from typing import Protocol

from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.lab.network import Router
from nftrtsp.ruleset.pinhole import Pinhole, PinholeMap
from tests.attacks.oracle import OpenWay


class Opened(Protocol):
    """The ways of one kind of helper."""

    substitutes: bool  # whether the public port may be another than the box's

    def ways(self) -> list[OpenWay]: ...

    def longest(self) -> float:
        """The longest time that a way has, in seconds."""
        ...

    def close(self) -> None: ...


class Pinholes:
    """The map of the pinhole helper."""

    substitutes = False

    def __init__(self, router: Router) -> None:
        self._lock = threading.Lock()  # a netlink socket serves one asker at a time
        self._map = router.call(PinholeMap)

    def ways(self) -> list[OpenWay]:
        return [OpenWay(one.port, socket.inet_ntoa(one.stb), one.stb_port) for one in self._dump()]

    def longest(self) -> float:
        return max((one.timeout or 0.0 for one in self._dump()), default=0.0)

    def _dump(self) -> list[Pinhole]:
        with self._lock:
            return self._map.dump()

    def close(self) -> None:
        self._map.close()


class Expectations:
    """The expectations of the userspace helper; their time is the helper's to end."""

    substitutes = True

    def __init__(self, router: Router) -> None:
        self._lock = threading.Lock()
        self._conntrack = router.call(Conntrack)

    def ways(self) -> list[OpenWay]:
        found = []
        for one in self._dump():
            if one.tuple.proto == socket.IPPROTO_UDP and one.nat is not None:
                nat = one.nat.tuple
                found.append(OpenWay(one.tuple.dport or 0, socket.inet_ntoa(nat.src), nat.sport or 0))
        return found

    def longest(self) -> float:
        return max((float(one.timeout) for one in self._dump()), default=0.0)

    def _dump(self) -> list[Expectation]:
        with self._lock:
            return list(self._conntrack.dump_expectations())

    def close(self) -> None:
        self._conntrack.close()
