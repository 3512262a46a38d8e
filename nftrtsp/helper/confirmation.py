"""Asking conntrack whether it knows a connection that was picked up in the middle. Pure: who asks is given.

What conntrack does not know is forgotten at once: strangers get no memory here.
"""

from __future__ import annotations

from collections.abc import Callable

from nftrtsp.helper.ways import Connection

#: Whether conntrack knows a connection: traffic went both ways, its TCP is established and does not close.
Confirm = Callable[[Connection], bool]


class Confirmation:
    """Asks ``confirm``, and seldom for a client of whom it says no.

    ``confirm`` is None where whoever shows us packets vouches for them.
    Each client may fail ``burst`` times at once, then once every ``every`` seconds; of ``clients`` at most
    that is remembered.
    """

    def __init__(
        self, confirm: Confirm | None, *, burst: int = 16, every: float = 0.2, clients: int = 1024
    ) -> None:
        self.confirm = confirm
        self.burst = burst
        self.every = every
        self.clients = clients
        self._failed: dict[bytes, tuple[float, float]] = {}  # tokens left, when

    def ask(self, connection: Connection, now: float) -> bool:
        """Return whether ``connection`` is vouched for; False also where its client failed too often."""
        if self.confirm is None:
            return True
        tokens, when = self._failed.get(connection.client, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + (now - when) / self.every)
        if tokens < 1:
            return False
        if self.confirm(connection):
            return True
        self._failed.pop(connection.client, None)
        self._failed[connection.client] = (tokens - 1, now)
        while len(self._failed) > self.clients:
            del self._failed[next(iter(self._failed))]
        return False
