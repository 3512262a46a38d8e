"""``--watch``: the lists that are shown anew each second until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from nftrtsp import figures
from nftrtsp.cli.flowlist import flow_rows
from nftrtsp.cli.ways import way_rows, ways
from nftrtsp.conntrack.flow_table import FlowTable
from nftrtsp.conntrack.record import of_flow
from nftrtsp.terminal import TERMINAL, json_line

if TYPE_CHECKING:
    from nftrtsp.config import Config

#: Seconds between two pictures.
REFRESH = 1.0
CLEAR = "\x1b[H\x1b[J"


def watch_flows(config: Config, *, everything: bool, as_json: bool) -> None:
    """Show the flows anew each second, with their rates."""
    with FlowTable(config, everything=everything) as table:

        def picture() -> Iterator[str]:
            pairs = table.parts()
            if everything:
                pairs = [(flow, table.roles.of(flow)) for flow in table.flows()]
            if as_json:
                now = time.time()
                return (
                    json_line(
                        {"time": now, **of_flow(flow, table.roles, part), "rate": _rate(table, flow.id)}
                    )
                    for flow, part in pairs
                )
            return flow_rows(pairs, table.roles, config, table.rates)

        _watch(table, picture, as_json=as_json)


def _rate(table: FlowTable, flow_id: int) -> float | None:
    rate = table.rates.get(flow_id)
    return None if rate is None else rate.bytes


def watch_ways(config: Config, *, everything: bool, as_json: bool) -> None:
    """Show the ways open anew each second."""
    with FlowTable(config) as table:

        def picture() -> Iterator[str]:
            found = ways(table.expectations(), table.roles, everything=everything)
            if as_json:
                now = time.time()
                return (json_line({"time": now, **msgspec.to_builtins(way)}) for way in found)
            return way_rows(found)

        _watch(table, picture, as_json=as_json)


def _watch(table: FlowTable, picture: Callable[[], Iterable[str]], *, as_json: bool) -> None:
    out = TERMINAL.out
    screen = out.moves and not as_json
    table.poll(0)
    while True:
        lines = list(picture())
        if screen:
            at = figures.clock(time.time())
            lost = f"   events lost {table.lost} times, repaired" if table.lost else ""
            full = f"   {table.overflow} flows left out: the table is full" if table.overflow else ""
            lines = [CLEAR + out.paint(at, "dim") + lost + full, *(lines or ["nothing now"])]
        elif not as_json:
            lines.append("")
        out.lines(lines)
        ends = time.monotonic() + REFRESH
        while (left := ends - time.monotonic()) > 0:
            table.poll(left)
            out.require_reader()
