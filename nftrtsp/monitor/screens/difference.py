"""How the kernel's ruleset differs from the wanted one."""

from __future__ import annotations

from nftrtsp import figures
from nftrtsp.events.news import Checked
from nftrtsp.monitor import words
from nftrtsp.monitor.screens.over import Reader
from nftrtsp.monitor.view import Line

_SIGNS = {"+": "good", "-": "bad", "~": "warn", ">": "accent"}


def difference_lines(checked: Checked | None, columns: int) -> list[Line]:
    """Return the plan as lines, each with its sign; the state first."""
    if checked is None:
        return [Line(0, [(" the ruleset has not been looked at yet", "muted")])]
    headline = {
        "in sync": ("✓ the kernel has the wanted ruleset", "good"),
        "drifted": ("≠ the kernel's ruleset differs; `nftrtsp apply` would do this:", "warn"),
        "absent": ("✗ the table inet nftrtsp is not there; `nftrtsp apply` would do this:", "bad"),
    }.get(checked.state, (f"? {checked.why or 'the ruleset could not be compared'}", "muted"))
    when = f"   as of {figures.clock(checked.time)}"
    lines = [Line(0, [(f" {headline[0]}", headline[1])]), Line(1, [(when, "muted")]), Line(2, [])]
    for number, change in enumerate(checked.changes, 3):
        tone = _SIGNS.get(change[:1], "")
        for index, text in enumerate(words.wrap(change, columns - 6)):
            lines.append(Line(number, [("   " if index == 0 else "     ", ""), (text, tone)]))
    return lines


class Difference(Reader):
    """The plan that `nftrtsp apply` would carry out."""

    def __init__(self, checked: Checked | None) -> None:
        super().__init__("ruleset", lambda columns: difference_lines(checked, columns))
