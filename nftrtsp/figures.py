"""Sizes, rates, times and addresses as people read them: one text for one thing, wherever it is shown. Pure.

Units are those of the trade: powers of ten, bits for rates, bytes for sizes.
"""

from __future__ import annotations

import time as _time
from socket import AF_INET, AF_INET6, inet_ntop


def size(octets: float) -> str:
    """Return a number of bytes with its unit: ``812 B``, ``12.3 MB``."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if octets >= limit * 0.99995:  # 999.95 kB and more would read as 1000.0 kB
            return f"{octets / limit:.1f} {unit}"
    return f"{octets:.0f} B"


def rate(bits: float | None, *, short: bool = False) -> str:
    """Return a rate in bit/s as ``6.4 Mbit/s``, short ``6.4M``; ``-`` when it is unknown."""
    if bits is None:
        return "-"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if bits >= limit * 0.9995:
            number = bits / limit
            text = f"{number:.0f}" if number >= 99.95 else f"{number:.1f}"
            return f"{text}{unit}" if short else f"{text} {unit}bit/s"
    return f"{bits:.0f}" if short else f"{bits:.0f} bit/s"


def duration(seconds: float) -> str:
    """Return a time in a sentence: ``4 s``, ``2 min 31 s``, ``3 h 5 min``, ``2 d 4 h``, ``1 h``."""
    whole = max(0, int(seconds))
    for unit, name, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name} {rest} {small}" if rest else f"{whole // unit} {name}"
    return f"{whole} s"


def brief(seconds: float) -> str:
    """Return a time in few columns, which do not dance: ``4s``, ``2:31``, ``3:05:00``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"


def latency(seconds: float) -> str:
    """Return how long something took that takes milliseconds: ``2.4 ms``, ``340 ms``."""
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def clock(time: float) -> str:
    """Return the time of day of ``time`` (seconds since the epoch) as ``04:12:33``, in the machine's zone."""
    return _time.strftime("%H:%M:%S", _time.localtime(time))


def moment(time: float) -> str:
    """Return the time of day to the millisecond: ``04:12:33.250``."""
    milliseconds = int(time * 1000 + 0.5)
    return f"{clock(milliseconds // 1000)}.{milliseconds % 1000:03}"


def date(time: float) -> str:
    """Return day and time: ``2026-11-26 04:12:33``."""
    return _time.strftime("%Y-%m-%d %H:%M:%S", _time.localtime(time))


def address(packed: bytes) -> str:
    """Return a packed IPv4 or IPv6 address as text; empty for none."""
    if len(packed) == 4:
        return inet_ntop(AF_INET, packed)
    return inet_ntop(AF_INET6, packed) if len(packed) == 16 else ""


def endpoint(host: bytes | str, port: int | None) -> str:
    """Return ``address:port`` of a packed address or its text; IPv6 in brackets; without a port no colon."""
    text = address(host) if isinstance(host, bytes) else host
    if port is None:
        return text
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def counted(number: int, noun: str) -> str:
    """Return ``1 film``, ``2 films``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
