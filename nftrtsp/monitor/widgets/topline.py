"""The top line: where this is, and whether it works."""

from __future__ import annotations

from textual.strip import Strip

from nftrtsp.monitor.snapshot import EMPTY, Snapshot
from nftrtsp.monitor.view import top_spans
from nftrtsp.monitor.widgets.paint import Painted


class TopLine(Painted):
    """One line of facts that shortens itself to the width."""

    def __init__(self) -> None:
        super().__init__(id="top")
        self._snapshot: Snapshot = EMPTY
        self._frozen = ""

    def show(self, snapshot: Snapshot, *, frozen: str = "") -> None:
        """Show ``snapshot``; ``frozen`` stands in the clock's place."""
        before = (self._snapshot.top, int(self._snapshot.time), self._frozen)
        self._snapshot, self._frozen = snapshot, frozen
        if before != (snapshot.top, int(snapshot.time), frozen):
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw the line."""
        width = self.size.width
        if y:
            return Strip.blank(width, self.base)
        spans = top_spans(self._snapshot.top, self._snapshot.time, width, frozen=self._frozen)
        return self.strip(spans, width, self.base)
