"""Whose turn it is: what one set-top box sends is paid by that box. Pure; times are given, monotonic seconds.

The theory, once. Copies and packets come faster than RTSP can be read: reading one off its socket takes
microseconds, what a SETUP asks for a hundred times as long. So they are read off at once, and wait here in a
queue of their *box*, the LAN side's address:

- Turns go round robin by *cost* (deficit round robin, Shreedhar and Varghese 1995): in each round every box
  may spend one quantum, however small or large its packets are. Who waits, waits for a quantum of each other.
- A known box of which nothing waited goes before the round, once for a quantum (as in fq_codel, RFC 8290
  section 4.2): who sends little does not wait for all who send much.
- Each box has a token bucket. Boxes that keep within theirs go first; one that has spent more only goes when
  nobody else is there, or once in :data:`PATIENT_EVERY` takes, so that it goes on at all.
- A queue is bounded, and so is what all hold together. What is beyond is handed back, and is always of the
  box that has most: nobody else loses anything.
- Anybody on the LAN can invent addresses. So a box that is not *known* (it is not configured, holds no way,
  and conntrack has confirmed no connection of it) has no queue of its own: all strangers together have a
  few, by a hash nobody can foresee, one bucket, and one quantum in each round. When one becomes known, what
  waits moves along, in order.
"""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

PATIENT_EVERY = 16
_SLOTS = 64  # queues of strangers
_OVERHEAD = 128  # what the handling of a packet costs besides its bytes, in bytes


class Limits(msgspec.Struct, frozen=True):
    """Sizes in bytes of packets with 128 for the handling of each, rates in bytes a second.

    A box that zaps from film to film needs some 5 KB/s; a film inside its control connection needs more than
    its bucket and gets it as long as nobody else has to wait for it. ``quantum`` is some 2 ms of work.
    """

    rate: float = 64 << 10
    burst: float = 128 << 10
    quantum: int = 4 << 10
    of_box: int = 256 << 10
    of_all: int = 4 << 20
    boxes: int = 4096


#: The box, the cost, what it is, since when it waits.
_Item = tuple[bytes, int, T, float]


class _Queue(Generic[T]):
    """What waits of one box, or of one share of the strangers."""

    __slots__ = ("aside", "bucket", "cost", "credit", "items", "listed", "quantum")

    def __init__(self, bucket: _Bucket, quantum: int) -> None:
        self.quantum = quantum  # what it may spend in each round
        self.items: deque[_Item[T]] = deque()
        self.cost = 0  # of all that waits
        self.credit = 0  # what may be spent in this round
        self.bucket = bucket
        self.listed = False  # whether it stands in one of the two rounds
        self.aside = False  # whether its box is a stranger meanwhile, and may wait among them


class _Bucket:
    """Tokens; more may be spent than there are, down to one burst of debt."""

    __slots__ = ("burst", "rate", "tokens", "when")

    def __init__(self, limits: Limits, now: float) -> None:
        self.rate, self.burst = limits.rate, limits.burst
        self.tokens, self.when = limits.burst, now

    def refill(self, now: float) -> float:
        self.tokens = min(self.burst, self.tokens + max(0.0, now - self.when) * self.rate)
        self.when = now
        return self.tokens

    def spend(self, cost: int) -> None:
        self.tokens = max(-self.burst, self.tokens - cost)


