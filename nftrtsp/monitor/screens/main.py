"""The main screen: boxes at the left, tabs at the right, one snapshot at a time."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Input

from nftrtsp.monitor import columns, fields, panes, search, view
from nftrtsp.monitor.feed import Feed, Live, Playback
from nftrtsp.monitor.keys import MAIN, PANES, REPLAY
from nftrtsp.monitor.snapshot import EMPTY, FlowView, Snapshot
from nftrtsp.monitor.widgets.keyline import KeyLine
from nftrtsp.monitor.widgets.listing import Listing
from nftrtsp.monitor.widgets.replaybar import ReplayBar
from nftrtsp.monitor.widgets.rows import Rows
from nftrtsp.monitor.widgets.tabbar import TabBar
from nftrtsp.monitor.widgets.table import TableView
from nftrtsp.monitor.widgets.topline import TopLine

#: The screen is drawn anew at most so often a second.
REDRAWS = 8


class Main(Screen[None]):
    """All of the dashboard. It draws from ``feed.latest`` and asks for nothing else."""

    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in (*MAIN, *PANES, *REPLAY)]

    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - as Textual has it
        (0, "-narrow"),
        (100, "-normal"),
        (160, "-wide"),
    ]

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.feed = feed  # where the snapshots come from
        self._live = feed if isinstance(feed, Live) else None
        self._playback = feed if isinstance(feed, Playback) else None
        self.snapshot: Snapshot = EMPTY
        self.frozen = False
        self._typed = ""
        self._tab = 0

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield TopLine()
        with Container(id="body"):
            yield Listing(id="boxes")
            with Vertical(id="right"):
                yield TabBar(tuple((pane.title, pane.short) for pane in panes.PANES))
                yield Input(placeholder="filter: box, address, port, state", id="filter")
                with ContentSwitcher(initial="sessions", id="pane"):
                    yield Listing(id="sessions")
                    yield TableView(columns.FLOWS, lambda item: item.key, sort=1, id="flows")
                    yield TableView(columns.WAYS, lambda item: item.way.key, id="ways")
                    yield TableView(columns.EVENTS, lambda item: item.number, follow=True, id="events")
                    yield Listing(id="problems")
        yield ReplayBar()
        yield KeyLine((*MAIN, *PANES, *(REPLAY if self._playback else ())))

    def on_mount(self) -> None:
        """Begin to draw."""
        for pane in panes.PANES:
            self.query_one(f"#{pane.name}", Rows).empty = pane.empty
        self.query_one("#boxes").focus()
        self.update_from_feed()
        self.set_interval(1 / REDRAWS, self.update_from_feed)

    # -- drawing -------------------------------------------------------------------------------------------

    def update_from_feed(self) -> None:
        """Take the newest snapshot, if there is a new one, and draw it."""
        feed = self.feed
        if feed.failure is not None:
            self.app.exit()
            return
        playback = self._playback
        self.query_one(ReplayBar).show(playback.position if playback else None)
        latest = feed.latest
        if self.frozen or latest.serial == self.snapshot.serial:
            return
        self.snapshot = latest
        self.draw()

    def draw(self) -> None:
        """Draw the snapshot at hand: the top, the boxes, and the one pane that is seen."""
        self.query_one(TopLine).show(self.snapshot, frozen="‖ PAUSED" if self.frozen else "")
        self._draw_boxes()
        self._draw_pane()

    def _draw_boxes(self) -> None:
        snapshot = self.snapshot
        boxes = self.query_one("#boxes", Listing)
        narrow = self.size.width < 100
        boxes.empty = "" if snapshot.boxes else "No set-top box yet"
        boxes.show(lambda width: view.box_lines(snapshot, width, tall=not narrow))
        if narrow:
            boxes.styles.height = min(7, max(2, len(snapshot.boxes) + 1))
        else:
            boxes.styles.clear_rule("height")

    def on_resize(self) -> None:
        """Another width may lay the boxes out anew."""
        if self.snapshot is not EMPTY:
            self.call_after_refresh(self.draw)

    @property
    def box(self) -> bytes | None:
        """The packed address of the chosen box; None for all."""
        cursor = self.query_one("#boxes", Listing).cursor
        return cursor if isinstance(cursor, bytes) else None

    def _rows(self) -> list[Any]:
        """Return the rows of the pane that is seen, filtered."""
        every = panes.PANES[self._tab].rows(self.snapshot)
        typed, box = self._typed.lower().split(), self.box
        if not typed and box is None:
            return list(every)
        return [item for item in every if search.matches(item, typed, box)]

    def _draw_pane(self) -> None:
        name, now = panes.PANES[self._tab].name, self.snapshot.time
        rows = self._rows()
        pane = self.query_one(f"#{name}", Rows)
        if isinstance(pane, TableView):
            pane.show(rows, now)
        elif isinstance(pane, Listing) and name == "sessions":
            pane.show(lambda width: view.session_lines(rows, now, width, with_name=self.box is None))
        elif isinstance(pane, Listing):
            pane.show(lambda width: view.problem_lines(rows, now, width))
        self._draw_tabs(len(rows))

    def _draw_tabs(self, shown: int) -> None:
        snapshot = self.snapshot
        counts = tuple(pane.count(snapshot) for pane in panes.PANES)
        grave = any(problem.grave for problem in snapshot.problems)
        name = next((box.name for box in snapshot.boxes if box.address == self.box), "")
        note = " · ".join(part for part in (name, f"/{self._typed} ({shown})" if self._typed else "") if part)
        self.query_one(TabBar).show(self._tab, counts, alert=grave, note=note)

    # -- panes ---------------------------------------------------------------------------------------------

    def action_tab(self, index: int) -> None:
        """Show a tab; the keys follow."""
        inside = self._pane.has_focus
        self._tab = index
        self.query_one(ContentSwitcher).current = panes.PANES[index].name
        self._draw_pane()
        if inside or index:
            self._pane.focus()

    @property
    def _pane(self) -> Rows:
        return self.query_one(f"#{panes.PANES[self._tab].name}", Rows)

    @property
    def _rows_in_use(self) -> Rows:
        """The rows that keys such as copy mean: the focused ones, else the tab's."""
        return self.focused if isinstance(self.focused, Rows) else self._pane

    def on_tab_bar_chosen(self, message: TabBar.Chosen) -> None:
        """A click on a tab."""
        self.action_tab(message.index)

    def on_rows_moved(self, message: Rows.Moved) -> None:
        """Another box: the tab shows that one."""
        if message.rows.id == "boxes":
            self._draw_pane()

    def on_rows_chosen(self, message: Rows.Chosen) -> None:
        """Enter on a row."""
        self._show_details(message.rows.selected)

    def on_replay_bar_sought(self, message: ReplayBar.Sought) -> None:
        """A click on the replay bar."""
        if playback := self._playback:
            playback.go(message.share)

    # -- filter --------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Type words to look for."""
        field = self.query_one("#filter", Input)
        field.add_class("shown")
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        self._typed = event.value.strip()
        self._draw_pane()

    def on_input_submitted(self) -> None:
        """Enter: back to the rows, filtered."""
        self.query_one("#filter").set_class(bool(self._typed), "shown")
        self._pane.focus()

    def action_back(self) -> None:
        """Leave the filter; without one, choose all boxes."""
        field = self.query_one("#filter", Input)
        if field.has_class("shown"):
            field.value = ""
            field.remove_class("shown")
            self._pane.focus()
        else:
            self.query_one("#boxes", Listing).select(0)

    # -- actions -------------------------------------------------------------------------------------------

    def action_sort(self) -> None:
        """Sort the table by its next column."""
        pane = self._pane
        if isinstance(pane, TableView):
            pane.next_sort()  # the header shows by which
        else:
            self.notify("films and problems are in their order of time", timeout=2)

    def action_reverse(self) -> None:
        """Turn the table's order round."""
        pane = self._pane
        if isinstance(pane, TableView):
            pane.sort_by(pane.sort)

    def action_pause(self) -> None:
        """Stand still, or go on; a replay really stands still."""
        if playback := self._playback:
            playback.hold(not playback.position.standing)
            return
        self.frozen = not self.frozen
        self.draw()
        self.update_from_feed()

    def action_details(self) -> None:
        """All of the selected row."""
        self._show_details(self._rows_in_use.selected)

    def _show_details(self, item: object) -> None:
        if item is None:
            return
        from nftrtsp.monitor.screens.over import Reader

        snapshot = self.snapshot
        self.app.push_screen(
            Reader(
                fields.title(item),
                lambda width: fields.detail_lines(item, snapshot, snapshot.roles, width),
            )
        )

    def action_copy(self) -> None:
        """Copy the selected row."""
        rows = self._rows_in_use
        text = rows.selected_text() if isinstance(rows, TableView | Listing) else ""
        if text:
            self.app.copy_to_clipboard(text)
            self.notify("copied", timeout=2)

    def action_export(self) -> None:
        """Write the rows of this view."""
        from nftrtsp.monitor.export import suggest
        from nftrtsp.monitor.screens.export import Export

        name = panes.PANES[self._tab].name
        rows = self._rows()
        self.app.push_screen(
            Export(len(rows), suggest(name, self.snapshot.time)), lambda file: self._export(rows, file)
        )

    def _export(self, rows: list[Any], file: str | None) -> None:
        if not file:
            return
        from nftrtsp.monitor.export import write

        problem = write(rows, self.snapshot.roles, file)
        if problem:
            self.notify(problem, severity="error", markup=False)
        else:
            self.notify(f"{len(rows)} rows written to {file}", markup=False)

    def action_diff(self) -> None:
        """How the ruleset differs."""
        from nftrtsp.monitor.screens.difference import Difference

        if live := self._live:
            live.check_ruleset()
        self.app.push_screen(Difference(self.snapshot.ruleset))

    def action_delete(self) -> None:
        """Delete the selected flow, after asking."""
        item = self._rows_in_use.selected
        if not isinstance(item, FlowView):
            self.notify("select a flow in tab 2 first", severity="warning", timeout=3)
            return
        live = self._live
        if live is None:
            self.notify("a recording cannot be changed", severity="warning", timeout=3)
            return
        from nftrtsp.monitor.observer import flow_text
        from nftrtsp.monitor.screens.ask import Ask

        text = (
            f"Delete this flow from conntrack?\n\n{flow_text(item.flow)}\n\nIts next packet is judged anew."
        )
        self.app.push_screen(Ask("delete a flow", text, "Delete"), lambda yes: self._delete(live, item, yes))

    def _delete(self, live: Live, item: FlowView, yes: bool | None) -> None:
        if yes:
            self.notify(live.delete(item.flow), markup=False, timeout=4)

    async def action_picture(self) -> None:
        """Write a picture of the screen."""
        await self.app.run_action("picture")

    async def action_theme(self) -> None:
        """Dark or light."""
        await self.app.run_action("theme")

    def action_help(self) -> None:
        """Every key."""
        from nftrtsp.monitor.screens.help import Help

        self.app.push_screen(Help())

    def action_quit(self) -> None:
        """Leave."""
        self.app.exit()

    def action_seek(self, seconds: int) -> None:
        """Replay: go on or back."""
        if playback := self._playback:
            playback.seek(float(seconds))

    def action_faster(self, steps: int) -> None:
        """Replay: another speed."""
        if playback := self._playback:
            playback.faster(steps)
