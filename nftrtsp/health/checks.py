"""The checks: each judges some facts and says what it found, its cause and its remedy (pure).

They stand in the order in which a film depends on them, so the first fault is the one to fix first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

from nftrtsp import figures
from nftrtsp.config import HelperKind
from nftrtsp.conntrack.role import Role, Roles
from nftrtsp.figures import counted
from nftrtsp.films.timeouts import PINNED_REMEDY
from nftrtsp.health import surroundings
from nftrtsp.health.facts import Facts
from nftrtsp.health.finding import Finding, State, listed
from nftrtsp.health.surroundings import SurroundingCheck
from nftrtsp.helper.note import HelperCounters

Check = Callable[[Facts], Iterator[Finding]]

_TCP_ESTABLISHED = 3  # later states are those of closing; linux/netfilter/nf_conntrack_tcp.h
_START = "`systemctl start nftrtsp-helper`, or `nftrtsp helper` by hand"


def diagnose(facts: Facts) -> list[Finding]:
    """Return what all checks have found, in their order."""
    return [finding for check in CHECKS for finding in check(facts)]


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
            text = f"packets to the servers in {route.network} leave by {route.interface}"
            yield Finding("route", State.FAULT, f"{text}, not by {iptv.interface}", remedy)
        else:
            yield Finding(
                "route", State.OK, f"the servers in {route.network} are reached by {iptv.interface}"
            )


def form_of(kind: HelperKind) -> str:
    """Return the form of the ruleset that a helper needs."""
    return "ct helper" if kind.uses_ct_helper else "pinhole"


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
    elif facts.ruleset.form != form_of(facts.kind):
        text = f"the loaded ruleset is of the {facts.ruleset.form} form, but the helper is {facts.kind}"
        yield Finding("ruleset", State.FAULT, text, "run `nftrtsp apply`")
    elif facts.ruleset.changes:
        text = f"the loaded ruleset differs from the config in {counted(facts.ruleset.changes, 'place')}"
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
    elif (running := facts.greeting.kind) != facts.kind:
        text = f"the helper that runs is {running}, not {facts.kind}"
        yield Finding("helper", State.FAULT, text, "restart it: `systemctl restart nftrtsp-helper`")
    else:
        yield Finding("helper", State.OK, f"the {facts.kind} helper runs, pid {facts.greeting.pid}")


def pinned(facts: Facts) -> Iterator[Finding]:
    """Films may come from any server, not only from the one that was asked."""
    roles = Roles(facts.config)
    if facts.kind is HelperKind.KERNEL and facts.pinned:
        text = "the kernel module expects films from the RTSP server only, and they come from other servers"
        yield Finding("pinned", State.FAULT, text, PINNED_REMEDY)
        return
    for expectation in facts.expectations or ():
        if roles.concerns(expectation) and not expectation.any_source:
            server = figures.address(expectation.tuple.src)
            text = f"the RTSP helper expects films from {server} only, and they come from other servers"
            yield Finding("pinned", State.FAULT, text, PINNED_REMEDY)
            return


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
            "connection",
            State.OK,
            f"{counted(len(open_now), 'RTSP connection')} open, with the helper",
        )


def refusals(facts: Facts) -> Iterator[Finding]:
    """What the running helper had to refuse: a port that another box has, a box that may not ask."""
    counters = facts.greeting.counters if facts.greeting is not None else HelperCounters()
    refused, overruns = counters.refused, counters.overruns
    if refused:
        text = f"the helper refused {counted(refused, 'request')}{_refused_last(facts)}"
        remedy = "its log says who and why: `journalctl -u nftrtsp-helper`"
        if facts.kind is HelperKind.PINHOLE:
            remedy += "; the userspace helper gives a second box another port"
        yield Finding("requests", State.WARNING, text, remedy)
    if overruns:
        times = counted(overruns, "time")
        text = f"packets came faster than the helper read them, {times}: requests may have been missed"
        yield Finding("requests", State.WARNING, text, "see what else loads this router")


def _refused_last(facts: Facts) -> str:
    """Return who was refused last and why: of two that want one port both are named."""
    if facts.greeting is None or not facts.greeting.refused:
        return ", as when two boxes want one port"
    last = facts.greeting.refused[-1]
    why = last.reason
    if last.holder is not None:
        why = f"port {last.port} is in use by {_host(facts, last.holder)}, which asked first"
    return f", the last to {_host(facts, last.stb)}: {why}"


def _host(facts: Facts, address: str) -> str:
    """Return a host as people know it: the name that the config gives it, and its address."""
    name = facts.config.stb_name(IPv4Address(address))
    return address if name == address else f"{name} ({address})"


def boxes(facts: Facts) -> Iterator[Finding]:
    """The boxes of the config are on the LAN, and only they may ask."""
    silent = [box for box in facts.config.stb if box.address not in facts.heard]
    if silent and len(silent) == len(facts.config.stb):
        who = ", ".join(f"{box.name} ({box.address})" if box.name else str(box.address) for box in silent)
        text = f"no set-top box has been heard of on the LAN: {who}"
        yield Finding("boxes", State.WARNING, text, "switch one on, or correct stb.address")
    elif facts.config.stb:
        heard = len(facts.config.stb) - len(silent)
        yield Finding("boxes", State.OK, f"{heard} of {len(facts.config.stb)} set-top boxes are on the LAN")


def traffic(facts: Facts) -> Iterator[Finding]:
    """What the ruleset has counted: whether boxes ask, and whether films come that nobody expects."""
    if facts.ruleset is None:
        return
    packets = facts.ruleset.counters
    asked = sum(packets.get(rule, 0) for rule in ("attach", "copy-starts", "copy-requests"))
    seen = "no RTSP from any box" if not asked else f"RTSP from boxes ({counted(asked, 'packet')})"
    dropped = counted(packets.get("input-drop", 0) + packets.get("from-iptv-drop", 0), "packet")
    forged = packets.get("from-iptv-spoofed", 0) + packets.get("from-iptv-own", 0)
    text = f"since the ruleset was loaded: {seen}, {dropped} dropped that nobody had asked for"
    text += f", {counted(forged, 'packet')} from the IPTV side with a forged source" if forged else ""
    yield Finding("traffic", State.OK, text)


def _around(check: SurroundingCheck) -> Check:
    return lambda facts: check(facts.config, facts.surroundings)


#: In the order in which a film depends on them.
CHECKS: tuple[Check, ...] = (
    _around(surroundings.interfaces),
    _around(surroundings.iptv_address),
    _around(surroundings.snat_address),
    _around(surroundings.lan_networks),
    routes,
    _around(surroundings.forwarding),
    _around(surroundings.reverse_path),
    ruleset,
    helper,
    pinned,
    _around(surroundings.other_tables),
    lambda facts: surroundings.conntrack_room(facts.conntrack),
    connections,
    refusals,
    _around(surroundings.named_boxes),
    boxes,
    traffic,
    lambda facts: surroundings.conntrack_accounting(facts.conntrack),
)
