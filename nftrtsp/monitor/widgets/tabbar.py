"""The tab bar: one line, each tab with how much it holds."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.strip import Strip

from nftrtsp.monitor import words
from nftrtsp.monitor.widgets.paint import TONE_CLASSES, Painted
from nftrtsp.monitor.words import Span


class TabBar(Painted):
    """Tabs by number and name; the mouse chooses them too."""

    COMPONENT_CLASSES = TONE_CLASSES | {"tabbar--active", "tabbar--alert"}

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, titles: tuple[tuple[str, str], ...]) -> None:
        super().__init__(id="tabs")
        self._titles = titles
        self.active = 0
        self._counts: tuple[int, ...] = ()
        self._alert = False
        self._note = ""
        self._spans: list[tuple[int, int]] = []

    def show(self, active: int, counts: tuple[int, ...], *, alert: bool, note: str) -> None:
        """Show the active tab, how much each holds, whether the last one alarms, and a note at the end."""
        before = (self.active, self._counts, self._alert, self._note)
        self.active, self._counts, self._alert, self._note = active, counts, alert, note
        if before != (active, counts, alert, note):
            self.refresh()

    def _labels(self, width: int) -> list[str]:
        labels = []
        for texts in zip(*(self._variants(index) for index in range(len(self._titles))), strict=True):
            labels = list(texts)
            if sum(map(len, labels)) + 2 * len(labels) + 1 <= width:
                break
        return labels

    def _variants(self, index: int) -> tuple[str, str, str]:
        long, short = self._titles[index]
        number = self._counts[index] if index < len(self._counts) else 0
        sign = "✗ " if index == len(self._titles) - 1 and self._alert else ""
        count = f" {number:,}" if number else ""
        return (f" {index + 1} {sign}{long}{count} ", f" {sign}{long}{count} ", f" {sign}{short}{count} ")

    def render_line(self, y: int) -> Strip:
        """Draw the bar."""
        width, base = self.size.width, self.base
        if y:
            return Strip.blank(width, base)
        active = self.part("tabbar--active")
        alert = self.part("tabbar--alert")
        labels = self._labels(width)
        spans: list[Span] = []
        self._spans = []
        left = 0
        strips = []
        for index, label in enumerate(labels):
            style = base + active if index == self.active else base
            if index == len(labels) - 1 and self._alert:
                style = style + alert
            tone = "" if index == self.active or (index == len(labels) - 1 and self._alert) else "muted"
            strips.append(self.strip([(label, tone)], len(label), style))
            self._spans.append((left, left + len(label)))
            left += len(label)
        rest = width - left
        if rest > 0:
            note = words.fit(self._note + " ", rest, right=True) if len(self._note) + 1 < rest else " " * rest
            spans.append((note, "accent"))
            strips.append(self.strip(spans, rest, base))
        return Strip.join(strips).adjust_cell_length(width, base)

    def on_click(self, event: events.Click) -> None:
        """Choose the tab under the mouse."""
        for index, (left, right) in enumerate(self._spans):
            if left <= event.x < right:
                self.post_message(self.Chosen(index))
