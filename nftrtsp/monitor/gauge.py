"""Reads the machine's gauges: the IPTV interface, conntrack's size, the settings that films depend on."""

from __future__ import annotations

import time

from nftrtsp.events.news import Gauged
from nftrtsp.health import sysctls
from nftrtsp.netlink import links

_LOOK_AGAIN = 5.0  # seconds until settings are read again; the rest is read each time


class GaugeReader:
    """Reads the gauges of the network namespace of the calling thread; ``interface`` is the IPTV one."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._looked = 0.0
        self._settings: dict[str, int | None] = {}

    def read(self, *, overruns: int) -> Gauged:
        """Return the gauges now."""
        import psutil

        now, monotonic = time.time(), time.monotonic()
        there = links.read() if self._interface else {}
        link = there.get(self._interface)
        counters = psutil.net_io_counters(pernic=True, nowrap=False) if link else {}
        counted = counters.get(self._interface)
        defaults = tuple(name for name, each in there.items() if each.default_route)
        if monotonic - self._looked > _LOOK_AGAIN:
            self._looked = monotonic
            self._look()
        return Gauged(
            now,
            monotonic,
            addresses=tuple(str(address.ip) for address in link.addresses) if link else (),
            received=counted.bytes_recv if counted else None,
            sent=counted.bytes_sent if counted else None,
            count=sysctls.conntrack_count(),
            limit=self._settings.get("limit"),
            overruns=overruns,
            accounting=None if self._settings.get("acct") is None else bool(self._settings["acct"]),
            rp_filter=self._settings.get("rp_filter"),
            default_route=bool(defaults),
            default_routes=defaults,
        )

    def _look(self) -> None:
        counted = sysctls.conntrack()
        self._settings = {
            "limit": counted.get("max"),
            "acct": counted.get("acct"),
            "rp_filter": sysctls.rp_filter(self._interface) if self._interface else None,
        }
