"""Other programs' tables: which of their chains drop what ours accepts, which flowtables count nothing.

Reads them with libnftables; ``foreign`` follows their rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network

from nftrtsp.config import TABLE_FAMILY, TABLE_NAME, Config, HelperKind, IptvService
from nftrtsp.errors import KernelError
from nftrtsp.health.facts import Drop
from nftrtsp.health.foreign import Probe, walk
from nftrtsp.ruleset.kernel import Nft

_TABLE = re.compile(r"^table (\S+) (\S+) \{")
_CHAIN = re.compile(r"^\tchain (\S+) \{")
_BASE = re.compile(r"^\t\ttype \S+ hook (\w+) .*?priority ([^;]+);(?: policy (\w+);)?")
_FLOWTABLE = re.compile(r"^\tflowtable (\S+) \{")
_OURS = (TABLE_FAMILY, TABLE_NAME)
_VERDICT_MAP = re.compile(r"vmap @(\S+)")
_IPV4 = ("ip", "inet")


def packets(config: Config, kind: HelperKind) -> list[tuple[str, Probe]]:
    """Return the packets that our ruleset accepts and that others may drop, each with its hook."""
    iptv, lan = config.iptv.interface, config.lan.interfaces[0]
    network = config.lan.networks[0]
    box = IPv4Network(config.stb[0].address) if config.stb else network
    film = Probe("films", iptv, lan, state="new", status="dnat", daddr=box)
    if kind.uses_ct_helper:
        film = Probe("films", iptv, lan, state="related", daddr=box)
    found = [
        ("forward", Probe("RTSP", lan, iptv, "tcp", saddr=box, dport=config.rtsp.ports[0])),
        ("forward", Probe("RTSP", iptv, lan, "tcp", "established", daddr=box)),
        ("forward", film),
    ]
    if config.iptv.multicast:
        found.append(("forward", Probe("live TV", iptv, lan, daddr=config.iptv.multicast[0])))
    if IptvService.IGMP in config.iptv.services:
        found.append(("input", Probe("IGMP", iptv, l4proto="igmp")))
    if IptvService.DHCP in config.iptv.services:
        found.append(("input", Probe("DHCP", iptv, sport=67, dport=68)))
    if IptvService.RIP in config.iptv.services:
        found.append(("input", Probe("RIP", iptv, sport=520, dport=520)))
    return found


def read_drops(nft: Nft, config: Config, kind: HelperKind) -> Iterator[Drop]:
    """Yield the chains that drop what our ruleset accepts, with what they drop."""
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


def read_uncounted_flowtables(nft: Nft) -> Iterator[str]:
    """Yield the flowtables without a counter."""
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
