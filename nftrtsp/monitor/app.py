"""The dashboard's application: themes, the one feed, and what every screen can do."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from nftrtsp.monitor.feed import Feed, Playback
from nftrtsp.monitor.keys import MAIN, PANES, REPLAY
from nftrtsp.monitor.screens.main import Main
from nftrtsp.monitor.theme import DARK, LIGHT
from nftrtsp.terminal import colourless


class Monitor(App[None]):
    """Shows what a feed tells. ``light`` begins with the light theme."""

    TITLE = "nftrtsp monitor"
    CSS_PATH = "monitor.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c,ctrl+q", "quit", "Quit", show=False, priority=True)
    ]

    def __init__(self, feed: Feed, *, light: bool = False) -> None:
        if not colourless(os.environ):
            os.environ.pop("NO_COLOR", None)  # Textual heeds it even when it is empty
        super().__init__()
        self.feed = feed
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = LIGHT.name if light else DARK.name

    def get_default_screen(self) -> Screen[None]:
        """The main screen is the one at the bottom."""
        return Main(self.feed)

    def on_mount(self) -> None:
        """Begin to listen."""
        # Whoever ends us by a signal, as the demo does, gets the terminal back in order.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        self.feed.start()

    def on_unmount(self) -> None:
        """Stop listening."""
        self.feed.stop()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our variables, for themes that are not ours."""
        return {"muted": "#808890", "cursor": "#24405f", "cursor-dim": "#1f2833"}

    def action_theme(self) -> None:
        """Dark or light."""
        self.theme = DARK.name if self.theme == LIGHT.name else LIGHT.name

    def action_picture(self) -> None:
        """Write the screen as an SVG file here."""
        name = time.strftime("nftrtsp-%Y%m%d-%H%M%S.svg")
        try:
            Path(name).write_text(self.export_screenshot(title="nftrtsp monitor"), encoding="utf-8")
        except OSError as error:
            self.notify(f"{name}: {error.strerror}", severity="error", markup=False)
        else:
            self.notify(f"picture written to {name}", markup=False, timeout=4)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The command palette: the same vocabulary as the keys."""
        main = next((each for each in self.screen_stack if isinstance(each, Main)), None)
        if main is None or not isinstance(screen, Main):
            yield from super().get_system_commands(screen)
            return
        keys = [*MAIN, *PANES, *(REPLAY if isinstance(self.feed, Playback) else ())]
        for key in keys:
            if not key.action.startswith("app."):
                yield SystemCommand(key.label, f"{key.help}  ({key.sign})", self._command(main, key.action))
        yield SystemCommand("all themes", "Choose a colour theme", self.action_change_theme)

    @staticmethod
    def _command(main: Main, action: str):  # type: ignore[no-untyped-def]
        async def run() -> None:
            await main.run_action(action)

        return run
