"""What each host asked for on a connection of its own, and so which ways may be open. Pure: no sockets.

It is told by those who ask, before they ask, and never by the helper. A way is legal if the very host that it
leads to has asked for that very port and not yet given it back, or gave it back only a moment ago.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

#: Seconds for a way to go after its TEARDOWN was answered or its connection ended.
GRACE = 15.0
_LOWEST = 1024


@dataclass(frozen=True, slots=True)
class OpenWay:
    """UDP to the router's ``port`` goes to ``box`` at ``box_port``."""

    port: int
    box: str
    box_port: int

    def __str__(self) -> str:
        return f"{self.port} to {self.box}:{self.box_port}"


class Oracle:
    """Who may have what open. May be asked from several threads."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, int], float | None] = {}  # None: asked for; else: given back when
        self._ranges: list[tuple[str, range]] = []
        self._lock = threading.Lock()

    def asks(self, box: str, *ports: int) -> None:
        """``box`` is about to ask for ``ports``."""
        with self._lock:
            for port in ports:
                self._asked[box, port] = None

    def asks_among(self, box: str, ports: range) -> None:
        """``box`` will ask for any of ``ports``, at any time: an attacker that harms by what it may do."""
        with self._lock:
            self._ranges.append((box, ports))

    def gives_back(self, now: float, box: str, *ports: int) -> None:
        """``box`` needs ``ports`` no more."""
        with self._lock:
            for port in ports:
                self._asked[box, port] = now

    def illegal(self, ways: Iterable[OpenWay], now: float, *, substitutes: bool = False) -> list[OpenWay]:
        """Return the ways that nobody's asking explains; ``substitutes``: the public port may be another."""
        with self._lock:
            return [way for way in ways if not self._is_legal(way, now, substitutes)]

    def _is_legal(self, way: OpenWay, now: float, substitutes: bool) -> bool:
        if way.port < _LOWEST or way.box_port < _LOWEST or (way.port != way.box_port and not substitutes):
            return False
        asked = (way.box, way.box_port)
        if asked in self._asked:
            given_back = self._asked[asked]
            return given_back is None or now - given_back < GRACE
        return any(way.box == box and way.box_port in ports for box, ports in self._ranges)