class FairQueue(Generic[T]):
    """What waits for its turn. ``known``: whether a box has a queue of its own (called once for each put)."""

    def __init__(self, known: Callable[[bytes], bool], limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.cost = 0  # of all that waits
        self._known = known
        self._size = 0
        self._salt = int.from_bytes(os.urandom(8), "big")
        self._own: OrderedDict[bytes, _Queue[T]] = OrderedDict()
        self._strangers = _Bucket(self.limits, 0.0)
        self._slots: list[_Queue[T]] = [
            _Queue(self._strangers, max(1, self.limits.quantum // _SLOTS)) for _ in range(_SLOTS)
        ]
        self._fresh: deque[_Queue[T]] = deque()  # known boxes of which nothing waited just now
        self._prompt: deque[_Queue[T]] = deque()
        self._patient: deque[_Queue[T]] = deque()
        self._taken = 0

    def __len__(self) -> int:
        return self._size

    def has_spent(self, box: bytes, now: float) -> bool:
        """Whether a box, or all strangers together if it is one, has used its bucket up."""
        if not self._known(box):
            return self._strangers.refill(now) < 0
        own = self._own.get(box)
        return own is not None and own.bucket.refill(now) < 0

    def put(self, box: bytes, size: int, item: T, now: float) -> list[tuple[bytes, T]]:
        """Let ``item``, of ``size`` bytes, wait for its box's turn.

        Return what may not wait any more, with its box, the oldest of each box first: this one, when its box
        has too much already; or what waits of the box that has most, when all together have too much.
        """
        cost = size + _OVERHEAD
        queue = self._queue(box, now)
        if queue.cost + cost > self.limits.of_box:
            return [(box, item)]
        queue.items.append((box, cost, item, now))
        queue.cost += cost
        self.cost += cost
        self._size += 1
        self._list(queue, now)
        return self._shed() if self.cost > self.limits.of_all else []

    def take(self, now: float) -> tuple[bytes, T] | None:
        """Return what is next, with its box; None: nothing waits."""
        while self._fresh or self._prompt or self._patient:
            overdue = self._patient and self._taken % PATIENT_EVERY == 1
            turn = self._patient if overdue else self._fresh or self._prompt or self._patient
            patient = turn is self._patient
            queue = turn[0]
            if not queue.items:
                turn.popleft()
                if turn is self._fresh:  # else who sends packet by packet would be fresh for ever
                    self._prompt.append(queue)
                else:
                    queue.listed, queue.credit = False, 0
                continue
            if patient != (queue.bucket.refill(now) < 0):
                turn.popleft()
                (self._prompt if patient else self._patient).append(queue)
                continue
            cost = queue.items[0][1]
            if queue.credit < cost:
                queue.credit += queue.quantum
                turn.popleft()
                (self._prompt if turn is self._fresh else turn).append(queue)
                continue
            queue.credit -= cost
            queue.bucket.spend(cost)
            self._taken += 1
            return self._pop(queue)
        return None

    def late(self, before: float) -> list[tuple[bytes, T]]:
        """Take out all that waits where something was put before the time ``before``, each box's in order."""
        gone: list[tuple[bytes, T]] = []
        for queue in (*self._fresh, *self._prompt, *self._patient):
            if queue.items and queue.items[0][3] < before:
                while queue.items:
                    gone.append(self._pop(queue))
        return gone

    def clear(self, box: bytes) -> list[T]:
        """Take out all that waits of ``box``, in its order."""
        own = self._own.get(box)
        queue = own if own is not None and own.items else self._slot(box)
        return [one[2] for one in self._extract(queue, box)]

    def _pop(self, queue: _Queue[T]) -> tuple[bytes, T]:
        box, cost, item, _ = queue.items.popleft()
        queue.cost -= cost
        self.cost -= cost
        self._size -= 1
        return box, item

    def _queue(self, box: bytes, now: float) -> _Queue[T]:
        own = self._own.get(box)
        if own is not None and own.items:
            return own
        if not self._known(box):
            if own is not None:  # its bucket is kept: who comes and goes has no new one each time
                own.aside = True
            return self._slot(box)
        if own is None:
            own = self._own[box] = _Queue(_Bucket(self.limits, now), self.limits.quantum)
            own.aside = True
            self._forget(but=box)
        self._own.move_to_end(box)
        if own.aside:
            own.aside = False
            self._move(self._slot(box), own, box, now)
        return own

    def _move(self, slot: _Queue[T], own: _Queue[T], box: bytes, now: float) -> None:
        """Let what waits of ``box`` among the strangers wait in its own queue."""
        moved = self._extract(slot, box)
        for one in moved:
            own.items.append(one)
            own.cost += one[1]
        self.cost += own.cost if moved else 0
        self._size += len(moved)
        if moved:
            self._list(own, now)

    def _slot(self, box: bytes) -> _Queue[T]:
        return self._slots[hash((self._salt, box)) % _SLOTS]

    def _extract(self, queue: _Queue[T], box: bytes) -> list[_Item[T]]:
        if not queue.items:
            return []
        mine = [one for one in queue.items if one[0] == box]
        if mine:
            queue.items = deque(one for one in queue.items if one[0] != box)
            spent = sum(one[1] for one in mine)
            queue.cost -= spent
            self.cost -= spent
            self._size -= len(mine)
        return mine

    def _list(self, queue: _Queue[T], now: float) -> None:
        if not queue.listed:
            queue.listed = True
            queue.credit = queue.quantum
            turn = self._prompt if queue.bucket is self._strangers else self._fresh
            (turn if queue.bucket.refill(now) >= 0 else self._patient).append(queue)

    def _forget(self, *, but: bytes) -> None:
        """Forget the box that was silent longest: of one with nothing that waits, only its bucket is lost."""
        if len(self._own) > self.limits.boxes:
            idle = next((box for box, queue in self._own.items() if not queue.items and box != but), None)
            if idle is not None:
                del self._own[idle]

    def _shed(self) -> list[tuple[bytes, T]]:
        """Take all that waits of the one that has most; seldom, so looking for it may cost something."""
        largest = max([*self._own.values(), *self._slots], key=lambda queue: queue.cost)
        gone = []
        while largest.items:
            gone.append(self._pop(largest))
        return gone
