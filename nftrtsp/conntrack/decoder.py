"""A decoder for streams of messages: known layouts in one step, all others by the plain walk. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from nftrtsp.conntrack.event import Event, event_type
from nftrtsp.conntrack.expectation import decode_expectation
from nftrtsp.conntrack.flow import FLOW_NEW, Flow, decode_flow
from nftrtsp.conntrack.layout import Layout, learn
from nftrtsp.errors import MalformedError
from nftrtsp.netlink import wire
from nftrtsp.netlink.wire import HEADER_SIZE, NFNL_SUBSYS_CTNETLINK, NLMSG_DONE, NLMSG_ERROR

#: Layouts that are kept at most (about 3 KiB each). Real machines have some dozens.
MOST_LAYOUTS = 512

#: Layouts with the same length, type and flags that are tried before the plain walk.
MOST_CANDIDATES = 12


class Decoder:
    """Decodes flow messages and remembers their layouts. For one thread."""

    def __init__(self) -> None:
        #: The first eight bytes of a message (length, type, flags) -> its layouts, the last used first.
        self._layouts: dict[bytes, list[Layout]] = {}
        #: How many layouts were learned.
        self.layouts = 0
        #: Events that could not be decoded.
        self.malformed = 0
        #: For whole datagrams of one layout: (first eight bytes, messages) -> mask and skeleton.
        self._repeated: dict[tuple[Layout, int], tuple[int, int]] = {}

    def flow(self, data: bytes) -> Flow:
        """Decode one message of the conntrack subsystem, its header included.

        Raises :class:`MalformedError`.
        """
        candidates = self._layouts.get(data[:8])
        if candidates is not None:
            number = int.from_bytes(data, "little")
            for layout in candidates:
                if number & layout.mask == layout.skeleton and len(data) == layout.size:
                    if layout is not candidates[0]:
                        candidates.remove(layout)
                        candidates.insert(0, layout)
                    return layout.flow(layout.unpacker.unpack(data))
        return self._learn(data, candidates)

    def _learn(self, data: bytes, candidates: list[Layout] | None) -> Flow:
        if len(data) < HEADER_SIZE:
            raise MalformedError(f"a flow message of {len(data)} bytes")
        full = self.layouts >= MOST_LAYOUTS or (candidates is not None and len(candidates) >= MOST_CANDIDATES)
        if full:
            return decode_flow(data, data[16], HEADER_SIZE, len(data))
        flow, layout = learn(data)
        if layout is not None:
            self._layouts.setdefault(data[:8], []).insert(0, layout)
            self.layouts += 1
        return flow

    def flows(self, datagram: bytes, sequence: int) -> tuple[list[Flow], bool]:
        """Decode a datagram of a dump; return its flows and whether anything else is in it.

        With anything else (the end, an error, another sequence number) the list is empty, and the caller
        looks at each message by itself.
        """
        size = int.from_bytes(datagram[:4], sys.byteorder)
        candidates = self._layouts.get(datagram[:8])
        if (
            candidates is not None
            and size >= HEADER_SIZE
            and int.from_bytes(datagram[8:12], sys.byteorder) == sequence
        ):
            layout, count = candidates[0], len(datagram) // size
            if count * size == len(datagram):
                mask, skeleton = self._repeat(layout, count)
                if int.from_bytes(datagram, "little") & mask == skeleton:
                    make = layout.flow
                    return [make(values) for values in layout.unpacker.iter_unpack(datagram)], False
        found: list[Flow] = []
        for kind, _, number, _, start, end in wire.messages(datagram):
            if number != sequence or kind in (NLMSG_DONE, NLMSG_ERROR):
                return [], True
            if kind == FLOW_NEW:
                found.append(self.flow(datagram[start - HEADER_SIZE : end]))
        return found, False

    def _repeat(self, layout: Layout, count: int) -> tuple[int, int]:
        """Return mask and skeleton of ``count`` messages of ``layout`` in a row."""
        known = self._repeated.get((layout, count))
        if known is None:
            if len(self._repeated) > 64:
                self._repeated.clear()
            mask, skeleton = (
                int.from_bytes(number.to_bytes(layout.size, "little") * count, "little")
                for number in (layout.mask, layout.skeleton)
            )
            known = self._repeated[layout, count] = (mask, skeleton)
        return known

    def events(self, datagrams: list[bytes], time: float, into: list[Event]) -> None:
        """Decode multicast datagrams that were received at ``time``, and append their events to ``into``.

        A datagram that cannot be decoded is counted in ``malformed``; one of another subsystem is left out.
        """
        layouts, append, number_of = self._layouts, into.append, int.from_bytes
        for data in datagrams:
            candidates = layouts.get(data[:8])
            if candidates is not None:
                layout = candidates[0]
                if number_of(data, "little") & layout.mask == layout.skeleton and len(data) == layout.size:
                    append(Event(layout.type, time, layout.flow(layout.unpacker.unpack(data))))
                    continue
            try:
                into.extend(self._other(data, time))
            except MalformedError:
                self.malformed += 1

    def _other(self, data: bytes, time: float) -> Iterator[Event]:
        """Events whose layout is not the last one met, or that are of no flow."""
        for kind, flags, _, family, start, end in wire.messages(data):
            what = event_type(kind, flags)
            if what is None:
                continue
            if kind >> 8 == NFNL_SUBSYS_CTNETLINK:
                yield Event(what, time, self.flow(data[start - HEADER_SIZE : end]))
            else:
                yield Event(what, time, None, decode_expectation(data, family, start, end))
