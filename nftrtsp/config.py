"""The configuration: TOML and a profile in, a typed and validated :class:`Config` out.

Pure but for :func:`load`, which reads the file and its profile. Whether interfaces exist is a question to a
machine, not to a file: :func:`check_interfaces` asks it.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from nftrtsp import paths
from nftrtsp.errors import ConfigError

#: One table of our own in the kernel; no other table is ever touched.
TABLE_FAMILY = "inet"
TABLE_NAME = "nftrtsp"

_DURATION = re.compile(r"^(\d+)\s*(s|m|h|d)$")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_INTERFACE = re.compile(r"^[^\s/\"]{1,15}$")  # IFNAMSIZ - 1; nft strings cannot hold a quote
_LARGEST_PAUSE = 30 * 86400

Fail = Callable[[str, str, str], NoReturn]


class HelperKind(StrEnum):
    """What reads SETUP and opens the way (docs/design: three helpers, one config)."""

    AUTO = "auto"
    KERNEL = "kernel"
    USERSPACE = "userspace"
    PINHOLE = "pinhole"

    @property
    def uses_ct_helper(self) -> bool:
        """Whether the ruleset for this kind holds a ``ct helper`` object."""
        return self in (HelperKind.KERNEL, HelperKind.USERSPACE)


class Service(StrEnum):
    """What the router itself accepts from the IPTV interface."""

    IGMP = "igmp"
    ICMP = "icmp"
    DHCP = "dhcp"
    RIP = "rip"


class Policy(StrEnum):
    """What happens to packets of the IPTV interface that nothing accepts."""

    DROP = "drop"
    ACCEPT = "accept"


class Seconds(int):
    """A time in whole seconds, written ``30s``, ``5m``, ``1h`` or ``2d``."""

    def __str__(self) -> str:
        for unit in ("d", "h", "m"):
            if self and self % _UNIT_SECONDS[unit] == 0:
                return f"{self // _UNIT_SECONDS[unit]}{unit}"
        return f"{int(self)}s"


class MarkBits(msgspec.Struct, frozen=True):
    """The bits of ``ct mark`` that say *media flow*: 32-bit ``value`` under ``mask``."""

    value: int
    mask: int

    def __str__(self) -> str:
        return f"{self.value:#x}/{self.mask:#x}"


class Iptv(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[iptv]``: the uplink that carries TV.

    ``policy`` says what becomes of packets to or from it that nothing accepts. ``accept`` is for an
    interface that carries the Internet too: there another firewall has the say, and a drop of ours would
    break what it forwards.
    """

    interface: str
    nat: str = "masquerade"
    policy: Policy = Policy.DROP
    full_cone: bool = False
    multicast: tuple[IPv4Network, ...] = ()
    services: tuple[Service, ...] = (Service.IGMP, Service.ICMP)

    @property
    def snat_address(self) -> IPv4Address | None:
        """The address for snat, or None for masquerade."""
        return None if self.nat == "masquerade" else IPv4Address(self.nat)


class Lan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[lan]``: where the set-top boxes are."""

    interfaces: tuple[str, ...]
    networks: tuple[IPv4Network, ...]


class Rtsp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[rtsp]``: what is asked for, and who opens the way."""

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
        """Whether the host ``address`` may have a way opened for it."""
        if self.stb:
            return any(box.address == address for box in self.stb)
        return any(address in network for network in self.lan.networks)


def load(path: Path) -> Config:
    """Read, merge and validate the configuration at ``path``.

    Raises :class:`ConfigError` whose place is ``FILE: key`` for everything a user can get wrong.
    """
    return parse(_read_toml(path), place=path.name)


