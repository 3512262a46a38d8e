"""What a reader that lags is told: of a box that floods only so much as leaves room for the other boxes.

A helper waits for nobody, so a reader whose buffer is full is hung up on. One box that says a great deal at
once would so take everybody's view of all boxes. From a buffer half full on, a box that has filled much of it
already is left out, and what was left out is counted by box and kind, to be told when the reader has caught
up. Pure: how full the buffer is, is given.
"""

from __future__ import annotations

_TIGHT = 0.5  # of the buffer: from here on it is looked at who filled it
_CAUGHT_UP = 0.125  # of the buffer: up to here nobody counts as one who fills it
_FAIR = 24  # lines of one box when it becomes tight; two boxes that zap say as much in a second
_BOXES = 1024  # that are told apart
_NAMED = 8  # boxes that are told of by name at a time

Kinds = dict[str, int]


class Backlog:
    """Which lines one reader is to get, and which it missed."""

    def __init__(self) -> None:
        self.left_out = 0
        self._lines: dict[str, int] = {}  # by box, since the reader had last caught up
        self._untold: dict[str, Kinds] = {}

    def admit(self, box: str, kind: str, full: float) -> bool:
        """Whether to send this line of ``kind`` that ``box`` caused; ``full`` is a share of the buffer.

        An empty ``box`` is the helper itself, which is always let through.
        """
        if full <= _CAUGHT_UP:
            self._lines.clear()
        if not box:
            return True
        lines = self._lines.get(box, 0)
        # The fuller, the fewer each: a hundred boxes that flood together fill nine tenths, not all of it.
        if full > _TIGHT and lines >= _FAIR * (1 - full) / (1 - _TIGHT):
            self._leave_out(box, kind)
            return False
        if lines or len(self._lines) < _BOXES:
            self._lines[box] = lines + 1
        return True

    def _leave_out(self, box: str, kind: str) -> None:
        self.left_out += 1
        if box not in self._untold and len(self._untold) >= _BOXES:
            box = ""
        kinds = self._untold.setdefault(box, {})
        kinds[kind] = kinds.get(kind, 0) + 1

    @property
    def lacks(self) -> bool:
        """Whether something was left out that was not told of yet."""
        return bool(self._untold)

    def untold(self, full: float) -> list[tuple[str, Kinds]]:
        """Return what was left out by box and kind, if the reader has caught up, and begin anew.

        Boxes with most come first; after some of them the others are one, without a name.
        """
        if not self._untold or full > _CAUGHT_UP:
            return []
        by_count = sorted(self._untold.items(), key=lambda one: -sum(one[1].values()))
        self._untold = {}
        rest: Kinds = {}
        for _, kinds in by_count[_NAMED:]:
            for kind, count in kinds.items():
                rest[kind] = rest.get(kind, 0) + count
        return by_count[:_NAMED] + ([("", rest)] if rest else [])
