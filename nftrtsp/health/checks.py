"""The checks: each judges some facts and says what it found, its cause and its remedy (pure).

They stand in the order in which a film depends on them, so the first fault is the one to mend first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

from nftrtsp import figures
from nftrtsp.config import HelperKind
from nftrtsp.conntrack.role import Role, Roles
from nftrtsp.health import environment
from nftrtsp.health.facts import Facts
from nftrtsp.health.finding import Finding, State, listed, several

Check = Callable[[Facts], Iterator[Finding]]

_NEARLY_FULL = 0.9
_TCP_ESTABLISHED = 3  # later states are those of closing; linux/netfilter/nf_conntrack_tcp.h
_START = "`systemctl start nftrtsp-helper`, or `nftrtsp helper` by hand"


def diagnose(facts: Facts) -> list[Finding]:
    """Return what all checks have found, in their order."""
    return [finding for check in CHECKS for finding in check(facts)]


def interfaces(facts: Facts) -> Iterator[Finding]:
    """The IPTV and LAN interfaces are there, up and have a carrier."""
    wanted = [(facts.config.iptv.interface, "IPTV interface", "iptv.interface")]
    wanted += [(name, "LAN interface", "lan.interfaces") for name in facts.config.lan.interfaces]
    for name, what, key in wanted:
        link = facts.links.get(name)
        if link is None:
            there = ", ".join(sorted(facts.links)) or "none"
            text = f"there is no {what} {name}"
            yield Finding("interface", State.FAULT, text, f"make it, or mend {key}: there are {there}")
        elif not link.up:
            yield Finding("interface", State.FAULT, f"the {what} {name} is down", f"ip link set {name} up")
        elif not link.carrier:
            text = f"the {what} {name} has no carrier"
            yield Finding("interface", State.FAULT, text, "look at its cable, or what it is stacked on")
        else:
            yield Finding("interface", State.OK, f"the {what} {name} is up")


def addresses(facts: Facts) -> Iterator[Finding]:
    """The IPTV interface has the address that servers answer to, and the LAN one that boxes send to."""
    iptv, lan = facts.config.iptv, facts.config.lan
    link = facts.links.get(iptv.interface)
    if link is not None:
        shown = ", ".join(str(address) for address in link.addresses)
        ours = {address.ip for every in facts.links.values() for address in every.addresses}
        if not link.addresses:
            text = f"{iptv.interface} has no IPv4 address, so nothing can be sent from it"
            remedy = f"ip address add ADDRESS dev {iptv.interface}, or see why its DHCP client got none"
            yield Finding("address", State.FAULT, text, remedy)
        elif iptv.snat_address is not None and iptv.snat_address not in ours:
            text = f"iptv.nat names {iptv.snat_address}, which this router does not have"
            remedy = f'nat = "masquerade", or one of {shown}'
            yield Finding("address", State.FAULT, text, remedy)
        else:
            yield Finding("address", State.OK, f"{iptv.interface} has {shown}")
    yield from _warned(facts, "lan-overlap", "address", State.FAULT)
    present = [facts.links[name] for name in lan.interfaces if name in facts.links]
    if present and not any(
        address.ip in network for every in present for address in every.addresses for network in lan.networks
    ):
        networks = ", ".join(str(network) for network in lan.networks)
        text = f"no LAN interface has an address within lan.networks ({networks}): no box reaches this router"
        yield Finding("address", State.FAULT, text, "give it one, or mend lan.networks")


def routes(facts: Facts) -> Iterator[Finding]:
    """What goes to the servers goes out of the IPTV interface."""
    iptv = facts.config.iptv
    if not iptv.servers:
        yield Finding(
            "route", State.UNKNOWN, "iptv.servers is empty, so no route to the servers was looked for"
        )
    for route in facts.routes:
        remedy = f"ip route add {route.network} via GATEWAY dev {iptv.interface}"
        if "rip" in iptv.services:
            remedy += ", or see why RIP brings none: is a RIP daemon running?"
        if route.interface is None:
            text = f"there is no route to the servers in {route.network}"
            yield Finding("route", State.FAULT, text, remedy)
        elif route.interface != iptv.interface:
            text = f"what goes to the servers in {route.network} leaves by {route.interface}"
            yield Finding("route", State.FAULT, f"{text}, not by {iptv.interface}", remedy)
        else:
            yield Finding(
                "route", State.OK, f"the servers in {route.network} are reached by {iptv.interface}"
            )


def forwarding(facts: Facts) -> Iterator[Finding]:
    """The kernel forwards between interfaces at all."""
    found = list(_warned(facts, "ip-forward", "ip_forward", State.FAULT))
    yield from found or [Finding("ip_forward", State.OK, "forwarding is on")]


def reverse_path(facts: Facts) -> Iterator[Finding]:
    """The reverse path filter lets films in from servers without a route."""
    name = facts.config.iptv.interface
    # Loose (2) drops only what no route at all leads to; strict (1) whatever is not routed by that interface.
    strict = max(facts.environment.rp_filter.values(), default=0) == 1
    found = list(_warned(facts, "rp-filter", "rp_filter", State.FAULT if strict else State.WARNING))
    yield from found or [Finding("rp_filter", State.OK, f"no reverse path filter stops films on {name}")]


def obstacles(facts: Facts) -> Iterator[Finding]:
    """Nobody else's ruleset drops what ours accepts: an accept of ours is not final."""
    drops = facts.environment.drops
    vital = {title for drop in drops for title in drop.packets} & {"RTSP", "films"}
    state = State.FAULT if vital else State.WARNING
    found = list(_warned(facts, "foreign-drop", "other rules", state))
    found += _warned(facts, "flowtable", "other rules", State.WARNING)
    if not found and facts.may_list and not facts.refused:
        found.append(Finding("other rules", State.OK, "no other table drops what ours accepts"))
    yield from found


