"""What flows and ways mean, in words. Pure."""

from __future__ import annotations

from typing import Any

from nftrtsp.conntrack.flow import IPPROTO_TCP, IPS_ASSURED, IPS_DYING, IPS_SEEN_REPLY, Flow
from nftrtsp.conntrack.record import address_text
from nftrtsp.conntrack.role import Role

#: Seconds without a packet after which a film counts as paused.
PAUSED = 3


def duration(seconds: float) -> str:
    """Return a time as people say it: ``40 s``, ``59 m``, ``2 h 5 m``, ``3 d 4 h``."""
    whole = max(0, int(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 100:
        return f"{minutes} m"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} m" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


def size(count: float) -> str:
    """Return a number of bytes with its unit: ``812 B``, ``12.3 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def rate(bytes_a_second: float) -> str:
    """Return a rate as providers give it, in bits: ``8.2 Mbit/s``."""
    bits = bytes_a_second * 8
    return f"{bits / 1e6:.1f} Mbit/s" if bits >= 1e5 else f"{bits / 1e3:.1f} kbit/s"


def endpoint(address: bytes, port: int | None) -> str:
    """Return ``address:port``; IPv6 in brackets; the address alone without a port."""
    text = address_text(address)
    if port is None:
        return text
    return f"[{text}]:{port}" if len(address) == 16 else f"{text}:{port}"


def idle(flow: Flow, pause: int) -> int | None:
    """Return the seconds since the last packet of a film that has our ``pause`` timeout, else None.

    Every packet sets the timeout to ``pause`` again, so what is gone of it is how long nothing came.
    """
    if flow.timeout is None or flow.timeout > pause or pause <= 0:
        return None
    return pause - flow.timeout


def of_flow(flow: Flow, role: Role, pause: int) -> str:
    """Return what the state of ``flow`` means; ``pause`` is the timeout of marked films, 0 if it has none."""
    said: list[str] = []
    status = flow.status or 0
    if status & IPS_DYING:
        said.append("ended")
    elif role is Role.MEDIA:
        gone = idle(flow, pause)
        if gone is not None and gone >= PAUSED:
            said.append(f"paused {duration(gone)}")
        elif gone is not None:
            said.append("playing")
        if flow.timeout is not None:
            said.append(f"way open {duration(flow.timeout)}")
    elif flow.orig.proto == IPPROTO_TCP and flow.state_name:
        said.append(flow.state_name.lower().replace("_", " "))
    if not status & IPS_SEEN_REPLY:
        said.append("unreplied")
    elif status & IPS_ASSURED and role is Role.OTHER:
        said.append("assured")
    if flow.helper:
        said.append(f"helper {flow.helper}")
    return ", ".join(said)


def of_way(way: dict[str, Any]) -> str:
    """Return what an expectation's or a pinhole's JSON object means."""
    said = ["any source" if way["any_source"] else f"pinned to {way['tuple']['src']}"]
    if "inactive" in way["flags"]:
        said.append("inactive")
    said.append("stays" if "permanent" in way["flags"] else "for the first flow")
    timeout = way["timeout"]
    said.append("open for ever" if timeout is None else f"open {duration(timeout)}")
    return ", ".join(said)