def parse(data: dict[str, Any], *, place: str = "nftrtsp.toml") -> Config:
    """Merge ``data`` over its profile and validate it; ``place`` names the file in errors."""
    known = dict(data)
    profile = known.get("profile", "generic")
    if not isinstance(profile, str):
        raise ConfigError("must be a text", place=f"{place}: profile", remedy=_profile_remedy())
    merged = _merge(load_profile(profile, place=f"{place}: profile"), known)
    _check_keys(merged, place)
    try:
        config = msgspec.convert(merged, Config, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise _from_msgspec(error, place) from None
    _check(config, place)
    return config


def profiles() -> list[str]:
    """Return the names of the profiles, sorted."""
    names = {
        file.stem for folder in paths.profile_dirs() if folder.is_dir() for file in folder.glob("*.toml")
    }
    return sorted(names)


def load_profile(name: str, *, place: str = "profile") -> dict[str, Any]:
    """Return the defaults of the profile ``name`` as TOML data, without its ``description``."""
    for folder in paths.profile_dirs():
        file = folder / f"{name}.toml"
        if "/" not in name and file.is_file():
            data = _read_toml(file)
            data.pop("description", None)
            return data
    raise ConfigError(f"there is no profile {name!r}", place=place, remedy=_profile_remedy(name))


def check_interfaces(config: Config, present: set[str], *, place: str = "nftrtsp.toml") -> None:
    """Raise :class:`ConfigError` if an interface of ``config`` is not among those ``present``."""
    wanted = [("iptv.interface", config.iptv.interface)]
    wanted += [(f"lan.interfaces[{i}]", name) for i, name in enumerate(config.lan.interfaces)]
    for key, name in wanted:
        if name not in present:
            raise ConfigError(
                f"this machine has no interface {name!r}",
                place=f"{place}: {key}",
                remedy=f"it has {', '.join(sorted(present - {'lo'})) or 'none'}",
            )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
        return tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(
            "there is no such file", place=str(path), remedy="write one with `nftrtsp init -o FILE`"
        ) from None
    except IsADirectoryError:
        raise ConfigError("is a directory", place=str(path), remedy="name the file in it") from None
    except PermissionError:
        raise ConfigError("may not be read", place=str(path), remedy="run it as root") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"is not UTF-8 at byte {error.start}", place=path.name, remedy="save it as UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", place=path.name, remedy="mend that line") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", place=str(path)) from None


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _profile_remedy(name: str | None = None) -> str:
    close = difflib.get_close_matches(name or "", profiles(), 1)
    return f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(profiles())}"


_TABLES: dict[str, type[msgspec.Struct]] = {"iptv": Iptv, "lan": Lan, "rtsp": Rtsp}


def _check_keys(data: dict[str, Any], place: str) -> None:
    """Name the unknown or misplaced key before msgspec sees the data: its message lacks the remedy."""
    _check_known(data, Config, place, "")
    for key, struct in _TABLES.items():
        if isinstance(data.get(key), dict):
            _check_known(data[key], struct, place, f"{key}.")
    boxes = data.get("stb")
    if isinstance(boxes, dict):
        raise ConfigError("must be a list of tables", place=f"{place}: stb", remedy="write [[stb]]")
    for index, box in enumerate(boxes if isinstance(boxes, list) else ()):
        if isinstance(box, dict):
            _check_known(box, Stb, place, f"stb[{index}].")
    for key in ("iptv", "lan"):
        if key not in data:
            raise ConfigError(f"the table [{key}] is missing", place=place, remedy="see `nftrtsp init`")


def _check_known(data: dict[str, Any], struct: type[msgspec.Struct], place: str, prefix: str) -> None:
    fields = struct.__struct_fields__
    for key in data:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, 1)
            remedy = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(fields)}"
            raise ConfigError("unknown key", place=f"{place}: {prefix}{key}", remedy=remedy)


def _decode(kind: type, value: Any) -> Any:
    if kind is Seconds:
        return _seconds(value)
    if kind is MarkBits:
        return _mark(value)
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {type(value).__name__}")
    return kind(value)


