"""What a ruleset cannot fix: other tables that drop, sysctls, absent interfaces, uncounted flowtables.

:func:`gather` asks the machine, :func:`judge` decides (pure). `diff` and `apply` warn with it before anything
is changed, and `doctor` uses it too.
"""

from __future__ import annotations

import fcntl
import re
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import msgspec

from nftrtsp.config import TABLE_FAMILY, TABLE_NAME, Config, HelperKind, Service
from nftrtsp.errors import KernelError
from nftrtsp.health.foreign import Packet, walk
from nftrtsp.ruleset.kernel import Nft

_TABLE = re.compile(r"^table (\S+) (\S+) \{")
_CHAIN = re.compile(r"^\tchain (\S+) \{")
_BASE = re.compile(r"^\t\ttype \S+ hook (\w+) .*?priority ([^;]+);(?: policy (\w+);)?")
_FLOWTABLE = re.compile(r"^\tflowtable (\S+) \{")
_OURS = (TABLE_FAMILY, TABLE_NAME)
_VERDICT_MAP = re.compile(r"vmap @(\S+)")
_IPV4 = ("ip", "inet")
_ADDRESS_AND_MASK = (0x8915, 0x891B)  # SIOCGIFADDR, SIOCGIFNETMASK: linux/sockios.h
_PROC = Path("/proc/sys/net/ipv4")


class Drop(msgspec.Struct, frozen=True):
    """A chain of another table that surely drops what we accept; ``rule`` does it, or the policy."""

    family: str
    table: str
    chain: str
    hook: str
    rule: str
    packets: tuple[str, ...]


class Facts(msgspec.Struct, frozen=True):
    """What the machine shows. ``rp_filter`` by interface and ``all``; None where it cannot be read.

    ``iptv`` is the IPTV interface's address with its network, ``10.214.0.2/9``; empty where it has none.
    """

    interfaces: frozenset[str] = frozenset()
    iptv: str = ""
    ip_forward: int | None = None
    rp_filter: dict[str, int] = {}
    default_route: bool = False
    drops: tuple[Drop, ...] = ()
    uncounted_flowtables: tuple[str, ...] = ()


class Obstacle(msgspec.Struct, frozen=True):
    """One thing that keeps films away though the ruleset is right. ``id`` is stable; ``remedy`` a command."""

    id: str
    place: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}; {self.remedy}"


def gather(nft: Nft | None, config: Config, kind: HelperKind) -> Facts:
    """Ask the machine, in the current network namespace. Reads other tables' chains on forward and input.

    ``nft`` None: without root only the rest is asked.
    """
    iptv = config.iptv.interface
    names = ("all", iptv)
    rp_filter = {name: value for name in names if (value := _sysctl(f"conf/{name}/rp_filter")) is not None}
    return Facts(
        interfaces=frozenset(name for _, name in socket.if_nameindex()),
        iptv=_address(iptv),
        ip_forward=_sysctl("ip_forward"),
        rp_filter=rp_filter,
        default_route=has_default_route(),
        drops=tuple(_drops(nft, config, kind)) if nft else (),
        uncounted_flowtables=tuple(_uncounted_flowtables(nft)) if nft else (),
    )


def judge(config: Config, facts: Facts) -> list[Obstacle]:
    """Return what keeps films away, whatever our ruleset says, and what opens it to more than boxes. Pure."""
    obstacles = [_absent(name, facts) for name in (config.iptv.interface, *config.lan.interfaces)]
    obstacles += [
        _forwarding(facts),
        _reverse_path(config.iptv.interface, facts),
        _overlap(config, facts),
        _open(config),
    ]
    obstacles += [_dropping(drop) for drop in facts.drops]
    obstacles += [
        Obstacle(
            "flowtable",
            name,
            "has no counter, so the counters of films stand still once they are offloaded",
            "add `counter` to it",
        )
        for name in facts.uncounted_flowtables
    ]
    return [obstacle for obstacle in obstacles if obstacle is not None]


