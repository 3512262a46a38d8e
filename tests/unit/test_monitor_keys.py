"""Every key of the dashboard, pressed in a terminal that is not there."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input

from nftrtsp.monitor.app import Monitor
from nftrtsp.monitor.feed import Position
from nftrtsp.monitor.keys import MAIN, PANES, REPLAY
from nftrtsp.monitor.screens.difference import Difference
from nftrtsp.monitor.screens.export import Export
from nftrtsp.monitor.screens.help import Help
from nftrtsp.monitor.screens.main import Main
from nftrtsp.monitor.screens.over import Reader
from nftrtsp.monitor.view import ALL
from nftrtsp.monitor.widgets.listing import Listing
from nftrtsp.monitor.widgets.rows import Rows
from nftrtsp.monitor.widgets.table import TableView
from tests.unit.monitor_scenes import drifted, evening, many_flows
from tests.unit.scenes import BOX, BOX2, packed
from tests.unit.still import StillLive, StillPlayback

Stage = tuple[Pilot[None], Main, StillLive]
ReplayStage = tuple[Pilot[None], Main, StillPlayback]


@asynccontextmanager
async def stage(
    scene: Callable[..., Any] = evening, size: tuple[int, int] = (120, 36)
) -> AsyncIterator[Stage]:
    house = scene()
    feed = StillLive(house.snapshot(house.gauge.monotonic))
    app = Monitor(feed)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        main = app.screen
        assert isinstance(main, Main)
        yield pilot, main, feed


def rows(main: Main, name: str) -> Rows:
    return main.query_one(f"#{name}", Rows)


async def test_down_and_j_select_the_next_box_and_the_tab_shows_only_its_films() -> None:
    async with stage() as (pilot, main, _):
        boxes, shown = rows(main, "boxes"), rows(main, "sessions")
        cursors = [boxes.cursor]
        for key in ("down", "j"):
            await pilot.press(key)
            cursors.append(boxes.cursor)
        assert cursors == [ALL, packed(BOX), packed(BOX2)]
        assert {getattr(shown.item(line), "stb", None) for line in range(shown.count())} == {packed(BOX2)}
        await pilot.press("k", "up")
        assert boxes.cursor == ALL


async def test_home_end_g_and_pages_reach_the_ends() -> None:
    async with stage(many_flows) as (pilot, main, _):
        await pilot.press("2")
        table = rows(main, "flows")
        for last, first in (("end", "home"), ("G", "g")):
            await pilot.press(last)
            assert table.selected is table.item(table.count() - 1)
            await pilot.press(first)
            assert table.selected is table.item(0)
        await pilot.press("pagedown")
        assert table.selected is table.item(table.size.height - 2)
        await pilot.press("pageup")
        assert table.selected is table.item(0)


@pytest.mark.parametrize("keys", [("right", "left"), ("l", "h")])
async def test_left_and_right_scroll_a_wide_table(keys: tuple[str, str]) -> None:
    async with stage() as (pilot, main, _):
        await pilot.press("2", keys[0])
        assert rows(main, "flows").scroll_x > 0
        await pilot.press(keys[1])
        assert rows(main, "flows").scroll_x == 0


@pytest.mark.parametrize(
    ("key", "pane"), zip("12345", ("sessions", "flows", "ways", "events", "problems"), strict=True)
)
async def test_numbers_choose_tabs(key: str, pane: str) -> None:
    async with stage() as (pilot, main, _):
        await pilot.press("3", key)
        assert rows(main, pane).display
        assert rows(main, pane).has_focus


async def test_tab_goes_between_boxes_and_pane() -> None:
    async with stage() as (pilot, main, _):
        assert rows(main, "boxes").has_focus
        await pilot.press("tab")
        assert rows(main, "sessions").has_focus
        await pilot.press("tab")
        assert rows(main, "boxes").has_focus


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        ("bedroom", 1),
        ("172.26.83.137", 1),
        ("27336", 1),
        ("established", 2),
        ("control liv", 1),
        ("nobody", 0),
    ],
)
async def test_slash_filters_by_box_address_port_and_state(typed: str, count: int) -> None:
    async with stage() as (pilot, main, _):
        await pilot.press("2", "slash", *("space" if letter == " " else letter for letter in typed))
        await pilot.press("enter")
        assert rows(main, "flows").count() == count
        assert rows(main, "flows").has_focus
        await pilot.press("escape")
        assert rows(main, "flows").count() == 3
        assert not main.query_one("#filter", Input).has_class("shown")


async def test_s_sorts_by_the_next_column_and_capital_s_turns_it_round() -> None:
    async with stage(many_flows) as (pilot, main, _):
        table = main.query_one("#flows", TableView)
        await pilot.press("2")
        before = table.sort
        await pilot.press("s")
        assert table.sort == before + 1
        await pilot.press("s")
        ascending = [item.rate for item in table._items]
        assert ascending == sorted(ascending, key=lambda rate: -(rate or 0))
        await pilot.press("S")
        assert [item.rate for item in table._items] == sorted(ascending, key=lambda rate: rate or 0)


async def test_space_lets_the_screen_stand_still_and_go_on() -> None:
    async with stage() as (pilot, main, feed):
        await pilot.press("space")
        old = main.snapshot
        feed.latest = msgspec.structs.replace(old, serial=old.serial + 1, time=old.time + 5)
        main.update_from_feed()
        assert main.snapshot is old
        await pilot.press("space")
        assert main.snapshot is feed.latest


async def test_enter_shows_all_fields_and_escape_closes() -> None:
    async with stage() as (pilot, main, _):
        await pilot.press("2", "end", "enter")
        window = pilot.app.screen
        assert isinstance(window, Reader)
        listing = window.query_one(Listing)
        text = "\n".join(listing.text(line) for line in range(listing.count()))
        for field in (
            "orig",
            "reply",
            "status",
            "timeout",
            "mark",
            "172.26.83.137",
            "history of this box",
            "SETUP",
        ):
            assert field.lower() in text.lower()
        await pilot.press("escape")
        assert pilot.app.screen is main


async def test_c_copies_the_selected_row() -> None:
    async with stage() as (pilot, _main, _):
        await pilot.press("2", "end", "c")
        assert "172.26.83.137:48440" in pilot.app.clipboard


@pytest.mark.parametrize("ending", ["json", "csv"])
async def test_e_writes_the_rows(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"flows.{ending}"
    async with stage() as (pilot, _main, _):
        await pilot.press("2", "e")
        window = pilot.app.screen
        assert isinstance(window, Export)
        window.query_one(Input).value = str(file)
        await pilot.press("enter")
    if ending == "json":
        records = [json.loads(line) for line in file.read_text().splitlines()]
        assert {record["role"] for record in records} == {"control", "media"}
    else:
        records = list(csv.DictReader(file.open()))
        assert {record["orig.dport"] for record in records} == {"554", "27336"}
    assert len(records) == 3


async def test_e_says_why_it_cannot_write(tmp_path: Path) -> None:
    async with stage() as (pilot, _main, _):
        await pilot.press("2", "e")
        pilot.app.screen.query_one(Input).value = str(tmp_path / "no" / "such.json")
        await pilot.press("enter")
        await pilot.pause()
        notes = [note.message for note in pilot.app._notifications]
        assert any("No such file" in note for note in notes)


async def test_d_shows_the_plan_and_asks_for_a_fresh_look() -> None:
    async with stage(drifted) as (pilot, _main, feed):
        await pilot.press("d")
        window = pilot.app.screen
        assert isinstance(window, Difference)
        listing = window.query_one(Listing)
        assert any("tcp dport 22 accept" in listing.text(line) for line in range(listing.count()))
        assert feed.checks == 1


async def test_x_deletes_a_flow_only_after_yes() -> None:
    async with stage() as (pilot, main, feed):
        await pilot.press("2", "end", "x")
        assert pilot.app.screen.query_one(Button).id == "no"
        await pilot.press("enter")
        assert pilot.app.screen is main
        assert not feed.deleted
        await pilot.press("x", "y")
        assert [flow.orig.dport for flow in feed.deleted] == [27336]


async def test_x_elsewhere_deletes_nothing() -> None:
    async with stage() as (pilot, main, feed):
        await pilot.press("4", "x")
        assert pilot.app.screen is main
        assert not feed.deleted


async def test_p_writes_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with stage() as (pilot, _main, _):
        await pilot.press("p")
    (picture,) = tmp_path.glob("nftrtsp-*.svg")
    assert "Living" in picture.read_text()


async def test_t_changes_between_dark_and_light() -> None:
    async with stage() as (pilot, _main, _):
        assert pilot.app.theme == "nftrtsp-dark"
        await pilot.press("t")
        assert pilot.app.theme == "nftrtsp-light"
        await pilot.press("t")
        assert pilot.app.theme == "nftrtsp-dark"


async def test_question_mark_helps_with_every_key() -> None:
    async with stage() as (pilot, _main, _):
        await pilot.press("question_mark")
        window = pilot.app.screen
        assert isinstance(window, Help)
        listing = window.query_one(Listing)
        text = "\n".join(listing.text(line) for line in range(listing.count()))
        assert all(f"{key.sign} " in text for key in (*MAIN, *PANES, *REPLAY))


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_q_leaves(key: str) -> None:
    async with stage() as (pilot, _main, _):
        await pilot.press(key)
        assert pilot.app._exit


async def test_the_palette_knows_the_keys() -> None:
    async with stage() as (pilot, main, _):
        titles = {command.title for command in pilot.app.get_system_commands(main)}
        assert {"filter", "sort", "pause", "export", "diff", "delete", "picture", "theme"} <= titles
        await pilot.press("ctrl+p")
        assert pilot.app.screen is not main


async def test_a_click_selects_and_a_second_one_shows_details() -> None:
    async with stage() as (pilot, main, _):
        await pilot.press("2")
        await pilot.click("#flows", offset=(10, 3))
        assert rows(main, "flows").selected is rows(main, "flows").item(2)
        await pilot.click("#flows", offset=(10, 3), times=2)
        assert isinstance(pilot.app.screen, Reader)


async def test_clicks_on_tabs_headers_and_keys_work() -> None:
    async with stage() as (pilot, main, _):
        await pilot.click("#tabs", offset=(16, 0))
        assert rows(main, "flows").display
        await pilot.click("#flows", offset=(3, 0))
        assert main.query_one("#flows", TableView).sort == 0
        await pilot.click("#keys", offset=(2, 0))
        assert main.query_one("#filter", Input).has_focus


@pytest.fixture
def replay_stage() -> Callable[[], AbstractAsyncContextManager[ReplayStage]]:
    @asynccontextmanager
    async def make() -> AsyncIterator[ReplayStage]:
        house = evening()
        feed = StillPlayback(house.snapshot(60.0), Position(30.0, 0.0, 60.0, 1.0, standing=False))
        app = Monitor(feed)
        async with app.run_test(size=(120, 36)) as pilot:
            await pilot.pause()
            assert isinstance(app.screen, Main)
            yield pilot, app.screen, feed

    return make


async def test_brackets_seek_and_angles_change_the_speed(
    replay_stage: Callable[[], AbstractAsyncContextManager[ReplayStage]],
) -> None:
    async with replay_stage() as (pilot, _main, feed):
        await pilot.press("left_square_bracket", "right_square_bracket")
        await pilot.press("left_curly_bracket", "right_curly_bracket")
        assert feed.sought == [-10, 10, -60, 60]
        await pilot.press("greater_than_sign")
        assert feed.position.speed == 2.0
        await pilot.press("less_than_sign", "less_than_sign", "space")
        assert feed.position.speed == 0.5
        assert feed.position.standing


async def test_a_click_on_the_bar_goes_there(
    replay_stage: Callable[[], AbstractAsyncContextManager[ReplayStage]],
) -> None:
    async with replay_stage() as (pilot, _main, feed):
        await pilot.click("#replay", offset=(60, 0))
        assert len(feed.sought) == 1
        assert 0.4 < feed.sought[0] < 0.6


async def test_a_recordings_flows_cannot_be_deleted(
    replay_stage: Callable[[], AbstractAsyncContextManager[ReplayStage]],
) -> None:
    async with replay_stage() as (pilot, main, _feed):
        await pilot.press("2", "x")
        assert pilot.app.screen is main
        assert [note.message for note in pilot.app._notifications] == ["a recording cannot be changed"]


async def test_the_selected_row_stays_selected_and_in_its_place_while_rows_come() -> None:
    async with stage(many_flows) as (pilot, main, feed):
        await pilot.press("2", *["pagedown"] * 3)
        table = rows(main, "flows")
        chosen, place = table.cursor, table._line - round(table.scroll_y)
        snapshot = main.snapshot
        more = tuple(
            msgspec.structs.replace(
                flow,
                name=" " + flow.name,
                flow=msgspec.structs.replace(flow.flow, zone=7),
            )
            for flow in snapshot.flows[:500]
        )
        feed.latest = msgspec.structs.replace(
            snapshot, serial=snapshot.serial + 1, flows=more + snapshot.flows
        )
        main.update_from_feed()
        await pilot.pause()
        assert table.cursor == chosen
        assert table._line - round(table.scroll_y) == place
        assert table.count() == 2500


async def test_a_selected_row_that_goes_hands_over_to_its_neighbour() -> None:
    async with stage(many_flows) as (pilot, main, feed):
        await pilot.press("2", "pagedown")
        table = rows(main, "flows")
        line, gone = table._line, table.cursor
        snapshot = main.snapshot
        feed.latest = msgspec.structs.replace(
            snapshot,
            serial=snapshot.serial + 1,
            flows=tuple(flow for flow in snapshot.flows if flow.key != gone),
        )
        main.update_from_feed()
        assert table._line == line
        assert table.cursor not in (None, gone)


async def test_the_log_follows_its_end_until_another_row_is_selected() -> None:
    async with stage() as (pilot, main, feed):
        await pilot.press("4", "end")
        log = rows(main, "events")
        event = main.snapshot.events[-1]
        more = msgspec.structs.replace(event, number=event.number + 1)
        feed.latest = msgspec.structs.replace(
            main.snapshot, serial=main.snapshot.serial + 1, events=(*main.snapshot.events, more)
        )
        main.update_from_feed()
        assert log.cursor == more.number
        await pilot.press("up")
        stayed = log.cursor
        last = msgspec.structs.replace(event, number=event.number + 2)
        feed.latest = msgspec.structs.replace(
            main.snapshot, serial=main.snapshot.serial + 1, events=(*main.snapshot.events, last)
        )
        main.update_from_feed()
        assert log.cursor == stayed


async def test_no_color_leaves_signs_and_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with stage() as (pilot, main, _):
        assert pilot.app.no_color
        boxes = main.query_one("#boxes", Listing)
        text = "\n".join(boxes.text(line) for line in range(boxes.count()))
        assert "▶ Living room" in text
        assert "playing" in text
        assert "✗ Bedroom" in text
        assert "no film" in text


async def test_another_size_keeps_what_is_selected() -> None:
    async with stage() as (pilot, main, _):
        await pilot.press("down", "down")
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert main.box == packed(BOX2)
        assert main.has_class("-narrow")
        await pilot.resize_terminal(200, 60)
        await pilot.pause()
        assert main.box == packed(BOX2)
