"""A table of flows and expectations that is right: subscribe, dump, merge, and repair what was lost.

The theory, once. The kernel tells events in order, but only of flows that were born while somebody listened
(``nf_conntrack_events=2``), and it drops events when our buffer is full. So:

* *Start*: subscribe, then dump. What happens meanwhile waits in the socket and is applied after the dump; the
  last message about a flow wins, and a DESTROY of another id than the table's is of an earlier flow.
* *Overrun*: the subscription tells of it when it has emptied the socket, for the kernel drops everything
  until then. Dump again: what the dump lacks is gone, what it has besides is new; both are given as events
  with ``found`` set.
* *Silent flows*, known from dumps only, may never send an event: those that matter are asked for again one
  by one each second, for all others the dump is repeated as long as there are any.

Memory is bounded: at most ``limit`` flows without a role and MATTERING flows with one are kept (1.1 KiB each,
1.4 with counters: 20 MiB for what matters, 350 MiB with ``everything`` at its default limit); ``overflow``
counts what was not kept.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Self

import msgspec

from nftrtsp.config import Config
from nftrtsp.conntrack.dump_filter import DumpFilter, Match
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import IPS_DST_NAT, IPS_EXPECTED, Flow, merge
from nftrtsp.conntrack.role import Part, Role, Roles
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.conntrack.socket_filter import iptv_filter
from nftrtsp.conntrack.sources import Clock, Dumps, Events
from nftrtsp.conntrack.subscription import RECEIVE_BUFFER, Subscription
from nftrtsp.conntrack.tuple import AF_INET, IPPROTO_TCP, Tuple

#: At most so many control and media flows are kept, and so many expectations.
MATTERING = 16384

#: Seconds within which flows that send no events, expectations and counters of films are looked at again.
RECHECK = 1.0

#: Of the time, the share that repeated full dumps may take in a storm.
DUMP_SHARE = 0.5

#: Of the time, the share that full dumps may take for other flows that send no events (``everything``).
SWEEP_SHARE = 0.1

#: Identities of what a dump told before its event came; the oldest are forgotten first.
REMEMBERED = 4096

Key = tuple[Tuple, int]


class Rate(msgspec.Struct, frozen=True, gc=False):
    """What a flow carries now, in both directions together: bytes and packets a second."""

    bytes: float
    packets: float


def _remember(identities: OrderedDict[int, None], identity: int) -> None:
    identities[identity] = None
    if len(identities) > REMEMBERED:
        identities.popitem(last=False)


def _subscribe(config: Config, everything: bool, receive_buffer: int) -> Subscription:
    program = None if everything else iptv_filter(config)
    return Subscription(receive_buffer=receive_buffer, program=program)


class _Entry(msgspec.Struct, gc=False):
    """A flow of the table. ``heard``: an event told of it, so that its end will be told too."""

    flow: Flow
    part: Part
    seen: float
    heard: bool


class FlowTable:
    """The flows and expectations of this network namespace, kept right. For one thread.

    ``everything`` False keeps only what concerns IPTV (control connections, films, expectations) and lets the
    kernel drop the rest before it costs anything; True keeps up to ``limit`` other flows as well. ``dumps``
    and ``events`` are the kernel's unless given, and are closed with the table; ``clock`` is the machine's.

    >>> with FlowTable(config) as table:
    ...     for event in table.poll(timeout=0.5): ...
    ...     table.flows(); table.expectations(); table.rates; table.lost
    """

    def __init__(
        self,
        config: Config,
        *,
        everything: bool = False,
        limit: int = 262_144,
        receive_buffer: int = RECEIVE_BUFFER,
        dumps: Dumps | None = None,
        events: Events | None = None,
        clock: Clock = time,
    ) -> None:
        self.roles = Roles(config)
        #: How many events the kernel dropped, and how often it did; each time was repaired by a dump.
        self.lost = 0
        self.overruns = 0
        #: What was not kept because the table was full: in the last full dump, and new since.
        self.overflow = 0
        #: Flow id to Rate, for media flows, from the last two polls of their counters.
        self.rates: dict[int, Rate] = {}
        self._config = config
        self._everything = everything
        self._limit = limit
        self._flows: dict[Key, _Entry] = {}
        self._mattering: dict[Key, _Entry] = {}
        self._expectations: dict[int, tuple[Expectation, float]] = {}
        # What a dump told first: its own event, still in the socket, is not told again.
        self._removed: OrderedDict[int, None] = OrderedDict()
        self._found: OrderedDict[int, None] = OrderedDict()
        self._polled: dict[int, tuple[float, int, int]] = {}
        self._missed = 0  # by the dumps since a full one began
        self._loaded = False
        self._repair_at: float | None = None
        self._dump_cost = 0.0
        self._recheck_at = 0.0
        self._sweep_at = 0.0
        self._discover_at = 0.0
        self._now, self._wall = clock.monotonic, clock.time
        self._asker = Conntrack() if dumps is None else dumps
        self._subscription = _subscribe(config, everything, receive_buffer) if events is None else events

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both sockets."""
        self._subscription.close()
        self._asker.close()

    def fileno(self) -> int:
        """The file descriptor of the event socket."""
        return self._subscription.fileno()

    def flows(self) -> list[Flow]:
        """Return the flows now, those with a role first. Timeouts are as of the last message about each."""
        return [entry.flow for entry in (*self._mattering.values(), *self._flows.values())]

    def parts(self) -> list[tuple[Flow, Part]]:
        """Return control and media flows with their role and set-top box."""
        return [(entry.flow, entry.part) for entry in self._mattering.values()]

    def expectations(self) -> list[Expectation]:
        """Return the expectations now, each with the seconds that are left of its timeout."""
        now = self._now()
        return [
            msgspec.structs.replace(value, timeout=max(0, value.timeout - int(now - seen)))
            for value, seen in self._expectations.values()
        ]

    def poll(self, timeout: float | None = None) -> list[Event]:
        """Wait up to ``timeout`` seconds for something to happen and return it, oldest first.

        The first call loads the table and returns at once. Flows in events are complete as far as the table
        knows them. An event may repeat what a dump told already. Returns early, maybe with nothing, when work
        of its own was due.
        """
        if not self._loaded:
            self._loaded = True
            self._load(tell=False)
            return []
        now = self._now()
        due = min(self._recheck_at, self._repair_at or self._recheck_at)
        wait = max(0.0, due - now)
        told = self._apply(self._subscription.receive(wait if timeout is None else min(wait, timeout)))
        now = self._now()
        if self._repair_at is not None and now >= self._repair_at:
            told += self._repair()
        if now >= self._recheck_at:
            told += self._recheck()
            self._recheck_at = self._now() + RECHECK / 2
        return told

    # Events

    def _apply(self, events: Iterable[Event]) -> list[Event]:
        told: list[Event] = []
        now = self._now()
        for event in events:
            if event.flow is not None:
                flow = self._hear(event, event.flow, now, told)
                if flow is not None:
                    told.append(event if flow is event.flow else Event(event.type, event.time, flow))
            elif event.expectation is not None:
                if self._hear_expectation(event, event.expectation, now):
                    told.append(event)
            else:
                self.lost += event.lost
                self.overruns += 1
                if self._repair_at is None:  # between two dumps leave room for reading
                    self._repair_at = now + min(0.5, self._dump_cost * (1 / DUMP_SHARE - 1))
                told.append(event)
        return told

    def _hear(self, event: Event, flow: Flow, now: float, told: list[Event]) -> Flow | None:
        """Take in what one event says; return the flow as known now, or None if it is not for us.

        ``told`` gets the end of a flow in whose place this one is: nobody else tells it.
        """
        key = (flow.orig, flow.zone)
        entry = self._mattering.get(key) or self._flows.get(key)
        if entry is not None and entry.flow.id == flow.id:
            flow = merge(entry.flow, flow)
        elif entry is not None and event.type is EventType.DESTROY:
            return None  # the end of an earlier flow with the same tuple
        part = self.roles.of(flow)
        if part.role is Role.OTHER and entry is not None and entry.flow.id == flow.id:
            part = entry.part
        if event.type is EventType.DESTROY:
            if entry is None and self._removed.pop(flow.id, self) is None:
                return None  # a dump has told its end already
            self._forget(key, flow.id)
        elif part.role is not Role.OTHER or self._everything:
            if entry is not None and entry.flow.id != flow.id:
                told += self._lose(key)
            kept = self._keep(key, _Entry(flow, part, now, heard=True))
            self.overflow += not kept and event.type is EventType.NEW
            if event.type is EventType.NEW and self._found.pop(flow.id, self) is None:
                return None
        return flow if part.role is not Role.OTHER or self._everything else None

    def _hear_expectation(self, event: Event, expectation: Expectation, now: float) -> bool:
        if event.type is EventType.EXPECT_DESTROY:
            known = self._expectations.pop(expectation.id, None)
            return known is not None or self._removed.pop(expectation.id, self) is not None
        if len(self._expectations) >= MATTERING and expectation.id not in self._expectations:
            self.overflow += 1
        else:
            self._expectations[expectation.id] = (expectation, now)
        return self._found.pop(expectation.id, self) is not None

    def _keep(self, key: Key, entry: _Entry) -> bool:
        """Keep a flow; return whether there was room."""
        matters = entry.part.role is not Role.OTHER
        into = self._mattering if matters else self._flows
        if len(into) >= (MATTERING if matters else self._limit) and key not in into:
            return False
        if matters:
            self._flows.pop(key, None)
        into[key] = entry
        return True

    def _forget(self, key: Key, flow_id: int) -> None:
        if self._mattering.pop(key, None) is None:
            self._flows.pop(key, None)
        self.rates.pop(flow_id, None)
        self._polled.pop(flow_id, None)

    # Dumps

    def _load(self, *, tell: bool) -> list[Event]:
        """Make the table what a dump says; return the differences as events when ``tell``."""
        told: list[Event] = []
        started = self._now()
        self._missed = 0
        stale = set(self._mattering) | set(self._flows)
        for flow in self._dump():
            stale.discard((flow.orig, flow.zone))
            told += self._find(flow)
        for key in stale:
            told += self._lose(key)
        told += self._load_expectations()
        self.overflow = self._missed
        spent = self._now() - started
        self._sweep_at = self._now() + max(RECHECK / 2, spent / SWEEP_SHARE)
        if not tell:
            self._found.clear()
            return []
        return told

    def _dump(self) -> Iterator[Flow]:
        if self._everything:
            yield from self._asker.dump_flows()
            return
        mark = self._config.rtsp.mark
        yield from self._asker.dump_flows(DumpFilter(mark=(mark.value, mark.mask)))
        for port in self._config.rtsp.ports:
            yield from self._asker.dump_flows(
                DumpFilter(orig=Match(proto=IPPROTO_TCP, dport=port), family=AF_INET)
            )
        for bit in (IPS_EXPECTED, IPS_DST_NAT):
            yield from self._asker.dump_flows(DumpFilter(status=(bit, bit)))

    def _find(self, flow: Flow) -> list[Event]:
        """Take in a flow from a dump; return an event if it is new to the table or another than before."""
        key = (flow.orig, flow.zone)
        entry = self._mattering.get(key) or self._flows.get(key)
        part = self.roles.of(flow)
        if part.role is Role.OTHER and not self._everything:
            return []
        same = entry is not None and entry.flow.id == flow.id
        heard = entry is not None and same and entry.heard
        told = [] if entry is None or same else self._lose(key)
        if not self._keep(key, _Entry(flow, part, self._now(), heard)):
            self._missed += 1
            return told
        if same:
            return []
        _remember(self._found, flow.id)
        return [*told, Event(EventType.NEW, self._wall(), flow, found=True)]

    def _lose(self, key: Key) -> list[Event]:
        entry = self._mattering.get(key) or self._flows.get(key)
        if entry is None:
            return []
        self._forget(key, entry.flow.id)
        self._found.pop(entry.flow.id, None)
        _remember(self._removed, entry.flow.id)
        return [Event(EventType.DESTROY, self._wall(), entry.flow, found=True)]

    def _load_expectations(self) -> list[Event]:
        told: list[Event] = []
        now = self._now()
        before, self._expectations = self._expectations, {}
        for expectation in self._asker.dump_expectations():
            if len(self._expectations) >= MATTERING:
                self._missed += 1
                continue
            self._expectations[expectation.id] = (expectation, now)
            if before.pop(expectation.id, None) is None:
                _remember(self._found, expectation.id)
                told.append(Event(EventType.EXPECT_NEW, self._wall(), None, expectation, found=True))
        for expectation, _ in before.values():
            _remember(self._removed, expectation.id)
            told.append(Event(EventType.EXPECT_DESTROY, self._wall(), None, expectation, found=True))
        return told

    # Work of its own

    def _repair(self) -> list[Event]:
        """After an overrun dump again; the subscription tells of it when the socket is empty."""
        self._repair_at = None
        started = self._now()
        told = self._load(tell=True)
        self._dump_cost = self._now() - started
        return told

    def _recheck(self) -> list[Event]:
        """Look again at what sends no events, and poll the counters of films."""
        told: list[Event] = []
        now = self._now()
        if now >= self._discover_at:
            told += self._poll_media()
            # The kernel walks its whole table for this, so a large one is walked less often; films that are
            # known are asked for one by one below.
            self._discover_at = now + max(RECHECK / 2, 20 * (self._now() - now))
        for key, entry in list(self._mattering.items()):
            if entry.seen < now - RECHECK / 2 and not (entry.heard and entry.part.role is Role.CONTROL):
                told += self._ask_again(key, entry)
        told += self._load_expectations()
        if self._everything and now >= self._sweep_at:
            if all(entry.heard for entry in self._flows.values()):
                self._sweep_at = now + RECHECK
            else:
                told += self._load(tell=True)
        return told

    def _ask_again(self, key: Key, entry: _Entry) -> list[Event]:
        flow = self._asker.get_flow(entry.flow.orig, zone=entry.flow.zone)
        if flow is None or flow.id != entry.flow.id:
            return self._lose(key)
        self._keep(key, _Entry(merge(entry.flow, flow), entry.part, self._now(), entry.heard))
        self._count(flow)
        return []

    def _poll_media(self) -> list[Event]:
        """Dump the marked flows: their counters, and any of which we were not told."""
        mark = self._config.rtsp.mark
        told: list[Event] = []
        for flow in self._asker.dump_flows(DumpFilter(mark=(mark.value, mark.mask))):
            told += self._find(flow)
            self._count(flow)
        return told

    def _count(self, flow: Flow) -> None:
        if flow.counters_orig is None or flow.counters_reply is None:
            return
        size = flow.counters_orig.bytes + flow.counters_reply.bytes
        packets = flow.counters_orig.packets + flow.counters_reply.packets
        now = self._now()
        before = self._polled.get(flow.id)
        if before is not None and now - before[0] < 0.9 * RECHECK:
            return
        self._polled[flow.id] = (now, size, packets)
        if before is not None:
            spent = now - before[0]
            self.rates[flow.id] = Rate((size - before[1]) / spent, (packets - before[2]) / spent)
