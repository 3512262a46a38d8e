"""Lines of text with a tone, fitted into columns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from rich.cells import cell_len

from nftrtsp.errors import printable

#: A piece of a line: its text and its tone (see TONES), the meaning that a theme gives a colour.
Span = tuple[str, str]
Spans = Sequence[Span]

TONES = ("", "muted", "strong", "good", "warn", "bad", "accent")

#: One sign and one tone for each state; the word stands beside the sign, so no meaning is in colour alone.
STATES: dict[str, tuple[str, str]] = {
    "idle": ("·", "muted"),
    "asking": ("→", "accent"),
    "waiting for film": ("◌", "warn"),
    "playing": ("▶", "good"),
    "paused": ("‖", "accent"),
    "no film": ("✗", "bad"),
    "ended": ("■", "muted"),
}

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(history: Sequence[float], width: int) -> str:
    """Return the last values as bars, the newest right; nothing is a low line, so that gaps show."""
    values = list(history)
    if width < len(values):
        # Each column shows the highest of its share, or a short dip to zero would hide a film.
        bounds = [index * len(values) // width for index in range(width + 1)]
        values = [max(values[low:high]) for low, high in pairwise(bounds)]
    top = max(values, default=0.0)
    if top <= 0:
        return "▁" * len(values)
    # The highest bar leaves some air above it: rows of boxes stay apart.
    return "".join(_BARS[min(6, int(value / top * 6.999))] if value > 0 else "▁" for value in values)


def width(spans: Spans) -> int:
    """Return how many columns a line takes."""
    return sum(cell_len(text) for text, _ in spans)


def fit(text: str, columns: int, *, right: bool = False) -> str:
    """Return ``text`` in exactly so many columns: padded, or cut with ``…``."""
    text = printable(text)
    length = cell_len(text)
    if length > columns:
        while text and cell_len(text) > columns - 1:
            text = text[:-1]
        text, length = text + "…"[:columns], cell_len(text) + min(columns, 1)
    padding = " " * (columns - length)
    return padding + text if right else text + padding


def wrap(text: str, columns: int) -> list[str]:
    """Return ``text`` in lines of at most so many columns, broken at blanks where there are any."""
    columns = max(columns, 8)
    lines: list[str] = []
    line = ""
    for word in map(printable, text.split()):
        while cell_len(word) > columns:
            if line:
                lines.append(line)
                line = ""
            lines.append(word[:columns])
            word = word[columns:]  # noqa: PLW2901 - the rest of it
        if line and cell_len(line) + 1 + cell_len(word) > columns:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line] if line or not lines else lines


def shorten(variants: Iterable[Sequence[str]], columns: int, gap: int) -> list[str]:
    """Choose one text for each part, the longest ones that fit together into ``columns``.

    Each part gives its texts from long to short; an empty text takes no room. The last parts are shortened
    first.
    """
    parts = [list(texts) for texts in variants]
    chosen = [0] * len(parts)

    def total() -> int:
        texts = [texts[index] for texts, index in zip(parts, chosen, strict=True)]
        lengths = [cell_len(text) for text in texts if text]
        return sum(lengths) + gap * max(0, len(lengths) - 1)

    for step in range(1, max((len(texts) for texts in parts), default=1)):
        for index in reversed(range(len(parts))):
            if total() <= columns:
                break
            if step < len(parts[index]):
                chosen[index] = step
    return [texts[index] for texts, index in zip(parts, chosen, strict=True)]
