"""Reads the machine's gauges: the IPTV interface, conntrack's size, the settings that films depend on."""

from __future__ import annotations

import time
from pathlib import Path

from nftrtsp.events.news import Gauged
from nftrtsp.health.environment import has_default_route

_NET = Path("/proc/sys/net")
_LOOK_AGAIN = 5.0  # seconds until addresses and settings are read again; counters are read each time


class GaugeReader:
    """Reads the gauges of the network namespace of the calling thread; ``interface`` is the IPTV one."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._looked = 0.0
        self._addresses: tuple[str, ...] = ()
        self._settings: dict[str, int | None] = {}
        self._default_route = False

    def read(self, *, overruns: int) -> Gauged:
        """Return the gauges now."""
        import psutil

        now, monotonic = time.time(), time.monotonic()
        counters = psutil.net_io_counters(pernic=True, nowrap=False) if self._interface else {}
        link = counters.get(self._interface)
        if monotonic - self._looked > _LOOK_AGAIN or (link is None) != (not self._addresses):
            self._looked = monotonic
            self._look()
        return Gauged(
            now,
            monotonic,
            addresses=self._addresses,
            received=link.bytes_recv if link else None,
            sent=link.bytes_sent if link else None,
            count=_number("netfilter/nf_conntrack_count"),
            limit=self._settings.get("limit"),
            overruns=overruns,
            accounting=None if self._settings.get("acct") is None else bool(self._settings["acct"]),
            rp_filter=self._settings.get("rp_filter"),
            default_route=self._default_route,
        )

    def _look(self) -> None:
        import psutil

        found = psutil.net_if_addrs().get(self._interface, ()) if self._interface else ()
        self._addresses = tuple(each.address for each in found if int(each.family) == 2)  # AF_INET
        self._default_route = has_default_route()
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
