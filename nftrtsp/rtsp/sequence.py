"""Numbers of TCP's sequence space, which wrap at 2**32. Pure; source: RFC 9293 section 3.4."""

from __future__ import annotations

MODULUS = 1 << 32
_HALF = 1 << 31


def distance(seq: int, start: int) -> int:
    """Return how far ``seq`` lies after ``start`` (negative: before), within half the sequence space."""
    return (seq - start + _HALF) % MODULUS - _HALF
