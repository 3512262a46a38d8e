"""A port open for a film: to people an expectation of the kernel and a pinhole of ours are one thing."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address

import msgspec

from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.record import OpenPortRecord
from nftrtsp.conntrack.tuple import Tuple


class OpenPort(msgspec.Struct, frozen=True):
    """UDP to ``port`` on the IPTV side goes to ``stb`` at ``stb_port``.

    ``stb`` and ``source`` are packed addresses. ``source`` is None when any sender may use it; else the
    expectation is *pinned*. ``timeout`` is in seconds as of ``seen``. ``detail`` is the record where a helper
    told it.
    """

    kind: str
    stb: bytes
    port: int
    stb_port: int
    source: bytes | None
    timeout: int
    seen: float
    master: Tuple | None = None
    expectation: Expectation | None = None
    detail: OpenPortRecord | None = None

    @property
    def any_source(self) -> bool:
        """Whether the film may come from any server."""
        return self.source is None

    @property
    def key(self) -> tuple[bytes, int]:
        """What makes two reports (the kernel's and the helper's) one open port."""
        return self.stb, self.port

    def joined(self, known: OpenPort | None) -> OpenPort:
        """Return this report with what ``known``, the other party's report of the same, adds to it."""
        if known is None or (known.detail is None) == (self.detail is None) or known.source != self.source:
            return self
        return msgspec.structs.replace(
            self,
            expectation=self.expectation or known.expectation,
            detail=self.detail or known.detail,
            master=self.master or known.master,
        )


def of_expectation(expectation: Expectation, seen: float) -> OpenPort | None:
    """Return the port that an expectation of the kernel opens, or None if it awaits no UDP over IPv4.

    The set-top box is the address that the expected flow is translated to, else the master's sender.
    """
    awaited = expectation.tuple
    if awaited.proto != 17 or awaited.dport is None or len(awaited.dst) != 4:
        return None
    nat = expectation.nat
    translated = nat is not None and any(nat.tuple.src)
    stb = nat.tuple.src if nat is not None and translated else expectation.master.src
    port = nat.tuple.sport if nat is not None and nat.tuple.sport else awaited.dport
    return OpenPort(
        kind="expectation",
        stb=stb,
        port=awaited.dport,
        stb_port=port,
        source=None if expectation.any_source else awaited.src,
        timeout=expectation.timeout,
        seen=seen,
        master=expectation.master,
        expectation=expectation,
    )


def of_record(record: OpenPortRecord, seen: float, stb: str | None = None) -> OpenPort | None:
    """Return the open port that a helper told, or None if the record lacks what makes one.

    ``stb`` is the set-top box where the record does not name one.
    """
    awaited, inner = record.tuple, record.nat
    if awaited.dport is None:
        return None
    try:
        return OpenPort(
            kind=record.kind,
            stb=IPv4Address(record.stb or stb or (inner.src if inner else None) or "").packed,
            port=awaited.dport,
            stb_port=(inner.sport if inner else None) or awaited.dport,
            source=None if record.any_source else IPv4Address(awaited.src or "").packed,
            timeout=record.timeout or 0,
            seen=seen,
            detail=record,
        )
    except AddressValueError:
        return None
