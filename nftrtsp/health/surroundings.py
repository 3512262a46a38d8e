"""Checks of what stands around our ruleset and what it cannot fix. Pure.

`doctor` says what they find, `diff` and `apply` warn of it before anything is changed, and the dashboard
shows it as problems: one judge for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from nftrtsp.config import Config
from nftrtsp.health.facts import Drop, Surroundings
from nftrtsp.health.finding import Finding, State, listed
from nftrtsp.netlink.link import Link

SurroundingCheck = Callable[[Config, Surroundings], Iterator[Finding]]

_NEARLY_FULL = 0.9
_STRICT, _LOOSE = 1, 2  # rp_filter; ip-sysctl


def interfaces(config: Config, around: Surroundings) -> Iterator[Finding]:
    """The IPTV and LAN interfaces are there, up and have a carrier."""
    wanted = [(config.iptv.interface, "IPTV interface", "iptv.interface")]
    wanted += [(name, "LAN interface", "lan.interfaces") for name in config.lan.interfaces]
    for name, what, key in wanted:
        if name not in around.links:
            continue  # not looked at
        link = around.links[name]
        if link is None:
            others = sorted({other.name for other in _there(around)} - {"lo"})
            text = f"there is no {what} {name}"
            remedy = f"make it, or correct {key}" + (f": there are {listed(others)}" if others else "")
            yield Finding("interface", State.FAULT, text, remedy, id="interface")
        elif not link.up:
            text = f"the {what} {name} is down"
            yield Finding("interface", State.FAULT, text, f"ip link set {name} up", id="interface-down")
        elif not link.carrier:
            text = f"the {what} {name} has no carrier"
            remedy = "look at its cable, or what it is stacked on"
            yield Finding("interface", State.FAULT, text, remedy, id="no-carrier")
        else:
            yield Finding("interface", State.OK, f"the {what} {name} is up")


def iptv_address(config: Config, around: Surroundings) -> Iterator[Finding]:
    """The IPTV interface has an address, which servers answer to."""
    name = config.iptv.interface
    link = around.links.get(name)
    if link is None:
        return
    if link.addresses:
        yield Finding("address", State.OK, f"{name} has {_addresses(link)}")
        return
    text = f"{name} has no IPv4 address, so nothing can be sent from it"
    remedy = f"ip address add ADDRESS dev {name}, or see why its DHCP client got none"
    yield Finding("address", State.FAULT, text, remedy, id="no-address")


def snat_address(config: Config, around: Surroundings) -> Iterator[Finding]:
    """The address that connections are to leave with is the router's."""
    wanted, link = config.iptv.snat_address, around.links.get(config.iptv.interface)
    ours = {address.ip for every in _there(around) for address in every.addresses}
    if wanted is None or link is None or not link.addresses or wanted in ours:
        return
    remedy = f'nat = "masquerade", or one of {_addresses(link)}'
    text = f"names {wanted}, which this router does not have"
    yield Finding("address", State.FAULT, text, remedy, "iptv.nat", "snat-address")


def lan_networks(config: Config, around: Surroundings) -> Iterator[Finding]:
    """The LAN's networks are the LAN's: what comes from the IPTV side with a source there is dropped."""
    iptv = config.iptv.interface
    link = around.links.get(iptv)
    found = [
        (network, address)
        for address in (link.addresses if link else ())
        for network in config.lan.networks
        if network.overlaps(address.network)
    ]
    for network, address in found[:1]:
        text = (
            f"names {network}, within which {iptv} has {address}: what comes from there would be dropped as "
            "forged"
        )
        remedy = "name the set-top boxes' own network only"
        yield Finding("address", State.FAULT, text, remedy, "lan.networks", "lan-overlap")
    present = [known for name in config.lan.interfaces if (known := around.links.get(name))]
    if present and not any(
        address.ip in network
        for every in present
        for address in every.addresses
        for network in config.lan.networks
    ):
        networks = ", ".join(str(network) for network in config.lan.networks)
        text = f"no LAN interface has an address within lan.networks ({networks}): no box reaches this router"
        yield Finding("address", State.FAULT, text, "give it one, or correct lan.networks", id="lan-address")


def forwarding(_: Config, around: Surroundings) -> Iterator[Finding]:
    """The kernel forwards between interfaces at all."""
    if around.ip_forward == 0:
        text, remedy = "is 0, so this machine forwards nothing", "sysctl -w net.ipv4.ip_forward=1"
        yield Finding("ip_forward", State.FAULT, text, remedy, "net.ipv4.ip_forward", "ip-forward")
    elif around.ip_forward is not None:
        yield Finding("ip_forward", State.OK, "forwarding is on")


def rp_filter_key(interface: str) -> str:
    """Return the name of the interface's setting, as sysctl(8) takes it."""
    return f"net.ipv4.conf.{interface}.rp_filter"


