"""What flows and open ports mean, in words. Pure."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from nftrtsp import figures
from nftrtsp.conntrack.flow import IPS_ASSURED, IPS_DYING, IPS_SEEN_REPLY, Flow
from nftrtsp.conntrack.role import Role
from nftrtsp.conntrack.tuple import IPPROTO_TCP
from nftrtsp.films.timeouts import QUIET

if TYPE_CHECKING:
    from nftrtsp.conntrack.record import OpenPortRecord


class Activity(Enum):
    """What a flow that carries a film does, as far as its timeout tells."""

    PLAYING = "playing"
    PAUSED = "paused"
    UNKNOWN = "unknown"


def idle(flow: Flow, pause: int) -> int | None:
    """Return the seconds since the last packet of a film that has our ``pause`` timeout, else None.

    Every packet sets the timeout to ``pause`` again, so what is gone of it is how long nothing came.
    """
    if flow.timeout is None or flow.timeout > pause or pause <= 0:
        return None
    return pause - flow.timeout


def activity(flow: Flow, role: Role, pause: int) -> Activity:
    """Return what ``flow`` does; ``pause`` is the timeout of marked films, 0 if it has none."""
    gone = idle(flow, pause)
    if role is not Role.MEDIA or gone is None or (flow.status or 0) & IPS_DYING:
        return Activity.UNKNOWN
    return Activity.PAUSED if gone > QUIET else Activity.PLAYING


def of_flow(flow: Flow, role: Role, pause: int) -> str:
    """Return what the state of ``flow`` means; ``pause`` is the timeout of marked films, 0 if it has none."""
    said: list[str] = []
    status = flow.status or 0
    if status & IPS_DYING:
        said.append("ended")
    elif role is Role.MEDIA:
        does = activity(flow, role, pause)
        if does is Activity.PAUSED:
            said.append(f"paused {figures.duration(idle(flow, pause) or 0)}")
        elif does is Activity.PLAYING:
            said.append("playing")
        if flow.timeout is not None:
            said.append(f"port open {figures.duration(flow.timeout)}")
    elif flow.orig.proto == IPPROTO_TCP and flow.state_name:
        said.append(flow.state_name.lower().replace("_", " "))
    if not status & IPS_SEEN_REPLY:
        said.append("unreplied")
    elif status & IPS_ASSURED and role is Role.OTHER:
        said.append("assured")
    if flow.helper:
        said.append(f"helper {flow.helper}")
    return ", ".join(said)


def of_way(way: OpenPortRecord) -> str:
    """Return what an expectation or a pinhole means."""
    said = ["any source" if way.any_source else f"pinned to {way.tuple.src}"]
    if "inactive" in way.flags:
        said.append("inactive")
    said.append("stays" if "permanent" in way.flags else "for the first flow")
    timeout = way.timeout
    said.append("open for ever" if timeout is None else f"open {figures.duration(timeout)}")
    return ", ".join(said)
