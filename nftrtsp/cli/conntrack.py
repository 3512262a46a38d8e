"""``flows``, ``expectations`` and ``events``: what conntrack knows, as text or JSON.

What each command shows is decided here; what it means in words in ``words.py``; how it is laid out in
``columns.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nftrtsp.cli.flowlist import flow_lines, flow_rows
from nftrtsp.cli.options import config_option, json_option, load_config, netns_option
from nftrtsp.cli.ways import helper_masters, way_rows, ways
from nftrtsp.terminal import TERMINAL, json_line

if TYPE_CHECKING:
    from nftrtsp.config import Config
    from nftrtsp.conntrack.flow import Flow
    from nftrtsp.conntrack.role import Roles


@click.command()
@config_option
@netns_option
@click.option("--all", "everything", is_flag=True, help="Every flow, not only what concerns IPTV.")
@click.option("--watch", is_flag=True, help="Show it anew each second, with rates.")
@json_option
def flows(config_path: Path | None, everything: bool, watch: bool, as_json: bool) -> None:
    """List the VoD flows now: films by their mark, and the control connections that asked for them.

    The kernel picks them out, so this is quick among a million flows. Where no flow carries the mark (our
    table is not applied) films are looked for by their state: expected, or sent on to a host that may ask.
    """
    config = load_config(config_path)
    if watch:
        from nftrtsp.cli.watching import watch_flows

        watch_flows(config if as_json else as_live(config), everything=everything, as_json=as_json)
        return
    from nftrtsp.conntrack.role import Roles
    from nftrtsp.conntrack.socket import Conntrack

    roles = Roles(config)
    with Conntrack() as conntrack:
        found = conntrack.dump_flows() if everything else vod_flows(conntrack, config, roles)
        pairs = ((flow, roles.of(flow)) for flow in found)
        if as_json:
            TERMINAL.out.lines(flow_lines(pairs, roles))
        elif TERMINAL.out.lines(flow_rows(pairs, roles, as_live(config))):
            hint()
        else:
            TERMINAL.say("no film is coming, and no control connection has a port open for one")


def as_live(config: Config) -> Config:
    """Return ``config`` with the film timeout that the kernel has: its ruleset may be older."""
    import msgspec

    from nftrtsp.config.values import Seconds
    from nftrtsp.ruleset import contents

    live = contents.film_timeout()
    if live is None or live == int(config.rtsp.pause):
        return config
    return msgspec.structs.replace(config, rtsp=msgspec.structs.replace(config.rtsp, pause=Seconds(live)))


def vod_flows(conntrack: Any, config: Config, roles: Roles) -> list[Flow]:
    """Return the films and the control connections that asked for them, films first.

    Films come from one dump that the kernel filters by mark; control connections from look-ups of the masters
    of films and expectations, which cost nothing, for a second dump would walk the whole table again.
    """
    from nftrtsp.conntrack.dump_filter import DumpFilter
    from nftrtsp.conntrack.flow import IPS_DST_NAT, IPS_EXPECTED
    from nftrtsp.conntrack.role import Role

    mark = config.rtsp.mark
    films: dict[int, Flow] = {
        flow.id: flow for flow in conntrack.dump_flows(DumpFilter(mark=(mark.value, mark.mask)))
    }
    if not films:
        for bit in (IPS_EXPECTED, IPS_DST_NAT):
            for flow in conntrack.dump_flows(DumpFilter(status=(bit, bit))):
                if roles.of(flow).role is Role.MEDIA:
                    films[flow.id] = flow
    masters = {flow.master for flow in films.values() if flow.master is not None}
    masters.update(way.master for way in conntrack.dump_expectations() if roles.concerns(way))
    masters.update(helper_masters())
    controls = [flow for master in masters if (flow := conntrack.get_flow(master)) is not None]
    by_box = sorted(films.values(), key=lambda flow: (flow.reply.src, flow.start or 0, flow.orig.dport or 0))
    return by_box + sorted(controls, key=lambda flow: (flow.orig.src, flow.orig.sport or 0))


@click.command()
@config_option
@netns_option
@click.option("--all", "everything", is_flag=True, help="Other helpers' expectations as well.")
@click.option("--watch", is_flag=True, help="Show it anew each second.")
@json_option
def expectations(config_path: Path | None, everything: bool, watch: bool, as_json: bool) -> None:
    """List the ports open for films now: expectations and pinholes, to which box, from which source."""
    config = load_config(config_path)
    if watch:
        from nftrtsp.cli.watching import watch_ways

        watch_ways(config, everything=everything, as_json=as_json)
        return
    from nftrtsp.conntrack.role import Roles
    from nftrtsp.conntrack.socket import Conntrack

    roles = Roles(config)
    with Conntrack() as conntrack:
        found = ways(conntrack.dump_expectations(), roles, everything=everything)
    if not TERMINAL.out.lines(map(json_line, found) if as_json else way_rows(found)) and not as_json:
        TERMINAL.say("no port is open for a film")


def hint() -> None:
    """Say on a terminal why bytes or ages are unknown."""
    if not TERMINAL.err.is_terminal:
        return
    for name, what in (("acct", "bytes"), ("timestamp", "ages")):
        setting = Path(f"/proc/sys/net/netfilter/nf_conntrack_{name}")
        if setting.exists() and setting.read_text().strip() == "0":
            TERMINAL.say(f"{what} are unknown: net.netfilter.nf_conntrack_{name} is 0")


@click.command()
@config_option
@netns_option
@click.option("--all", "everything", is_flag=True, help="Every event, not only what concerns IPTV.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE[,VALUE]",
    help="Only these: stb=NAME or address, role=control|media|other, proto=udp|tcp|…, type=new|way-open|…",
)
@json_option
def events(config_path: Path | None, everything: bool, filters: tuple[str, ...], as_json: bool) -> None:
    """Stream conntrack events, one a line, until Ctrl-C; with what a running helper tells.

    Losses are told as `overrun`, never hidden.
    """
    from nftrtsp.cli.eventlist import stream_events

    config = load_config(config_path)
    stream_events(
        config if as_json else as_live(config), everything=everything, filters=filters, as_json=as_json
    )
