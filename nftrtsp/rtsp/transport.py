"""The Transport field: which ports a set-top box asks for, and where in the message that is said.

Every port and address carries the span of its bytes within :attr:`Message.raw`, so that a helper in the
path can write another one of the same length in its place. Sources: RFC 2326 section 12.39, RFC 7826 section
18.54, and the forms that providers really send: ``client_port=a``, ``a-b``, ``a/b``, ``destination=ip:port``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

_MAX_PARTS = 256  # transports and parameters of one field, all together
_PART = re.compile(rb'([^;,="]*+)(?:=((?:"[^"]*+"|[^;,"]++)*+))?([;,]|\Z)')
_PORTS = re.compile(rb'[\s"]*(\d{1,5})(?:\s*[-/]\s*(\d{1,5}))?[\s"]*\Z')
_ADDRESS = re.compile(rb'[\s"]*(\[[^\]"]*\]|[^:\s"]*)(?::(\d{1,5}))?[\s"]*\Z')
_QUOTED_ADDRESS = re.compile(rb'"\s*(\[[^\]"]*\]|[^:\s"]*)(?::(\d{1,5}))?\s*"')


class Number(msgspec.Struct, frozen=True, gc=False):
    """A port (or channel) as written: its value, and the span of its digits in the message's head."""

    value: int
    start: int
    end: int


class Host(msgspec.Struct, frozen=True, gc=False):
    """An address as written, with its span; empty where only a port is named."""

    text: str
    start: int
    end: int


class Parameter(msgspec.Struct, frozen=True, gc=False):
    """One parameter: lower-case ``name``, ``value`` (None: no ``=``), and the span of the value."""

    name: str
    value: str | None
    start: int
    end: int


class Transport(msgspec.Struct, frozen=True, gc=False):
    """One transport of a Transport field.

    ``client_ports`` are the STB's ports: of ``client_port``, else of ``destination=ip:port`` or
    ``dest_addr``; a range or pair gives its two ends. They are not checked: 0 and 99999 are returned as such.
    ``malformed`` names the parameters that could not be understood.
    """

    protocol: str
    parameters: tuple[Parameter, ...] = ()
    client_ports: tuple[Number, ...] = ()
    server_ports: tuple[Number, ...] = ()
    destinations: tuple[Host, ...] = ()
    sources: tuple[Host, ...] = ()
    interleaved: tuple[Number, ...] = ()
    malformed: tuple[str, ...] = ()

    @property
    def is_udp(self) -> bool:
        """Whether the media comes as UDP of its own: not interleaved, not over TCP."""
        return not self.interleaved and self.protocol.upper().rpartition("/")[2] != "TCP"

    @property
    def is_multicast(self) -> bool:
        """Whether the parameter ``multicast`` is there (unicast is taken for granted otherwise)."""
        return any(parameter.name == "multicast" for parameter in self.parameters)

    def parameter(self, name: str) -> Parameter | None:
        """Return the first parameter called ``name`` (lower case)."""
        return next((one for one in self.parameters if one.name == name), None)


def parse_transports(raw: bytes, start: int, end: int) -> list[Transport]:
    """Return the transports in ``raw[start:end]``, a field's value; what cannot be read ends the list."""
    transports: list[Transport] = []
    protocol: str | None = None
    parameters: list[tuple[str, int, int]] = []  # name and span of the value; (-1, -1): no value
    for name, first, last, separator in _parts(raw, start, end):
        if protocol is None:
            protocol = name.decode("latin-1")
        elif name:
            parameters.append((name.decode("latin-1").lower(), first, last))
        if separator == b";":
            continue
        if protocol:
            transports.append(_transport(raw, protocol, parameters))
        protocol, parameters = None, []
    return transports


def _parts(raw: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int, bytes]]:
    for _ in range(_MAX_PARTS):
        match = _PART.match(raw, position, end)
        if match is None:  # a quote without its end: nothing after it can be trusted
            yield b"", -1, -1, b""
            return
        first, last = match.span(2)
        yield match[1].strip(), first, last, match[3]
        position = match.end()
        if not match[3]:
            return


def _transport(raw: bytes, protocol: str, parts: list[tuple[str, int, int]]) -> Transport:
    found: dict[str, tuple[Number, ...]] = {}
    hosts: dict[str, tuple[Host, ...]] = {}
    parameters: list[Parameter] = []
    malformed: list[str] = []
    for name, first, last in parts:
        value = None if first < 0 else raw[first:last].strip().decode("utf-8", "replace").strip('"')
        parameters.append(Parameter(name, value, first, last))
        if first < 0:
            continue
        if name in ("client_port", "server_port", "interleaved"):
            numbers = _numbers(raw, first, last)
            found.setdefault(name, numbers)
            if not numbers:
                malformed.append(name)
        elif name in ("destination", "source", "dest_addr", "src_addr"):
            addresses, numbers = _addresses(raw, first, last, quoted=name.endswith("_addr"))
            kind = name[:4]  # dest or sour, src_: the old name and the new one of the same thing
            hosts.setdefault(kind, addresses)
            found.setdefault(f"{kind} port", numbers)
            if not addresses:
                malformed.append(name)
    return Transport(
        protocol,
        tuple(parameters),
        client_ports=found.get("client_port") or found.get("dest port", ()),
        server_ports=found.get("server_port") or found.get("sour port", ()) or found.get("src_ port", ()),
        destinations=hosts.get("dest", ()),
        sources=hosts.get("sour", ()) or hosts.get("src_", ()),
        interleaved=found.get("interleaved", ()),
        malformed=tuple(malformed),
    )


def _numbers(raw: bytes, start: int, end: int) -> tuple[Number, ...]:
    match = _PORTS.match(raw, start, end)
    if match is None:
        return ()
    groups = (1, 2) if match[2] else (1,)
    return tuple(Number(int(match[group]), *match.span(group)) for group in groups)


def _addresses(
    raw: bytes, start: int, end: int, *, quoted: bool
) -> tuple[tuple[Host, ...], tuple[Number, ...]]:
    hosts: list[Host] = []
    numbers: list[Number] = []
    one = _ADDRESS.match(raw, start, end)
    matches = list(_QUOTED_ADDRESS.finditer(raw, start, end)) if quoted else []
    for match in matches or ([one] if one else []):
        hosts.append(Host(match[1].decode("utf-8", "replace"), *match.span(1)))
        if match[2]:
            numbers.append(Number(int(match[2]), *match.span(2)))
    return tuple(hosts), tuple(numbers)
