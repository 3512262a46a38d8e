"""A table: items, columns, an order. Cells are made when they are drawn, so thousands of rows cost little."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from nftrtsp.monitor import words
from nftrtsp.monitor.columns import Column
from nftrtsp.monitor.widgets.rows import Rows
from nftrtsp.monitor.words import Span, Spans

#: While a column that changes all the time gives the order, rows change places only so often (seconds).
RESORT = 3.0


class TableView(Rows):
    """Shows ``items`` in ``columns``. ``follow`` keeps the last row in view while it is the selected one."""

    def __init__(
        self,
        columns: Sequence[Column],
        key_of: Callable[[Any], Hashable],
        *,
        sort: int = 0,
        follow: bool = False,
        id: str | None = None,  # noqa: A002 - Textual's name
    ) -> None:
        super().__init__(id=id)
        self.columns = columns
        self.sort = sort
        self.descending = False
        self._key_of = key_of
        self._follow = follow
        self._items: list[Any] = []
        self._now = 0.0
        self._order: dict[Hashable, int] = {}
        self._sorted_at = 0.0
        self._head()

    def show(self, items: Sequence[Any], now: float) -> None:
        """Show ``items`` as of ``now``, seconds since the epoch."""
        at_end = self._follow and (not self._items or self._line >= len(self._items) - 1)
        self._now = now
        self._items = self._sorted(list(items))
        self.refit(follow=at_end)

    def _sorted(self, items: list[Any]) -> list[Any]:
        column = self.columns[self.sort]
        now = time.monotonic()
        if column.lively and self._order and now - self._sorted_at < RESORT:
            # Rows that dance cannot be read: known ones keep their order for a while, new ones go last.
            last = len(self._order)
            return sorted(items, key=lambda item: self._order.get(self._key_of(item), last))
        value = column.value or (lambda item: column.text(item, 0.0))
        items.sort(key=value, reverse=self.descending)
        if column.lively:
            self._order = {self._key_of(item): index for index, item in enumerate(items)}
            self._sorted_at = now
        return items

    def sort_by(self, index: int) -> None:
        """Sort by a column, or turn its order round when it is the one already."""
        if index == self.sort:
            self.descending = not self.descending
        else:
            self.sort, self.descending = index, False
        self._order = {}
        self._items = self._sorted(self._items)
        self._head()
        self.refit()

    def next_sort(self) -> str:
        """Sort by the next column; return its title."""
        self.sort_by((self.sort + 1) % len(self.columns))
        return self.columns[self.sort].title

    def _head(self) -> None:
        spans: list[Span] = [(" ", "")]
        for index, column in enumerate(self.columns):
            mark = (" ▴" if self.descending else " ▾") if index == self.sort else ""
            text = words.fit(column.title + mark, column.width, right=column.right)
            spans += [(text, "strong" if index == self.sort else ""), ("  ", "")]
        self.header = spans

    def click_header(self, column: int) -> None:
        """Sort by the column under the mouse."""
        left = 1
        for index, each in enumerate(self.columns):
            if left <= column < left + each.width + 2:
                self.sort_by(index)
                return
            left += each.width + 2

    def content_width(self) -> int:
        """Return the width of all columns; what stretches takes what is left."""
        if self.columns[-1].stretch:
            return 0
        return 1 + sum(column.width + 2 for column in self.columns)

    def count(self) -> int:
        """Return how many rows there are."""
        return len(self._items)

    def key(self, line: int) -> Hashable:
        """Return the key of a row."""
        return self._key_of(self._items[line])

    def item(self, line: int) -> object:
        """Return the item of a row."""
        return self._items[line]

    def spans(self, line: int) -> Spans:
        """Return a row, its cells in their columns."""
        item = self._items[line]
        spans: list[Span] = [(" ", "")]
        for column in self.columns:
            tone = column.tone(item) if column.tone else ""
            text = column.text(item, self._now)
            if column.stretch:
                room = max(10, self.size.width - 1 - sum(c.width + 2 for c in self.columns if not c.stretch))
                spans.append((words.fit(text, room), tone))
            else:
                spans += [(words.fit(text, column.width, right=column.right), tone), ("  ", "")]
        return spans

    def cells(self, line: int) -> list[str]:
        """Return a row's texts."""
        return [column.text(self._items[line], self._now) for column in self.columns]

    def selected_text(self) -> str:
        """Return the selected row as plain text, its cells separated by tabs."""
        return "\t".join(self.cells(self._line)) if self.selected is not None else ""
