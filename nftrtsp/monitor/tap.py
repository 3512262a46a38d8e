"""Looks at the IPTV interface itself while a box waits: does the film arrive and get dropped?

A dropped packet leaves no conntrack entry, so no event tells of it. A packet socket sees it before any rule.
It is open only while a box waits; its BPF program takes only UDP to the interface's address and leaves out
the films that play, so that it costs nothing otherwise.

Source: packet(7), Documentation/networking/filter.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import time
from collections.abc import Iterable
from ipaddress import IPv4Address

from nftrtsp.events.news import Strayed

_ETH_P_IP = 0x0800
_SO_ATTACH_FILTER = 26
_UDP = 17
_HEAD = 64  # bytes of a packet that are kept: IP header and ports
_BATCH = 256  # packets that are read at a time
_MOST = 64  # senders that are remembered
_SURE = 3  # packets that must come …
_SPAN = 0.5  # … over so many seconds: a film that begins is no stray


def program(address: IPv4Address, playing: Iterable[int]) -> bytes:
    """Return the BPF program: UDP to ``address``, but not to the ports of films that play."""
    ports = sorted(set(playing))[:200]
    code = [
        (0x30, 0, 0, 9),  # A = protocol
        (0x15, 0, 5 + len(ports), _UDP),
        (0x20, 0, 0, 16),  # A = destination address
        (0x15, 0, 3 + len(ports), int(address)),
        (0xB1, 0, 0, 0),  # X = length of the IP header
        (0x48, 0, 0, 2),  # A = destination port
        *((0x15, len(ports) - index, 0, port) for index, port in enumerate(ports)),
        (0x06, 0, 0, _HEAD),
        (0x06, 0, 0, 0),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


class Tap:
    """Packets that reach ``interface`` for the router's own ``address``; close it when no box waits."""

    def __init__(self, interface: str, address: str, playing: Iterable[int]) -> None:
        self._seen: dict[tuple[str, int, int], tuple[int, float, float]] = {}
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        self.playing = frozenset(playing)
        code = program(IPv4Address(address), self.playing)
        buffer = ctypes.create_string_buffer(code)
        filter_ = struct.pack("HL", len(code) // 8, ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)
        self._socket.bind((interface, _ETH_P_IP))

    def close(self) -> None:
        """Look away."""
        self._socket.close()

    def read(self) -> list[Strayed]:
        """Return the senders whose packets have come for a while."""
        changed: set[tuple[str, int, int]] = set()
        now = time.time()
        with contextlib.suppress(BlockingIOError, OSError):
            for _ in range(_BATCH):
                packet = self._socket.recv(_HEAD)
                length = (packet[0] & 15) * 4
                if len(packet) < length + 4:
                    continue
                sport, dport = struct.unpack_from("!HH", packet, length)
                key = (socket.inet_ntoa(packet[12:16]), sport, dport)
                count, first, told = self._seen.get(key, (0, now, 0.0))
                if key in self._seen or len(self._seen) < _MOST:
                    self._seen[key] = (count + 1, first, told)
                    changed.add(key)
        strays = []
        for key in changed:
            count, first, told = self._seen[key]
            if count >= _SURE and now - first >= _SPAN and now - told >= 1.0:
                self._seen[key] = (count, first, now)
                strays.append(Strayed(now, *key, packets=count))
        return strays
