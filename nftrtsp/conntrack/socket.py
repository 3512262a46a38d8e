"""Questions to conntrack in the current network namespace: dump, get, delete, create.

:class:`Conntrack` asks and gets answers; what happens is heard by a Subscription (subscription.py). Not to be
shared between threads. Raises :class:`PrivilegeError` without CAP_NET_ADMIN and :class:`KernelError` for what
the kernel refuses.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Self

import msgspec

from nftrtsp.conntrack.decoder import Decoder
from nftrtsp.conntrack.dump_filter import DumpFilter, dump_flows
from nftrtsp.conntrack.expectation import (
    EXPECT_NEW,
    Expectation,
    create_expectation,
    decode_expectation,
    delete_expectation,
    dump_expectations,
)
from nftrtsp.conntrack.flow import FLOW_NEW, Flow, decode_flow, delete_flow, get_flow
from nftrtsp.conntrack.tuple import AF_INET, AF_INET6, Tuple
from nftrtsp.errors import KernelError
from nftrtsp.netlink.socket import RequestSocket
from nftrtsp.netlink.wire import HEADER_SIZE

EVERYTHING = DumpFilter()


class Conntrack:
    """Questions to conntrack: dump, get, delete, create. One request at a time."""

    def __init__(self) -> None:
        self._requests = RequestSocket("conntrack")
        self._decoder = Decoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket. A dump that is under way ends with it."""
        self._requests.close()

    def dump_flows(self, wanted: DumpFilter | None = None) -> Iterator[Flow]:
        """Yield the flows that ``wanted`` accepts, filtered in the kernel where it can and here again."""
        wanted = wanted or EVERYTHING
        if wanted.needs_both_families:
            for family in (AF_INET, AF_INET6):
                yield from self.dump_flows(msgspec.structs.replace(wanted, family=family))
            return
        ask = dump_flows(wanted, sequence=self._requests.number())
        try:
            yield from self._flows(ask, wanted)
        except KernelError as error:
            # Kernels before 5.8 refuse the tuple filter; the mark and status filters were never refused.
            if (wanted.orig is None and wanted.reply is None) or error.errno not in (
                errno.EOPNOTSUPP,
                errno.EINVAL,
            ):
                raise
            yield from self._flows(dump_flows(wanted, sequence=self._requests.number(), tuples=False), wanted)

    def _flows(self, ask: bytes, wanted: DumpFilter) -> Iterator[Flow]:
        questions, decoder = self._requests, self._decoder
        number, what, ended = questions.last, "listing flows", False
        questions.send(ask, what)
        while not ended:
            datagram = questions.receive()
            flows, other = decoder.flows(datagram, number)
            if other:
                answers, ended = questions.split(datagram, what)
                flows = [
                    decoder.flow(datagram[start - HEADER_SIZE : end])
                    for kind, _, start, end in answers
                    if kind == FLOW_NEW
                ]
            yield from flows if wanted == EVERYTHING else filter(wanted.accepts, flows)

    def get_flow(self, orig: Tuple, *, zone: int = 0) -> Flow | None:
        """Return the flow whose original direction is ``orig``, or None. Costs one hash look-up."""
        ask = get_flow(orig, sequence=self._requests.number(), zone=zone)
        found = None
        try:
            for data, kind, family, start, end in self._requests.ask(ask, "looking for a flow"):
                if kind == FLOW_NEW:
                    found = decode_flow(data, family, start, end)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
        return found

    def delete_flow(self, flow: Flow) -> bool:
        """Delete ``flow``, and only it (by its id); return whether it was still there."""
        ask = delete_flow(flow.orig, sequence=self._requests.number(), zone=flow.zone, flow_id=flow.id)
        return self._order(ask, "deleting a flow")

    def dump_expectations(self) -> Iterator[Expectation]:
        """Yield every expectation."""
        ask = dump_expectations(sequence=self._requests.number())
        for data, kind, family, start, end in self._requests.ask(ask, "listing expectations"):
            if kind == EXPECT_NEW:
                yield decode_expectation(data, family, start, end)

    def create_expectation(self, expectation: Expectation) -> None:
        """Create ``expectation`` and set its timeout (which takes a second request, FACTS 2).

        Raises :class:`KernelError`: ENOENT when the master flow is gone, EEXIST when there is one already.
        """
        self._order(
            create_expectation(expectation, sequence=self._requests.number()),
            "creating an expectation",
            absent_is_error=True,
        )
        if expectation.timeout:
            self._order(
                create_expectation(expectation, sequence=self._requests.number(), replace=True),
                "setting an expectation's timeout",
            )

    def delete_expectation(self, expectation: Expectation) -> bool:
        """Delete ``expectation``; return whether it was still there."""
        ask = delete_expectation(expectation, sequence=self._requests.number())
        return self._order(ask, "deleting an expectation")

    def _order(self, ask: bytes, what: str, *, absent_is_error: bool = False) -> bool:
        try:
            for _ in self._requests.ask(ask, what):
                pass
        except KernelError as error:
            if error.errno != errno.ENOENT or absent_is_error:
                raise
            return False
        return True
