"""`nftrtsp helper`."""

from __future__ import annotations

from pathlib import Path

import click

from nftrtsp.cli.options import config_option, load_config, netns_option


@click.command()
@config_option
@netns_option
@click.option(
    "--kind",
    type=click.Choice(["auto", "userspace", "pinhole"]),
    help="Take this kind instead of what rtsp.helper says; the ruleset must be of that kind.",
)
def helper(config_path: Path | None, kind: str | None) -> None:
    """Run the userspace or pinhole helper in the foreground, until SIGTERM or Ctrl-C.

    Says READY to systemd, publishes what it does as JSON lines on helper.sock in the run directory, and logs
    to stderr. Restarting it does not interrupt films. Root, or CAP_NET_ADMIN and a writable run directory.
    """
    from nftrtsp.config import HelperKind
    from nftrtsp.helper.serve import serve

    serve(load_config(config_path), None if kind is None else HelperKind(kind))
