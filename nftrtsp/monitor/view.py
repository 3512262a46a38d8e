"""The view model: a snapshot in, lines with tones out, for a given width. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import msgspec

from nftrtsp import figures
from nftrtsp.films.film import Step
from nftrtsp.films.phase import Phase, StepKind
from nftrtsp.monitor import words
from nftrtsp.monitor.problem import Problem
from nftrtsp.monitor.snapshot import BoxView, FilmView, Snapshot, Top
from nftrtsp.monitor.words import Span, Spans

#: The first line of the boxes: choosing it shows every box on the right.
ALL = "all"

_KIND_WIDTH = 14
_ENDINGS = (StepKind.TEARDOWN, StepKind.CLOSED)


class Line(msgspec.Struct, frozen=True):
    """One line. Lines of one ``group`` are selected together; ``item`` is what Enter shows."""

    group: Hashable
    spans: Spans
    item: object = None


# -- the top line ------------------------------------------------------------------------------------------


def top_spans(top: Top, time: float, columns: int, *, frozen: str = "") -> list[Span]:
    """Return the top line for ``columns``; ``frozen`` is said in the clock's place when the screen stands."""
    parts = [*_top_parts(top)]
    clock = frozen or (figures.clock(time) if time else "")
    room = columns - len(clock) - 4
    texts = words.shorten([texts for texts, _ in parts], room, 3)
    spans: list[Span] = [(" ", "")]
    for text, (_, tone) in zip(texts, parts, strict=True):
        if text:
            spans += [(text, tone), ("   ", "")]
    spans = spans[:-1] if len(spans) > 1 else spans
    gap = max(1, columns - words.width(spans) - len(clock) - 1)
    return [*spans, (" " * gap, ""), (clock, "warn" if frozen else "strong"), (" ", "")]


def _top_parts(top: Top) -> Iterator[tuple[tuple[str, ...], str]]:
    yield (top.router or "nftrtsp", words.fit(top.router or "nftrtsp", 8).strip()), "strong"
    yield from _interface_part(top)
    yield from _helper_part(top)
    ruleset = {
        "in sync": ("✓ ruleset in sync", "✓ in sync", "✓ sync", "good"),
        "drifted": ("≠ ruleset drifted", "≠ drifted", "≠ drift", "warn"),
        "absent": ("✗ ruleset absent", "✗ no ruleset", "✗ rules", "bad"),
        "unknown": ("? ruleset unknown", "? ruleset", "? rules", "muted"),
    }.get(top.ruleset)
    if ruleset:
        yield ruleset[:3], ruleset[3]
    if top.count is not None:
        share = top.count * 100 / top.limit if top.limit else 0.0
        limit = f"/{top.limit:,}" if top.limit else ""
        tone = "bad" if share > 90 else "warn" if share > 75 else "muted"
        yield (f"conntrack {top.count:,}{limit}", f"ct {top.count:,}{limit}", f"ct {share:.0f} %"), tone
    events = f"{top.events:.0f}" if top.events >= 10 or top.events == 0 else f"{top.events:.1f}"
    yield (f"{events} events/s", f"{events} ev/s", f"{events}/s"), "muted"
    lost = f"{top.lost} lost"
    yield (f"✗ {lost}" if top.lost else lost, lost, lost), "bad" if top.lost else "muted"


def _interface_part(top: Top) -> Iterator[tuple[tuple[str, ...], str]]:
    if not top.has_config:
        yield ("no config: all flows", "no config"), "warn"
        return
    if not top.interface:
        return
    if top.down is None and not top.addresses:
        yield (f"✗ {top.interface} is gone", f"✗ {top.interface} gone"), "bad"
        return
    address = top.addresses[0] if top.addresses else "no address"
    yield (f"{top.interface} {address}", top.interface), "" if top.addresses else "bad"
    down, up = figures.rate(top.down), figures.rate(top.up)
    short = (figures.rate(top.down, short=True), figures.rate(top.up, short=True))
    yield (f"▼ {down}  ▲ {up}", f"▼{short[0]} ▲{short[1]}", f"▼{short[0]}"), "accent"


