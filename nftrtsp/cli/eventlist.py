"""``events``: the stream of what conntrack and a running helper tell, one line each, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nftrtsp import figures
from nftrtsp.cli import words
from nftrtsp.cli.columns import INDENT, Cell
from nftrtsp.cli.eventfilter import parse_filters, part_of
from nftrtsp.cli.flowlist import pause_of
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.flow_table import FlowTable
from nftrtsp.conntrack.record import of_event, of_expectation, protocol_text
from nftrtsp.conntrack.role import Part, Role, Roles
from nftrtsp.conntrack.subscription import Subscription
from nftrtsp.events.news import Heard, Told
from nftrtsp.events.stream import EventStream, Everything, Source
from nftrtsp.helper import note
from nftrtsp.helper.note import Garbage, Hello, Line, Note, Overrun, Untold, WayClosed, WayOpen, WayRefused
from nftrtsp.terminal import TERMINAL, Channel, hung, json_line

if TYPE_CHECKING:
    from nftrtsp.config import Config

#: Seconds between two looks at what sends no events.
_LOOK = 0.5

STYLE = {
    EventType.NEW: "good",
    EventType.UPDATE: "",
    EventType.DESTROY: "dim",
    EventType.EXPECT_NEW: "good",
    EventType.EXPECT_DESTROY: "dim",
    EventType.OVERRUN: "bad",
}
LINE_STYLE: dict[type[Note], str] = {
    WayOpen: "good",
    WayRefused: "bad",
    WayClosed: "dim",
    Garbage: "warn",
    Overrun: "bad",
    Untold: "warn",
}


def stream_events(config: Config, *, everything: bool, filters: tuple[str, ...], as_json: bool) -> None:
    """Write events as they come, until Ctrl-C or until the reader closes the pipe."""
    wanted = parse_filters(filters, config)
    roles, out = Roles(config), TERMINAL.out
    for news in _everything() if everything else _iptv(config):
        if news is None:
            out.flush()
            out.require_reader()
        elif isinstance(news, Heard):
            event = news.event
            part = part_of(event, roles)
            if wanted.accepts(event, part, roles):
                told = of_event(event, roles, part) if as_json else {}
                out.raw((json_line(told) if as_json else event_line(event, part, roles, config)) + "\n")
        elif wanted.accepts_line(news.line, roles):
            line = news.line
            out.raw((json_line(note.record(line)) if as_json else helper_line(line, roles)) + "\n")


def _joined(kernel: Source) -> Iterator[Heard | Told | None]:
    """Yield what kernel and helper say, in order; None after each batch."""
    stream = EventStream(kernel)
    while True:
        stream.wait(_LOOK)
        for news in stream.take():
            if isinstance(news, Heard | Told):
                yield news
        yield None


def _everything() -> Iterator[Heard | Told | None]:
    """Yield every event as the kernel tells it."""
    with Subscription() as subscription:
        yield from _joined(Everything(subscription))


def _iptv(config: Config) -> Iterator[Heard | Told | None]:
    """Yield what concerns IPTV, from a table that notices what the kernel does not tell."""
    with FlowTable(config) as table:
        table.poll(0)
        yield from _joined(table)


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
        box = (way.stb_name or way.stb or "").ljust(16)
        head += [("port".ljust(7), ""), (box, "name"), (f"{way.proto:<5}", "")]
        return _line(head, f"port {way.tuple.dport}  {words.of_way(way)}{found}", to, gap=1)
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


def helper_line(line: Line, roles: Roles, to: Channel = TERMINAL.out) -> str:
    """Return one line of a helper as people read it."""
    if isinstance(line, Hello):
        ports = figures.counted(len(line.ways), "port")
        stb, told = b"", f"the {line.kind} helper runs (pid {line.pid}), {ports} open: {line.why}"
    else:
        parts = note.parts(line)
        order = [parts[key] for key in ("port", "status", "reason", "uri") if key in parts]
        stb, told = line.box or b"", "  ".join(order) or line.client or ""
    style = "" if isinstance(line, Hello) else LINE_STYLE.get(type(line), "")
    head = [(figures.moment(line.time or 0.0), "dim"), (line.event.ljust(16), style)]
    head += [("helper".ljust(7), ""), (roles.name(stb).ljust(16), "name")]
    return _line(head, told, to)
