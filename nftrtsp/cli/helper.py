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
    import msgspec

    from nftrtsp.config import HelperKind
    from nftrtsp.rtsp.choice import choose

    config = load_config(config_path)
    if kind is not None:
        rtsp = msgspec.structs.replace(config.rtsp, helper=HelperKind(kind))
        config = msgspec.structs.replace(config, rtsp=rtsp)
    choice = choose(config)
    if choice.kind is HelperKind.PINHOLE:
        from nftrtsp.rtsp import pinhole

        pinhole.run(config, choice.why)
    elif choice.kind is HelperKind.USERSPACE:
        from nftrtsp.rtsp import userspace

        userspace.run(config, choice.why)
    else:
        from nftrtsp.rtsp.notify import notify

        text = f"nothing to run: the kernel module opens the ways ({choice.why})"
        notify("READY=1", f"STATUS={text}")  # else systemd takes this clean end for a failed start
        click.echo(f"nftrtsp helper: {text}", err=True)
