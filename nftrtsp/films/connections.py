"""Control connections as conntrack tells of them, for :class:`~nftrtsp.films.household.Household`."""

from __future__ import annotations

from nftrtsp import figures
from nftrtsp.conntrack.event import EventType
from nftrtsp.conntrack.flow import Flow
from nftrtsp.films.box import Control
from nftrtsp.films.household import Household

_CLOSING = frozenset({4, 5, 6, 7, 8})  # FIN_WAIT … CLOSE. Source: nf_conntrack_tcp.h


def heard(house: Household, kind: EventType, flow: Flow, time: float) -> None:
    """Take what the kernel says of a control connection."""
    client = figures.endpoint(flow.orig.src, flow.orig.sport)
    if kind is EventType.DESTROY or flow.tcp_state in _CLOSING:
        house.close_control(client, time)
        return
    control = _control(house, client, flow, time)
    if flow.helper:
        control.helper = flow.helper


def listed(house: Household, flow: Flow, time: float) -> None:
    """Take a control connection of a listing, with its counters."""
    client = figures.endpoint(flow.orig.src, flow.orig.sport)
    if flow.tcp_state in _CLOSING:
        house.close_control(client, time)
        return
    control = _control(house, client, flow, time)
    control.listed, control.misses = True, 0
    control.helper = flow.helper
    if flow.counters_orig is not None and flow.counters_orig.packets != control.packets:
        control.packets, control.heard = flow.counters_orig.packets, time


def forget_absent(house: Household, time: float) -> None:
    """Let go what two listings in a row did not show."""
    for client, control in list(house.controls.items()):
        if control.listed and control.seen < time - 0.05:
            control.misses += 1
            if control.misses > 1:
                house.close_control(client, time)


def _control(house: Household, client: str, flow: Flow, time: float) -> Control:
    control = house.controls.get(client)
    if control is None:
        server = figures.endpoint(flow.orig.dst, flow.orig.dport)
        opened = flow.start / 1e9 if flow.start else time
        control = Control(client, server, flow.orig.src, opened, heard=time)
        house.controls[client] = control
        house.box(flow.orig.src).controls[client] = control
    control.tuple = flow.orig
    if control.flow is None or flow.counters_orig is not None or control.flow.counters_orig is None:
        control.flow = flow
    if flow.tcp_state is not None:
        control.state = flow.tcp_state
    control.seen = time
    return control
