"""What lies over the main screen: a window with a title, closed by Escape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from nftrtsp.errors import printable
from nftrtsp.monitor.view import Line
from nftrtsp.monitor.widgets.listing import Listing

Result = TypeVar("Result")


class Over(ModalScreen[Result]):
    """The base of all windows."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "leave", "Close", show=False)]

    def action_leave(self) -> None:
        """Close without a result."""
        self.dismiss(None)


class Reader(Over[None]):
    """A window of lines to read: details, the ruleset's difference, help."""

    def __init__(self, title: str, make: Callable[[int], Sequence[Line]], hint: str = "") -> None:
        super().__init__()
        self._title, self._make = title, make
        self._hint = hint or "↑ ↓ scroll   c copy   Esc close"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy", "Copy", show=False),
        Binding("enter,d,question_mark", "leave", "Close", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with Vertical(classes="window") as window:
            window.border_title = Content(printable(self._title))  # a text would be read as markup
            yield Listing(id="reader")
            yield Static(self._hint, classes="hint", markup=False)

    def on_mount(self) -> None:
        """Fill it."""
        listing = self.query_one("#reader", Listing)
        listing.show(self._make)
        listing.focus()

    def show(self, make: Callable[[int], Sequence[Line]]) -> None:
        """Show other lines."""
        self._make = make
        self.query_one("#reader", Listing).show(make)

    def action_copy(self) -> None:
        """Copy all of it."""
        listing = self.query_one("#reader", Listing)
        self.app.copy_to_clipboard("\n".join(listing.text(line) for line in range(listing.count())))
        self.notify("copied", timeout=2)
