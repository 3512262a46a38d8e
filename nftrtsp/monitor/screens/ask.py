"""A question with yes and no."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from nftrtsp.monitor.screens.over import Over


class Ask(Over[bool]):
    """Asks; ``No`` has the focus, so that Enter by mistake does nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", show=False),
        Binding("n", "answer(False)", "No", show=False),
        Binding("left,right", "app.focus_next", "Other", show=False),
    ]

    def __init__(self, title: str, question: str, yes: str) -> None:
        super().__init__()
        self._title, self._question, self._yes = title, question, yes

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with Vertical(classes="window small") as window:
            window.border_title = self._title
            yield Static(self._question, markup=False)
            with Horizontal(classes="buttons"):
                yield Button("n  No", id="no")
                yield Button(f"y  {self._yes}", id="yes", variant="error")

    def on_mount(self) -> None:
        """No first."""
        self.query_one("#no", Button).focus()

    def action_answer(self, yes: bool) -> None:
        """Answer and close."""
        self.dismiss(yes)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button answers too."""
        self.dismiss(event.button.id == "yes")
