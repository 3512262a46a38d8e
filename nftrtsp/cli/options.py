"""Options that many commands share, and what they load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from nftrtsp.config import Config

F = TypeVar("F", bound=Callable[..., Any])


def config_option(function: F) -> F:
    """Add ``-c FILE``, passed on as ``config_path`` (None: the default place)."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        help="Config file [default: $NFTRTSP_CONFIG or /etc/nftrtsp/nftrtsp.toml].",
    )(function)


def unused_config_option(function: F) -> F:
    """Accept ``-c FILE``, as every command does, where nothing of the config is needed."""
    return click.option("-c", "--config", expose_value=False, hidden=True)(function)


def json_option(function: F) -> F:
    """Add ``--json``, passed on as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")(function)


def _enter(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value:
        from nftrtsp import netns

        netns.enter(value)


def netns_option(function: F) -> F:
    """Add ``--netns NAME``: the process enters that network namespace before the command starts."""
    return click.option(
        "--netns",
        metavar="NAME",
        expose_value=False,
        is_eager=True,
        callback=_enter,
        help="Work in this network namespace (see ip-netns(8)).",
    )(function)


def load_config(path: Path | None) -> Config:
    """Load the configuration from ``path`` or its default place."""
    from nftrtsp import config, paths

    return config.load(path or paths.config_file())
