"""The filter: which rows have all the words that were typed. Pure."""

from __future__ import annotations

from nftrtsp import figures
from nftrtsp.monitor import columns
from nftrtsp.monitor.columns import Column
from nftrtsp.monitor.problem import Problem
from nftrtsp.monitor.snapshot import EventView, FilmView, FlowView, WayView

_TABLES: dict[type, tuple[Column, ...]] = {
    FlowView: columns.FLOWS,
    WayView: columns.WAYS,
    EventView: columns.EVENTS,
}


def box_of(item: object) -> bytes | None:
    """Return the packed address of the box that a row is about, or None."""
    if isinstance(item, WayView):
        return item.way.stb
    return getattr(item, "stb", None)


def text_of(item: object) -> str:
    """Return what the words are looked for in: what the row shows, in lower case, and its box's address."""
    if isinstance(item, FilmView):
        steps = " ".join(f"{step.kind} {step.text}" for step in item.steps)
        text = f"{item.name} {item.phase} {item.port} {item.source} {item.server} {item.uri} {steps}"
    elif isinstance(item, Problem):
        text = f"{item.about} {item.text} {item.remedy}"
    else:
        text = " ".join(column.text(item, 0.0) for column in _TABLES.get(type(item), ()))
    stb = box_of(item)
    return f"{text} {figures.address(stb) if stb else ''}".lower()


def matches(item: object, typed: list[str], stb: bytes | None) -> bool:
    """Whether a row is about the box ``stb`` (None: any) and has all the ``typed`` words, in lower case."""
    if stb is not None and box_of(item) not in (stb, None):
        return False
    if stb is not None and box_of(item) is None and not isinstance(item, Problem):
        return False
    if not typed:
        return True
    text = text_of(item)
    return all(word in text for word in typed)
