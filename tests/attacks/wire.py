"""A raw socket in a host's namespace, and TCP spoken over it by hand.

Nothing is opened before the fence of the lab has said that this process stands in a namespace of a lab.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from nftrtsp.errors import NftrtspError
from nftrtsp.lab import fence
from tests.attacks.packet import ACK, MODULUS, PSH, RST, SYN, End, Segment, read, tcp

#: The link layer's address of the router on this side, as the network tells it.
ROUTER_MAC = "NFTRTSP_ATTACK_ROUTER_MAC"

_LINK = "eth0"
_ETH_P_IP = 0x0800
_BUFFER = 8 << 20
#: An attacker is another machine: it takes no processor from the router that it attacks.
_NICE = 10
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32


class Wire:
    """Whole IPv4 packets to the router, and those that come, whoever they name as source and target."""

    def __init__(self) -> None:
        fence.check()
        self.mac = bytes.fromhex(os.environ[ROUTER_MAC].replace(":", ""))
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        self.socket.bind((_LINK, _ETH_P_IP))
        for option in (_SO_RCVBUFFORCE, _SO_SNDBUFFORCE):
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER)

    def send(self, packet: bytes) -> None:
        """Send one packet to the router; it is lost where the link has no room for it."""
        try:
            self.socket.sendto(packet, (_LINK, _ETH_P_IP, 0, 0, self.mac))
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise

    def segments(self, wait: float) -> Iterator[Segment]:
        """Yield the TCP segments that come within ``wait`` seconds."""
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0 and select.select([self.socket], [], [], left)[0]:
            packet, origin = self.socket.recvfrom(65536)
            if origin[2] != socket.PACKET_OUTGOING and (segment := read(packet)) is not None:
                yield segment


class Conversation:
    """A TCP connection spoken by hand: any segment at any time. ``next`` is the sequence number to come."""

    def __init__(self, wire: Wire, source: End, target: End, isn: int = 7000) -> None:
        self.wire, self.source, self.target = wire, source, target
        self.isn = isn % MODULUS
        self.next = (isn + 1) % MODULUS
        self.ack = 0

    def open(self, wait: float = 3.0) -> bool:
        """Shake hands; return whether the other side did."""
        self.wire.send(tcp(self.source, self.target, seq=self.isn, flags=SYN))
        for segment in self.wire.segments(wait):
            if (segment.source, segment.target.port) == (self.target, self.source.port):
                self.ack = (segment.seq + 1) % MODULUS
                self.wire.send(tcp(self.source, self.target, seq=self.next, ack=self.ack))
                return True
        return False

    def say(self, data: bytes, *, at: int = 0, stay: bool = False) -> None:
        """Send ``data`` so many bytes ``at`` behind what was said; ``stay``: as if it had not been said."""
        seq = self.next + at
        self.wire.send(tcp(self.source, self.target, seq=seq, ack=self.ack, flags=ACK | PSH, data=data))
        if not stay:
            self.next = (seq + len(data)) % MODULUS

    def reset(self) -> None:
        """End it, so that the same ports may be used again."""
        self.wire.send(tcp(self.source, self.target, seq=self.next, ack=self.ack, flags=RST | ACK))

    def hear(self, wait: float) -> bytes:
        """Return what comes in order within ``wait`` seconds, and acknowledge it."""
        heard = b""
        for segment in self.wire.segments(wait):
            if segment.source == self.target and segment.target.port == self.source.port and segment.data:
                if segment.seq == self.ack:
                    self.ack = (self.ack + len(segment.data)) % MODULUS
                    heard += segment.data
                self.wire.send(tcp(self.source, self.target, seq=self.next, ack=self.ack))
                if heard.endswith(b"\r\n\r\n"):
                    break
        return heard


def pace(rate: float, seconds: float) -> Iterator[int]:
    """Count up, ``rate`` times a second, for so many seconds; a burst makes up for no more than 50 ms."""
    begun = time.monotonic()
    number = 0
    base = begun
    while (now := time.monotonic()) < begun + seconds:
        due = base + number / rate
        if due > now:
            time.sleep(min(due - now, begun + seconds - now))
            continue
        if now - due > 0.05:
            base += now - due - 0.05
        yield number
        number += 1


def run(attack: Callable[..., Any]) -> None:
    """Run one attack as a program: its arguments are ``name=value``, what it returns is printed as JSON.

    SIGTERM ends it: what it had to say by then is printed all the same if it catches :class:`SystemExit`.
    """
    try:
        wire = Wire()
    except NftrtspError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    kinds: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}
    parameters = inspect.signature(attack).parameters
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    known = {name: kinds[str(parameters[name].annotation)](value) for name, value in words.items()}
    print(json.dumps(attack(wire, **known)), flush=True)
