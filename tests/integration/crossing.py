"""Packets across a router of the lab that has a config's ruleset: what comes through, what is counted."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nftrtsp.config import HelperKind, parse
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.lab.namespace import Namespace
from nftrtsp.lab.network import IPTV_GATEWAY, IPTV_ROUTER, Lab
from nftrtsp.ruleset.build import build
from nftrtsp.ruleset.render import render

WAIT = 3.0  # a packet that is to arrive arrives in a millisecond; this is for a busy machine
QUIET = 0.25  # how long nothing must come where nothing may come: neighbours answered long before
ROUTER = str(IPTV_ROUTER.ip)
ISP = str(IPTV_GATEWAY.ip)


def run(space: Namespace, *command: str) -> str:
    return space.run(command).stdout


def load(lab: Lab, kind: HelperKind = HelperKind.PINHOLE, *, boxes: bool = True, **tables: Any) -> None:
    """Load the ruleset for the lab in its router; the ct helper form with a helper that this kernel has."""
    data: dict[str, Any] = {
        "iptv": {"interface": "vlan2", "multicast": ["239.0.0.0/16"], **tables.pop("iptv", {})},
        "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
        "stb": [{"address": stb.address} for stb in lab.stbs] if boxes else [],
        **tables,
    }
    table = build(parse(data), kind)
    if kind.uses_ct_helper:
        table = table.with_helper_type("ftp")
    lab.router.run(["nft", "-f", "-"], input=render(table))
    lab.router.run(["conntrack", "-F"])


def counted(lab: Lab, rule: str) -> int:
    """Return how many packets a rule has counted."""
    listing = run(lab.router, "nft", "list", "table", "inet", "nftrtsp")
    match = re.search(rf'counter packets (\d+) bytes \d+ [^\n]*comment "nftrtsp:{rule}"', listing)
    assert match, f"{rule} is not in {listing}"
    return int(match[1])


@contextmanager
def udp(space: Namespace, address: str = "0.0.0.0", port: int = 0) -> Iterator[socket.socket]:
    """Open a UDP socket that stays in ``space``."""
    opened = space.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address, port))
        opened.settimeout(WAIT)
        yield opened


def port_of(opened: socket.socket) -> int:
    return int(opened.getsockname()[1])


def nothing_comes(opened: socket.socket) -> bool:
    opened.settimeout(QUIET)
    try:
        opened.recv(2048)
    except TimeoutError:
        return True
    finally:
        opened.settimeout(WAIT)
    return False


def copied(lab: Lab) -> int:
    """Return how many packets the pinhole helper got copies of."""
    listing = run(lab.router, "nft", "list", "chain", "inet", "nftrtsp", "attach")
    return sum(int(packets) for packets in re.findall(r"counter packets (\d+)", listing))


def flows(lab: Lab) -> list[Flow]:
    def dump() -> list[Flow]:
        with Conntrack() as conntrack:
            return list(conntrack.dump_flows())

    return lab.router.call(dump)


def open_pinhole(lab: Lab, port: int, stb: str, to: int) -> None:
    element = f"{{ {port} timeout 1h : {stb} . {to} }}"
    run(lab.router, "nft", f"add element inet nftrtsp pinholes {element}")


def forge(
    space: Namespace, sender: tuple[str, int], goal: tuple[str, int], data: bytes = b"", **tcp: int
) -> None:
    """Send one packet with any source: UDP, or TCP with ``flags``, maybe ``seq`` and ``ack``."""
    source, target = socket.inet_aton(sender[0]), socket.inet_aton(goal[0])
    ports = struct.pack("!HH", sender[1], goal[1])
    if tcp:
        protocol, place = socket.IPPROTO_TCP, 16
        numbers = (tcp.get("seq", 1), tcp.get("ack", 1), 0x50, tcp["flags"], 65535, 0, 0)
        segment = ports + struct.pack("!IIBBHHH", *numbers) + data
    else:
        protocol, place = socket.IPPROTO_UDP, 6
        segment = ports + struct.pack("!HH", 8 + len(data), 0) + data
    pseudo = source + target + struct.pack("!BBH", 0, protocol, len(segment))
    checksum = struct.pack("!H", _checksum(pseudo + segment) or 0xFFFF)
    segment = segment[:place] + checksum + segment[place + 2 :]
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, protocol, 0, source, target
    )  # the rest by Linux
    raw = space.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
    with raw:
        raw.sendto(header + segment, (goal[0], 0))


def numbers(opened: socket.socket) -> tuple[int, int]:
    """Return the sequence numbers that a TCP socket sends and awaits next; tcp(7) and linux/tcp.h."""
    repair, queue, number = 19, 20, 21
    try:
        opened.setsockopt(socket.IPPROTO_TCP, repair, 1)
    except OSError:
        pytest.skip("this kernel does not tell a connection's numbers (CONFIG_CHECKPOINT_RESTORE)")
    try:
        found = []
        for which in (2, 1):  # what is sent, what is received
            opened.setsockopt(socket.IPPROTO_TCP, queue, which)
            found.append(opened.getsockopt(socket.IPPROTO_TCP, number) & 0xFFFFFFFF)
    finally:
        opened.setsockopt(socket.IPPROTO_TCP, repair, -1)  # without a probe of the window
    return found[0], found[1]


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
