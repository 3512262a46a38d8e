"""One vocabulary of keys for the bindings, the footer, the help screen and the command palette."""

from __future__ import annotations

import msgspec
from textual.binding import Binding


class Key(msgspec.Struct, frozen=True):
    """A key: what Textual calls it, the sign people see, the action, a word for the footer and a sentence.

    ``weight`` is its place among those that must fit into the footer, 0 for never.
    """

    keys: str
    sign: str
    action: str
    label: str
    help: str
    weight: int = 0

    def binding(self) -> Binding:
        """Return it for Textual."""
        return Binding(self.keys, self.action, self.label, show=False)


MAIN = (
    Key("slash", "/", "filter", "filter", "Show only rows with these words: box, address, port, state", 2),
    Key("s", "s", "sort", "sort", "Sort the table by the next column; S turns the order round", 5),
    Key("S", "S", "reverse", "reverse", "Turn the order of the table round"),
    Key("space", "space", "pause", "pause", "Let the screen stand still; nothing is missed meanwhile", 4),
    Key("enter", "⏎", "details", "details", "All fields of the selected row, its master and its history", 3),
    Key("c", "c", "copy", "copy", "Copy the selected row to the clipboard", 11),
    Key("e", "e", "export", "export", "Write the rows of this view to a file: JSON or CSV", 8),
    Key("d", "d", "diff", "diff", "How the kernel's ruleset differs from the wanted one", 6),
    Key("x", "x", "delete", "delete", "Delete the selected flow from conntrack (asks first)", 9),
    Key("p", "p", "picture", "picture", "Write a picture of the screen (SVG)", 12),
    Key("t", "t", "theme", "theme", "Dark or light", 10),
    Key("question_mark", "?", "help", "help", "This help", 1),
    Key("q", "q", "quit", "quit", "Leave", 1),
)

PANES = (
    Key("1", "1", "tab(0)", "Sessions", "Sessions: a timeline for each film"),
    Key("2", "2", "tab(1)", "Flows", "Flows: control connections and films in conntrack"),
    Key(
        "3", "3", "tab(2)", "Expectations", "Expectations: the ports open for films now, pinholes among them"
    ),
    Key("4", "4", "tab(3)", "Events", "Events: the live log"),
    Key("5", "5", "tab(4)", "Problems", "Problems: what is wrong and what to do"),
    Key("tab", "Tab", "app.focus_next", "next pane", "Go between the boxes and the tabs", 7),
    Key("ctrl+p", "^p", "app.command_palette", "commands", "Find a command by its name", 13),
    Key("escape", "Esc", "back", "back", "Leave the filter, or choose all boxes again"),
)

REPLAY = (
    Key("left_square_bracket", "[", "seek(-10)", "-10 s", "Replay: 10 seconds back", 2),
    Key("right_square_bracket", "]", "seek(10)", "+10 s", "Replay: 10 seconds on", 2),
    Key("left_curly_bracket", "{", "seek(-60)", "-1 min", "Replay: a minute back"),
    Key("right_curly_bracket", "}", "seek(60)", "+1 min", "Replay: a minute on"),
    Key("less_than_sign", "<", "faster(-1)", "slower", "Replay: half the speed"),
    Key("greater_than_sign", ">", "faster(1)", "faster", "Replay: twice the speed"),
)

MOVING = (
    ("↑ ↓ or k j", "Select a row"),
    ("PgUp PgDn", "A screen up or down"),
    ("Home End or g G", "The first or the last row"),
    ("← → or h l", "Scroll a wide table"),
)
