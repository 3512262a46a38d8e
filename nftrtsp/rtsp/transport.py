"""The Transport field: which ports a set-top box asks for, and where in the message that is said.

Every port and address carries the span of its bytes within :attr:`Message.raw`, so that a helper in the
path can write another one of the same length in its place. Sources: RFC 2326 section 12.39, RFC 7826 section
18.54, and the forms that providers really send: ``client_port=a``, ``a-b``, ``a/b``, ``destination=ip:port``.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

_MAX_PARTS = 256  # transports and parameters of one field, all together
_SPACE = b" \t\n\r\x0b\x0c"
_AROUND = _SPACE + b'"'  # what may stand around a value


class WrittenNumber(msgspec.Struct, frozen=True, gc=False):
    """A port (or channel) as written: its value, and the span of its digits in the message's head."""

    value: int
    start: int
    end: int


class WrittenAddress(msgspec.Struct, frozen=True, gc=False):
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
    client_ports: tuple[WrittenNumber, ...] = ()
    server_ports: tuple[WrittenNumber, ...] = ()
    destinations: tuple[WrittenAddress, ...] = ()
    sources: tuple[WrittenAddress, ...] = ()
    interleaved: tuple[WrittenNumber, ...] = ()
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
    """Yield name, span of the value and separator of each part; quoted separators do not count."""
    text = raw[position:end]
    readable = len(text)
    if b'"' in text:
        text, readable = _masked(text)
    left = _MAX_PARTS
    transports = text.split(b",", left)
    for number, transport in enumerate(transports, 1):
        parts = transport.split(b";", left)
        for index, part in enumerate(parts, 1):
            left -= 1
            name, equals, value = part.partition(b"=")
            after = position + len(part)
            if left < 0:
                return
            if b'"' in name or after - end + len(text) > readable:
                yield b"", -1, -1, b""  # a quote without its end: nothing after it can be trusted
                return
            span = (after - len(value), after) if equals else (-1, -1)
            last = b"," if number < len(transports) else b""
            yield name.strip(), *span, b";" if index < len(parts) else last
            position = after + 1


def _masked(text: bytes) -> tuple[bytes, int]:
    """Return ``text`` with other bytes for those in quotes, and as far as its quotes have an end."""
    pieces = text.split(b'"')
    masked = b'"'.join([b"_" * len(one) if index % 2 else one for index, one in enumerate(pieces)])
    return masked, len(text) if len(pieces) % 2 else len(text) - len(pieces[-1]) - 1


def _transport(raw: bytes, protocol: str, parts: list[tuple[str, int, int]]) -> Transport:
    found: dict[str, tuple[WrittenNumber, ...]] = {}
    hosts: dict[str, tuple[WrittenAddress, ...]] = {}
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


def _numbers(raw: bytes, start: int, end: int) -> tuple[WrittenNumber, ...]:
    first, text = start, raw[start:end]
    if not text.isdigit():
        first, text = _core(raw, start, end)
    if text.isdigit():
        return (WrittenNumber(int(text), first, first + len(text)),) if len(text) < 6 else ()
    one, dash, other = text.partition(b"-" if b"-" in text else b"/")
    last = first + len(text)
    one, other = one.rstrip(_SPACE), other.lstrip(_SPACE)
    if not (dash and one.isdigit() and other.isdigit() and len(one) < 6 and len(other) < 6):
        return ()
    return WrittenNumber(int(one), first, first + len(one)), WrittenNumber(
        int(other), last - len(other), last
    )


def _addresses(
    raw: bytes, start: int, end: int, *, quoted: bool
) -> tuple[tuple[WrittenAddress, ...], tuple[WrittenNumber, ...]]:
    found = []
    if quoted:
        position = start
        for index, piece in enumerate(raw[start:end].split(b'"')):
            if index % 2 and (one := _address(raw, position, position + len(piece))):
                found.append(one)
            position += len(piece) + 1
    if not found and (one := _address(raw, start, end)):
        found.append(one)
    return tuple([host for host, _ in found]), tuple([port for _, port in found if port is not None])


def _address(raw: bytes, start: int, end: int) -> tuple[WrittenAddress, WrittenNumber | None] | None:
    """Read ``host``, ``host:port`` or ``[host]:port``; None if it is none of them."""
    first, text = _core(raw, start, end)
    host, colon, port = text.partition(b":")
    is_host = len(host.translate(None, _AROUND)) == len(host)
    if text.startswith(b"["):
        inner, bracket, rest = text.partition(b"]")
        if bracket and b'"' not in inner and rest[:1] in (b"", b":"):
            is_host, host, colon, port = True, inner + bracket, rest[:1], rest[1:]
    if not is_host or (colon and not (port.isdigit() and len(port) < 6)):
        return None
    last = first + len(text)
    number = WrittenNumber(int(port), last - len(port), last) if colon else None
    return WrittenAddress(host.decode("utf-8", "replace"), first, first + len(host)), number


def _core(raw: bytes, start: int, end: int) -> tuple[int, bytes]:
    """Return a value without the blanks and quotes around it, and where it begins."""
    text = raw[start:end].lstrip(_AROUND)
    return end - len(text), text.rstrip(_AROUND)
