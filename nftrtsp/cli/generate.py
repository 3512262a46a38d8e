"""``init``, ``generate`` and ``check``: from nothing to a ruleset that is known to be valid here."""

from __future__ import annotations

from pathlib import Path

import click

from nftrtsp.cli.options import config_option, json_option, load_config
from nftrtsp.config import HelperKind

KINDS = [kind.value for kind in HelperKind]


@click.command()
@config_option
@click.option("--helper", "helper", type=click.Choice(KINDS), help="Instead of the config's rtsp.helper.")
@json_option
def generate(config_path: Path | None, helper: str | None, as_json: bool) -> None:
    """Print the ruleset: what `nft -f` accepts, in one transaction. Touches nothing, needs no root."""
    from nftrtsp.ruleset.build import build
    from nftrtsp.ruleset.render import as_lines, render

    config = load_config(config_path)
    kind = settle(HelperKind(helper) if helper else config.rtsp.helper)
    table = build(config, kind)
    click.echo(as_lines(table) if as_json else render(table), nl=False)


def settle(kind: HelperKind) -> HelperKind:
    """Return what ``kind`` stands for here."""
    return HelperKind.PINHOLE if kind is HelperKind.AUTO else kind
