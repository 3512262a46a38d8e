"""A first configuration, drafted from this machine's own links and addresses.

:func:`guess` and :func:`draft` are pure; ``netlink.links`` asks the kernel. A guess is said with its reason,
so that the owner can tell whether it is right, and the draft is a whole configuration that loads as it is.
"""

from __future__ import annotations

import re
import textwrap
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING, Any

import msgspec

from nftrtsp.errors import printable
from nftrtsp.netlink.link import Link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nftrtsp.draft.host import LanHost

#: Bridges and links of other programs, never a LAN with set-top boxes.
_FOREIGN = re.compile(r"(docker|virbr|veth|br-[0-9a-f]{12}$|lxc|lxd|podman|cni|tailscale|wg|tun|tap|zt)")
_MOST_HOSTS = 32  # of those that may be no boxes
_LONGEST_NAME, _LONGEST_COMMENT = 64, 100  # characters; a name's bound is the config's own
_EXAMPLE_INTERFACE = "vlan2"
_EXAMPLE_NETWORK = IPv4Network("192.168.1.0/24")


class Guess(msgspec.Struct, frozen=True):
    """What the draft will say, and one sentence each on why."""

    iptv: str
    lan: tuple[str, ...]
    networks: tuple[IPv4Network, ...]
    why_iptv: str
    why_lan: str


def guess(links: Sequence[Link], profile: dict[str, Any]) -> Guess:
    """Return which link is likely to carry TV and which ones the set-top boxes (pure).

    ``profile`` is :func:`nftrtsp.config.load_profile`'s.
    """
    iptv, why_iptv = _guess_iptv(links, profile.get("iptv", {}))
    lan = _guess_lan([link for link in links if link.name != iptv])
    if lan is None:
        name = "br0" if iptv != "br0" else "br-lan"
        why = f"no private network found here, so {name} and {_EXAMPLE_NETWORK} are examples: name yours"
        return Guess(iptv, (name,), (_EXAMPLE_NETWORK,), why_iptv, why)
    networks = tuple(dict.fromkeys(address.network for address in lan.addresses if _private(address)))
    what = "a bridge" if lan.kind == "bridge" else "an interface"
    return Guess(iptv, (lan.name,), networks[:1], why_iptv, f"{what} with a private network of its own")


def _guess_iptv(links: Sequence[Link], iptv: dict[str, Any]) -> tuple[str, str]:
    usual = iptv.get("interface")
    if usual and any(link.name == usual for link in links):
        return usual, "the profile's usual name"
    number = re.fullmatch(r"vlan([0-9]+)", usual or "")
    for link in links:
        suffix = re.search(r"\.([0-9]+)$", link.name)
        vlan = link.vlan if link.vlan is not None else int(suffix[1]) if suffix else None
        if number and vlan == int(number[1]):
            return link.name, f"a VLAN with the profile's usual number, {vlan}"
    if iptv.get("policy") == "accept":
        # The profile's TV comes with the Internet.
        for link in links:
            if link.default_route:
                return link.name, "the uplink to the Internet, over which this profile's films come"
    ten = IPv4Network("10.0.0.0/8")
    for link in _likely(links, lambda link: any(address in ten for address in link.addresses)):
        return link.name, f"it has an address of the kind that TV networks give, {link.addresses[0]}"
    for link in _likely(links, lambda link: link.vlan is not None):
        return link.name, "the only kind of VLAN here that is not the LAN"
    return usual or _EXAMPLE_INTERFACE, "not found here, so an example: name the interface that carries TV"


def _likely(links: Sequence[Link], fits: Any) -> list[Link]:
    """Return the links that fit and may be an IPTV uplink; VLANs first, then in the kernel's order."""
    found = [
        link
        for link in links
        if fits(link)
        and not link.bridged
        and link.kind != "bridge"
        and not link.default_route
        and not _FOREIGN.match(link.name)
    ]
    return sorted(found, key=lambda link: link.vlan is None)


def _guess_lan(links: Sequence[Link]) -> Link | None:
    found = [
        link
        for link in links
        if any(_private(address) for address in link.addresses)
        and not link.default_route
        and not link.bridged
        and not _FOREIGN.match(link.name)
    ]
    found.sort(key=lambda link: (link.kind != "bridge", "lan" not in link.name or "vlan" in link.name))
    return found[0] if found else None


def _private(address: IPv4Interface) -> bool:
    return (
        address.is_private
        and not address.is_loopback
        and not address.is_link_local
        and (address.network.prefixlen < 31)
    )


