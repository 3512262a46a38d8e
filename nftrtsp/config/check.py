"""What the types of a configuration cannot say: ranges, and what must not be so together (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import NoReturn

from nftrtsp.config.values import LONGEST_WAY, Config, Rtsp, Seconds
from nftrtsp.errors import ConfigError

# IFNAMSIZ - 1 characters; nft strings cannot hold a quote, and take a final asterisk for any ending.
_INTERFACE = re.compile(r'[^\s/"*\\]{1,15}')
_SHORTEST_PAUSE = Seconds(10)
_WIDEST_LAN = 8  # 10.0.0.0/8 is the largest private network, RFC 1918

Fail = Callable[[str, str, str], NoReturn]


def check(config: Config, place: str) -> None:
    """Check what types cannot say: ranges, and what must not be so together."""

    def fail(key: str, message: str, remedy: str) -> NoReturn:
        raise ConfigError(message, place=f"{place}: {key}", remedy=remedy)

    _check_iptv(config, fail)
    _check_lan(config, fail)
    _check_rtsp(config.rtsp, fail)
    _check_boxes(config, fail)


def _is_host(address: IPv4Address) -> bool:
    """Whether a host may have it: not 0.x, not loopback, not multicast or beyond."""
    return 1 <= address.packed[0] <= 223 and not address.is_loopback


def _check_iptv(config: Config, fail: Fail) -> None:
    iptv = config.iptv
    if not _INTERFACE.fullmatch(iptv.interface):
        fail(
            "iptv.interface",
            f"{iptv.interface!r} is no interface name",
            "1 to 15 characters, no '/', '*' or blank",
        )
    if iptv.nat != "masquerade":
        try:
            IPv4Address(iptv.nat)
        except ValueError:
            fail("iptv.nat", f"{iptv.nat!r} is neither 'masquerade' nor an IPv4 address", "write one of them")
        if not _is_host(IPv4Address(iptv.nat)):
            fail("iptv.nat", f"{iptv.nat} is no address of a host", "name the IPTV interface's own")
    for index, network in enumerate(iptv.multicast):
        if not network.is_multicast:
            fail(f"iptv.multicast[{index}]", f"{network} is not multicast", "it must lie within 224.0.0.0/4")
    _check_overlap(iptv.multicast, "iptv.multicast", fail)
    for index, network in enumerate(iptv.servers):
        for other in config.lan.networks:
            if network.overlaps(other):
                fail(
                    f"iptv.servers[{index}]",
                    f"{network} overlaps lan.networks ({other})",
                    "correct one of them",
                )
    if iptv.strict_sources and not iptv.servers:
        fail(
            "iptv.strict_sources",
            "is true, but iptv.servers names no network, so no film could come from anywhere",
            "list the servers' networks in iptv.servers, or leave strict_sources out",
        )


def _check_lan(config: Config, fail: Fail) -> None:
    lan = config.lan
    if not lan.interfaces:
        fail("lan.interfaces", "is empty", "name the interface of the set-top boxes")
    if not lan.networks:
        fail("lan.networks", "is empty", "name the network of the set-top boxes")
    for index, name in enumerate(lan.interfaces):
        if not _INTERFACE.fullmatch(name):
            fail(
                f"lan.interfaces[{index}]",
                f"{name!r} is no interface name",
                "1 to 15 characters, no '/', '*'",
            )
        if name == config.iptv.interface:
            fail(f"lan.interfaces[{index}]", f"{name!r} is the IPTV interface too", "they must be two")
        if name in lan.interfaces[:index]:
            fail(f"lan.interfaces[{index}]", f"{name!r} is listed twice", "list it once")
    for index, network in enumerate(lan.networks):
        if not _is_host(network.network_address) or network.prefixlen < _WIDEST_LAN:
            fail(f"lan.networks[{index}]", f"{network} is no network of a LAN", "name the set-top boxes' own")
    _check_overlap(lan.networks, "lan.networks", fail)
    address = config.iptv.snat_address
    for network in lan.networks:
        if address is not None and address in network:
            fail(
                "iptv.nat", f"{address} lies within lan.networks ({network})", "name the IPTV side's address"
            )


def _check_overlap(networks: tuple[IPv4Network, ...], key: str, fail: Fail) -> None:
    for index, network in enumerate(networks):
        for other in networks[:index]:
            if network.overlaps(other):
                fail(f"{key}[{index}]", f"{network} overlaps {other}", "keep one of them")


def _check_rtsp(rtsp: Rtsp, fail: Fail) -> None:
    if not rtsp.ports:
        fail("rtsp.ports", "is empty", "554 is RTSP's port")
    for index, port in enumerate(rtsp.ports):
        if not 1 <= port <= 65535:
            fail(f"rtsp.ports[{index}]", f"{port} is no TCP port", "1 to 65535")
        if port in rtsp.ports[:index]:
            fail(f"rtsp.ports[{index}]", f"{port} is listed twice", "list it once")
    if rtsp.pause < _SHORTEST_PAUSE:
        fail("rtsp.pause", f"{rtsp.pause} is out of range", f"{_SHORTEST_PAUSE} to {Seconds(LONGEST_WAY)}")
    if rtsp.pause > LONGEST_WAY:
        fail(
            "rtsp.pause",
            f"{rtsp.pause} is longer than a port may stay open without a sign of its box "
            f"({Seconds(LONGEST_WAY)}, {LONGEST_WAY:,} seconds)",
            f'write pause = "{Seconds(LONGEST_WAY)}" or less',
        )
    for key, number, low, high in (
        ("max_per_stb", rtsp.max_per_stb, 1, 64),
        ("max_total", rtsp.max_total, 1, 65535),
        ("log_group", rtsp.log_group, 1, 65535),
        ("queue", rtsp.queue, 0, 65535),
    ):
        if not low <= number <= high:
            fail(f"rtsp.{key}", f"{number} is out of range", f"{low} to {high}")


def _check_boxes(config: Config, fail: Fail) -> None:
    for index, box in enumerate(config.stb):
        if any(box.address == other.address for other in config.stb[:index]):
            fail(f"stb[{index}].address", f"{box.address} is listed twice", "each set-top box once")
        if box.name and any(box.name == other.name for other in config.stb[:index]):
            fail(f"stb[{index}].name", f"{box.name!r} is used twice", "give each its own name")
        if not all(character.isprintable() for character in box.name) or len(box.name) > 64:
            fail(f"stb[{index}].name", "holds control characters or is longer than 64", "shorten it")
        home = next((network for network in config.lan.networks if box.address in network), None)
        if home is None:
            networks = ", ".join(str(network) for network in config.lan.networks)
            fail(
                f"stb[{index}].address",
                f"{box.address} lies outside lan.networks ({networks})",
                "correct one of them",
            )
        if home.prefixlen < 31 and box.address in (home.network_address, home.broadcast_address):
            fail(
                f"stb[{index}].address", f"{box.address} is no host's address in {home}", "name the box's own"
            )
