"""What is clear of a message whose end is still to come. Pure.

A sender may pause in the midst of a message: one with Nagle's algorithm sends nothing more before what it
sent was acknowledged. So a packet must not wait for the end of its message when what it names is clear.
"""

from __future__ import annotations

import msgspec

from nftrtsp.rtsp.message import Message, Parser


def has_transport(text: bytes) -> bool:
    """Whether the Transport field of an unfinished message has come to the end of its line."""
    lines = text.lower().split(b"\n")[:-1]
    return any(b":" in line and line.partition(b":")[0].rstrip(b" \t") == b"transport" for line in lines)


def names_ports(text: bytes, *, from_client: bool) -> bool:
    """Whether an unfinished SETUP, or an answer, has come as far as its Transport field."""
    begin = b"SETUP" if from_client else b"RTSP/"
    if not text or text[:5] != begin[: len(text)]:
        return False
    head, newline, last = text.lower().rpartition(b"\n")
    begun = newline and last and last[:9] == b"transport"[: len(last)]
    return bool(begun) or b"\ntransport" in head


def read_begun(text: bytes, offset: int) -> Message | None:
    """Return the message that begins so, as if it ended with its last whole line; None if that is none.

    ``offset`` is where ``text`` begins in its direction's byte stream (see :class:`Message`).
    """
    messages = Parser(keep_body=0).feed(text[: text.rfind(b"\n") + 1] + b"\r\n")
    return msgspec.structs.replace(messages[0], offset=offset) if messages else None
