"""Names of hosts as this router's DHCP server knows them: dnsmasq, ISC dhcpd, Kea, systemd-networkd.

The parsers are pure and forgiving: what does not read as a lease is passed over, for it only names hosts. All
texts in these files were made up by the hosts themselves. Sources: dnsmasq(8) ``--dhcp-leasefile``,
dhcpd.leases(5), Kea's memfile (kea-leases4.csv), systemd-networkd's dhcp-server-lease (JSON).
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import stat
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec

_LARGEST = 4 << 20  # bytes of a file that are read


class Lease(msgspec.Struct, frozen=True):
    """What a host said of itself when it asked for its address; ``vendor``: its vendor class, option 60."""

    address: IPv4Address
    name: str = ""
    vendor: str = ""


def read(root: Path = Path("/")) -> dict[IPv4Address, Lease]:
    """Return the leases of whatever servers left their files here, the newest of a file last and valid."""
    found: dict[IPv4Address, Lease] = {}
    for pattern, parse in _FILES:
        for path in sorted(root.glob(pattern)):
            found.update((lease.address, lease) for lease in parse(_text(path)))
    return found


def _text(path: Path) -> str:
    """Return what stands in a file; nothing where it is none or may not be read.

    OpenWrt's lies in /tmp, where on other machines anybody may put a pipe or a link in its place.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(opened, "rb") as file:
        whole = stat.S_ISREG(os.fstat(opened).st_mode)
        return file.read(_LARGEST).decode("utf-8", "replace") if whole else ""


def dnsmasq(text: str) -> Iterator[Lease]:
    """Yield the leases of ``EXPIRY MAC ADDRESS NAME CLIENT-ID`` lines; ``*`` is no name."""
    for line in text.splitlines():
        words = line.split(" ")
        if len(words) >= 4 and (address := _address(words[2])):
            yield Lease(address, "" if words[3] == "*" else words[3])


def isc(text: str) -> Iterator[Lease]:
    """Yield the leases of ``lease ADDRESS { … }`` blocks; a later one of an address is the newer."""
    for head, _, rest in (part.partition("{") for part in re.split(r"(?m)^lease ", text)[1:]):
        if address := _address(head.strip()):
            said = dict(_SAID.findall(rest))
            yield Lease(
                address, said.get("client-hostname", ""), said.get("set vendor-class-identifier =", "")
            )


def kea(text: str) -> Iterator[Lease]:
    """Yield the leases of Kea's table, whose first line names the columns."""
    with contextlib.suppress(csv.Error):  # a field beyond all measure
        for row in csv.DictReader(text.splitlines()):
            if address := _address(row.get("address") or ""):
                yield Lease(address, row.get("hostname") or "")


def networkd(text: str) -> Iterator[Lease]:
    """Yield the leases of systemd-networkd: a list, or in newer versions an object that has it as Leases."""
    try:
        data = msgspec.json.decode(text, type=_Leases | list[Any])
    except (msgspec.DecodeError, RecursionError):
        return
    for item in data.leases if isinstance(data, _Leases) else data:
        try:
            lease = msgspec.convert(item, _Lease)
            yield Lease(IPv4Address(bytes(lease.address)), lease.name)
        except ValueError:
            continue


class _Lease(msgspec.Struct):
    address: list[int] = msgspec.field(name="Address")
    name: str = msgspec.field(name="Hostname", default="")


class _Leases(msgspec.Struct):
    leases: list[Any] = msgspec.field(name="Leases", default_factory=list)


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None


#: One statement of a line; the text ends at the first quote that no backslash precedes.
_SAID = re.compile(r'(?m)^  (client-hostname|set vendor-class-identifier =) "((?:[^"\\\n]|\\.)*)";$')

_FILES: tuple[tuple[str, Callable[[str], Iterator[Lease]]], ...] = (
    ("var/lib/misc/dnsmasq.leases", dnsmasq),  # Debian
    ("var/lib/dnsmasq/dnsmasq.leases", dnsmasq),  # Fedora
    ("etc/pihole/dhcp.leases", dnsmasq),
    ("tmp/dhcp.leases", dnsmasq),  # OpenWrt
    ("var/lib/dhcp/dhcpd.leases", isc),  # Debian
    ("var/lib/dhcpd/dhcpd.leases", isc),
    ("var/lib/kea/kea-leases4.csv", kea),
    ("var/lib/systemd/network/dhcp-server-lease/*", networkd),
)
