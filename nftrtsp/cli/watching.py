"""``--watch`` and ``events``: the lists and the stream that go on until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from nftrtsp.cli import words
from nftrtsp.cli.columns import colours, paint
from nftrtsp.cli.flowlist import flow_rows, pause_of
from nftrtsp.cli.ways import way_rows, ways
from nftrtsp.cli.writing import closed, json_lines, write
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.memory import Memory
from nftrtsp.conntrack.record import of_event, of_expectation, of_flow, protocol_text
from nftrtsp.conntrack.role import OTHER, Part, Role, Roles
from nftrtsp.conntrack.subscription import Subscription
from nftrtsp.conntrack.table import Table
from nftrtsp.errors import ConfigError

if TYPE_CHECKING:
    from nftrtsp.config import Config

#: Seconds between two pictures.
REFRESH = 1.0
CLEAR = "\x1b[H\x1b[J"

STYLE = {
    EventType.NEW: "good",
    EventType.UPDATE: "",
    EventType.DESTROY: "dim",
    EventType.EXPECT_NEW: "good",
    EventType.EXPECT_DESTROY: "dim",
    EventType.OVERRUN: "bad",
}


def watch_flows(config: Config, *, everything: bool, as_json: bool) -> None:
    """Show the flows anew each second, with their rates."""
    with Table(config, everything=everything) as table:

        def picture() -> Iterator[str]:
            pairs = table.parts()
            if everything:
                pairs = [(flow, table.roles.of(flow)) for flow in table.flows()]
            if as_json:
                now = time.time()
                return json_lines(
                    {"time": now, **of_flow(flow, table.roles, part), "rate": _rate(table, flow.id)}
                    for flow, part in pairs
                )
            return flow_rows(pairs, table.roles, config, table.rates)

        _watch(table, picture, as_json=as_json)


def _rate(table: Table, flow_id: int) -> float | None:
    rate = table.rates.get(flow_id)
    return None if rate is None else rate.bytes


def watch_ways(config: Config, *, everything: bool, as_json: bool) -> None:
    """Show the ways open anew each second."""
    with Table(config) as table:

        def picture() -> Iterator[str]:
            found = ways(table.expectations(), table.roles, everything=everything)
            if as_json:
                now = time.time()
                return json_lines({"time": now, **way} for way in found)
            return way_rows(found)

        _watch(table, picture, as_json=as_json)


def _watch(table: Table, picture: Callable[[], Iterable[str]], *, as_json: bool) -> None:
    screen = sys.stdout.isatty() and not as_json
    table.poll(0)
    while True:
        lines = list(picture())
        if screen:
            at = time.strftime("%H:%M:%S")
            lost = f"   events lost {table.lost} times, repaired" if table.lost else ""
            full = f"   {table.overflow} flows left out: the table is full" if table.overflow else ""
            lines = [CLEAR + paint(at, "dim", colours(sys.stdout)) + lost + full, *(lines or ["nothing now"])]
        elif not as_json:
            lines.append("")
        write(lines)
        ends = time.monotonic() + REFRESH
        while (left := ends - time.monotonic()) > 0:
            table.poll(left)
            if closed():
                return


class Wanted(msgspec.Struct, frozen=True):
    """Which events ``--filter`` lets through: within a key any value, all keys together."""

    stb: frozenset[str] = frozenset()
    role: frozenset[str] = frozenset()
    proto: frozenset[str] = frozenset()
    type: frozenset[str] = frozenset()

    def accepts(self, event: Event, part: Part, roles: Roles) -> bool:
        """Whether ``event`` is wanted. Losses always are."""
        if event.type is EventType.OVERRUN:
            return True
        if self.type and event.type.value not in self.type:
            return False
        if self.role and part.role.value not in self.role:
            return False
        if self.proto:
            told = event.flow.orig if event.flow else event.expectation.tuple if event.expectation else None
            if told is None or protocol_text(told.proto) not in self.proto:
                return False
        if not self.stb:
            return True
        stb = part.stb or b""
        return bool(self.stb & {roles.name(stb).casefold(), ".".join(map(str, stb))})


def parse_filters(filters: tuple[str, ...]) -> Wanted:
    """Return what ``--filter KEY=VALUE[,VALUE]`` asks for. Raises :class:`ConfigError`."""
    found: dict[str, frozenset[str]] = {}
    known = {"role": {role.value for role in Role}, "type": {kind.value for kind in EventType}}
    for text in filters:
        key, equals, value = text.partition("=")
        values = frozenset(part.strip().casefold() for part in value.split(",") if part.strip())
        if not equals or not values or key not in Wanted.__struct_fields__:
            raise ConfigError(
                f"{text!r} is no filter",
                place="--filter",
                remedy=f"write KEY=VALUE, with KEY one of {', '.join(Wanted.__struct_fields__)}",
            )
        odd = values - known.get(key, values)
        if odd:
            raise ConfigError(
                f"there is no {key} {min(odd)!r}",
                place="--filter",
                remedy=f"choose from {', '.join(sorted(known[key]))}",
            )
        found[key] = found.get(key, frozenset()) | values
    return Wanted(**found)


def stream_events(config: Config, *, everything: bool, filters: tuple[str, ...], as_json: bool) -> None:
    """Write events as they come, until Ctrl-C or until the reader closes the pipe."""
    wanted = parse_filters(filters)
    roles = Roles(config)
    for batch in _everything() if everything else _iptv(config):
        lines = []
        for event in batch:
            part = part_of(event, roles)
            if wanted.accepts(event, part, roles):
                lines.append(_json(event, roles, part) if as_json else event_line(event, part, roles, config))
        if lines:
            write(lines)
        if closed():
            return


def _json(event: Event, roles: Roles, part: Part) -> str:
    return msgspec.json.encode(of_event(event, roles, part)).decode()


def _everything() -> Iterator[list[Event]]:
    """Every event as the kernel tells it, with what was told of the same flow before."""
    memory = Memory()
    with Subscription() as subscription:
        while True:
            yield [memory.complete(event) for event in subscription.receive(1.0)]


def _iptv(config: Config) -> Iterator[list[Event]]:
    """Yield what concerns IPTV, from a table that notices what the kernel does not tell."""
    with Table(config) as table:
        while True:
            yield table.poll(1.0)


def part_of(event: Event, roles: Roles) -> Part:
    """Return role and set-top box of what ``event`` tells; an expectation counts as control."""
    if event.flow is not None:
        return roles.of(event.flow)
    expectation = event.expectation
    if expectation is not None and roles.concerns(expectation):
        return Part(Role.CONTROL, roles.asker(expectation))
    return OTHER


def event_line(event: Event, part: Part, roles: Roles, config: Config) -> str:
    """Return one event as people read it."""
    coloured = colours(sys.stdout)
    clock = time.strftime("%H:%M:%S", time.localtime(event.time)) + f".{int(event.time % 1 * 1000):03}"
    name = "LOST" if event.type is EventType.OVERRUN else event.type.value
    head = f"{paint(clock, 'dim', coloured)}  {paint(name.ljust(14), STYLE[event.type], coloured)}  "
    if event.flow is not None:
        flow = event.flow
        ends = words.endpoint(flow.orig.src, flow.orig.sport), words.endpoint(flow.orig.dst, flow.orig.dport)
        told = " → ".join(ends)
        meaning = words.of_flow(flow, part.role, pause_of(flow, config))
        box = paint(roles.name(part.stb).ljust(16), "name", coloured)
        role = part.role.value if part.role is not Role.OTHER else "-"
        proto = protocol_text(flow.orig.proto)
        return f"{head}{role:<7}  {box}  {proto:<5} {told}  {meaning}{_found(event)}"
    if event.expectation is not None:
        way = of_expectation(event.expectation, roles)
        box = paint((way["stb_name"] or way["stb"] or "").ljust(16), "name", coloured)
        port = f"{way['proto']:<5} port {way['tuple']['dport']}"
        return f"{head}{'way':<7}  {box}  {port}  {words.of_way(way)}{_found(event)}"
    return f"{head}the kernel dropped {event.lost:,} events here, for they came faster than they were read"


def _found(event: Event) -> str:
    return "  (found by a dump)" if event.found else ""
