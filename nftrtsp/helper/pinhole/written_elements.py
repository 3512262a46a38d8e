"""The elements in the map of pinholes: what was written and when, to ask the kernel no more than needed.

A transaction that the kernel carries out costs some 0.01 ms. One that it *refuses* costs 8 ms and more, for
it then waits until nobody can see what it takes back (synchronize_rcu in nf_tables_abort), and whoever waits
for the helper waits too. So nothing is tried that is known to be refused: what is there is replaced and not
added again, what has run out is not removed, and after "is full" or "is not there" the kernel rests a second.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

import msgspec

from nftrtsp.errors import KernelError
from nftrtsp.ruleset.pinhole import Pinhole, PinholeMap

_REST = 1.0  # seconds without another try after the kernel has refused all that could be asked
_MARGIN = 1.0  # seconds before its end from which an element counts as gone: the kernel's clock is another
#: Elements that are written again in one transaction: 1 ms, in which others wait.
AT_ONCE = 128


class _Written(msgspec.Struct, gc=False):
    """An element as it was written, and when (monotonic) its time began."""

    pinhole: Pinhole
    since: float

    @property
    def lifetime(self) -> float:
        return self.pinhole.timeout or 0.0

    def age(self, now: float) -> float:
        return now - self.since

    def is_gone(self, now: float) -> bool:
        return self.age(now) > self.lifetime - _MARGIN


class WrittenElements:
    """What the helper has in ``pinholes``, by port. Times are given, in seconds, monotonic.

    Raises what :class:`PinholeMap` does.
    """

    def __init__(self, pinholes: PinholeMap) -> None:
        self.map = pinholes
        self._written: dict[int, _Written] = {}
        self._due: dict[int, None] = {}  # ports to be written again, the oldest wish first
        self._refused: KernelError | None = None
        self._rests_until = 0.0

    @property
    def due(self) -> bool:
        """Whether something is to be written again."""
        return bool(self._due)

    def left(self, port: int, now: float) -> float:
        """Return for how many seconds the kernel will still keep the element of ``port``."""
        known = self._written.get(port)
        return max(0.0, known.lifetime - known.age(now)) if known else 0.0

    def open(self, wanted: Pinhole, now: float) -> None:
        """See that ``wanted`` is in the map. What is there and has half of its time left costs nothing."""
        known = self._written.get(wanted.port)
        if known is None or known.is_gone(now):
            self._add(wanted, now)
        elif (known.pinhole.stb, known.pinhole.stb_port) != (wanted.stb, wanted.stb_port):
            self._replace([wanted], now)  # at once: until then media goes to another box
        elif known.pinhole.comment != wanted.comment or self._is_old(known, wanted, now):
            self.write_again(wanted.port)

    def write_again(self, port: int) -> None:
        """Ask for the element of ``port`` to be written anew at the next :meth:`flush`."""
        if port in self._written:
            self._due.setdefault(port)

    def is_old(self, wanted: Pinhole, now: float) -> bool:
        """Whether less than half of its time is left to the element of ``wanted``, or it has another time."""
        known = self._written.get(wanted.port)
        return known is None or self._is_old(known, wanted, now)

    def take_due(self) -> list[int]:
        """Return the ports to be written again, :data:`AT_ONCE` at most, for :meth:`flush`."""
        ports = list(self._due)[:AT_ONCE]
        for port in ports:
            del self._due[port]
        return ports

    def flush(self, wanted: Iterable[Pinhole], now: float) -> None:
        """Write elements anew, in one transaction; their time begins again."""
        known = [one for one in wanted if one.port in self._written]
        if known:
            self._replace(known, now)

    def close(self, ports: Iterable[int], now: float) -> None:
        """Take the elements of ``ports`` out of the map, in one transaction."""
        there = []
        for port in ports:
            self._due.pop(port, None)
            known = self._written.pop(port, None)
            if known is not None and not known.is_gone(now):
                there.append(port)
        if not there:
            return
        self._rests_until = 0.0  # if it was full, it is no longer
        try:
            self.map.remove_all(there)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            # Somebody else has removed one of them, and so the transaction was refused as a whole.
            left = {one.port for one in self.map.dump()} & set(there)
            self.map.remove_all(left)

    def learn(self, there: Iterable[Pinhole], now: float) -> set[int]:
        """Take what a listing of the map says for the truth; return the ports that are in it."""
        self._rests_until = 0.0
        found = {one.port: one for one in there}
        for port in self._written.keys() - found.keys():
            del self._written[port]
            self._due.pop(port, None)
        for port in self._written.keys() & found.keys():
            self.adopt(found[port], now)
        return set(found)

    def adopt(self, pinhole: Pinhole, now: float) -> None:
        """Take an element of a listing for one of ours."""
        age = (pinhole.timeout or 0.0) - (pinhole.expires or 0.0)
        self._written[pinhole.port] = _Written(pinhole, now - max(0.0, age))

    def _is_old(self, known: _Written, wanted: Pinhole, now: float) -> bool:
        return known.age(now) > known.lifetime / 2 or known.lifetime < (wanted.timeout or 0.0)

    def _add(self, wanted: Pinhole, now: float) -> None:
        if self._refused is not None and now < self._rests_until:
            raise self._refused.with_traceback(None)
        try:
            self.map.put(wanted)
        except KernelError as error:
            self._refused, self._rests_until = error, now + _REST
            raise
        self._written[wanted.port] = _Written(wanted, now)
        self._due.pop(wanted.port, None)

    def _replace(self, wanted: list[Pinhole], now: float) -> None:
        try:
            self.map.replace(wanted)
        except KernelError as error:
            if error.errno != errno.ENOENT or len(wanted) > 1:
                raise
            self._add(wanted[0], now)
        for one in wanted:
            self._written[one.port] = _Written(one, now)
            self._due.pop(one.port, None)
