"""Flows, expectations and events as JSON objects, their fields stable.

All keys are always there; what was not told is null. Addresses are texts, times seconds since the epoch, ids
and marks numbers. Ways of a pinhole helper have the same keys with ``kind`` ``pinhole``.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import Any

import msgspec

from nftrtsp.conntrack.event import Event
from nftrtsp.conntrack.expectation import Expectation, ExpectationNat
from nftrtsp.conntrack.flow import SCTP_STATES, Counters, Flow, protocol_state, status_names
from nftrtsp.conntrack.role import Part, Roles
from nftrtsp.conntrack.tuple import (
    AF_INET,
    AF_INET6,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    PROTOCOL_NAMES,
    Tuple,
)
from nftrtsp.figures import address

Record = dict[str, Any]


class Ends(msgspec.Struct, frozen=True, gc=False):
    """A tuple: who sends to whom. ``icmp`` and ``zone`` only where there are such."""

    src: str | None = None
    sport: int | None = None
    dst: str | None = None
    dport: int | None = None
    icmp: dict[str, int | None] | msgspec.UnsetType = msgspec.UNSET
    zone: int | msgspec.UnsetType = msgspec.UNSET


class Translation(msgspec.Struct, frozen=True, gc=False):
    """Where what comes is sent on to (``src`` and ``sport``, as the kernel has it), in which direction."""

    direction: int = 0
    src: str | None = None
    sport: int | None = None
    dst: str | None = None
    dport: int | None = None
    icmp: dict[str, int | None] | msgspec.UnsetType = msgspec.UNSET
    zone: int | msgspec.UnsetType = msgspec.UNSET


class OpenPortRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename={"class_": "class"}):
    """A port open for a film, as lists, events and a helper's lines show it; its fields are JSON's.

    ``kind`` is ``expectation`` or ``pinhole``, ``timeout`` the seconds that are left (None: for ever),
    ``stb`` the set-top box that the film goes to.
    """

    kind: str = "pinhole"
    id: int = 0
    family: str = "ipv4"
    timeout: int | None = 0
    proto: str = "udp"
    tuple: Ends
    mask: Ends = Ends()
    master: Ends | None = None
    helper: str | None = None
    class_: int | None = None
    flags: list[str] = []
    function: str | None = None
    zone: int | None = 0
    nat: Translation | None = None
    any_source: bool = True
    stb: str | None = None
    stb_name: str | None = None

    @property
    def asker(self) -> Tuple | None:
        """The control connection that asked, None where it is not known."""
        asked = self.master
        if asked is None:
            return None
        try:
            src, dst = IPv4Address(asked.src or "").packed, IPv4Address(asked.dst or "").packed
        except AddressValueError:
            return None
        return Tuple(src, dst, IPPROTO_TCP, asked.sport, asked.dport)

    @property
    def router(self) -> bytes:
        """The packed address that media servers send to, all zero while it is not known."""
        try:
            return IPv4Address(self.tuple.dst or "").packed
        except AddressValueError:
            return bytes(4)


#: Names of the NF_CT_EXPECT_* bits from bit 0 on.
EXPECT_FLAG_NAMES = ("permanent", "inactive", "userspace")


def protocol_text(number: int) -> str:
    """Return ``tcp``, ``udp`` … or the number as text."""
    return PROTOCOL_NAMES.get(number, str(number))


def expect_flag_names(flags: int) -> list[str]:
    """Return the names of the NF_CT_EXPECT_* bits in ``flags``."""
    return [name for bit, name in enumerate(EXPECT_FLAG_NAMES) if flags >> bit & 1]


def state_text(flow: Flow) -> str | None:
    """Return the state of a TCP or SCTP connection by its name in the kernel, or None."""
    if flow.orig.proto != IPPROTO_SCTP or not flow.protoinfo:
        return flow.state_name
    state = protocol_state(flow.protoinfo)
    return SCTP_STATES[state] if state is not None and state < len(SCTP_STATES) else None


def of_tuple(value: Tuple) -> Record:
    """Return ``{src, sport, dst, dport}``, with ``icmp{id,type,code}`` and ``zone`` where there are such."""
    record: Record = {
        "src": address(value.src),
        "sport": value.sport,
        "dst": address(value.dst),
        "dport": value.dport,
    }
    if value.icmp_type is not None:
        record["icmp"] = {"id": value.icmp_id, "type": value.icmp_type, "code": value.icmp_code}
    if value.zone:
        record["zone"] = value.zone
    return record


def _pair(orig: Counters | None, reply: Counters | None, part: str) -> Record | None:
    if orig is None or reply is None:
        return None
    return {"orig": getattr(orig, part), "reply": getattr(reply, part)}


def of_flow(flow: Flow, roles: Roles, part: Part | None = None) -> Record:
    """Return the JSON object of ``flow``; ``part`` is its role where the caller knows it already."""
    part = part or roles.of(flow)
    return {
        "id": flow.id,
        "family": _family(flow.family),
        "proto": protocol_text(flow.orig.proto),
        "orig": of_tuple(flow.orig),
        "reply": of_tuple(flow.reply),
        "status": None if flow.status is None else status_names(flow.status),
        "timeout": flow.timeout,
        "mark": flow.mark,
        "zone": flow.zone,
        "labels": flow.labels.hex() or None,
        "helper": flow.helper,
        "master": None if flow.master is None else of_tuple(flow.master),
        "packets": _pair(flow.counters_orig, flow.counters_reply, "packets"),
        "bytes": _pair(flow.counters_orig, flow.counters_reply, "bytes"),
        "start": None if flow.start is None else flow.start / 1e9,
        "stop": None if flow.stop is None else flow.stop / 1e9,
        "state": state_text(flow),
        "stb": address(part.stb or b"") or None,
        "stb_name": roles.name(part.stb) or None,
        "role": part.role.value,
    }


def of_expectation(expectation: Expectation, roles: Roles) -> OpenPortRecord:
    """Return ``expectation`` as lists and events show it."""
    stb = roles.asker(expectation)
    nat = expectation.nat
    return OpenPortRecord(
        kind="expectation",
        id=expectation.id,
        family=_family(expectation.family),
        timeout=expectation.timeout,
        proto=protocol_text(expectation.tuple.proto),
        tuple=Ends(**of_tuple(expectation.tuple)),
        mask=Ends(**of_tuple(expectation.mask)),
        master=Ends(**of_tuple(expectation.master)),
        helper=expectation.helper,
        class_=expectation.class_,
        flags=expect_flag_names(expectation.flags),
        function=expectation.function,
        zone=expectation.zone,
        nat=None if nat is None else Translation(nat.direction, **of_tuple(nat.tuple)),
        any_source=expectation.any_source,
        stb=address(stb) or None,
        stb_name=roles.name(stb) or None,
    )


def of_way(
    kind: str,
    way: tuple[int, bytes, int],
    roles: Roles,
    *,
    timeout: float | None,
    router: bytes = bytes(4),
    master: Tuple | None = None,
) -> OpenPortRecord:
    """Return a way of ours as lists and events show them: an expectation and a pinhole look alike.

    ``way`` is the public port, the set-top box (packed) and its port; ``timeout`` in seconds is what is left
    of it, None: for ever. ``router`` (packed) is what media servers send to, all zero while it is not known,
    and ``master`` the control connection that asked, None likewise.
    """
    port, stb, stb_port = way
    nothing = bytes(4)
    expectation = Expectation(
        AF_INET,
        Tuple(nothing, router, IPPROTO_UDP, 0, port),
        Tuple(nothing, b"\xff" * 4 if any(router) else nothing, IPPROTO_UDP, 0, 0xFFFF),
        master or Tuple(nothing, nothing, IPPROTO_TCP, 0, 0),
        timeout=max(0, int(timeout or 0)),
        id=port,
        flags=1,
        nat=ExpectationNat(1, Tuple(stb, nothing, IPPROTO_UDP, stb_port, 0)),
        helper="rtsp",
    )
    return msgspec.structs.replace(
        of_expectation(expectation, roles),
        kind=kind,
        timeout=None if timeout is None else expectation.timeout,
        master=None if master is None else Ends(**of_tuple(master)),
    )


def of_event(event: Event, roles: Roles, part: Part | None = None) -> Record:
    """Return the JSON object of ``event``: ``time``, ``event``, and ``flow``, ``expectation`` or ``lost``.

    ``found`` is true for what a dump told because the kernel did not.
    """
    record: Record = {"time": event.time, "event": event.type.value, "found": event.found}
    if event.flow is not None:
        record["flow"] = of_flow(event.flow, roles, part)
    elif event.expectation is not None:
        record["expectation"] = msgspec.to_builtins(of_expectation(event.expectation, roles))
    else:
        record["lost"] = event.lost
    return record


def _family(number: int) -> str:
    return "ipv6" if number == AF_INET6 else "ipv4"
