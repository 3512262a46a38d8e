"""Rows: a list of any length that draws only what is seen, and keeps selected what is selected.

The cursor is the *key* of a row, not its number. When the rows change, the selected one keeps its place on
the screen; when it is gone, its neighbour is selected.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from nftrtsp.monitor.widgets.paint import TONE_CLASSES, Painted
from nftrtsp.monitor.words import Spans


class Rows(ScrollView, Painted, can_focus=True):
    """The base: subclasses say how many lines there are, whose they are and what stands in them."""

    COMPONENT_CLASSES = TONE_CLASSES | {"rows--cursor", "rows--header"}

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False),
        Binding("home,g", "edge(-1)", "First", show=False),
        Binding("end,G", "edge(1)", "Last", show=False),
        Binding("left,h", "sideways(-8)", "Left", show=False),
        Binding("right,l", "sideways(8)", "Right", show=False),
        Binding("enter", "choose", "Details", show=False),
    ]

    class Moved(Message):
        """Another row was selected."""

        def __init__(self, rows: Rows) -> None:
            super().__init__()
            self.rows = rows

        def can_replace(self, message: Message) -> bool:
            """Only the newest counts."""
            return isinstance(message, Rows.Moved) and message.rows is self.rows

    class Chosen(Message):
        """A row was chosen with Enter or a second click."""

        def __init__(self, rows: Rows) -> None:
            super().__init__()
            self.rows = rows

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.cursor: Hashable = None
        self._line = 0
        self.header: Spans | None = None
        self.empty: str = ""
        self._drawn: dict[int, tuple[object, ...]] = {}

    # -- what subclasses say -------------------------------------------------------------------------------

    def count(self) -> int:
        """Return how many lines there are."""
        raise NotImplementedError

    def key(self, line: int) -> Hashable:
        """Return the key of the row that has this line."""
        raise NotImplementedError

    def spans(self, line: int) -> Spans:
        """Return what stands in a line."""
        raise NotImplementedError

    def item(self, line: int) -> object:
        """Return what Enter shows."""
        raise NotImplementedError

    def content_width(self) -> int:
        """Return the width that all columns take; 0 where lines fit by themselves."""
        return 0

    # -- rows change ---------------------------------------------------------------------------------------

    @property
    def selected(self) -> object:
        """The item under the cursor, or None."""
        return self.item(self._line) if 0 <= self._line < self.count() else None

    @property
    def _top(self) -> int:
        return 1 if self.header is not None else 0

    def refit(self, *, follow: bool = False) -> None:
        """Take in that the lines have changed: keep the selected row where it is, or at the end."""
        total = self.count()
        place = self._line - round(self.scroll_y)
        old = self._line
        if follow and total:
            self._line = total - 1
        else:
            self._line = self._find(self.cursor, old)
        self.cursor = self.key(self._line) if total else None
        size = Size(max(self.content_width(), 1), total + self._top)
        if self.virtual_size != size:
            self.virtual_size = size
        if follow:
            self.scroll_to(y=total + self._top, animate=False)
        elif self._line != old or place > self._page():
            self.scroll_to(y=max(0, self._line - place), animate=False)
        self._refresh_changed()

    def _refresh_changed(self) -> None:
        """Draw the lines anew that differ from what is on the screen."""
        width = self.size.width
        changed = [y for y in range(self.size.height) if self._drawn.get(y) != self._content(y)]
        if len(changed) > self.size.height * 2 // 3:
            self.refresh()
        elif changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def _content(self, y: int) -> tuple[object, ...]:
        """Return all that decides how a line of the screen looks, but for the styles."""
        offset = round(self.scroll_x)
        if self.header is not None and y == 0:
            return (self.header, offset)
        line = y - self._top + round(self.scroll_y)
        total = self.count()
        if not 0 <= line < total:
            return (total == 0 and self.empty, self.size.height)
        chosen = self.cursor is not None and self.key(line) == self.cursor
        return (list(self.spans(line)), chosen, offset)

    def _find(self, key: Hashable, near: int) -> int:
        """Return the first line of the row ``key``; if it is gone, the line nearest to where it was."""
        total = self.count()
        if key is not None:
            for distance in range(max(near, total - near) + 1):
                for line in {near - distance, near + distance}:
                    if 0 <= line < total and self.key(line) == key:
                        return self._start(line)
        return self._start(max(0, min(near, total - 1))) if total else 0

    def _start(self, line: int) -> int:
        while line > 0 and self.key(line - 1) == self.key(line):
            line -= 1
        return line

    def _end(self, line: int) -> int:
        while line + 1 < self.count() and self.key(line + 1) == self.key(line):
            line += 1
        return line

    # -- keys and mouse ------------------------------------------------------------------------------------

    def _page(self) -> int:
        return max(1, self.size.height - self._top)

    def select(self, line: int) -> None:
        """Select the row of ``line`` and bring it into view."""
        total = self.count()
        if not total:
            return
        line = self._start(max(0, min(line, total - 1)))
        moved = self.key(line) != self.cursor
        self._line, self.cursor = line, self.key(line)
        top, height = round(self.scroll_y), self._page()
        if line < top:
            self.scroll_to(y=0 if line == 0 else line, animate=False)
        elif self._end(line) >= top + height:
            self.scroll_to(y=min(line, self._end(line) - height + 1), animate=False)
        self.refresh()
        if moved:
            self.post_message(self.Moved(self))

    def action_move(self, steps: int) -> None:
        """Select the next or the previous row."""
        line = self._end(self._line) + 1 if steps > 0 else self._line - 1
        if 0 <= line < self.count():
            self.select(line)

    def action_page(self, pages: int) -> None:
        """Go up or down by a screen."""
        self.select(self._line + pages * max(1, self._page() - 1))

    def action_edge(self, end: int) -> None:
        """Go to the first or the last row."""
        self.select(self.count() - 1 if end > 0 else 0)

    def action_sideways(self, columns: int) -> None:
        """Scroll wide tables."""
        self.scroll_to(x=max(0, round(self.scroll_x) + columns), animate=False)

    def action_choose(self) -> None:
        """Show all of the selected row."""
        if self.selected is not None:
            self.post_message(self.Chosen(self))

    def on_focus(self) -> None:
        """The selected row looks another way with the focus."""
        self.refresh()

    def on_blur(self) -> None:
        """The selected row looks another way without the focus."""
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Select the row under the mouse; choose it when it is selected already."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if self.header is not None and offset.y == 0:
            self.click_header(offset.x + round(self.scroll_x))
            return
        line = offset.y - self._top + round(self.scroll_y)
        if not 0 <= line < self.count():
            return
        if event.chain >= 2:
            self.action_choose()
        else:
            self.select(line)

    def click_header(self, column: int) -> None:
        """The header was clicked at this column."""

    # -- drawing -------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Draw one line of the screen; only these are ever made."""
        width = self.size.width
        base = self.base
        self._drawn[y] = self._content(y)
        offset = round(self.scroll_x) if self.content_width() else 0
        if self.header is not None and y == 0:
            header = base + self.part("rows--header")
            return self.strip(self.header, width, header, offset=offset)
        line = y - self._top + round(self.scroll_y)
        if not 0 <= line < self.count():
            return self._blank(y, width, base)
        if self.cursor is not None and self.key(line) == self.cursor and self.count():
            base = base + self._cursor_style()
        return self.strip(self.spans(line), width, base, offset=offset)

    def _cursor_style(self) -> Style:
        return self.part("rows--cursor")

    def _blank(self, y: int, width: int, base: Style) -> Strip:
        if self.count() == 0 and self.empty and y >= self._top:
            lines = self.empty.split("\n")
            first = max(self._top, (self.size.height - len(lines)) // 3)
            if first <= y < first + len(lines):
                text = lines[y - first]
                pad = max(0, (width - len(text)) // 2)
                return self.strip([(" " * pad, ""), (text, "strong" if y == first else "muted")], width, base)
        return Strip.blank(width, base)
