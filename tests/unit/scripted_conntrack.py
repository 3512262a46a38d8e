"""Conntrack, scripted: flows, expectations, events, a buffer that overruns, a clock that nobody waits for.

It keeps the kernel's rules (nf_conntrack_netlink.c, af_netlink.c): only flows
that were born while somebody listened send events; events carry less than dumps; once the buffer is full,
everything is dropped until it has been emptied. tests/integration/test_flow_table.py has the real one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from nftrtsp.conntrack.dump_filter import DumpFilter
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Counters, Flow
from nftrtsp.conntrack.tuple import Tuple

EPOCH = 1_700_000_000.0

Key = tuple[Tuple, int]


class ScriptedConntrack:
    """Dumps, events and clock of a kernel in which happens what a test says.

    ``room`` is how many events its buffer holds, ``most`` how many one look returns, ``dump_seconds`` how
    long a dump takes.
    """

    def __init__(self, *, room: int = 1000, most: int = 8192, dump_seconds: float = 0.0) -> None:
        self.room, self.most, self.dump_seconds = room, most, dump_seconds
        self.flows: dict[Key, Flow] = {}
        self.expectations: dict[int, Expectation] = {}
        #: Filters of the dumps that were asked for, and tuples of the flows asked for one by one.
        self.dumps: list[DumpFilter | None] = []
        self.gets: list[Tuple] = []
        #: Done after the next flow that a dump yields: what happens while it is under way.
        self.meanwhile: deque[Callable[[], object]] = deque()
        self._now = 1000.0
        self._queue: deque[Event] = deque()
        self._told_of: set[int] = set()
        self._overrun = False
        self._dropped = 0
        self._ids = 0

    # What happens

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def begin(self, flow: Flow, *, heard: bool = True) -> Flow:
        """A flow is born, under an id of its own; unheard: before anybody listened."""
        self._ids += 1
        born = msgspec.structs.replace(flow, id=self._ids)
        self.flows[born.orig, born.zone] = born
        if heard:
            self._told_of.add(born.id)
            self._tell(EventType.NEW, born)
        return born

    def change(self, flow: Flow) -> None:
        """A flow is another than before: its state, its mark."""
        self.flows[flow.orig, flow.zone] = flow
        self._tell(EventType.UPDATE, msgspec.structs.replace(flow, master=None, helper=None))

    def carry(self, flow: Flow, packets: int) -> None:
        """Packets of 1,000 bytes flow; no event tells of them."""
        counted = Counters(packets, packets * 1000)
        self.flows[flow.orig, flow.zone] = msgspec.structs.replace(
            flow, counters_orig=counted, counters_reply=Counters(0, 0)
        )

    def end(self, flow: Flow) -> None:
        """A flow ends."""
        gone = self.flows.pop((flow.orig, flow.zone))
        self._tell(EventType.DESTROY, msgspec.structs.replace(gone, master=None, helper=None), counted=True)

    def expect(self, expectation: Expectation) -> Expectation:
        """An expectation is made."""
        self._ids += 1
        made = msgspec.structs.replace(expectation, id=self._ids)
        self.expectations[made.id] = made
        self._queue_up(Event(EventType.EXPECT_NEW, self.time(), None, made))
        return made

    def unexpect(self, expectation: Expectation) -> None:
        """An expectation ends."""
        del self.expectations[expectation.id]
        self._queue_up(Event(EventType.EXPECT_DESTROY, self.time(), None, expectation))

    def _tell(self, kind: EventType, flow: Flow, *, counted: bool = False) -> None:
        if flow.id not in self._told_of:
            return
        if not counted:
            flow = msgspec.structs.replace(flow, counters_orig=None, counters_reply=None)
        self._queue_up(Event(kind, self.time(), flow))

    def _queue_up(self, event: Event) -> None:
        self._overrun = self._overrun or len(self._queue) >= self.room
        if self._overrun:
            self._dropped += 1
        else:
            self._queue.append(event)

    # Clock

    def monotonic(self) -> float:
        return self._now

    def time(self) -> float:
        return EPOCH + self._now

    # Events

    def receive(self, timeout: float | None = None) -> list[Event]:
        if not self._queue:
            assert timeout is not None, "nothing would ever come"
            self.pass_time(timeout)
        events = [self._queue.popleft() for _ in range(min(self.most, len(self._queue)))]
        if self._overrun and not self._queue:
            events.append(Event(EventType.OVERRUN, self.time(), lost=self._dropped))
            self._overrun, self._dropped = False, 0
        return events

    def fileno(self) -> int:
        return -1

    # Dumps

    def dump_flows(self, wanted: DumpFilter | None = None) -> Iterator[Flow]:
        self.dumps.append(wanted)
        self.pass_time(self.dump_seconds)
        for key in list(self.flows):
            flow = self.flows.get(key)  # it may have ended while others were yielded
            if flow is not None and (wanted is None or wanted.accepts(flow)):
                yield flow
            if self.meanwhile:
                self.meanwhile.popleft()()

    def get_flow(self, orig: Tuple, *, zone: int = 0) -> Flow | None:
        self.gets.append(orig)
        return self.flows.get((orig, zone))

    def dump_expectations(self) -> Iterator[Expectation]:
        yield from list(self.expectations.values())

    def close(self) -> None:
        self.closed = True
