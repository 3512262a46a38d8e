"""RTSP text as the lab's own server and set-top boxes read and write it.

Not :mod:`nftrtsp.rtsp.message`, on purpose: a mistake that both ends of a test share is seen by neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

REASONS = {
    200: "OK",
    302: "Moved Temporarily",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    461: "Unsupported Transport",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class LabMessage:
    """A request or a response; header names are in lower case."""

    first: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return self.first.startswith("RTSP/")

    @property
    def method(self) -> str:
        """The method of a request."""
        return self.first.split(" ", 1)[0]

    @property
    def uri(self) -> str:
        """The URI of a request, empty if it has none."""
        words = self.first.split(" ")
        return words[1] if len(words) > 1 else ""

    @property
    def status(self) -> int:
        """The status of a response, 0 if it is no number."""
        words = self.first.split(" ")
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0

    @property
    def cseq(self) -> int:
        """The sequence number, 0 if there is none."""
        text = self.headers.get("cseq", "0")
        return int(text) if text.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Frame:
    """An interleaved binary frame (RFC 2326, 10.12)."""

    channel: int
    data: bytes


async def read(reader: asyncio.StreamReader) -> LabMessage | Frame:
    """Read the next message or frame; raises IncompleteReadError at the end of the connection."""
    first = await reader.readexactly(1)
    while first in b"\r\n":
        first = await reader.readexactly(1)
    if first == b"$":
        head = await reader.readexactly(3)
        return Frame(head[0], await reader.readexactly(int.from_bytes(head[1:])))
    block = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = block[:-4].split("\r\n")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length", "0")
    body = await reader.readexactly(int(length) if length.isdigit() else 0)
    return LabMessage(lines[0], headers, body.decode("latin-1"))


def request(method: str, uri: str, headers: Mapping[str, str], body: str = "") -> bytes:
    """Write a request."""
    return _write(f"{method} {uri} RTSP/1.0", headers, body)


def response(status: int, headers: Mapping[str, str], body: str = "") -> bytes:
    """Write a response."""
    return _write(f"RTSP/1.0 {status} {REASONS.get(status, 'Trouble')}", headers, body)


def frame(channel: int, data: bytes | bytearray) -> bytes:
    """Write an interleaved frame."""
    return b"$" + bytes((channel,)) + len(data).to_bytes(2) + data


def parameters(value: str) -> dict[str, str]:
    """Split ``MP2T/H2221/UDP;unicast;client_port=1`` into parameters; the protocol is that of the key ''."""
    words = [word.strip() for word in value.split(";")]
    pairs = [word.partition("=") for word in words[1:] if word]
    return {"": words[0], **{name.lower(): text for name, _, text in pairs}}


def _write(first: str, headers: Mapping[str, str], body: str) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")
