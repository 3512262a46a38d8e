"""The fast way through flow messages: a layout that was met before is unpacked in one step. Pure.

The theory, once. The kernel writes messages of one kind with the same attributes in the same places. So the
plain walk (:mod:`nftrtsp.conntrack.flow`) runs once for a layout, and what it found is kept as

* a *skeleton* and a *mask*: all bytes that say what lies where (message type and flags, family, the length
  and type of each attribute), and those few values that are kept as constants (protocol, TCP state, helper's
  name). A message has this layout if and only if its bytes under the mask equal the skeleton: one AND and
  one comparison of long integers;
* a *struct* that unpacks every value at once, and the order in which values and constants make a Flow.

Whatever has another layout, or none that can be learned, takes the plain walk. So both ways give equal flows;
tests and the fuzzer hold them against each other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from nftrtsp.conntrack import attribute
from nftrtsp.conntrack.event import EventType, event_type
from nftrtsp.conntrack.flow import Counters, Flow, decode_flow
from nftrtsp.conntrack.tuple import IPPROTO_TCP, KNOWN_PROTOCOLS, Tuple
from nftrtsp.netlink.wire import ATTRIBUTE, HEADER_SIZE, NLA_TYPE_MASK

#: Fields of a Tuple that have no default; the two of Counters are fewer.
REQUIRED = 3

_Values = tuple[Any, ...]
_Pick = Callable[[_Values], _Values]

#: What a Tuple, Counters or Flow has where nothing was told, field by field.
_TUPLE = {name: getattr(Tuple(b"", b"", 0), name) for name in Tuple.__struct_fields__}
_COUNTERS = {"packets": 0, "bytes": 0}
_FLOW = {
    name: getattr(Flow(0, Tuple(b"", b"", 0), Tuple(b"", b"", 0)), name)
    for name in Flow.__struct_fields__[3:]
}

_TUPLES = {
    attribute.CTA_TUPLE_ORIG: "orig",
    attribute.CTA_TUPLE_REPLY: "reply",
    attribute.CTA_TUPLE_MASTER: "master",
}
_BOTH_COUNTERS = {
    attribute.CTA_COUNTERS_ORIG: "counters_orig",
    attribute.CTA_COUNTERS_REPLY: "counters_reply",
}
_NUMBERS = {
    attribute.CTA_STATUS: ("status", "I"),
    attribute.CTA_TIMEOUT: ("timeout", "I"),
    attribute.CTA_MARK: ("mark", "I"),
    attribute.CTA_ID: ("id", "I"),
    attribute.CTA_USE: ("use", "I"),
    attribute.CTA_ZONE: ("zone", "H"),
}
_ADDRESSES = {
    attribute.CTA_IP_V4_SRC: ("src", "4s"),
    attribute.CTA_IP_V4_DST: ("dst", "4s"),
    attribute.CTA_IP_V6_SRC: ("src", "16s"),
    attribute.CTA_IP_V6_DST: ("dst", "16s"),
}
_PORTS = {
    attribute.CTA_PROTO_NUM: ("proto", "B"),
    attribute.CTA_PROTO_SRC_PORT: ("sport", "H"),
    attribute.CTA_PROTO_DST_PORT: ("dport", "H"),
    attribute.CTA_PROTO_ICMP_ID: ("icmp_id", "H"),
    attribute.CTA_PROTO_ICMP_TYPE: ("icmp_type", "B"),
    attribute.CTA_PROTO_ICMP_CODE: ("icmp_code", "B"),
    attribute.CTA_PROTO_ICMPV6_ID: ("icmp_id", "H"),
    attribute.CTA_PROTO_ICMPV6_TYPE: ("icmp_type", "B"),
    attribute.CTA_PROTO_ICMPV6_CODE: ("icmp_code", "B"),
}


class UnlearnableError(Exception):
    """A message whose layout says too little of the next one like it: it repeats an attribute."""


class _Learner:
    """One pass over a message that the plain walk has decoded already."""

    def __init__(self, data: bytes, flow: Flow) -> None:
        self.data = data
        self.flow = flow
        self.mask = bytearray(len(data))
        self.mask[0:8] = b"\xff" * 8  # nlmsg_len, nlmsg_type, nlmsg_flags
        self.mask[16] = 0xFF  # nfgen_family
        #: (part, field) -> (offset, struct code); part is "" for the flow's own fields.
        self.places: dict[tuple[str, str], tuple[int, str]] = {}
        #: Parts that are there: orig, reply, master and counters.
        self.parts: list[str] = []
        self.constants: dict[tuple[str, str], Any] = {}
        self._top()

    def _attributes(self, start: int, end: int) -> dict[int, tuple[int, int]]:
        """Put the headers of attributes into the mask and return where their payloads lie."""
        found: dict[int, tuple[int, int]] = {}
        while start + 4 <= end:
            length, kind = ATTRIBUTE.unpack_from(self.data, start)
            self.mask[start : start + 4] = b"\xff" * 4
            if kind & NLA_TYPE_MASK in found:
                raise UnlearnableError
            found[kind & NLA_TYPE_MASK] = (start + 4, start + length)
            start += length + 3 & ~3
        return found

    def _place(self, part: str, field: str, offset: int, code: str) -> None:
        if (part, field) in self.places:
            raise UnlearnableError
        self.places[part, field] = (offset, code)

    def _keep(self, start: int, end: int) -> None:
        """Make the bytes constant: they are part of the skeleton."""
        self.mask[start:end] = b"\xff" * (end - start)

    def _top(self) -> None:
        found = self._attributes(HEADER_SIZE, len(self.data))
        for kind, (start, end) in found.items():
            if kind in _NUMBERS:
                field, code = _NUMBERS[kind]
                self._place("", field, start, code)
            elif kind in _TUPLES:
                self._tuple(_TUPLES[kind], start, end)
            elif kind in _BOTH_COUNTERS:
                self._counters(_BOTH_COUNTERS[kind], start, end)
            elif kind == attribute.CTA_LABELS:
                self._place("", "labels", start, f"{end - start}s")
            elif kind == attribute.CTA_TIMESTAMP:
                self._numbers(
                    "",
                    start,
                    end,
                    {attribute.CTA_TIMESTAMP_START: "start", attribute.CTA_TIMESTAMP_STOP: "stop"},
                )
            elif kind == attribute.CTA_PROTOINFO:
                self._protoinfo(start, end)
            elif kind == attribute.CTA_HELP:
                self._helper(start, end)
            elif kind == attribute.CTA_SECCTX:
                self._keep(start, end)
                self.constants["", "secctx"] = self.flow.secctx

    def _numbers(self, part: str, start: int, end: int, names: dict[int, str]) -> None:
        for kind, (first, _) in self._attributes(start, end).items():
            if kind in names:
                self._place(part, names[kind], first, "Q")

    def _counters(self, part: str, start: int, end: int) -> None:
        self.parts.append(part)
        self._numbers(
            part,
            start,
            end,
            {attribute.CTA_COUNTERS_PACKETS: "packets", attribute.CTA_COUNTERS_BYTES: "bytes"},
        )

    def _tuple(self, part: str, start: int, end: int) -> None:
        self.parts.append(part)
        for kind, (first, last) in self._attributes(start, end).items():
            if kind == attribute.CTA_TUPLE_IP:
                for inner, (at, _) in self._attributes(first, last).items():
                    if inner in _ADDRESSES:
                        self._place(part, _ADDRESSES[inner][0], at, _ADDRESSES[inner][1])
            elif kind == attribute.CTA_TUPLE_PROTO:
                self._protocol(part, first, last)
            elif kind == attribute.CTA_TUPLE_ZONE:
                self._place(part, "zone", first, "H")

    def _protocol(self, part: str, start: int, end: int) -> None:
        told: Tuple = getattr(self.flow, part)
        for inner, (at, _) in self._attributes(start, end).items():
            if inner == attribute.CTA_PROTO_NUM:
                self._keep(at, at + 1)  # what else there is, and what it means, depends on it
            if inner in _PORTS:
                self._place(part, _PORTS[inner][0], at, _PORTS[inner][1])
        if told.proto not in KNOWN_PROTOCOLS:
            self._keep(start, end)
            self.constants[part, "raw"] = told.raw

    def _protoinfo(self, start: int, end: int) -> None:
        """The whole payload is one value; where TCP's state stands, and what it is, are constant."""
        self._place("", "protoinfo", start, f"{end - start}s")
        if self.flow.orig.proto != IPPROTO_TCP:
            return
        for first, last in list(self._attributes(start, end).values())[:1]:
            for kind, (at, _) in self._attributes(first, last).items():
                if kind == attribute.CTA_PROTOINFO_STATE:
                    self._keep(at, at + 1)
        self.constants["", "tcp_state"] = self.flow.tcp_state

    def _helper(self, start: int, end: int) -> None:
        for kind, (first, last) in self._attributes(start, end).items():
            if kind == attribute.CTA_HELP_NAME:
                self._keep(first, last)
                self.constants["", "helper"] = self.flow.helper
            elif kind == attribute.CTA_HELP_INFO:
                self._place("", "helper_info", first, f"{last - first}s")