def reverse_path(config: Config, around: Surroundings) -> Iterator[Finding]:
    """The reverse path filter lets films in from servers that no route names.

    Strict (1) passes what would be answered over the interface it came by: where the default route leaves by
    it, that is all. Loose (2) passes whatever has any route (net/ipv4/fib_frontend.c).
    """
    name, value, defaults = config.iptv.interface, around.rp_filter, around.default_routes
    if value is None:
        return
    # Where it is not known whether there is a default route, it is taken to be another interface's.
    passes = name in (defaults or ()) if value == _STRICT else defaults is None or bool(defaults)
    if value == 0 or passes:
        yield Finding("rp_filter", State.OK, f"no reverse path filter stops films on {name}")
        return
    key = rp_filter_key(name)
    text = (
        f"is {value} (the higher of it and conf.all counts), so films from servers that no route leads to "
        "are dropped before any rule"
    )
    remedy = f"sysctl -w net.ipv4.conf.all.rp_filter=0 {key}=0"
    # Without a default route loose drops what no route leads to, strict whatever no route here leads to.
    state = State.WARNING if value == _LOOSE else State.FAULT
    yield Finding("rp_filter", state, text, remedy, key, "rp-filter")


def other_tables(_: Config, around: Surroundings) -> Iterator[Finding]:
    """Nobody else's ruleset drops what ours accepts: an accept of ours is not final."""
    for drop in around.drops or ():
        vital = {"RTSP", "films"} & set(drop.packets)
        place = f"chain {drop.family} {drop.table} {drop.chain}"
        text = f"drops {listed(drop.packets)} on {drop.hook} (`{drop.rule}`): no accept of ours can undo that"
        state = State.FAULT if vital else State.WARNING
        yield Finding("other rules", state, text, _let_through(drop), place, "foreign-drop")
    for name in around.uncounted_flowtables:
        text = "has no counter, so the counters of films stand still once they are offloaded"
        yield Finding("other rules", State.WARNING, text, "add `counter` to it", name, "flowtable")
    if around.drops is not None and not around.drops and not around.uncounted_flowtables:
        yield Finding("other rules", State.OK, "no other table drops what ours accepts")


def named_boxes(config: Config, _: Surroundings) -> Iterator[Finding]:
    """Only set-top boxes may ask."""
    if config.stb:
        return
    networks = listed([str(network) for network in config.lan.networks])
    text = (
        f"names no set-top box, so every host of {networks} can open ports from the IPTV side to itself, and "
        "take one that a box needs"
    )
    yield Finding("boxes", State.WARNING, text, "name the boxes, and only they can", "[[stb]]", "open-lan")


#: All of them, in the order in which a film depends on what they look at.
SURROUNDINGS: tuple[SurroundingCheck, ...] = (
    interfaces,
    iptv_address,
    snat_address,
    lan_networks,
    forwarding,
    reverse_path,
    other_tables,
    named_boxes,
)


def warnings(config: Config, around: Surroundings) -> list[Finding]:
    """Return what keeps films away, whatever our ruleset says, and what opens it to more than boxes."""
    return [finding for check in SURROUNDINGS for finding in check(config, around) if finding.is_bad]


def conntrack_room(sysctls: Mapping[str, int]) -> Iterator[Finding]:
    """The conntrack table has room; past nf_conntrack_max new flows are dropped, 0 is no limit.

    Source: __nf_conntrack_alloc in net/netfilter/nf_conntrack_core.c.
    """
    used, limit = sysctls.get("count"), sysctls.get("max")
    if used is None or limit is None:
        yield Finding("conntrack", State.UNKNOWN, "how full the conntrack table is cannot be told")
        return
    text = f"the conntrack table holds {used} of {limit or 'any number of'} flows"
    remedy = f"sysctl -w net.netfilter.nf_conntrack_max={limit * 2}, and in /etc/sysctl.d"
    if limit and used >= limit:
        yield Finding("conntrack", State.FAULT, f"{text}: new ones are dropped", remedy)
    elif limit and used >= limit * _NEARLY_FULL:
        yield Finding("conntrack", State.WARNING, f"{text}: soon new ones are dropped", remedy)
    else:
        yield Finding("conntrack", State.OK, text)


def conntrack_accounting(sysctls: Mapping[str, int]) -> Iterator[Finding]:
    """Conntrack tells what it does; films play without, but nobody can watch them."""
    for key, text in (
        ("events", "conntrack tells no events: `monitor` and `events` hear nothing"),
        ("acct", "conntrack counts no bytes: rates are not shown"),
    ):
        if sysctls.get(key) == 0:
            remedy = f"sysctl -w net.netfilter.nf_conntrack_{key}=1"
            yield Finding("accounting", State.WARNING, text, remedy, id=key)


def _there(around: Surroundings) -> Iterator[Link]:
    return (link for link in around.links.values() if link is not None)


def _addresses(link: Link) -> str:
    return ", ".join(str(address) for address in link.addresses)


def _let_through(drop: Drop) -> str:
    """Return what to do, in the words of the program that owns the chain."""
    if drop.table == "firewalld":
        return "put both interfaces in zones that may forward to each other: see firewall-cmd --new-policy"
    if drop.table == "fw4":
        return "allow forwarding between the two zones in /etc/config/firewall"
    if (drop.family, drop.table, drop.chain) == ("ip", "filter", "FORWARD"):
        return "accept it there, with Docker in its chain DOCKER-USER"
    return "accept it there too"
