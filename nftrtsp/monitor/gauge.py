"""Reads the machine's gauges: the IPTV interface, conntrack's size, the settings that films depend on."""

from __future__ import annotations

import time
from pathlib import Path

from nftrtsp.events.news import Gauged
from nftrtsp.netlink import links

_NET = Path("/proc/sys/net")
_LOOK_AGAIN = 5.0  # seconds until settings are read again; the rest is read each time


class GaugeReader:
    """Reads the gauges of the network namespace of the calling thread; ``interface`` is the IPTV one."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._looked = 0.0
        self._settings: dict[str, int | None] = {}

    def read(self, *, overruns: int) -> Gauged:
        """Return the gauges now."""
        now, monotonic = time.time(), time.monotonic()
        there = links.read() if self._interface else {}
        link = there.get(self._interface)
        if monotonic - self._looked > _LOOK_AGAIN:
            self._looked = monotonic
            self._look()
        return Gauged(
            now,
            monotonic,
            addresses=tuple(str(address.ip) for address in link.addresses) if link else (),
            received=link.received if link else None,
            sent=link.sent if link else None,
            count=_number("netfilter/nf_conntrack_count"),
            limit=self._settings.get("limit"),
            overruns=overruns,
            accounting=None if self._settings.get("acct") is None else bool(self._settings["acct"]),
            rp_filter=self._settings.get("rp_filter"),
            default_route=any(each.default_route for each in there.values()),
        )

    def _look(self) -> None:
        self._settings = {
            "limit": _number("netfilter/nf_conntrack_max"),
            "acct": _number("netfilter/nf_conntrack_acct"),
            "rp_filter": self._reverse_path(),
        }

    def _reverse_path(self) -> int | None:
        """Return the filter in force: the kernel takes the larger of ``all`` and the interface's own."""
        if not self._interface:
            return None
        values = [_number(f"ipv4/conf/{name}/rp_filter") for name in ("all", self._interface)]
        return max((value for value in values if value is not None), default=None)


def _number(name: str) -> int | None:
    try:
        return int((_NET / name).read_text())
    except (OSError, ValueError):
        return None