def _warned(facts: Facts, warning_id: str, check: str, state: State) -> Iterator[Finding]:
    """Yield what the diff warns of too, as findings of ``check``."""
    for warning in environment.judge(facts.config, facts.environment):
        if warning.id == warning_id:
            yield Finding(check, state, f"{warning.place} {warning.message}", warning.remedy)


def ruleset(facts: Facts) -> Iterator[Finding]:
    """Our table is in the kernel, and is what the config wants."""
    if facts.refused:
        text = f"the ruleset cannot be looked at or loaded: {facts.refused}"
        yield Finding("ruleset", State.FAULT, text, facts.remedy or "see what `nftrtsp check` says")
    elif not facts.may_list:
        yield Finding("ruleset", State.UNKNOWN, "the ruleset can be looked at by root only", "run it as root")
    elif facts.ruleset is None:
        text = "the ruleset is not loaded, so no port is opened for any film"
        yield Finding("ruleset", State.FAULT, text, "run `nftrtsp apply`")
    elif facts.ruleset.form != ("ct helper" if facts.kind.uses_ct_helper else "pinhole"):
        text = f"the ruleset loaded is of the {facts.ruleset.form} form, but the helper is {facts.kind}"
        yield Finding("ruleset", State.FAULT, text, "run `nftrtsp apply`")
    elif facts.ruleset.changes:
        text = f"the ruleset loaded differs from the config in {several(facts.ruleset.changes, 'place')}"
        yield Finding("ruleset", State.WARNING, text, "see `nftrtsp diff`, then `nftrtsp apply`")
    else:
        yield Finding("ruleset", State.OK, "the ruleset is loaded as the config wants it")


