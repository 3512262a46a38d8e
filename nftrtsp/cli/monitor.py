"""`nftrtsp monitor`: the dashboard, live or from a recording."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nftrtsp.cli.options import config_option, load_config, netns_option
from nftrtsp.terminal import TERMINAL

if TYPE_CHECKING:
    from nftrtsp.config import Config
    from nftrtsp.monitor.feed import Feed


@click.command()
@config_option
@netns_option
@click.option(
    "--record", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Record what comes."
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Play a recording; needs no root.",
)
@click.option("--demo", is_flag=True, help="Play the recording of the lab that ships with nftrtsp.")
@click.option(
    "--speed",
    type=click.FloatRange(1 / 8, 4096),
    default=1.0,
    metavar="N",
    help="Play so many times as fast.",
)
@click.option("--light", is_flag=True, help="Begin with the light theme.")
def monitor(  # noqa: PLR0917 - click passes them by name
    config_path: Path | None, record: Path | None, replay: Path | None, demo: bool, speed: float, light: bool
) -> None:
    """The dashboard: which box watches what, and why a film does not come.

    Live, it needs root (CAP_NET_ADMIN). With --replay or --demo it needs nothing.
    """
    if demo and replay:
        raise click.UsageError("--demo and --replay are two recordings: choose one")
    if record and (demo or replay):
        raise click.UsageError("--record is for live: a recording is one already")
    feed = _feed(config_path, record, _demo() if demo else replay, speed)
    if not TERMINAL.interactive:
        from nftrtsp.errors import NftrtspError

        dumb = " that is not TERM=dumb" if TERMINAL.out.is_terminal and not TERMINAL.out.moves else ""
        raise NftrtspError(
            f"the dashboard needs a terminal{dumb}",
            place="monitor",
            remedy="`nftrtsp events` and `flows` do not",
        )
    from nftrtsp.monitor.app import Monitor

    app = Monitor(feed, light=light)
    # What was imported stays anyway: a collection must not walk it while a key waits, nor come too often.
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    app.run()
    if feed.failure is not None:
        raise feed.failure


def _demo() -> Path:
    import nftrtsp.monitor

    return Path(nftrtsp.monitor.__file__).parent / "demo.nftr"


def _feed(config_path: Path | None, record: Path | None, replay: Path | None, speed: float) -> Feed:
    if replay is not None:
        from nftrtsp.monitor.replay import Replay

        return Replay(replay, speed=speed)
    from nftrtsp import paths
    from nftrtsp.monitor.reader import LiveFeed

    path = config_path or paths.config_file()
    return LiveFeed(_config(path, named=config_path is not None), path, record=record)


def _config(path: Path, *, named: bool) -> Config | None:
    """Return the configuration; None where the default file is not there and none was named."""
    if not named and not os.environ.get("NFTRTSP_CONFIG") and not path.exists():
        return None
    return load_config(path)