class Layout:
    """One layout of flow messages. ``type`` is what such a message reports as an event."""

    __slots__ = (
        "_constants",
        "_family",
        "_more",
        "_orig",
        "_reply",
        "_rest",
        "mask",
        "size",
        "skeleton",
        "type",
        "unpacker",
    )

    def __init__(self, data: bytes, flow: Flow) -> None:
        """Learn from ``data``, one message that was decoded to ``flow``. Raises :class:`UnlearnableError`."""
        learned = _Learner(data, flow)
        self.size = len(data)
        self.mask = int.from_bytes(learned.mask, "little")
        self.skeleton = int.from_bytes(data, "little") & self.mask
        kind, flags = ATTRIBUTE.unpack_from(data, 4)
        what = event_type(kind, flags)
        if what is None:
            raise UnlearnableError
        self.type: EventType = what
        self._family = flow.family
        index = self._make_struct(learned)
        order = _Order(index, learned)
        self._orig = order.pick("orig", _TUPLE)
        self._reply = order.pick("reply", _TUPLE)
        self._more: tuple[tuple[Callable[..., Any], _Pick], ...] = tuple(
            (Tuple, order.pick(part, _TUPLE)) if part == "master" else (Counters, order.pick(part, _COUNTERS))
            for part in learned.parts
            if part not in ("orig", "reply")
        )
        self._rest = order.pick("", _FLOW)
        self._constants = order.constants()

    def _make_struct(self, learned: _Learner) -> dict[tuple[str, str], int]:
        """Make the struct of all values, in the order of their places; return each value's index."""
        index: dict[tuple[str, str], int] = {}
        parts, at = [">"], 0
        for name, (offset, code) in sorted(learned.places.items(), key=lambda item: item[1][0]):
            parts.append(f"{offset - at}x{code}")
            at = offset + struct.calcsize(f">{code}")
            index[name] = len(index)
        parts.append(f"{self.size - at}x")
        self.unpacker = struct.Struct("".join(parts))
        return index

    def matches(self, data: bytes) -> bool:
        """Whether the message ``data`` has this layout."""
        return len(data) == self.size and int.from_bytes(data, "little") & self.mask == self.skeleton

    def flow(self, values: _Values) -> Flow:
        """Return the flow of the unpacked ``values`` of a message that matches."""
        values += self._constants
        orig, reply = Tuple(*self._orig(values)), Tuple(*self._reply(values))
        if self._more:
            values += tuple([make(*pick(values)) for make, pick in self._more])
        return Flow(self._family, orig, reply, *self._rest(values))


