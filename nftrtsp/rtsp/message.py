"""The RTSP parser: bytes in, messages out, no I/O.

Incremental and of either direction: however the bytes are cut, the same messages come out. Sources: RFC 2326
sections 4 to 12 and appendix C.1, RFC 7826 sections 5, 14 and 18.54, and what providers really send (docs).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from nftrtsp.rtsp.line import METHOD_START, Bytes, StartLine, find_start, read_start_line, unfold
from nftrtsp.rtsp.transport import Transport, parse_transports

Span = tuple[int, int]

_MALFORMED = "a header field is malformed"
_NO_START_LINE = "the first line is neither an RTSP request nor a response"
_NAME = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # RFC 2326, 15.1
_NAMES = {  # as they are usually written: in lower case
    name: name.lower()
    for name in (
        b"CSeq",
        b"Session",
        b"Transport",
        b"Content-Length",
        b"Content-Type",
        b"User-Agent",
        b"Server",
        b"Date",
        b"Range",
        b"Public",
        b"Location",
        b"x-mayNotify",
    )
}
_BLANK = b" \t"
_DIGITS = "0123456789"
_LOOK = 512  # bytes in which an empty line is looked for first
_DOLLAR = 0x24
_TOKEN_START = frozenset(METHOD_START)


class Message(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What requests and responses share.

    ``raw`` is the head as it came: start line, fields and the empty line. ``offset`` is where it begins in
    its direction's byte stream, counted from the parser's first byte. ``fields`` maps a lower-case name to
    the spans of its values in ``raw``, one for each time the field occurs. ``body`` is empty if it is longer
    than the parser keeps; ``body_length`` is what Content-Length said.
    """

    version: str
    raw: bytes
    offset: int
    fields: dict[bytes, tuple[Span, ...]]
    body: bytes = b""
    body_length: int = 0

    def field(self, name: str) -> str | None:
        """Return the value of the field ``name`` (any case), unfolded, repeated ones joined by a comma."""
        spans = self.fields.get(name.lower().encode("latin-1", "replace"))
        if spans is None:
            return None
        return ", ".join([unfold(self.raw[start:end]) for start, end in spans])

    @property
    def cseq(self) -> int | None:
        """The CSeq number, or None where it is absent or no number."""
        spans = self.fields.get(b"cseq", ())
        if len(spans) != 1:
            return None
        value = self.raw[spans[0][0] : spans[0][1]].strip()
        return int(value) if value.isdigit() and len(value) < 20 else None

    @property
    def session(self) -> str | None:
        """The session id without its parameters, or None."""
        value = self.field("session")
        return value.partition(";")[0].strip() or None if value is not None else None

    @property
    def session_timeout(self) -> int | None:
        """The session's timeout in seconds, where the field says one."""
        for parameter in (self.field("session") or "").split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "timeout":
                value = value.lstrip()
                rest = value.lstrip(_DIGITS)
                digits = value[: len(value) - len(rest)]
                if 0 < len(digits) < 10 and not (rest[:1].isalnum() or rest[:1] == "_"):
                    return int(digits)
        return None

    def transports(self) -> tuple[Transport, ...]:
        """Return the transports of all Transport fields, in order; their spans point into ``raw``."""
        spans = self.fields.get(b"transport", ())
        return tuple(one for start, end in spans for one in parse_transports(self.raw, start, end))


class Request(Message, frozen=True, gc=False, kw_only=True):
    """A request: ``method`` as written (methods are case-sensitive), ``uri`` as text."""

    method: str
    uri: str


class Response(Message, frozen=True, gc=False, kw_only=True):
    """A response: ``status`` of three digits and its reason phrase."""

    status: int
    reason: str


class _Garbage(Exception):  # noqa: N818 - never leaves this module
    pass