def packets(config: Config, kind: HelperKind) -> list[tuple[str, Packet]]:
    """Return the packets that our ruleset accepts and that others may drop, each with its hook."""
    iptv, lan = config.iptv.interface, config.lan.interfaces[0]
    network = config.lan.networks[0]
    box = IPv4Network(config.stb[0].address) if config.stb else network
    film = Packet("films", iptv, lan, state="new", status="dnat", daddr=box)
    if kind.uses_ct_helper:
        film = Packet("films", iptv, lan, state="related", daddr=box)
    found = [
        ("forward", Packet("RTSP", lan, iptv, "tcp", saddr=box, dport=config.rtsp.ports[0])),
        ("forward", Packet("RTSP", iptv, lan, "tcp", "established", daddr=box)),
        ("forward", film),
    ]
    if config.iptv.multicast:
        found.append(("forward", Packet("live TV", iptv, lan, daddr=config.iptv.multicast[0])))
    if Service.IGMP in config.iptv.services:
        found.append(("input", Packet("IGMP", iptv, l4proto="igmp")))
    if Service.DHCP in config.iptv.services:
        found.append(("input", Packet("DHCP", iptv, sport=67, dport=68)))
    if Service.RIP in config.iptv.services:
        found.append(("input", Packet("RIP", iptv, sport=520, dport=520)))
    return found


def _drops(nft: Nft, config: Config, kind: HelperKind) -> Iterator[Drop]:
    wanted = packets(config, kind)
    for family, table, chain, hook, policy in base_chains(nft.list("chains")):
        rules = _Listing(nft, family, table)
        by_rule: dict[str, list[str]] = {}
        for where, packet in wanted:
            end = walk(chain, policy, packet, rules) if where == hook else None
            if end is not None and end.word == "drop" and end.certain:
                titles = by_rule.setdefault(end.rule, [])
                titles += [packet.title] if packet.title not in titles else []
        for rule, titles in by_rule.items():
            yield Drop(family, table, chain, hook, rule, tuple(titles))


def base_chains(listing: str) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield family, table, chain, hook and policy of other tables' IPv4 base chains on forward and input."""
    family = table = chain = ""
    for line in listing.splitlines():
        if match := _TABLE.match(line):
            family, table = match.groups()
        elif match := _CHAIN.match(line):
            chain = match[1]
        elif match := _BASE.match(line):
            judged = family in _IPV4 and (family, table) != _OURS and match[1] in ("forward", "input")
            if judged:
                yield family, table, chain, match[1], match[3] or "accept"


class _Listing:
    """Chains of one table, listed when a walk gets to them and not before."""

    def __init__(self, nft: Nft, family: str, table: str) -> None:
        self._nft = nft
        self._table = f"{family} {table}"
        self._chains: dict[str, list[str]] = {}

    def __call__(self, chain: str) -> list[str]:
        if chain not in self._chains:
            self._chains[chain] = self._rules(chain)
        return self._chains[chain]

    def _rules(self, chain: str) -> list[str]:
        try:
            text = self._nft.list(f"chain {self._table} {chain}", stateless=True, terse=True)
        except KernelError:
            return []  # it went meanwhile
        lines = [line.strip() for line in text.splitlines() if line.startswith("\t\t")]
        rules = [line for line in lines if not line.startswith(("type ", "comment "))]
        return [_VERDICT_MAP.sub(lambda match: f"vmap {{ {self._map(match[1])} }}", rule) for rule in rules]

    def _map(self, name: str) -> str:
        """Return the elements of a named verdict map (Docker's nftables backend works with them)."""
        try:
            text = self._nft.list(f"map {self._table} {name}", stateless=True)
        except KernelError:
            return ""
        return " ".join(text.partition("elements = {")[2].partition("}")[0].split())


def _uncounted_flowtables(nft: Nft) -> Iterator[str]:
    try:
        listing = nft.list("flowtables")
    except KernelError:
        return  # a kernel without flowtables
    table = name = ""
    counted = False
    for line in listing.splitlines():
        if match := _TABLE.match(line):
            table = f"{match[1]} {match[2]}"
        elif match := _FLOWTABLE.match(line):
            name, counted = match[1], False
        elif line.strip() == "counter":
            counted = True
        elif line == "\t}" and not counted:
            yield f"flowtable {table} {name}"