def draft(found: Guess, profile: str, defaults: dict[str, Any], hosts: Sequence[LanHost] = ()) -> str:
    """Return a commented configuration: what was guessed, and what the profile says of the rest (pure).

    What the profile says stands there commented out: the draft goes on following the profile. Of ``hosts``
    those that ask for films are its set-top boxes; the others stand there commented out.
    """
    iptv, rtsp = defaults.get("iptv", {}), defaults.get("rtsp", {})

    def kept(table: dict[str, Any], key: str, fallback: object, comment: str) -> str:
        return _commented(f"# {key} = {_toml(table.get(key, fallback))}", comment)

    lines = [
        "# nftrtsp: films through this router. Keys that are commented out show what holds without them.",
        "# `nftrtsp check` says whether the ruleset is valid here, `nftrtsp diff` what it would change.",
        "",
        _commented(f"profile = {_toml(profile)}", "defaults for your provider"),
        "",
        "[iptv]",
        *_wrapped(found.why_iptv),
        _commented(f"interface = {_toml(found.iptv)}", "the uplink that carries TV"),
        kept(iptv, "nat", "masquerade", "or an address of that interface, for snat"),
        kept(iptv, "policy", "drop", '"accept" if the Internet comes over it too and a firewall guards it'),
        kept(iptv, "multicast", [], "groups of live TV"),
        kept(iptv, "services", ["igmp", "icmp"], "what the router takes from it: igmp, icmp, dhcp, rip"),
        kept(iptv, "full_cone", False, "true for boxes that send UDP before they ask"),
        kept(iptv, "servers", [], "networks of the servers, for `nftrtsp doctor`"),
        kept(iptv, "strict_sources", False, "true: films may come from those networks only"),
        "",
        "[lan]",
        *_wrapped(found.why_lan),
        _commented(f"interfaces = {_toml(list(found.lan))}", "where the set-top boxes are"),
        f"networks = {_toml([str(network) for network in found.networks])}",
        "",
        "[rtsp]",
        kept(rtsp, "ports", [554], "TCP ports on which films are asked for"),
        kept(rtsp, "helper", "auto", "kernel, userspace, pinhole; auto: the first that works here"),
        kept(rtsp, "pause", "1h", "how long a paused film keeps its port open: 30s, 5m, 1h"),
        "",
        *_boxes(hosts, _example_box(found.networks[0])),
    ]
    return "\n".join(lines) + "\n"


def _boxes(hosts: Sequence[LanHost], example: IPv4Address) -> list[str]:
    """Return the part of the draft that says who may ask."""
    asking = [host for host in hosts if host.asks]
    others = [host for host in hosts if not host.asks]
    lines = [
        "# Name the boxes, and only they may have ports opened; with none named, every host of the LAN may.",
        "# Have your DHCP server give each the same address for good.",
    ]
    if asking:
        lines += [
            "#",
            "# These ask a server for films now. Add your other boxes: with one named, nobody else may.",
        ]
    names: set[str] = set()
    for host in asking:
        lines += _box(host, names)
    if others:
        lines += ["", "# Other hosts that this router has met. Uncomment those that are set-top boxes."]
    for host in others[:_MOST_HOSTS]:
        lines += [f"# {line}" for line in _box(host, names)]
    if len(others) > _MOST_HOSTS:
        lines.append(f"# … and {len(others) - _MOST_HOSTS} more: `ip neighbour` shows them")
    if not hosts:
        lines += ["# [[stb]]", '# name = "Living room"', f"# address = {_toml(str(example))}"]
    return lines


def _box(host: LanHost, names: set[str]) -> list[str]:
    """Return a host as a ``[[stb]]``; ``names`` are those given before, for each must be another's."""
    known = [printable(text) for text in (host.mac, host.vendor) if text]
    if host.asks:
        known.append(f"asks {host.asks}")
    name = printable(host.name)
    lines = ["[[stb]]"]
    if name and name not in names and len(name) <= _LONGEST_NAME:
        names.add(name)
        lines.append(f"name = {_toml(name)}")
    address = f"address = {_toml(str(host.address))}"
    return [*lines, _commented(address, ", ".join(known)[:_LONGEST_COMMENT]) if known else address]


def _commented(line: str, comment: str) -> str:
    return f"{line:<40}# {comment}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(f"Guessed: {text}.", 100, initial_indent="# ", subsequent_indent="# ")


def _example_box(network: IPv4Network) -> IPv4Address:
    return network[200] if network.num_addresses > 201 else network[-2]


def _toml(value: object) -> str:
    """Return a TOML text of a text, a truth, a number or a list of them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, int):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