def helper(facts: Facts) -> Iterator[Finding]:
    """Somebody reads SETUP: the module, or our process of the right kind."""
    if facts.kind is HelperKind.KERNEL:
        missing = [
            name
            for name, there in (("nf_conntrack_rtsp", facts.module), ("nf_nat_rtsp", facts.nat_module))
            if not there
        ]
        if missing:
            text = f"the kernel module {missing[0]} is not loaded, so nobody reads what boxes ask for"
            remedy = 'modprobe nf_nat_rtsp, or rtsp.helper = "auto"'
            yield Finding("helper", State.FAULT, text, remedy)
        else:
            yield Finding("helper", State.OK, "the kernel module reads what boxes ask for")
        return
    if not facts.may_greet:
        yield Finding("helper", State.UNKNOWN, "the helper answers root and its group only", "run it as root")
    elif facts.silent:
        text = f"the {facts.kind} helper is there but does not answer, so nobody reads what boxes ask for"
        yield Finding("helper", State.FAULT, text, "restart it: `systemctl restart nftrtsp-helper`")
    elif facts.greeting is None:
        text = f"the {facts.kind} helper does not run, so nobody reads what boxes ask for"
        yield Finding("helper", State.FAULT, text, _START)
    elif (running := facts.greeting.get("kind")) != facts.kind:
        text = f"the helper that runs is {running}, not {facts.kind}"
        yield Finding("helper", State.FAULT, text, "restart it: `systemctl restart nftrtsp-helper`")
    else:
        yield Finding("helper", State.OK, f"the {facts.kind} helper runs, pid {facts.greeting.get('pid')}")


def pinned(facts: Facts) -> Iterator[Finding]:
    """Films may come from any server, not only from the one that was asked."""
    roles = Roles(facts.config)
    remedy = (
        'rtsp.helper = "pinhole", or "userspace" after `modprobe -r nf_nat_rtsp nf_conntrack_rtsp`, '
        "or a module that expects any source (contrib/dkms)"
    )
    if facts.kind is HelperKind.KERNEL and facts.pinned:
        text = "the kernel module expects films from the RTSP server only, and they come from other servers"
        yield Finding("pinned", State.FAULT, text, remedy)
        return
    for expectation in facts.expectations or ():
        if roles.concerns(expectation) and not expectation.any_source:
            server = figures.address(expectation.tuple.src)
            text = f"the RTSP helper expects films from {server} only, and they come from other servers"
            yield Finding("pinned", State.FAULT, text, remedy)
            return


def room(facts: Facts) -> Iterator[Finding]:
    """The conntrack table has room for new flows."""
    used = facts.conntrack.get("count")
    limit = facts.conntrack.get("max")
    if used is None or not limit:
        yield Finding("conntrack", State.UNKNOWN, "how full the conntrack table is cannot be told")
        return
    text = f"the conntrack table holds {used} of {limit} flows"
    remedy = f"sysctl -w net.netfilter.nf_conntrack_max={limit * 2}, and in /etc/sysctl.d"
    if used >= limit:
        yield Finding("conntrack", State.FAULT, f"{text}: new ones are dropped", remedy)
    elif used >= limit * _NEARLY_FULL:
        yield Finding("conntrack", State.WARNING, f"{text}: soon new ones are dropped", remedy)
    else:
        yield Finding("conntrack", State.OK, text)


def accounting(facts: Facts) -> Iterator[Finding]:
    """Conntrack tells what it does; films play without, but nobody can watch them."""
    for key, text in (
        ("events", "conntrack tells no events: `monitor` and `events` hear nothing"),
        ("acct", "conntrack counts no bytes: rates are not shown"),
    ):
        if facts.conntrack.get(key) == 0:
            yield Finding("accounting", State.WARNING, text, f"sysctl -w net.netfilter.nf_conntrack_{key}=1")