def _helper_part(top: Top) -> Iterator[tuple[tuple[str, ...], str]]:
    if top.helper_state == "absent":
        yield (f"✗ {top.helper} helper absent", f"✗ no {top.helper}", "✗ no helper"), "bad"
    elif top.helper_state:
        yield (
            (f"✓ {top.helper} helper {top.helper_state}", f"✓ {top.helper} helper", f"✓ {top.helper}"),
            "good",
        )
    elif top.helper:
        yield (f"{top.helper} helper", top.helper), "muted"


# -- boxes -------------------------------------------------------------------------------------------------


def box_lines(snapshot: Snapshot, columns: int, *, tall: bool) -> list[Line]:
    """Return the lines of the boxes, after one for all of them: two lines each when ``tall``, else one."""
    lines = [_all_line(snapshot, columns)]
    for box in snapshot.boxes:
        if tall:
            lines += _tall_box(box, columns)
        else:
            lines.append(Line(box.address, _flat_box(box, columns), box))
    return lines


def _all_line(snapshot: Snapshot, columns: int) -> Line:
    playing = sum(box.state == "playing" for box in snapshot.boxes)
    failed = sum(box.state == "no film" for box in snapshot.boxes)
    known = [box.rate for box in snapshot.boxes if box.rate is not None]
    text = f" All boxes  {len(snapshot.boxes)}"
    spans: list[Span] = [(text, "strong")]
    if playing:
        spans.append((f"  ▶ {playing}", "good"))
    if failed:
        spans.append((f"  ✗ {failed}", "bad"))
    total = figures.rate(sum(known)) if known and sum(known) else ""
    return Line(ALL, _ends(spans, [(total, "muted")], columns))


def _tall_box(box: BoxView, columns: int) -> Iterator[Line]:
    sign, tone = words.STATES.get(box.state, ("·", "muted"))
    rate = figures.rate(box.rate) if box.rate or (box.state == "playing" and box.rate is None) else ""
    name: list[Span] = [(f" {sign} ", tone), (box.name, "strong" if box.state != "idle" else "")]
    yield Line(box.address, _ends(name, [(box.state, tone)], columns), box)
    room = columns - 4 - len(box.text) - 1 - (len(rate) + 2 if rate else 1)
    spark = words.sparkline(box.history, max(0, min(room, 60))) if room >= 6 else ""
    address = box.text if box.text != box.name else ""
    if not address:
        spark = words.sparkline(box.history, min(room + len(box.text) + 1, 60))
    below: list[Span] = [
        (f"   {address} " if address else "   ", "muted"),
        (spark, tone if any(box.history) else "muted"),
    ]
    yield Line(box.address, _ends(below, [(rate, "")], columns), box)


def _flat_box(box: BoxView, columns: int) -> list[Span]:
    sign, tone = words.STATES.get(box.state, ("·", "muted"))
    rate = figures.rate(box.rate) if box.rate or box.state == "playing" else ""
    spans: list[Span] = [
        (f" {sign} ", tone),
        (words.fit(box.name, 16), "strong" if box.state != "idle" else ""),
        (" " + words.fit(box.text, 15), "muted"),
        (" " + words.fit(box.state, 16), tone),
        (words.fit(rate, 12, right=True) + " ", ""),
    ]
    room = columns - words.width(spans) - 1
    return (
        [*spans, (words.sparkline(box.history, min(room, 60)), tone if any(box.history) else "muted")]
        if room >= 6
        else spans
    )


def _ends(left: Sequence[Span], right: Sequence[Span], columns: int) -> list[Span]:
    """Return a line with ``left`` at its left and ``right`` at its right end; the right one stays whole."""
    taken = words.width(right) + 2
    spans = list(left)
    while len(spans) > 2 and words.width(spans) + taken > columns:
        spans.pop()
    if words.width(spans) + taken > columns:
        text, tone = spans.pop()
        spans.append((words.fit(text, max(2, columns - taken - words.width(spans))), tone))
    gap = columns - words.width(spans) - words.width(right) - 1
    return [*spans, (" " * max(1, gap), ""), *right, (" ", "")]


# -- sessions ----------------------------------------------------------------------------------------------


