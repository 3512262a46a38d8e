"""A list of lines that are made for its width: boxes, timelines, problems, details."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from textual import events

from nftrtsp.monitor.view import Line
from nftrtsp.monitor.widgets.rows import Rows
from nftrtsp.monitor.words import Spans


class Listing(Rows):
    """Shows lines; ``make`` returns them for a width and is asked again when the width changes."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._lines: Sequence[Line] = ()
        self._make: Callable[[int], Sequence[Line]] | None = None

    def show(self, make: Callable[[int], Sequence[Line]]) -> None:
        """Show what ``make`` returns, now and at another width."""
        self._make = make
        self._lines = make(max(20, self.size.width))
        self.refit()

    def on_resize(self, event: events.Resize) -> None:
        """Make the lines anew for the new width."""
        if self._make is not None:
            self._lines = self._make(max(20, event.size.width))
            self.refit()

    def count(self) -> int:
        """Return how many lines there are."""
        return len(self._lines)

    def key(self, line: int) -> Hashable:
        """Return the group of a line."""
        return self._lines[line].group

    def spans(self, line: int) -> Spans:
        """Return the line itself."""
        return self._lines[line].spans

    def item(self, line: int) -> object:
        """Return what the line is about."""
        return self._lines[line].item

    def text(self, line: int) -> str:
        """Return the line as plain text."""
        return "".join(text for text, _ in self._lines[line].spans).strip()

    def selected_text(self) -> str:
        """Return the selected row as plain text, its lines joined."""
        return " ".join(
            self.text(line) for line in range(self.count()) if self.key(line) == self.cursor
        ).strip()
