"""What a row is, field by field, for the details screen, the clipboard and export. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from nftrtsp import figures
from nftrtsp.conntrack.event import Event
from nftrtsp.conntrack.record import of_event, of_expectation, of_flow
from nftrtsp.conntrack.role import Part, Role, Roles
from nftrtsp.events.news import Checked
from nftrtsp.helper import note
from nftrtsp.helper.note import Hello, Note
from nftrtsp.monitor import words
from nftrtsp.monitor.problem import Problem
from nftrtsp.monitor.snapshot import BoxView, EventView, FilmView, FlowView, Snapshot, WayView
from nftrtsp.monitor.view import Line
from nftrtsp.monitor.words import Span

Record = dict[str, Any]


def record(item: object, roles: Roles) -> Record:
    """Return the JSON object of any row; flows, expectations and events as the other commands print them."""
    match item:
        case FlowView():
            return {**of_flow(item.flow, roles, Part(Role(item.role), item.stb)), "rate": item.rate}
        case WayView():
            way, known = item.way.detail, item.way.expectation
            shown = of_expectation(known, roles) if known is not None else way
            return {**(msgspec.to_builtins(shown) if shown is not None else {}), "timeout": int(item.left)}
        case EventView():
            return _event_record(item, roles)
        case FilmView():
            return _film_record(item)
        case BoxView():
            return {
                "stb": item.text,
                "stb_name": item.name,
                "state": item.state,
                "rate": item.rate,
                "why": item.why,
            }
        case Problem():
            return {
                "problem": item.text,
                "remedy": item.remedy,
                "about": item.about,
                "grave": item.grave,
                "since": item.since,
            }
    return {}


def _event_record(item: EventView, roles: Roles) -> Record:
    if isinstance(item.source, Event):
        return of_event(item.source, roles)
    if isinstance(item.source, Hello | Note):
        return note.record(item.source)
    told = {"time": item.time, "event": item.kind, "text": item.text}
    if isinstance(item.source, Checked):
        told["changes"] = list(item.source.changes)
    return told


def _film_record(item: FilmView) -> Record:
    return {
        "stb": figures.address(item.stb),
        "stb_name": item.name,
        "state": item.phase.value,
        "port": item.port,
        "rate": item.rate,
        "source": item.source,
        "server": item.server,
        "client": item.client,
        "uri": item.uri,
        "began": item.began,
        "ended": item.ended,
        "steps": [
            {
                "time": step.time,
                "step": step.kind.value,
                "text": step.text,
                "failed": step.failed,
                "remedy": step.remedy,
            }
            for step in item.steps
        ],
    }


def title(item: object) -> str:
    """Return what the details screen is headed with."""
    match item:
        case FlowView():
            return f"{item.role} flow {item.flow.id}"
        case WayView():
            return f"{item.way.kind} for port {item.way.port}"
        case EventView():
            return f"event: {item.kind}"
        case FilmView():
            return f"film of {item.name}, port {item.port}"
        case BoxView():
            return item.name
        case Problem():
            return "problem"
    return "details"


def detail_lines(item: object, snapshot: Snapshot, roles: Roles, columns: int) -> list[Line]:
    """Return all fields of a row, then its master's flow, then what was heard of the same box."""
    lines = [Line(index, spans) for index, spans in enumerate(_fields(record(item, roles), columns))]
    if isinstance(item, FlowView) and item.flow.master is not None:
        master = next((flow for flow in snapshot.flows if flow.flow.orig == item.flow.master), None)
        if master is not None:
            lines += _section("master's flow", _fields(record(master, roles), columns), len(lines))
    stb = getattr(item, "stb", None) or (item.address if isinstance(item, BoxView) else None)
    if isinstance(item, WayView):
        stb = item.way.stb
    if stb:
        heard = [event for event in snapshot.events if event.stb == stb][-40:]
        history = [_history(event) for event in heard]
        lines += _section("history of this box", history, len(lines))
    return lines


def _section(name: str, content: Any, start: int) -> list[Line]:
    spans: list[list[Span]] = [[], [(f" {name}", "strong")], *content]
    return [Line(start + index, line) for index, line in enumerate(spans)]


def _history(event: EventView) -> list[Span]:
    tone = "bad" if event.grave else ""
    return [
        (f"   {figures.moment(event.time)}  ", "muted"),
        (words.fit(event.kind, 15), tone or "accent"),
        (event.text, tone),
    ]


def _fields(data: Record, columns: int, indent: int = 1) -> Iterator[list[Span]]:
    for key, value in data.items():
        label = " " * indent + key
        if isinstance(value, dict):
            yield [(label, "accent")]
            yield from _fields(value, columns, indent + 3)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield [(label, "accent")]
            for part in value:
                yield from _flat(part, columns, indent + 3)
        else:
            text = _text(key, value)
            room = columns - max(18, indent + 14) - 2
            for index, piece in enumerate(words.wrap(text, room)):
                head = words.fit(label if index == 0 else "", max(18, indent + 14))
                yield [(head, "muted"), (piece, "" if value not in (None, "") else "muted")]


def _flat(part: Record, columns: int, indent: int) -> Iterator[list[Span]]:
    pieces = [_text(key, value) for key, value in part.items() if key != "failed" and value not in (None, "")]
    if part.get("failed"):
        pieces.insert(1, "✗")
    for index, piece in enumerate(words.wrap("  ".join(pieces), columns - indent - 4)):
        yield [
            (" " * (indent if index == 0 else indent + 2), ""),
            (piece, "bad" if part.get("failed") else ""),
        ]


_TIMES = frozenset({"start", "stop", "time", "began", "ended", "since"})


def _text(key: str, value: object) -> str:
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in _TIMES and isinstance(value, int | float):
        return figures.moment(float(value))
    if key == "mark" and isinstance(value, int):
        return f"{value:#x}"
    if key == "rate" and isinstance(value, int | float):
        return figures.rate(float(value))
    if key == "timeout" and isinstance(value, int):
        return f"{value} s"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
