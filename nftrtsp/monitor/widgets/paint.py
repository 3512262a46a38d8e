"""Spans to strips: the one place where a tone gets its colour, from the theme through the style sheet."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from nftrtsp.errors import printable
from nftrtsp.monitor.words import TONES, Spans

#: The component classes that a painted widget has; monitor.tcss gives them colours.
TONE_CLASSES = {f"tone--{tone}" for tone in TONES if tone}


class Painted(Widget):
    """A widget that draws lines of spans."""

    COMPONENT_CLASSES = TONE_CLASSES

    #: The widget's own style, and those of its parts, looked up once a redraw: the style sheet is slow.
    base: Style = Style.null()
    _parts: dict[str, Style]

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw what is in ``crop``."""
        self.base, self._parts = self.rich_style, {}
        return super().render_lines(crop)

    def part(self, name: str) -> Style:
        """Return the style of a component class: a colour and weight, maybe a background."""
        style = self._parts.get(name)
        if style is None:
            style = self._parts[name] = self.get_component_rich_style(name, partial=True)
        return style

    def tone(self, name: str) -> Style:
        """Return the style of a tone: a colour and weight, no background."""
        return self.part(f"tone--{name}") if name else Style.null()

    def strip(self, spans: Spans, width: int, base: Style, *, offset: int = 0) -> Strip:
        """Return ``spans`` in ``width`` columns on ``base``, without the first ``offset`` columns.

        Whoever made up a text, a box, a server, a recording: it cannot steer the terminal.
        """
        segments = [Segment(printable(text), base + self.tone(tone)) for text, tone in spans if text]
        line = Strip(segments)
        if offset:
            line = line.crop(offset, None)
        return line.adjust_cell_length(width, base)