def film_lines(film: FilmView, now: float, columns: int, *, with_name: bool = True) -> list[Line]:
    """Return the timeline of a film: a headline, then each step with its time."""
    sign, tone = words.STATES[film.phase.value]
    if film.failed and film.phase is Phase.ENDED:
        sign, tone = "✗", "bad"
    headline: list[Span] = [(f" {sign} ", tone)]
    if with_name:
        headline.append((film.name, "strong"))
        headline.append(("  ", ""))
    headline.append((film.phase.value, tone))
    if film.phase is Phase.PLAYING:
        headline.append((f"  {figures.rate(film.rate)}", "strong"))
    if film.source:
        headline.append((f"  from {film.source}", ""))
    headline.append((f"  port {film.port}", "muted"))
    end = film.ended if film.ended is not None else now
    right = f"{figures.clock(film.began)}  {figures.duration(end - film.began)}"
    lines = [Line(("film", film.id), _ends(headline, [(right, "muted")], columns), film)]
    steps = list(film.steps)
    for number, step in enumerate(steps):
        lines += _step_lines(film, step, number, columns, last=number == len(steps) - 1 and not _now(film))
    if now_text := _now(film):
        group = ("film", film.id, "now")
        spans = [("   └ ", "muted"), (words.fit("", 13), ""), (words.fit("now", _KIND_WIDTH), "good")]
        lines.append(Line(group, [*spans, (now_text, "good")], film))
    return lines


def _now(film: FilmView) -> str:
    if film.phase is not Phase.PLAYING:
        return ""
    return f"playing {figures.rate(film.rate)} from {film.source}" if film.rate is not None else "playing"


def _step_lines(film: FilmView, step: Step, number: int, columns: int, *, last: bool) -> Iterator[Line]:
    group = ("film", film.id, number)
    tone = "bad" if step.failed else ""
    kind_tone = tone or ("muted" if step.kind in _ENDINGS else "accent")
    sign = "✗ " if step.failed else "  "
    head: list[Span] = [
        ("   └ " if last else "   ├ ", "muted"),
        (figures.moment(step.time) + " ", "muted"),
        (words.fit(sign + step.kind.value if step.failed else step.kind.value, _KIND_WIDTH), kind_tone),
    ]
    indent = words.width(head)
    texts = words.wrap(step.text, columns - indent - 1)
    yield Line(group, [*head, (texts[0], tone or ("warn" if step.pinned else ""))], film)
    rail = "     " if last else "   │ "
    for text in texts[1:]:
        yield Line(group, [(rail, "muted"), (" " * (indent - 5), ""), (text, tone)], film)
    if step.remedy and step.failed:
        for index, text in enumerate(words.wrap(step.remedy, columns - indent - 3)):
            arrow = "→ " if index == 0 else "  "
            yield Line(group, [(rail, "muted"), (" " * (indent - 5), ""), (arrow + text, "warn")], film)


def session_lines(
    films: Sequence[FilmView], now: float, columns: int, *, with_name: bool = True
) -> list[Line]:
    """Return the timelines of ``films``, a blank line between them."""
    lines: list[Line] = []
    for film in films:
        if lines:
            lines.append(Line(("film", film.id), [], film))
        lines += film_lines(film, now, columns, with_name=with_name)
    return lines


# -- problems ----------------------------------------------------------------------------------------------


def problem_lines(problems: Sequence[Problem], now: float, columns: int) -> list[Line]:
    """Return each problem as a sentence, then what to do."""
    lines: list[Line] = []
    for problem in problems:
        tone, sign = ("bad", "✗") if problem.grave else ("warn", "!")
        if lines:
            lines.append(Line(problem.key, [], problem))
        since = f"for {figures.duration(now - problem.since)}" if problem.since is not None else ""
        head: list[Span] = [(f" {sign} ", tone), (problem.about or "router", "strong")]
        lines.append(Line(problem.key, _ends(head, [(since, "muted")], columns), problem))
        lines += [
            Line(problem.key, [("   ", ""), (text, tone)], problem)
            for text in words.wrap(problem.text, columns - 5)
        ]
        for index, text in enumerate(words.wrap(problem.remedy, columns - 7)):
            arrow = "   → " if index == 0 else "     "
            lines.append(Line(problem.key, [(arrow, "accent"), (text, "")], problem))
    return lines
