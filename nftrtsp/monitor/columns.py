"""The columns of the tables: what each shows, and by what it is sorted. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from nftrtsp import figures
from nftrtsp.conntrack.flow import status_names
from nftrtsp.conntrack.record import expect_flag_names, protocol_text
from nftrtsp.monitor.snapshot import EventView, FlowView, WayView


class Column(msgspec.Struct, frozen=True):
    """One column. ``value`` is what it is sorted by (None: ``text``); ``lively`` ones change all the time."""

    title: str
    width: int
    text: Callable[[Any, float], str]
    value: Callable[[Any], Any] | None = None
    tone: Callable[[Any], str] | None = None
    right: bool = False
    lively: bool = False
    stretch: bool = False


def _status(flow: FlowView) -> str:
    return " ".join(status_names(flow.flow.status)) if flow.flow.status is not None else ""


def _state(item: FlowView) -> str:
    if item.flow.tcp_state is not None:
        return (item.flow.state_name or "").lower()
    if item.role == "media":
        return "playing" if item.rate else "-" if item.rate is None else "quiet"
    return ""


def _state_tone(item: FlowView) -> str:
    return {"playing": "good", "quiet": "accent", "established": "good"}.get(_state(item), "muted")


def _packets(item: FlowView) -> int:
    flow = item.flow
    return sum(counters.packets for counters in (flow.counters_orig, flow.counters_reply) if counters)


def _bytes(item: FlowView) -> int:
    flow = item.flow
    return sum(counters.bytes for counters in (flow.counters_orig, flow.counters_reply) if counters)


def _both(item: FlowView, part: str) -> str:
    flow = item.flow
    if flow.counters_orig is None or flow.counters_reply is None:
        return "-"
    return f"{getattr(flow.counters_orig, part):,}/{getattr(flow.counters_reply, part):,}"


def _address(item: FlowView) -> tuple[bytes, int]:
    return item.flow.orig.src, item.flow.orig.sport or 0


FLOWS = (
    Column("role", 8, lambda f, _: f.role, tone=lambda f: "muted" if f.role == "other" else "accent"),
    Column("box", 14, lambda f, _: f.name, lambda f: (f.name, f.role, f.began), lambda _: "strong"),
    Column("state", 12, lambda f, _: _state(f), tone=_state_tone),
    Column("rate", 11, lambda f, _: _rate(f), lambda f: -(f.rate or 0), right=True, lively=True),
    Column("from", 22, lambda f, _: figures.endpoint(f.flow.orig.src, f.flow.orig.sport), _address),
    Column("to", 21, lambda f, _: figures.endpoint(f.flow.orig.dst, f.flow.orig.dport)),
    Column("answers", 21, lambda f, _: figures.endpoint(f.flow.reply.src, f.flow.reply.sport)),
    Column("proto", 5, lambda f, _: protocol_text(f.flow.orig.proto)),
    Column("packets", 15, lambda f, _: _both(f, "packets"), lambda f: -_packets(f), right=True, lively=True),
    Column("bytes", 10, lambda f, _: figures.size(_bytes(f)), lambda f: -_bytes(f), right=True, lively=True),
    Column("age", 8, lambda f, now: figures.brief(now - f.began), lambda f: -f.began, right=True),
    Column(
        "timeout",
        7,
        lambda f, _: f"{f.flow.timeout}s" if f.flow.timeout is not None else "-",
        lambda f: f.flow.timeout or 0,
        right=True,
        lively=True,
    ),
    Column("mark", 10, lambda f, _: f"{f.flow.mark:#x}" if f.flow.mark else ""),
    Column("helper", 8, lambda f, _: f.flow.helper or ""),
    Column("master", 22, lambda f, _: _end(f.flow.master)),
    Column("id", 10, lambda f, _: str(f.flow.id), right=True),
    Column("status", 40, lambda f, _: _status(f)),
)


def _rate(item: FlowView) -> str:
    return figures.rate(item.rate) if item.role == "media" else ""


def _end(master: Any) -> str:
    return figures.endpoint(master.src, master.sport) if master is not None else ""


def _source(item: WayView) -> str:
    return "any source" if item.way.source is None else f"only {figures.address(item.way.source)}"


def _way_to(item: WayView) -> str:
    expectation = item.way.expectation
    address = figures.address(expectation.tuple.dst) if expectation else ""
    if not address and item.way.detail is not None:
        address = item.way.detail.tuple.dst or ""
    if address in ("", "0.0.0.0"):  # noqa: S104 - no address, as a map without one says it
        return f"port {item.way.port}"
    return figures.endpoint(address, item.way.port)


def _way_master(item: WayView) -> str:
    master = item.way.master or (item.way.expectation.master if item.way.expectation else None)
    if master is not None:
        return f"{figures.endpoint(master.src, master.sport)} → {figures.endpoint(master.dst, master.dport)}"
    told = item.way.detail.master if item.way.detail is not None else None
    if told is None:
        return ""
    return f"{figures.endpoint(told.src or '', told.sport)} → {figures.endpoint(told.dst or '', told.dport)}"


def _way_flags(item: WayView) -> str:
    if item.way.expectation is not None:
        return " ".join(expect_flag_names(item.way.expectation.flags))
    return " ".join(item.way.detail.flags) if item.way.detail is not None else ""


WAYS = (
    Column("box", 14, lambda w, _: w.name, tone=lambda _: "strong"),
    Column("kind", 11, lambda w, _: w.way.kind, tone=lambda _: "accent"),
    Column("accepts", 20, lambda w, _: _source(w), tone=lambda w: "good" if w.way.any_source else "bad"),
    Column("to", 20, lambda w, _: _way_to(w), lambda w: w.way.port),
    Column(
        "goes to",
        21,
        lambda w, _: figures.endpoint(w.way.stb, w.way.stb_port),
        lambda w: (w.way.stb, w.way.stb_port),
    ),
    Column(
        "closes in",
        11,
        lambda w, _: figures.brief(w.left) if w.way.timeout else "-",
        lambda w: w.left,
        right=True,
    ),
    Column("control connection", 42, lambda w, _: _way_master(w)),
    Column(
        "helper",
        8,
        lambda w, _: (told.helper or "") if (told := w.way.expectation or w.way.detail) else "",
    ),
    Column("flags", 22, lambda w, _: _way_flags(w)),
    Column("function", 18, lambda w, _: (w.way.expectation.function if w.way.expectation else "") or ""),
    Column("class", 5, lambda w, _: str(w.way.expectation.class_) if w.way.expectation else "", right=True),
    Column(
        "id",
        10,
        lambda w, _: str(told.id or "") if (told := w.way.expectation or w.way.detail) else "",
        right=True,
    ),
)


_KIND_TONES = {
    "new": "good",
    "update": "muted",
    "destroy": "muted",
    "expect-new": "accent",
    "setup": "accent",
    "way-open": "good",
    "play": "good",
    "overrun": "bad",
    "way-refused": "bad",
}


def _event_tone(item: EventView) -> str:
    return "bad" if item.grave else _KIND_TONES.get(item.kind, "")


EVENTS = (
    Column("time", 12, lambda e, _: figures.moment(e.time), lambda e: e.number, lambda _: "muted"),
    Column("event", 16, lambda e, _: e.kind, tone=_event_tone),
    Column("box", 14, lambda e, _: e.name, tone=lambda _: "strong"),
    Column("what", 60, lambda e, _: e.text, tone=lambda e: "bad" if e.grave else "", stretch=True),
)
