"""Asks where to write the rows of the view."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Static

from nftrtsp.monitor.screens.over import Over


class Export(Over[str]):
    """Asks for a file name; its ending chooses the form."""

    def __init__(self, count: int, suggestion: str) -> None:
        super().__init__()
        self._count, self._suggestion = count, suggestion

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with Vertical(classes="window small") as window:
            window.border_title = "export"
            yield Static(f"Write {self._count:,} rows to this file. End it in .json or .csv.", markup=False)
            yield Input(self._suggestion, id="file", select_on_focus=False)
            yield Static("Enter writes, Esc leaves", classes="hint")

    def on_mount(self) -> None:
        """Type at once."""
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the name."""
        if event.value.strip():
            self.dismiss(event.value.strip())
