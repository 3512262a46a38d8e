"""The kernel's settings that films depend on, as they are in this network namespace. None: not readable."""

from __future__ import annotations

from pathlib import Path

_NET = Path("/proc/sys/net")


def conntrack() -> dict[str, int]:
    """Return ``nf_conntrack_…`` by the rest of the name; what this kernel lacks is left out."""
    found = {name: _read(f"netfilter/nf_conntrack_{name}") for name in ("acct", "count", "events", "max")}
    return {name: value for name, value in found.items() if value is not None}


def conntrack_count() -> int | None:
    """Return how many flows conntrack holds."""
    return _read("netfilter/nf_conntrack_count")


def ip_forward() -> int | None:
    """Return whether IPv4 is forwarded, 0 or 1."""
    return _read("ipv4/ip_forward")


def rp_filter(interface: str) -> int | None:
    """Return the reverse path filter in force: the kernel takes the higher of ``all`` and its own.

    Source: ip-sysctl, ``IN_DEV_RPFILTER`` in linux/inetdevice.h.
    """
    values = [_read(f"ipv4/conf/{name}/rp_filter") for name in ("all", interface)]
    return max((value for value in values if value is not None), default=None)


def _read(name: str) -> int | None:
    try:
        return int((_NET / name).read_text())
    except (OSError, ValueError):
        return None
