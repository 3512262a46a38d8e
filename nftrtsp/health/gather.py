"""Gather the facts: all of doctor's I/O. What may not be asked without root is left unknown, not an error."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import msgspec

from nftrtsp.config import Config, HelperKind
from nftrtsp.errors import NftrtspError, PrivilegeError
from nftrtsp.health import sysctls
from nftrtsp.health.facts import Facts, Route, Ruleset
from nftrtsp.health.survey import survey
from nftrtsp.netlink import links
from nftrtsp.ruleset import names

if TYPE_CHECKING:
    from nftrtsp.conntrack.flow import Flow
    from nftrtsp.helper.note import Hello

_NUD_FAILED, _NUD_NOARP = 0x20, 0x40  # linux/neighbour.h


def gather(config: Config) -> Facts:
    """Return the facts of this network namespace, as far as this process may ask."""
    greeting, may_greet, silent = _greeting()
    kind, why = _kind(config, greeting)
    from nftrtsp.helper import choice

    facts = Facts(
        config,
        kind,
        why,
        conntrack=sysctls.conntrack(),
        module=choice.is_loaded(choice.MODULE),
        nat_module=choice.is_loaded(choice.NAT_MODULE),
        pinned=choice.pinned() if choice.is_loaded(choice.MODULE) else None,
        greeting=greeting,
        may_greet=may_greet,
        silent=silent,
        **_network(config),
    )
    return _with_conntrack(_with_ruleset(facts))


def _greeting() -> tuple[Hello | None, bool, bool]:
    """Return the running helper's greeting, whether it may be asked, and whether it is there but silent."""
    from nftrtsp.helper import publish

    try:
        answer = publish.inquire()
    except PrivilegeError:
        return None, False, False
    return answer.hello, True, answer.listens and answer.hello is None


def _kind(config: Config, greeting: Hello | None) -> tuple[HelperKind, str]:
    """Return the helper that should serve: for ``auto`` the one that runs, else the one it would choose."""
    if config.rtsp.helper is HelperKind.AUTO and greeting and greeting.kind in set(HelperKind):
        return HelperKind(greeting.kind), greeting.why
    from nftrtsp.helper import choice

    chosen = choice.choose(config)
    return chosen.kind, chosen.why


def _network(config: Config) -> dict[str, Any]:
    """Return routes and neighbours, as the keyword arguments of :class:`Facts`."""
    from pyroute2 import IPRoute

    by_index = {link.index: name for name, link in links.read().items()}
    with IPRoute() as route:
        heard = frozenset(
            IPv4Address(message.get_attr("NDA_DST"))
            for message in route.get_neighbours(family=2)
            if message["state"] and not message["state"] & (_NUD_FAILED | _NUD_NOARP)
        )
        routes = tuple(Route(net, _goes_by(route, net, by_index)) for net in config.iptv.servers)
    return {"routes": routes, "heard": heard}


def _goes_by(route: Any, network: IPv4Network, by_index: dict[int, str]) -> str | None:
    """Return the interface by which packets for ``network`` leave, None where nothing leads there."""
    from pyroute2.netlink.exceptions import NetlinkError

    # Not the network's own address: with a more special route of some host that would not be asked for.
    host = network.network_address + (1 if network.num_addresses > 1 else 0)
    try:
        (answer,) = route.route("get", dst=str(host))
    except NetlinkError:
        return None
    return by_index.get(answer.get_attr("RTA_OIF"), "lo")


def _with_ruleset(facts: Facts) -> Facts:
    from nftrtsp.ruleset import apply, contents
    from nftrtsp.ruleset.build import build
    from nftrtsp.ruleset.kernel import Nft
    from nftrtsp.ruleset.render import render

    config, kind = facts.config, facts.kind
    facts = msgspec.structs.replace(facts, surroundings=survey(None, config, kind))
    try:
        with Nft() as nft:
            facts = msgspec.structs.replace(facts, surroundings=survey(nft, config, kind))
            held = contents.read(nft)
            if held is None:
                return facts
            plan = apply.plan(nft, apply.want(render(build(config, kind)), kind))
    except PrivilegeError:
        return msgspec.structs.replace(facts, may_list=False)
    except NftrtspError as error:
        reason = f"{error.place}: {error.message}" if error.place else error.message
        return msgspec.structs.replace(facts, refused=reason, remedy=error.remedy or "")
    form = "pinhole" if names.PINHOLE_MAP in held.maps else "ct helper"
    loaded = Ruleset(form, len(plan.changes), held.packets, held.film_timeout)
    return msgspec.structs.replace(facts, ruleset=loaded)


def _with_conntrack(facts: Facts) -> Facts:
    from nftrtsp.conntrack.socket import Conntrack

    try:
        with Conntrack() as conntrack:
            expectations = tuple(conntrack.dump_expectations())
            flows = tuple(_flows(conntrack, facts.config))
    except NftrtspError:
        return facts
    return msgspec.structs.replace(facts, flows=flows, expectations=expectations)


def _flows(conntrack: Any, config: Config) -> list[Flow]:
    """Return films, by their mark, and RTSP connections; the kernel picks them out of the others."""
    from nftrtsp.conntrack.dump_filter import DumpFilter, Match
    from nftrtsp.conntrack.tuple import AF_INET, IPPROTO_TCP

    mark = config.rtsp.mark
    found = list(conntrack.dump_flows(DumpFilter(mark=(mark.value, mark.mask))))
    for port in config.rtsp.ports:
        found += conntrack.dump_flows(DumpFilter(orig=Match(proto=IPPROTO_TCP, dport=port), family=AF_INET))
    return found