def connections(facts: Facts) -> Iterator[Finding]:
    """Control connections that are open have the helper: one older than the ruleset never gets it."""
    if facts.flows is None or not facts.kind.uses_ct_helper:
        return
    roles = Roles(facts.config)
    controls = [flow for flow in facts.flows if roles.of(flow).role is Role.CONTROL]
    open_now = [flow for flow in controls if (flow.tcp_state or 0) <= _TCP_ESTABLISHED]
    without = sorted({roles.name(flow.orig.src) for flow in open_now if not flow.helper})
    if without:
        text = f"the RTSP connection of {listed(without)} is older than the ruleset and has no helper"
        remedy = "switch the box off and on, or `nftrtsp apply` again, which lets such connections start anew"
        yield Finding("connection", State.FAULT, text, remedy)
    elif open_now:
        yield Finding(
            "connection", State.OK, f"{several(len(open_now), 'RTSP connection')} open, with the helper"
        )


def refusals(facts: Facts) -> Iterator[Finding]:
    """What the running helper had to refuse: a port that another box has, a box that may not ask."""
    counters = (facts.greeting or {}).get("counters") or {}
    refused, overruns = counters.get("refused", 0), counters.get("overruns", 0)
    if refused:
        text = f"the helper refused {several(refused, 'request')}{_refused_last(facts)}"
        remedy = "its log says who and why: `journalctl -u nftrtsp-helper`"
        if facts.kind is HelperKind.PINHOLE:
            remedy += "; the userspace helper gives a second box another port"
        yield Finding("requests", State.WARNING, text, remedy)
    if overruns:
        times = several(overruns, "time")
        text = f"packets came faster than the helper read them, {times}: requests may have been missed"
        yield Finding("requests", State.WARNING, text, "see what else loads this router")


def _refused_last(facts: Facts) -> str:
    """Return who was refused last and why: of two that want one port the reason names the other."""
    last = ((facts.greeting or {}).get("refused") or [None])[-1]
    if last is None:
        return ", as when two boxes want one port"
    return (
        f", the last to {facts.config.stb_name(IPv4Address(last['stb']))} ({last['stb']}): {last['reason']}"
    )


def boxes(facts: Facts) -> Iterator[Finding]:
    """The boxes of the config are on the LAN, and only they may ask."""
    yield from _warned(facts, "open-lan", "boxes", State.WARNING)
    silent = [box for box in facts.config.stb if box.address not in facts.heard]
    if silent and len(silent) == len(facts.config.stb):
        who = ", ".join(f"{box.name} ({box.address})" if box.name else str(box.address) for box in silent)
        text = f"no set-top box has been heard of on the LAN: {who}"
        yield Finding("boxes", State.WARNING, text, "switch one on, or mend stb.address")
    elif facts.config.stb:
        heard = len(facts.config.stb) - len(silent)
        yield Finding("boxes", State.OK, f"{heard} of {len(facts.config.stb)} set-top boxes are on the LAN")


def traffic(facts: Facts) -> Iterator[Finding]:
    """What the ruleset has counted: whether boxes ask, and whether films come that nobody expects."""
    if facts.ruleset is None:
        return
    counted = facts.ruleset.counters
    asked = sum(counted.get(rule, 0) for rule in ("attach", "copy-starts", "copy-requests"))
    seen = "no RTSP from any box" if not asked else f"RTSP from boxes ({several(asked, 'packet')})"
    dropped = several(counted.get("input-drop", 0) + counted.get("from-iptv-drop", 0), "packet")
    forged = counted.get("from-iptv-spoofed", 0) + counted.get("from-iptv-own", 0)
    text = f"since the ruleset was loaded: {seen}, {dropped} dropped that nobody had asked for"
    text += f", {several(forged, 'packet')} from the IPTV side with a forged source" if forged else ""
    yield Finding("traffic", State.OK, text)


#: In the order in which a film depends on them.
CHECKS: tuple[Check, ...] = (
    interfaces,
    addresses,
    routes,
    forwarding,
    reverse_path,
    ruleset,
    helper,
    pinned,
    obstacles,
    room,
    connections,
    refusals,
    boxes,
    traffic,
    accounting,
)
