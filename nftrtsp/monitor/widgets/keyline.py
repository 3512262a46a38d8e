"""The footer: the keys of this screen, as many as fit, each a button for the mouse too."""

from __future__ import annotations

from textual import events
from textual.strip import Strip

from nftrtsp.monitor.keys import Key
from nftrtsp.monitor.widgets.paint import Painted
from nftrtsp.monitor.words import Span


class KeyLine(Painted):
    """Shows keys in the order of their weight; what does not fit is in the help screen."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        super().__init__(id="keys")
        self._keys = keys
        self._places: list[tuple[int, int, str]] = []

    def _shown(self, width: int) -> list[Key]:
        chosen: list[Key] = []
        room = width - 1
        for key in sorted((key for key in self._keys if key.weight), key=lambda key: key.weight):
            if (cost := len(key.sign) + len(key.label) + 3) <= room:
                chosen.append(key)
                room -= cost
        return [key for key in self._keys if key in chosen]

    def render_line(self, y: int) -> Strip:
        """Draw the line."""
        width = self.size.width
        if y:
            return Strip.blank(width, self.base)
        spans: list[Span] = [(" ", "")]
        self._places = []
        left = 1
        for key in self._shown(width):
            cost = len(key.sign) + len(key.label) + 3
            spans += [(key.sign, "accent"), (f" {key.label}  ", "muted")]
            self._places.append((left, left + cost - 2, key.action))
            left += cost
        return self.strip(spans, width, self.base)

    async def on_click(self, event: events.Click) -> None:
        """Do what the key under the mouse does."""
        for left, right, action in self._places:
            if left <= event.x < right:
                await self.screen.run_action(action)
