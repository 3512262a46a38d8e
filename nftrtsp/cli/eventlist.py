"""``events``: the stream of what conntrack and a running helper tell, one line each, until Ctrl-C."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, Any

from nftrtsp import figures, paths
from nftrtsp.cli import words
from nftrtsp.cli.columns import INDENT, Cell
from nftrtsp.cli.eventfilter import parse_filters, part_of
from nftrtsp.cli.flowlist import pause_of
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.flow_table import FlowTable
from nftrtsp.conntrack.history import FlowHistory
from nftrtsp.conntrack.record import of_event, of_expectation, protocol_text
from nftrtsp.conntrack.role import Part, Role, Roles
from nftrtsp.conntrack.subscription import Subscription
from nftrtsp.errors import NftrtspError
from nftrtsp.helper import publish
from nftrtsp.terminal import TERMINAL, Channel, hung, json_line

if TYPE_CHECKING:
    from nftrtsp.config import Config

#: One line of a running helper.
Line = dict[str, Any]

#: Seconds between two tries to reach a helper, and between two looks at what sends no events.
RETRY = 1.0

STYLE = {
    EventType.NEW: "good",
    EventType.UPDATE: "",
    EventType.DESTROY: "dim",
    EventType.EXPECT_NEW: "good",
    EventType.EXPECT_DESTROY: "dim",
    EventType.OVERRUN: "bad",
}
LINE_STYLE = {
    "way-open": "good",
    "way-refused": "bad",
    "way-closed": "dim",
    "garbage": "warn",
    "overrun": "bad",
}


def stream_events(config: Config, *, everything: bool, filters: tuple[str, ...], as_json: bool) -> None:
    """Write events as they come, until Ctrl-C or until the reader closes the pipe."""
    wanted = parse_filters(filters, config)
    roles, out = Roles(config), TERMINAL.out
    for event in _everything() if everything else _iptv(config):
        if event is None:
            out.flush()
            out.require_reader()
        elif isinstance(event, Event):
            part = part_of(event, roles)
            if wanted.accepts(event, part, roles):
                told = of_event(event, roles, part) if as_json else {}
                out.raw((json_line(told) if as_json else event_line(event, part, roles, config)) + "\n")
        elif wanted.accepts_line(event, _stb(event), roles):
            out.raw((json_line(event) if as_json else helper_line(event, roles)) + "\n")


class Helper:
    """A running helper's stream, joined when it is there and done without when it is not."""

    def __init__(self) -> None:
        self._stream: publish.Subscription | None = None
        self._try_at = 0.0

    def fileno(self) -> int | None:
        """The descriptor to wait for, or None without a helper. Tries to reach one now and then."""
        if self._stream is None and time.monotonic() >= self._try_at:
            self._try_at = time.monotonic() + RETRY
            if paths.helper_socket().exists():
                with contextlib.suppress(OSError, NftrtspError):
                    self._stream = publish.Subscription()
        return None if self._stream is None else self._stream.fileno()

    def receive(self) -> list[Line]:
        """Return the lines that have come."""
        if self._stream is None:
            return []
        try:
            return self._stream.receive(0)
        except OSError:
            self._stream.close()
            self._stream = None
            return []


def _joined(fileno: int, receive: Callable[[], list[Event]]) -> Iterator[Event | Line | None]:
    """Yield conntrack's events and a helper's lines in the order of their times; None after each batch."""
    helper = Helper()
    while True:
        waits = [one for one in (fileno, helper.fileno()) if one is not None]
        select.select(waits, [], [], RETRY / 2)
        events, lines = receive(), helper.receive()
        if lines:
            both: list[Event | Line] = [*events, *lines]
            yield from sorted(both, key=_time)
        else:
            yield from events
        yield None


def _time(told: Event | Line) -> float:
    return told.time if isinstance(told, Event) else float(told.get("time") or 0)


def _everything() -> Iterator[Event | Line | None]:
    """Every event as the kernel tells it, with what was told of the same flow before."""
    memory = FlowHistory()
    with Subscription() as subscription:
        yield from _joined(
            subscription.fileno(), lambda: [memory.complete(event) for event in subscription.receive(0)]
        )


def _iptv(config: Config) -> Iterator[Event | Line | None]:
    """Yield what concerns IPTV, from a table that notices what the kernel does not tell."""
    with FlowTable(config) as table:
        table.poll(0)
        yield from _joined(table.fileno(), lambda: table.poll(0))


def event_line(event: Event, part: Part, roles: Roles, config: Config, to: Channel = TERMINAL.out) -> str:
    """Return one event as people read it."""
    name = "LOST" if event.type is EventType.OVERRUN else event.type.value
    head = [(figures.moment(event.time), "dim"), (name.ljust(16), STYLE[event.type])]
    found = "  (found by a dump)" if event.found else ""
    if event.flow is not None:
        flow = event.flow
        ends = (
            figures.endpoint(flow.orig.src, flow.orig.sport),
            figures.endpoint(flow.orig.dst, flow.orig.dport),
        )
        box = roles.name(part.stb).ljust(16)
        role = part.role.value if part.role is not Role.OTHER else "-"
        meaning = words.of_flow(flow, part.role, pause_of(flow, config))
        proto = protocol_text(flow.orig.proto)
        head += [(role.ljust(7), ""), (box, "name"), (f"{proto:<5}", "")]
        return _line(head, f"{' → '.join(ends)}  {meaning}{found}", to, gap=1)
    if event.expectation is not None:
        way = of_expectation(event.expectation, roles)
        box = (way["stb_name"] or way["stb"] or "").ljust(16)
        head += [("port".ljust(7), ""), (box, "name"), (f"{way['proto']:<5}", "")]
        return _line(head, f"port {way['tuple']['dport']}  {words.of_way(way)}{found}", to, gap=1)
    told = f"the kernel dropped {event.lost:,} events here, for they came faster than they were read"
    return _line(head, told, to)


def _line(head: list[Cell], told: str, to: Channel, *, gap: int = 2) -> str:
    """Return ``head`` in columns and what is ``told``, on a line of its own where a terminal is narrow."""
    columns = to.columns
    width = sum(len(text) + 2 for text, _ in head) - 2 + gap
    whole = columns is None or width + len(told) <= columns
    if not whole:
        head = [*head[:-1], (head[-1][0].rstrip(), head[-1][1])]
    start = "  ".join(to.paint(text, style) for text, style in head)
    if whole:
        return f"{start}{' ' * gap}{told}"
    return f"{start}\n{hung(' ' * INDENT + told, columns, INDENT + 2)}"


def helper_line(line: Mapping[str, Any], roles: Roles, to: Channel = TERMINAL.out) -> str:
    """Return one line of a helper as people read it."""
    name = str(line.get("event"))
    if name == "hello":
        ports = figures.counted(len(line.get("ways") or ()), "port")
        told = f"the {line.get('kind')} helper runs (pid {line.get('pid')}), {ports} open: {line.get('why')}"
    else:
        parts = [str(line[key]) for key in ("status", "reason", "uri") if line.get(key) is not None]
        port = [f"port {line['port']}"] if line.get("port") is not None else []
        told = "  ".join([*port, *parts]) or str(line.get("client") or "")
    head = [(figures.moment(_time(dict(line))), "dim"), (name.ljust(16), LINE_STYLE.get(name, ""))]
    head += [("helper".ljust(7), ""), (roles.name(_stb(line)).ljust(16), "name")]
    return _line(head, told, to)


def _stb(line: Mapping[str, Any]) -> bytes:
    try:
        return IPv4Address(str(line.get("stb"))).packed
    except AddressValueError:
        return b""