def _seconds(value: object) -> Seconds:
    match = _DURATION.match(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{value!r} is not a time; write it as '30s', '5m' or '1h'")
    return Seconds(int(match[1]) * _UNIT_SECONDS[match[2]])


def _mark(value: object) -> MarkBits:
    text = f"{value:#x}" if isinstance(value, int) else str(value)
    number, _, mask = text.partition("/")
    try:
        bits = MarkBits(int(number, 0), int(mask or number, 0))
    except ValueError:
        raise ValueError(f"{value!r} is not a mark; write it as '0x100000/0x100000'") from None
    if not 0 < bits.value <= 0xFFFFFFFF or not 0 < bits.mask <= 0xFFFFFFFF or bits.value & ~bits.mask:
        raise ValueError(f"{value!r}: the value must be of 32 bits, not zero, and lie within the mask")
    return bits


def _from_msgspec(error: msgspec.ValidationError, place: str) -> ConfigError:
    """Turn msgspec's ``… - at `$.iptv.nat``` into our place and sentence."""
    text, _, where = str(error).partition(" - at `$")
    key = where.rstrip("`").lstrip(".").replace("[...]", "")
    missing = re.match(r"Object missing required field `(\w+)`", text)
    if missing:
        key = f"{key}.{missing[1]}".lstrip(".")
        return ConfigError("is missing", place=f"{place}: {key}", remedy="see `nftrtsp init` for an example")
    text = text.replace("Expected `array`", "must be a list").replace("Expected `", "must be `")
    return ConfigError(text[:1].lower() + text[1:], place=f"{place}: {key}", remedy="mend that key")


def _check(config: Config, place: str) -> None:
    """Check what types cannot say: ranges, and what must not be so together."""

    def fail(key: str, message: str, remedy: str) -> NoReturn:
        raise ConfigError(message, place=f"{place}: {key}", remedy=remedy)

    _check_iptv(config, fail)
    _check_lan(config, fail)
    _check_rtsp(config.rtsp, fail)
    _check_boxes(config, fail)


def _check_iptv(config: Config, fail: Fail) -> None:
    iptv = config.iptv
    if not _INTERFACE.match(iptv.interface):
        fail(
            "iptv.interface",
            f"{iptv.interface!r} is no interface name",
            "1 to 15 characters, no '/' or blank",
        )
    if iptv.nat != "masquerade":
        try:
            IPv4Address(iptv.nat)
        except ValueError:
            fail("iptv.nat", f"{iptv.nat!r} is neither 'masquerade' nor an IPv4 address", "write one of them")
    for index, network in enumerate(iptv.multicast):
        if not network.is_multicast:
            fail(f"iptv.multicast[{index}]", f"{network} is not multicast", "it must lie within 224.0.0.0/4")
    _check_overlap(iptv.multicast, "iptv.multicast", fail)


def _check_lan(config: Config, fail: Fail) -> None:
    lan = config.lan
    if not lan.interfaces:
        fail("lan.interfaces", "is empty", "name the interface of the set-top boxes")
    if not lan.networks:
        fail("lan.networks", "is empty", "name the network of the set-top boxes")
    for index, name in enumerate(lan.interfaces):
        if not _INTERFACE.match(name):
            fail(f"lan.interfaces[{index}]", f"{name!r} is no interface name", "1 to 15 characters, no '/'")
        if name == config.iptv.interface:
            fail(f"lan.interfaces[{index}]", f"{name!r} is the IPTV interface too", "they must be two")
        if name in lan.interfaces[:index]:
            fail(f"lan.interfaces[{index}]", f"{name!r} is listed twice", "list it once")
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
    if not 10 <= rtsp.pause <= _LARGEST_PAUSE:
        fail("rtsp.pause", f"{rtsp.pause} is out of range", "10s to 30d")
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
        if not any(box.address in network for network in config.lan.networks):
            networks = ", ".join(str(network) for network in config.lan.networks)
            fail(f"stb[{index}].address", f"{box.address} lies outside lan.networks ({networks})", "mend one")