def _absent(name: str, facts: Facts) -> Obstacle | None:
    if name in facts.interfaces:
        return None
    there = ", ".join(sorted(facts.interfaces - {"lo"})) or "none"
    return Obstacle("interface", name, "this machine has no such interface", f"it has {there}")


def _forwarding(facts: Facts) -> Obstacle | None:
    if facts.ip_forward != 0:
        return None
    return Obstacle(
        "ip-forward",
        "net.ipv4.ip_forward",
        "is 0, so this machine forwards nothing",
        "sysctl -w net.ipv4.ip_forward=1",
    )


def _reverse_path(iptv: str, facts: Facts) -> Obstacle | None:
    value = max(facts.rp_filter.get("all", 0), facts.rp_filter.get(iptv, 0))
    return reverse_path(iptv, value, default_route=facts.default_route)


def rp_filter_key(interface: str) -> str:
    """Return the name of the interface's setting, as sysctl(8) takes it."""
    return f"net.ipv4.conf.{interface}.rp_filter"


def reverse_path(interface: str, value: int, *, default_route: bool) -> Obstacle | None:
    """Judge the reverse path filter in force, which is the higher of ``all`` and the interface's own.

    Strict (1) drops what has no route back over the interface; loose (2) passes whatever has any route. Pure.
    """
    if value == 0 or (value == 2 and default_route):
        return None
    key = rp_filter_key(interface)
    return Obstacle(
        "rp-filter",
        key,
        f"is {value} (the higher of it and conf.all counts), so films from servers that no route leads to "
        "are dropped before any rule",
        f"sysctl -w net.ipv4.conf.all.rp_filter=0 {key}=0",
    )


def _overlap(config: Config, facts: Facts) -> Obstacle | None:
    """Our first rule drops what comes from the IPTV side with a source of the LAN."""
    if not facts.iptv:
        return None
    theirs = IPv4Interface(facts.iptv).network
    for network in config.lan.networks:
        if network.overlaps(theirs):
            return Obstacle(
                "lan-overlap",
                "lan.networks",
                f"names {network}, within which {config.iptv.interface} has {facts.iptv}: what comes from "
                "there would be dropped as forged",
                "name the set-top boxes' own network only",
            )
    return None


def _open(config: Config) -> Obstacle | None:
    if config.stb:
        return None
    networks = _together(tuple(str(network) for network in config.lan.networks))
    return Obstacle(
        "open-lan",
        "[[stb]]",
        f"names no set-top box, so every host of {networks} can have the IPTV side let in to itself, and "
        "take a port before the box that needs it",
        "name the boxes, and only they can",
    )


def _dropping(drop: Drop) -> Obstacle:
    return Obstacle(
        "foreign-drop",
        f"chain {drop.family} {drop.table} {drop.chain}",
        f"drops {_together(drop.packets)} on {drop.hook} (`{drop.rule}`): no accept of ours can undo that",
        _let_through(drop),
    )


def _together(words: tuple[str, ...]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _let_through(drop: Drop) -> str:
    """Return what to do, in the words of the program that owns the chain."""
    if drop.table == "firewalld":
        return "put both interfaces in zones that may forward to each other: see firewall-cmd --new-policy"
    if drop.table == "fw4":
        return "allow forwarding between the two zones in /etc/config/firewall"
    if (drop.family, drop.table, drop.chain) == ("ip", "filter", "FORWARD"):
        return "accept it there, with Docker in its chain DOCKER-USER"
    return "accept it there too"


def _address(interface: str) -> str:
    """Return the first IPv4 address of an interface with its prefix; netdevice(7)."""
    request = struct.pack("16s16x8x", interface.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            found = [fcntl.ioctl(asker.fileno(), what, request)[20:24] for what in _ADDRESS_AND_MASK]
        except OSError:
            return ""  # absent, or without an address
    return str(IPv4Interface("/".join(socket.inet_ntoa(part) for part in found)))


def _sysctl(key: str) -> int | None:
    try:
        return int((_PROC / key).read_text())
    except (OSError, ValueError):
        return None


def has_default_route() -> bool:
    """Whether there is an IPv4 default route."""
    try:
        lines = Path("/proc/net/route").read_text().splitlines()[1:]
    except OSError:
        return False
    return any(line.split()[1:2] == ["00000000"] for line in lines)