class Parser:
    """One direction of a control connection.

    ``keep_body``: bodies up to so many bytes are kept and their message is returned when they are complete;
    of longer ones the message is returned at its empty line and the body is skipped unbuffered.
    ``max_line``: bytes of the start line or of one field with its folds; ``max_head``: bytes of start line
    and fields; ``max_fields``: how many fields; ``max_body``: largest Content-Length. What goes beyond is
    garbage. ``lost``: begin in the middle of a connection: all is passed over until a message begins.

    After garbage nothing is parsed or kept any more; ``garbage`` says why. Memory is bounded by ``max_head``
    plus ``keep_body`` plus what one call is given.
    """

    def __init__(
        self,
        *,
        keep_body: int = 65536,
        max_line: int = 4096,
        max_head: int = 16384,
        max_fields: int = 100,
        max_body: int = 16 << 20,
        lost: bool = False,
    ) -> None:
        self.keep_body = keep_body
        self.max_line = max_line
        self.max_head = max_head
        self.max_fields = max_fields
        self.max_body = max_body
        self.lost = lost
        self.garbage: str | None = None
        self.frames = 0  # interleaved frames passed over
        self._buffer = bytearray()
        self._base = 0  # stream offset of the buffer's first byte
        self._skip = 0  # bytes of a body or an interleaved frame still to be passed over
        self._scanned = 0  # bytes of the buffer in which nothing more is to be found
        self._start: StartLine | None = None  # what the first line says, once it has come
        self._line = 0  # where it ends, from the message's beginning
        self._head: tuple[int, Message] | None = None  # a complete head whose body is awaited

    @property
    def buffered(self) -> int:
        """Bytes held back: part of a message that is not complete yet."""
        return len(self._buffer)

    @property
    def unfinished(self) -> bytes:
        """The part of a message that is not complete yet."""
        return bytes(self._buffer)

    @property
    def offset(self) -> int:
        """The stream offset of the next byte to be fed."""
        return self._base + len(self._buffer) if not self.garbage else self._base

    def feed(self, data: bytes) -> list[Message]:
        """Take the next bytes of the stream, return the messages they complete. Never raises."""
        if self.garbage is not None:
            self._base += len(data)
            return []
        held = self._buffer
        buffer: Bytes = held or data
        if held:
            held += data  # in place: byte after byte must not copy all before it
        messages: list[Message] = []
        position = 0
        try:
            for position, message in self._parse(buffer):  # noqa: B007 - used after the loop
                if message is not None:
                    messages.append(message)
        except _Garbage as why:
            self.garbage = str(why)
            position = len(buffer)
        if held:
            del held[:position]
        elif position < len(data):
            held += data[position:]
        self._base += position
        return messages

    def feed_frames(self, data: bytes) -> bool:
        """Take the next bytes if they are interleaved frames and nothing else; return whether they are.

        The same as :meth:`feed`, for what makes up nearly all of a connection with media in it. Where it
        returns False nothing was taken.
        """
        if self._buffer or self._head is not None or self.lost or self.garbage is not None:
            return False
        frames = self.frames
        end = len(data)
        after = self._step_over(data, self._skip) if self._skip < end else self._skip
        if after < end:
            self.frames = frames
            return False
        self._skip = after - end
        self._base += end
        return True

    def lose(self, count: int) -> None:
        """Say that the next ``count`` bytes of the stream were not seen.

        Within something skipped they count as skipped; elsewhere the parser looks for the next beginning.
        """
        if self.garbage is None and count > self._skip:
            self._skip = 0
            self.lost = True
            self.drop()
        else:
            self._skip = max(0, self._skip - count)
        self._base += count

    def drop(self) -> None:
        """Give up what is held back of a message that is not complete, and look for the next beginning."""
        if self._buffer or self._head is not None:
            self.lost = True
            self._head = None
            self._base += len(self._buffer)
            self._buffer.clear()
            self._scanned = self._line = 0

    def _parse(self, buffer: Bytes) -> Iterator[tuple[int, Message | None]]:
        """Yield ``(position, message)`` after each thing passed; the last position is what to keep from."""
        position = 0
        end = len(buffer)
        while position < end:
            if self._skip:
                step = min(self._skip, end - position)
                self._skip -= step
                position += step
                yield position, None
                continue
            if self._head is not None:
                size, message = self._head
                if end - position < size:
                    return
                self._head = None
                body = bytes(buffer[position : position + size])
                position += size
                yield position, msgspec.structs.replace(message, body=body)
                continue
            if self.lost:
                position = self._find_start(buffer, position)
                yield position, None
                if self.lost:
                    return
            first = buffer[position]
            if first in b"\r\n":
                while position < end and buffer[position] in b"\r\n":
                    position += 1
                yield position, None
                continue
            if first == _DOLLAR:
                after = self._step_over(buffer, position)
                if after == position:
                    return
                self._skip = max(0, after - end)
                position = min(after, end)
                yield position, None
                continue
            stop = self._head_end(buffer, position)
            if stop < 0:
                return
            message = self._message(bytes(buffer[position:stop]), self._base + position)
            self._scanned = self._line = 0
            size = message.body_length
            if 0 < size <= self.keep_body:
                self._head = (size, message)
                yield stop, None
            else:
                self._skip = size
                yield stop, message
            position = stop

    def _step_over(self, buffer: Bytes, position: int) -> int:
        """Return where the frames end that begin at ``position``; the last may end beyond the buffer."""
        last = len(buffer) - 4
        while position <= last and buffer[position] == _DOLLAR:
            position += 4 + (buffer[position + 2] << 8 | buffer[position + 3])
            self.frames += 1
        return position

    def _find_start(self, buffer: Bytes, position: int) -> int:
        """Return where the next message begins, or what to keep from while there is none."""
        newline = buffer.rfind(b"\n", position + self._scanned)
        start = find_start(buffer, position, self.max_line) if newline >= 0 else -1
        if start >= 0:
            self.lost = False
            self._scanned = 0
            return start
        # A start line may be cut in two: keep the unfinished last line, and no more of it than one may have;
        # the byte before tells whether a method is a word of its own.
        keep = max(newline + 1, position, len(buffer) - self.max_line - 1)
        self._scanned = len(buffer) - keep
        return keep

    def _head_end(self, buffer: Bytes, position: int) -> int:
        """Return where the head ends, -1 if it is not complete; raise when it cannot become one.

        Each check asks the bytes seen so far and stays true as more come, so the cut does not matter.
        """
        if not self._line and not self._first_line(buffer, position):
            return -1
        limit = position + self.max_head
        at, size = position + self._scanned, _LOOK
        while True:
            # No further than that at once: messages that follow need not be looked through for each one.
            stop = at + size if at + size < limit else limit
            crlf = buffer.find(b"\n\r\n", at, stop)
            bare = buffer.find(b"\n\n", at, stop if crlf < 0 else crlf + 1)
            if bare >= 0:
                return bare + 2
            if crlf >= 0:
                return crlf + 3
            if stop >= min(limit, len(buffer)):
                break
            at, size = stop - 2, size * 2
        if len(buffer) >= limit:
            raise _Garbage(f"the head is longer than {self.max_head} bytes")
        # The empty line may be cut in two as well: look again at the last two bytes.
        self._scanned = max(self._line, len(buffer) - position - 2)
        return -1

    def _first_line(self, buffer: Bytes, position: int) -> bool:
        """Read the first line; return whether it has come. Raise if it begins no message."""
        if buffer[position] not in _TOKEN_START:
            raise _Garbage("does not begin like an RTSP message")
        line = buffer.find(b"\n", position + self._scanned, position + self.max_line)
        if line < 0:
            if len(buffer) - position >= self.max_line:
                raise _Garbage(f"the first line is longer than {self.max_line} bytes")
            self._scanned = len(buffer) - position
            return False
        self._start = read_start_line(bytes(buffer[position:line]))
        if self._start is None:
            raise _Garbage(_NO_START_LINE)
        self._line = self._scanned = line - position
        return True

    def _message(self, raw: bytes, offset: int) -> Message:
        fields = self._fields(raw, self._line + 1)
        size = self._body_length(raw, fields)
        first, text, version = self._start or (0, "", "")
        if isinstance(first, str):
            return Request(
                method=first,
                uri=text,
                version=version,
                raw=raw,
                offset=offset,
                fields=fields,
                body_length=size,
            )
        return Response(
            status=first,
            reason=text,
            version=version,
            raw=raw,
            offset=offset,
            fields=fields,
            body_length=size,
        )

    def _fields(self, raw: bytes, position: int) -> dict[bytes, tuple[Span, ...]]:
        ends = raw.count(b"\r\n")
        if raw.count(b"\r") != ends:
            raise _Garbage(_MALFORMED)
        is_bare = raw.count(b"\n") != ends  # some lines, or all
        fields: dict[bytes, tuple[Span, ...]] = {}
        lines = raw[position : -2 if raw.endswith(b"\r\n") else -1].split(b"\n")
        lines.pop()  # behind the last line feed
        if b"\n " in raw or b"\n\t" in raw:
            lines = _folded(lines)
        if len(lines) > self.max_fields:
            raise _Garbage(f"more than {self.max_fields} header fields")
        longest = self.max_line
        for line in lines:
            name, colon, _ = line.partition(b":")
            known = _NAMES.get(name) or _name(name)
            if not colon or not known:
                raise _Garbage(_MALFORMED)
            if len(line) >= longest:
                raise _Garbage(f"a header field is longer than {longest} bytes")
            after = position + len(line)
            end = after if is_bare and not line.endswith(b"\r") else after - 1
            span = (position + len(name) + 1, end)
            fields[known] = (*fields[known], span) if known in fields else (span,)
            position = after + 1
        return fields

    def _body_length(self, raw: bytes, fields: dict[bytes, tuple[Span, ...]]) -> int:
        spans = fields.get(b"content-length")
        if spans is None:
            return 0
        values = {raw[start:end].strip() for start, end in spans}
        value = values.pop()
        if values or not value.isdigit() or len(value) > 10:
            raise _Garbage("Content-Length is no number")
        size = int(value)
        if size > self.max_body:
            raise _Garbage(f"the body is longer than {self.max_body} bytes")
        return size


def _name(name: bytes) -> bytes:
    """Return a field's name in lower case, empty if it is none."""
    name = name.rstrip(_BLANK)
    return b"" if name.translate(None, _NAME) else name.lower()


def _folded(lines: list[bytes]) -> list[bytes]:
    """Return the fields that ``lines`` make up: one that begins with a blank continues the one before."""
    fields: list[list[bytes]] = []
    for line in lines:
        if fields and line[:1] in (b" ", b"\t"):
            fields[-1].append(line)
        else:
            fields.append([line])
    return [b"\n".join(field) for field in fields]
