"""The replay bar: where a recording stands; a click goes there."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.strip import Strip

from nftrtsp import figures
from nftrtsp.monitor.feed import Position
from nftrtsp.monitor.widgets.paint import Painted


class ReplayBar(Painted):
    """One line: standing or going, time, bar, speed."""

    class Sought(Message):
        """The bar was clicked at a share (0 to 1) of its length."""

        def __init__(self, share: float) -> None:
            super().__init__()
            self.share = share

    def __init__(self) -> None:
        super().__init__(id="replay")
        self._position: Position | None = None
        self._bar = (0, 1)

    def show(self, position: Position | None) -> None:
        """Show where the replay stands; None hides the bar."""
        self.set_class(position is not None, "shown")
        if position != self._position:
            self._position = position
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw the bar."""
        width, base, position = self.size.width, self.base, self._position
        if y or position is None:
            return Strip.blank(width, base)
        whole = max(position.last - position.first, 0.001)
        share = min(1.0, max(0.0, (position.now - position.first) / whole))
        sign = "‖" if position.standing or share >= 1 else "▶"
        left = f" {sign} replay  {figures.brief(position.now - position.first)} "
        speed = f"{position.speed:g}"
        right = f" {figures.brief(whole)}  x{speed}  [ ] seek "
        room = max(4, width - len(left) - len(right))
        done = round(room * share)
        self._bar = (len(left), room)
        spans = [(left, "accent"), ("━" * done, "accent"), ("─" * (room - done), "muted"), (right, "muted")]
        return self.strip(spans, width, base)

    def on_click(self, event: events.Click) -> None:
        """Go where the bar was clicked."""
        left, room = self._bar
        if left <= event.x < left + room:
            self.post_message(self.Sought((event.x - left) / room))
