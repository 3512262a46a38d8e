"""``init``, ``generate`` and ``check``: from nothing to a ruleset that is known to be valid here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nftrtsp.cli.helper_kind import helper_option, settle, stand_in_text
from nftrtsp.cli.options import config_option, json_option, load_config, netns_option
from nftrtsp.terminal import HANG, TERMINAL

if TYPE_CHECKING:
    pass


@click.command()
@click.option(
    "--profile", default="generic", metavar="NAME", show_default=True, help="Your provider's defaults."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to [default: $NFTRTSP_CONFIG or /etc/nftrtsp/nftrtsp.toml]; - for stdout.",
)
@click.option("--force", is_flag=True, help="Overwrite the file that is there.")
@netns_option
def init(profile: str, output: Path | None, force: bool) -> None:
    """Write a config for this router, from its own interfaces and addresses."""
    from nftrtsp import paths
    from nftrtsp.config import load_profile
    from nftrtsp.draft import configuration, file, hosts
    from nftrtsp.netlink import links

    defaults = load_profile(profile, place="--profile")
    there = [link for name, link in links.read().items() if name != "lo"]
    found = configuration.guess(there, defaults)
    uplinks = [address.ip for link in there if link.name == found.iptv for address in link.addresses]
    ports = defaults.get("rtsp", {}).get("ports", [554])
    met = hosts.survey(found.lan, found.networks, uplinks, ports)
    text = configuration.draft(found, profile, defaults, met)
    target = output or paths.config_file()
    if str(target) == "-":
        TERMINAL.out.raw(text)
    else:
        file.write(target, text, overwrite=force)
    networks = ", ".join(str(network) for network in found.networks)
    TERMINAL.say(f"IPTV interface {found.iptv}: {found.why_iptv}", hang=HANG)
    TERMINAL.say(f"LAN {', '.join(found.lan)} ({networks}): {found.why_lan}", hang=HANG)
    asking = ", ".join(str(host.address) for host in met if host.asks)
    TERMINAL.say(f"set-top boxes: {_boxes_found(asking)}", hang=HANG)
    if str(target) != "-":
        TERMINAL.say(f"wrote {target}; look it over, then `nftrtsp check -c {target}`")


def _boxes_found(asking: str) -> str:
    if asking:
        return f"{asking} asks for films now; add your others, for nobody else may then ask"
    return "none asks for films now, so none is named and every host of the LAN may ask: name them"


@click.command()
@config_option
@helper_option
@json_option
def generate(config_path: Path | None, helper: str | None, as_json: bool) -> None:
    """Print the ruleset: what `nft -f` accepts, in one transaction. Touches nothing, needs no root."""
    from nftrtsp.ruleset.build import build
    from nftrtsp.ruleset.render import as_lines, render

    config = load_config(config_path)
    table = build(config, settle(config, helper, ask=False))
    TERMINAL.out.raw(as_lines(table) if as_json else render(table))


@click.command()
@config_option
@helper_option
@click.option("--elsewhere", is_flag=True, help="Interfaces may be absent: the config is another machine's.")
@netns_option
@json_option
def check(config_path: Path | None, helper: str | None, elsewhere: bool, as_json: bool) -> None:
    """Load the ruleset in a scratch network namespace: is it valid on this kernel? Touches nothing.

    Needs no root where user namespaces are allowed. Interfaces of the config that this machine lacks are an
    error, for nft itself takes any name.
    """
    from nftrtsp import paths
    from nftrtsp.config import check_interfaces
    from nftrtsp.netlink import links
    from nftrtsp.ruleset.build import build
    from nftrtsp.ruleset.render import render
    from nftrtsp.ruleset.scratch import canonical_listing

    config = load_config(config_path)
    if not elsewhere:
        check_interfaces(config, set(links.read()), place=(config_path or paths.config_file()).name)
    kind = settle(config, helper)
    _, stand_in = canonical_listing(render(build(config, kind)))
    if as_json:
        TERMINAL.json({"valid": True, "kind": kind, "stand_in": stand_in})
        return
    TERMINAL.out.line(f"valid on this kernel, for the {kind} helper")
    if stand_in:
        TERMINAL.say(stand_in_text(kind, stand_in))
