"""The group of all commands. Each lies in the file of its subject and is imported when it is called."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from typing import Any

import click

from nftrtsp import __version__

#: command -> (module below nftrtsp.cli, function, one line for --help), in the order of --help.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("generate", "init", "Write a config for this router"),
    "generate": ("generate", "generate", "Print the ruleset; touches nothing, needs no root"),
    "check": ("generate", "check", "Load the ruleset in a scratch namespace: is it valid on this kernel?"),
    "diff": ("apply", "diff", "Dry run against the current ruleset"),
    "apply": ("apply", "apply", "Show the plan, ask, apply in one transaction, verify"),
    "confirm": ("history", "confirm", "Keep what was applied with --confirm-within"),
    "rollback": ("history", "rollback", "Go back to the ruleset before"),
    "history": ("history", "history", "List the rulesets that were confirmed"),
    "restore": ("history", "restore", "Load the good ruleset, at boot"),
    "status": ("status", "status", "Where things stand"),
    "remove": ("apply", "remove", "Take our table away"),
    "flows": ("conntrack", "flows", "List the VoD flows now"),
    "expectations": ("conntrack", "expectations", "List the ports open for films now"),
    "events": ("conntrack", "events", "Stream conntrack events, one a line"),
    "monitor": ("monitor", "monitor", "The dashboard"),
    "helper": ("helper", "helper", "Run the userspace or pinhole helper in the foreground"),
    "doctor": ("doctor", "doctor", "Why does VoD not work here?"),
    "lab": ("lab", "lab", "A self-contained network to try it all in"),
}


class ReaderGone(Exception):  # noqa: N818 - no error: it ends a command quietly
    """The reader of a pipe has closed it. No OSError, for click makes exit code 1 of EPIPE by itself."""


@contextlib.contextmanager
def _own_pipe() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone from error


class LazyGroup(click.Group):
    """Imports the module of a command only when that command is called: start-up stays cheap."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, function, _help = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"nftrtsp.cli.{module}"), function)
        assert isinstance(command, click.Command)  # noqa: S101 - a programming error, not a user's
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the words; --help and --version write here."""
        with _own_pipe():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _own_pipe():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from COMMANDS, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nftrtsp")
def cli() -> None:
    """Video on demand through a Linux router: ruleset, RTSP helper, dashboard.

    Start with `nftrtsp init`, then `generate`, `diff`, `apply`, `helper`, `monitor`.
    """


def run() -> object:
    """Run the command that sys.argv names and return its exit code.

    Raises what the command raises, :class:`NftrtspError` foremost; click's own errors end in SystemExit.
    """
    try:
        return cli.main(standalone_mode=False)  # click returns the code of context.exit() here
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except ReaderGone as gone:
        raise BrokenPipeError from gone
