"""The help screen: every key in one sentence, and what the signs mean."""

from __future__ import annotations

from collections.abc import Iterator

from nftrtsp.monitor import words
from nftrtsp.monitor.keys import MAIN, MOVING, PANES, REPLAY
from nftrtsp.monitor.screens.over import Reader
from nftrtsp.monitor.view import Line
from nftrtsp.monitor.words import Span

_STATES = {
    "idle": "nothing is asked for",
    "asking": "a control connection to the RTSP server is open",
    "waiting for film": "its port is open, no packet of the film has come yet",
    "playing": "packets of the film go to the box",
    "paused": "its port stays open and no packets come",
    "no film": "it went wrong: the step in red says where, the line below it what to do",
}


def _lines(columns: int) -> list[Line]:
    return [Line(number, spans) for number, spans in enumerate(_spans(columns))]


def _spans(columns: int) -> Iterator[list[Span]]:
    yield from _section("keys", [(key.sign, key.help) for key in MAIN], columns)
    yield from _section("panes", [(key.sign, key.help) for key in PANES], columns)
    yield from _section("rows", list(MOVING), columns)
    yield from _section("replay (--replay, --demo)", [(key.sign, key.help) for key in REPLAY], columns)
    yield [(" states of a set-top box", "strong")]
    for state, text in _STATES.items():
        sign, tone = words.STATES[state]
        yield [(f"   {sign} {words.fit(state, 18)}", tone), (words.fit(text, columns - 25), "")]


def _section(name: str, rows: list[tuple[str, str]], columns: int) -> Iterator[list[Span]]:
    yield [(f" {name}", "strong")]
    for sign, text in rows:
        for index, piece in enumerate(words.wrap(text, columns - 25)):
            yield [("   " + words.fit(sign if index == 0 else "", 20), "accent"), (piece, "")]
    yield []


class Help(Reader):
    """Every key, every sign."""

    def __init__(self) -> None:
        super().__init__("help", _lines, "↑ ↓ scroll   Esc close")