class _Order:
    """Finds where each field comes from: an unpacked value, a constant, or a part made of such."""

    def __init__(self, index: dict[tuple[str, str], int], learned: _Learner) -> None:
        self._index = index
        self._constants_of = learned.constants
        self._parts = [part for part in learned.parts if part not in ("orig", "reply")]
        self._kept: list[Any] = []
        everything = {"orig": _TUPLE, "reply": _TUPLE, "": _FLOW}
        everything.update({part: _TUPLE if part == "master" else _COUNTERS for part in self._parts})
        # All constants are gathered first: the parts' places come after them.
        for part, fields in everything.items():
            for field, default in fields.items():
                if (part, field) not in index:
                    self._constant(self._constants_of.get((part, field), default))

    def _constant(self, value: Any) -> int:
        for at, kept in enumerate(self._kept):
            if kept is value or (type(kept) is type(value) and kept == value):
                return at
        self._kept.append(value)
        return len(self._kept) - 1

    def constants(self) -> _Values:
        """Return the constants, which follow the unpacked values."""
        return tuple(self._kept)

    def pick(self, part: str, fields: dict[str, Any]) -> _Pick:
        """Return what picks the fields of ``part``, without those at the end that have their defaults."""
        names = list(fields)
        while part and len(names) > REQUIRED and not self._told(part, names[-1]):
            names.pop()
        places = []
        for field in names:
            if not part and field in self._parts:
                places.append(len(self._index) + len(self._kept) + self._parts.index(field))
            elif (part, field) in self._index:
                places.append(self._index[part, field])
            else:
                value = self._constants_of.get((part, field), fields[field])
                places.append(len(self._index) + self._constant(value))
        return itemgetter(*places)

    def _told(self, part: str, field: str) -> bool:
        return (part, field) in self._index or (part, field) in self._constants_of


def learn(data: bytes) -> tuple[Flow, Layout | None]:
    """Decode one message the plain way, and learn its layout if that can be.

    Raises :class:`MalformedError`.
    """
    flow = decode_flow(data, data[16], HEADER_SIZE, len(data))
    try:
        layout = Layout(data, flow)
    except UnlearnableError:
        return flow, None
    return flow, layout if layout.flow(layout.unpacker.unpack(data)) == flow else None
