"""The panes of the main screen: what each is called and lists, and what it says when it is empty. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from nftrtsp.monitor.snapshot import Snapshot


class Pane(msgspec.Struct, frozen=True):
    """One pane. ``count`` is the number beside its title, 0 for none; ``short`` its title in a narrow bar."""

    name: str
    title: str
    short: str
    empty: str
    rows: Callable[[Snapshot], Sequence[Any]]
    count: Callable[[Snapshot], int]


#: In the order of their tabs; the last one alarms.
PANES = (
    Pane(
        "sessions",
        "Sessions",
        "Sess",
        "No film yet\nWhen a set-top box asks for one, its steps appear here.",
        lambda snapshot: snapshot.films,
        lambda snapshot: sum(film.phase.value != "ended" for film in snapshot.films),
    ),
    Pane(
        "flows",
        "Flows",
        "Flows",
        "No flows\nNo set-top box talks to an RTSP server, and no film comes.",
        lambda snapshot: snapshot.flows,
        lambda snapshot: len(snapshot.flows),
    ),
    Pane(
        "ways",
        "Expectations",
        "Exp",
        "No port is open for a film\nA helper opens one at SETUP and closes it at TEARDOWN.",
        lambda snapshot: snapshot.ways,
        lambda snapshot: len(snapshot.ways),
    ),
    Pane(
        "events",
        "Events",
        "Ev",
        "No events yet\nWhat the kernel and the helper report is written here.",
        lambda snapshot: snapshot.events,
        lambda _snapshot: 0,
    ),
    Pane(
        "problems",
        "Problems",
        "Prob",
        "✓ No problems\nNothing is wrong that this monitor can see.",
        lambda snapshot: snapshot.problems,
        lambda snapshot: len(snapshot.problems),
    ),
)
