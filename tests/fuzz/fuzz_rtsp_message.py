"""Hostile bytes for the RTSP parser: nothing may raise, the cut may not matter, memory stays bounded."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["nftrtsp.rtsp"]):
    from nftrtsp.rtsp.message import Message, Parser

PARTS = (
    b"SETUP rtsp://s/f RTSP/1.0\r\n",
    b"OPTIONS * RTSP/1.0\n",
    b"RTSP/1.0 200 OK\r\n",
    b"CSeq: 3\r\n",
    b"Session: 7;timeout=60\r\n",
    b"Content-Length: 12\r\n",
    b"Content-Length: ",
    b"Transport: RTP/AVP;unicast;client_port=5000-5001",
    b",MP2T/UDP;destination=10.0.0.1:2012",
    b';dest_addr=":3456"/":3457"',
    b'="',
    b";",
    b",",
    b"\r\n",
    b"\n",
    b"\r\n ",
    b"\r\n\r\n",
    b"$\x00\x00\x05",
    b"x" * 60,
)


def parse(pieces: list[bytes], *, lost: bool, keep_body: int) -> tuple[list[Message], bool, int]:
    parser = Parser(lost=lost, keep_body=keep_body, max_line=200, max_head=400)
    messages = []
    for piece in pieces:
        messages += parser.feed(piece)
        assert parser.buffered <= 400 + keep_body
    return messages, parser.garbage is not None, parser.frames


def stream(data: bytes) -> bytes:
    """Return a byte stream of whole and damaged messages: each pair of bytes takes a part, then raw bytes."""
    out = bytearray()
    position = 0
    while position + 2 <= len(data):
        part, size = data[position], data[position + 1] % 16
        position += 2
        if part < 0xC0:
            out += PARTS[part % len(PARTS)]
        if out and part & 1 and part < 0x20:
            out[-1 - size % len(out)] = part
        out += data[position : position + size]
        position += size
    return bytes(out)


def one_input(data: bytes) -> None:
    """The first three bytes say how to cut the rest."""
    if len(data) < 3:
        return
    how, cut, again = data[:3]
    rest = stream(data[3:]) if how & 4 else data[3:]
    lost, keep_body = bool(how & 1), (0, 16)[how >> 1 & 1]
    whole = parse([rest], lost=lost, keep_body=keep_body)
    step = cut % 31 + 1
    parts = [rest[i : i + step] for i in range(0, len(rest), step)]
    assert parse(parts, lost=lost, keep_body=keep_body) == whole
    for message in whole[0]:
        for transport in message.transports():
            for number in transport.client_ports:
                assert int(message.raw[number.start : number.end]) == number.value
        assert message.cseq is None or message.cseq >= 0
        assert rest[message.offset : message.offset + len(message.raw)] == message.raw
    parser = Parser()
    parser.feed(rest[:again])
    parser.lose(again)
    parser.feed(rest[again:])


def main() -> None:
    """Run libFuzzer over :func:`one_input`."""
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
