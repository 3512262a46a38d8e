"""Every screen in every state at three sizes, as SVG.

Write them anew with ``.venv/bin/pytest tests/unit/test_monitor_snapshots.py --snapshot-update`` and look at
the difference: each is a picture that a browser shows.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from nftrtsp.monitor.app import Monitor
from nftrtsp.monitor.feed import Position
from tests.unit.monitor_scenes import SCENES, Watched
from tests.unit.still import StillLive, StillPlayback

Compare = Callable[..., bool]

SIZES = {"80x24": (80, 24), "120x36": (120, 36), "200x60": (200, 60)}
sizes = pytest.mark.parametrize("size", SIZES)


def app_of(house: Watched, *, light: bool = False, position: Position | None = None) -> Monitor:
    snapshot = house.snapshot(house.gauge.monotonic)
    feed = StillPlayback(snapshot, position) if position else StillLive(snapshot)
    return Monitor(feed, light=light)


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


@sizes
@pytest.mark.parametrize("scene", SCENES)
def test_state(scene: str, size: str, snap_compare: Compare) -> None:
    keys = ["2"] if scene in ("many_flows", "no_config") else []
    assert snap_compare(app_of(SCENES[scene]()), press=keys, terminal_size=SIZES[size])


TABS = {"flows": "2", "expectations": "3", "events": "4", "problems": "5"}


@sizes
@pytest.mark.parametrize("tab", TABS)
def test_tab(tab: str, size: str, snap_compare: Compare) -> None:
    assert snap_compare(app_of(SCENES["evening"]()), press=[TABS[tab]], terminal_size=SIZES[size])


@pytest.mark.parametrize(
    "scene", ["drifted", "no_table", "helper_absent", "overrun", "interface_gone", "pinned"]
)
def test_problems_of(scene: str, snap_compare: Compare) -> None:
    assert snap_compare(app_of(SCENES[scene]()), press=["5"], terminal_size=(120, 36))


OVER = {
    "details_of_a_flow": ["2", "end", "enter"],
    "details_of_a_way": ["3", "enter"],
    "details_of_a_film": ["tab", "enter"],
    "difference": ["d"],
    "help": ["question_mark"],
    "delete": ["2", "x"],
    "export": ["2", "e"],
    "filter": ["2", "slash", "b", "e", "d"],
    "one_box": ["down"],
    "paused": ["space"],
}


async def _steady(pilot: Pilot[None]) -> None:
    """Cursors that blink make two pictures of one screen."""
    await pilot.pause()
    for field in pilot.app.screen.query(Input):
        field.cursor_blink = False
        field._cursor_visible = True
    await pilot.pause()


@sizes
@pytest.mark.parametrize("screen", OVER)
def test_screen(screen: str, size: str, snap_compare: Compare) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await pilot.press(*OVER[screen])
        await _steady(pilot)

    scene = "drifted" if screen == "difference" else "evening"
    assert snap_compare(app_of(SCENES[scene]()), run_before=prepare, terminal_size=SIZES[size])


@sizes
def test_light_theme(size: str, snap_compare: Compare) -> None:
    assert snap_compare(app_of(SCENES["evening"](), light=True), terminal_size=SIZES[size])


@sizes
def test_replay(size: str, snap_compare: Compare) -> None:
    position = Position(40.0, 0.0, 63.0, 2.0, standing=True)
    assert snap_compare(app_of(SCENES["evening"](), position=position), terminal_size=SIZES[size])


def test_no_color(snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(app_of(SCENES["evening"]()), terminal_size=(120, 36))


@sizes
def test_resized(size: str, snap_compare: Compare) -> None:
    async def resize(pilot: Pilot[None]) -> None:
        await pilot.press("down", "2")
        await pilot.resize_terminal(200, 60)
        await pilot.pause()
        await pilot.resize_terminal(*SIZES[size])
        await pilot.pause()

    assert snap_compare(app_of(SCENES["evening"]()), run_before=resize, terminal_size=(60, 15))
