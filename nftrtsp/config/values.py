"""What a configuration is: one struct a TOML table, one class a kind of value. No I/O, no checks."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

import msgspec

#: What the letter of a duration is worth, in seconds.
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class HelperKind(StrEnum):
    """What reads SETUP and opens the port (docs/design: three helpers, one config)."""

    AUTO = "auto"
    KERNEL = "kernel"
    USERSPACE = "userspace"
    PINHOLE = "pinhole"

    @property
    def uses_ct_helper(self) -> bool:
        """Whether the ruleset for this kind holds a ``ct helper`` object."""
        return self in (HelperKind.KERNEL, HelperKind.USERSPACE)


class IptvService(StrEnum):
    """What the router itself accepts from the IPTV interface."""

    IGMP = "igmp"
    ICMP = "icmp"
    DHCP = "dhcp"
    RIP = "rip"


class Policy(StrEnum):
    """What happens to packets of the IPTV interface that nothing accepts."""

    DROP = "drop"
    ACCEPT = "accept"


#: How long a port may stay open without a sign of life of its box, in seconds, whatever anybody asks for.
LONGEST_WAY = 86_400


class Seconds(int):
    """A time in whole seconds, written ``30s``, ``5m``, ``1h`` or ``2d``."""

    def __str__(self) -> str:
        for unit in ("d", "h", "m"):
            if self and self % UNIT_SECONDS[unit] == 0:
                return f"{self // UNIT_SECONDS[unit]}{unit}"
        return f"{int(self)}s"


class MarkBits:
    """The bits of ``ct mark`` that say *media flow*: 32-bit ``value`` under ``mask``.

    A class of its own kind: msgspec decodes structs and dataclasses only from TOML tables, and this is
    written as text, ``0x100000/0x300000``.
    """

    __slots__ = ("mask", "value")

    def __init__(self, value: int, mask: int) -> None:
        self.value = value
        self.mask = mask

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MarkBits) and (self.value, self.mask) == (other.value, other.mask)

    def __hash__(self) -> int:
        return hash((self.value, self.mask))

    def __repr__(self) -> str:
        return f"MarkBits({self.value:#x}, {self.mask:#x})"

    def __str__(self) -> str:
        return f"{self.value:#x}/{self.mask:#x}"


class Iptv(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[iptv]``: the uplink that carries TV.

    ``policy`` says what becomes of packets to or from it that nothing accepts. ``accept`` is for an
    interface that carries the Internet too: there another firewall has the say, and a drop of ours would
    break what it forwards. ``servers`` are the networks of the RTSP and media servers, as far as they are
    known: `doctor` asks for routes to them, and with ``strict_sources`` films may come from there only.
    """

    interface: str
    nat: str = "masquerade"
    policy: Policy = Policy.DROP
    full_cone: bool = False
    multicast: tuple[IPv4Network, ...] = ()
    services: tuple[IptvService, ...] = (IptvService.IGMP, IptvService.ICMP)
    servers: tuple[IPv4Network, ...] = ()
    strict_sources: bool = False

    @property
    def snat_address(self) -> IPv4Address | None:
        """The address for snat, or None for masquerade."""
        return None if self.nat == "masquerade" else IPv4Address(self.nat)


class Lan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[lan]``: where the set-top boxes are."""

    interfaces: tuple[str, ...]
    networks: tuple[IPv4Network, ...]


class Rtsp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[rtsp]``: what is asked for, and who opens the ports."""

    ports: tuple[int, ...] = (554,)
    helper: HelperKind = HelperKind.AUTO
    pause: Seconds = Seconds(3600)
    mark: MarkBits = MarkBits(0x00100000, 0x00100000)
    rewrite_destination: bool = False
    max_per_stb: int = 8
    max_total: int = 4096
    log_group: int = 554
    queue: int = 554


class Stb(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[stb]]``: one set-top box."""

    address: IPv4Address
    name: str = ""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole, valid configuration. ``stb`` empty means: every host of ``lan.networks`` may ask."""

    iptv: Iptv
    lan: Lan
    rtsp: Rtsp = Rtsp()
    stb: tuple[Stb, ...] = ()
    profile: str = "generic"

    def stb_name(self, address: IPv4Address) -> str:
        """Return the configured name of a set-top box, or its address where it has none."""
        for box in self.stb:
            if box.address == address:
                return box.name or str(address)
        return str(address)

    def may_ask(self, address: IPv4Address) -> bool:
        """Whether the host ``address`` may have ports opened for it."""
        if self.stb:
            return any(box.address == address for box in self.stb)
        return any(address in network for network in self.lan.networks)
