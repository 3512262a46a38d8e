"""Flows as rows of a list, or as JSON lines."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from nftrtsp import figures
from nftrtsp.cli import words
from nftrtsp.cli.columns import Cell, aligned
from nftrtsp.conntrack.record import of_flow, protocol_text
from nftrtsp.conntrack.role import Part, Role, Roles
from nftrtsp.terminal import TERMINAL, json_line

if TYPE_CHECKING:
    from nftrtsp.config import Config
    from nftrtsp.conntrack.flow import Flow
    from nftrtsp.conntrack.flow_table import Rate

HEAD = ("STB", "ROLE", "SERVER", ">PORT", "PROTO", ">BYTES", ">AGE", "MEANING")
_STYLES = {words.Activity.PLAYING: "good", words.Activity.PAUSED: "warn", words.Activity.UNKNOWN: ""}
WATCH_HEAD = (*HEAD[:6], ">RATE", *HEAD[6:])


def flow_lines(pairs: Iterable[tuple[Flow, Part]], roles: Roles) -> Iterator[str]:
    """Yield the JSON object of each flow."""
    return (json_line(of_flow(flow, roles, part)) for flow, part in pairs)


def flow_rows(
    pairs: Iterable[tuple[Flow, Part]],
    roles: Roles,
    config: Config,
    rates: dict[int, Rate] | None = None,
) -> Iterator[str]:
    """Yield the lines of the list of flows; with ``rates`` they get a column of their own."""
    now = time.time()

    def rows() -> Iterator[list[Cell]]:
        for flow, part in pairs:
            cells = [(roles.name(part.stb), "name"), *_place(flow, part), (_carried(flow), "")]
            if rates is not None:
                known = rates.get(flow.id)
                style = "good" if known and known.bytes else "dim"
                cells.append((figures.rate(known.bytes * 8) if known else "", style))
            cells.append((figures.duration(now - flow.start / 1e9) if flow.start else "?", ""))
            yield [*cells, _meaning(flow, part, config)]

    return aligned(HEAD if rates is None else WATCH_HEAD, rows(), TERMINAL.out)


def pause_of(flow: Flow, config: Config) -> int:
    """Return the timeout in seconds that a marked film has from our ruleset, 0 for other flows."""
    mark = config.rtsp.mark
    return int(config.rtsp.pause) if flow.mark & mark.mask == mark.value else 0


def _place(flow: Flow, part: Part) -> list[Cell]:
    """Who it is with: the server's end and the port on our side; for other flows both ends."""
    orig = flow.orig
    if part.role is Role.MEDIA:
        server, port = figures.endpoint(orig.src, orig.sport), orig.dport
    elif part.role is Role.CONTROL:
        server, port = figures.endpoint(orig.dst, orig.dport), orig.sport
    else:
        ends = figures.endpoint(orig.src, orig.sport), figures.endpoint(orig.dst, None)
        server, port = " → ".join(ends), orig.dport
    style = "dim" if part.role is Role.OTHER else ""
    return [
        (part.role.value, style),
        (server, ""),
        ("" if port is None else str(port), ""),
        (protocol_text(orig.proto), ""),
    ]


def _carried(flow: Flow) -> str:
    if flow.counters_orig is None or flow.counters_reply is None:
        return "?"
    return figures.size(flow.counters_orig.bytes + flow.counters_reply.bytes)


def _meaning(flow: Flow, part: Part, config: Config) -> Cell:
    pause = pause_of(flow, config)
    meaning = words.of_flow(flow, part.role, pause)
    if part.role is Role.MEDIA and part.stb is None:
        return f"{meaning}, goes to no set-top box", "bad"
    return meaning, _STYLES[words.activity(flow, part.role, pause)]
