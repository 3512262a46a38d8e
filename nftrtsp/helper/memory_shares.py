"""What each set-top box takes of the memory: how many connections, how many bytes that wait. Pure.

One host of the LAN can open thousands of connections and leave a message unfinished on each. It pays for that
itself: where there is no room, the box that has most loses what it has most of.
"""

from __future__ import annotations

from collections.abc import Iterator

from nftrtsp.helper.dialogue import Dialogue

_FEW = 8  # connections; with no box above it, nobody is to blame


class _Box:
    __slots__ = ("dialogues", "held")

    def __init__(self) -> None:
        self.dialogues: dict[Dialogue, None] = {}
        self.held = 0


class MemoryShares:
    """The dialogues by set-top box. ``held``: bytes that all of them keep (:attr:`Dialogue.held`)."""

    def __init__(self) -> None:
        self.held = 0
        self._boxes: dict[bytes, _Box] = {}

    def add(self, dialogue: Dialogue) -> None:
        """Count ``dialogue``, a new one."""
        self._boxes.setdefault(dialogue.connection.client, _Box()).dialogues[dialogue] = None

    def remove(self, dialogue: Dialogue) -> None:
        """Count ``dialogue`` no longer."""
        client = dialogue.connection.client
        box = self._boxes[client]
        box.held -= dialogue.accounted
        self.held -= dialogue.accounted
        dialogue.accounted = 0
        del box.dialogues[dialogue]
        if not box.dialogues:
            del self._boxes[client]

    def account(self, dialogue: Dialogue) -> None:
        """Take note of what ``dialogue`` keeps by now."""
        held = dialogue.held
        change = held - dialogue.accounted
        if change:
            dialogue.accounted = held
            self._boxes[dialogue.connection.client].held += change
            self.held += change

    def count(self, client: bytes) -> int:
        """Return how many dialogues a set-top box has."""
        box = self._boxes.get(client)
        return len(box.dialogues) if box else 0

    def crowd(self) -> list[Dialogue] | None:
        """Return the dialogues of the box that has most, the longest silent first; None: all have few."""
        box = max(self._boxes.values(), key=lambda one: len(one.dialogues))
        return self._by_silence(box) if len(box.dialogues) > _FEW else None

    def of(self, client: bytes) -> list[Dialogue]:
        """Return the dialogues of a set-top box, the longest silent first."""
        return self._by_silence(self._boxes[client])

    def trim(self, limit: int) -> Iterator[tuple[Dialogue, int]]:
        """Trim until no more than ``limit`` bytes are held: of the box that holds most, what holds most.

        Yields for each box that was trimmed its biggest dialogue, and how many bytes the box let go.
        """
        while self.held > limit:
            box = max(self._boxes.values(), key=lambda one: one.held)
            before = box.held
            heavy = sorted(box.dialogues, key=lambda one: one.accounted, reverse=True)
            for dialogue in heavy:
                dialogue.trim()
                self.account(dialogue)
                if self.held <= limit or box.held <= before // 2:
                    break
            if box.held == before:
                return
            yield heavy[0], before - box.held

    @staticmethod
    def _by_silence(box: _Box) -> list[Dialogue]:
        return sorted(box.dialogues, key=lambda one: one.last)
