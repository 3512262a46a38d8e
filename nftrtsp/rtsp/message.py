"""The RTSP parser: bytes in, messages out, no I/O.

Incremental and of either direction: however the bytes are cut, the same messages come out. Sources: RFC 2326
sections 4 to 12 and appendix C.1, RFC 7826 sections 5, 14 and 18.54, and what providers really send (docs).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from nftrtsp.rtsp.transport import Transport, parse_transports

Span = tuple[int, int]

# Token characters of RFC 2326 section 15.1; possessive quantifiers keep every match linear in its input.
_REQUEST_LINE = re.compile(rb"([A-Za-z_][A-Za-z0-9_.\-]*+) +([^\r\n]+) +RTSP/(\d\.\d)[ \t]*\r?\n")
_STATUS_LINE = re.compile(rb"RTSP/(\d\.\d) +(\d\d\d)(?: +([^\r\n]*))?[ \t]*\r?\n")
_START_LINE = re.compile(_REQUEST_LINE.pattern + b"|" + _STATUS_LINE.pattern)
_NO_START_LINE = "the first line is neither an RTSP request nor a response"
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++)[ \t]*+:((?:[^\r\n]++|\r?\n[ \t])*+)\r?\n")
_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_LEADING = re.compile(rb"[\r\n]*+")
# Where a message may begin when the beginning was missed: known methods only, never in the middle of a word,
# and whole lines only, so that it does not matter how the bytes were cut.
_START_AGAIN = re.compile(
    rb"RTSP/[12]\.\d \d\d\d(?: [^\r\n]*)?\r?\n"
    rb"|(?<![A-Za-z_])(?:OPTIONS|DESCRIBE|SETUP|PLAY|PAUSE|TEARDOWN|GET_PARAMETER|SET_PARAMETER|ANNOUNCE|RECORD"
    rb"|REDIRECT|PLAY_NOTIFY) +(?:rtspu?s?://|\*|/)[^\r\n]* RTSP/[12]\.\d[ \t]*\r?\n"
)
_DOLLAR = 0x24
_TOKEN_START = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")


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
        return ", ".join(_text(self.raw[start:end]) for start, end in spans)

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
        match = re.search(r";\s*timeout\s*=\s*(\d{1,9})\b", self.field("session") or "", re.IGNORECASE)
        return int(match[1]) if match else None

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
        self._buffer = b""
        self._base = 0  # stream offset of the buffer's first byte
        self._skip = 0  # bytes of a body or an interleaved frame still to be passed over
        self._scanned = 0  # bytes of the buffer known to hold no empty line
        self._head: tuple[int, Message] | None = None  # a complete head whose body is awaited

    @property
    def buffered(self) -> int:
        """Bytes held back: part of a message that is not complete yet."""
        return len(self._buffer)

    @property
    def unfinished(self) -> bytes:
        """The part of a message that is not complete yet."""
        return self._buffer

    @property
    def skipping(self) -> int:
        """Bytes that will be passed over whatever they are; so many may be missing without harm."""
        return self._skip

    @property
    def offset(self) -> int:
        """The stream offset of the next byte to be fed."""
        return self._base + len(self._buffer) if not self.garbage else self._base

    def feed(self, data: bytes) -> list[Message]:
        """Take the next bytes of the stream, return the messages they complete. Never raises."""
        if self.garbage is not None:
            self._base += len(data)
            return []
        buffer = self._buffer + data if self._buffer else bytes(data)
        messages: list[Message] = []
        position = 0
        try:
            for position, message in self._parse(buffer):  # noqa: B007 - used after the loop
                if message is not None:
                    messages.append(message)
        except _Garbage as why:
            self.garbage = str(why)
            position = len(buffer)
        self._buffer = buffer[position:]
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
            self._buffer = b""
            self._scanned = 0

    def _parse(self, buffer: bytes) -> Iterator[tuple[int, Message | None]]:
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
                body = buffer[position : position + size]
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
                match = _LEADING.match(buffer, position)
                position = match.end() if match else position + 1
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
            message = self._message(buffer[position:stop], self._base + position)
            self._scanned = 0
            size = message.body_length
            if 0 < size <= self.keep_body:
                self._head = (size, message)
                yield stop, None
            else:
                self._skip = size
                yield stop, message
            position = stop

    def _step_over(self, buffer: bytes, position: int) -> int:
        """Return where the frames end that begin at ``position``; the last may end beyond the buffer."""
        last = len(buffer) - 4
        while position <= last and buffer[position] == _DOLLAR:
            position += 4 + (buffer[position + 2] << 8 | buffer[position + 3])
            self.frames += 1
        return position

    def _find_start(self, buffer: bytes, position: int) -> int:
        """Return where the next message begins, or what to keep from while there is none."""
        match = _START_AGAIN.search(buffer, position)
        while match and match.end() - match.start() > self.max_line:
            match = _START_AGAIN.search(buffer, match.start() + 1)
        if match:
            self.lost = False
            return match.start()
        # A start line may be cut in two: keep the unfinished last line, and no more of it than one may have;
        # the byte before tells whether a method is a word of its own.
        newline = buffer.rfind(b"\n", position)
        return max(newline + 1, position, len(buffer) - self.max_line - 1)

    def _head_end(self, buffer: bytes, position: int) -> int:
        """Return where the head ends, -1 if it is not complete; raise when it cannot become one.

        Each check asks the bytes seen so far and stays true as more come, so the cut does not matter.
        """
        if buffer[position] not in _TOKEN_START:
            raise _Garbage("does not begin like an RTSP message")
        line = buffer.find(b"\n", position, position + self.max_line)
        if line < 0:
            if len(buffer) - position >= self.max_line:
                raise _Garbage(f"the first line is longer than {self.max_line} bytes")
            return -1
        limit = position + self.max_head
        match = _END.search(buffer, position + (self._scanned or line - position), limit)
        if match:
            return match.end()
        if not self._scanned and not _START_LINE.match(buffer, position, line + 1):
            raise _Garbage(_NO_START_LINE)
        if len(buffer) >= limit:
            raise _Garbage(f"the head is longer than {self.max_head} bytes")
        # The empty line may be cut in two as well: look again at the last two bytes.
        self._scanned = max(line - position, len(buffer) - position - 2)
        return -1

    def _message(self, raw: bytes, offset: int) -> Message:
        request = _REQUEST_LINE.match(raw)
        status = None if request else _STATUS_LINE.match(raw)
        start = request or status
        if start is None:
            raise _Garbage(_NO_START_LINE)
        fields = self._fields(raw, start.end())
        size = self._body_length(raw, fields)
        if request:
            return Request(
                method=request[1].decode(),
                uri=_text(request[2]),
                version=request[3].decode(),
                raw=raw,
                offset=offset,
                fields=fields,
                body_length=size,
            )
        return Response(
            status=int(start[2]),
            reason=_text(start[3] or b""),
            version=start[1].decode(),
            raw=raw,
            offset=offset,
            fields=fields,
            body_length=size,
        )

    def _fields(self, raw: bytes, position: int) -> dict[bytes, tuple[Span, ...]]:
        fields: dict[bytes, tuple[Span, ...]] = {}
        count = 0
        last = len(raw) - (2 if raw.endswith(b"\r\n") else 1)  # before the empty line
        while position < last:
            match = _FIELD.match(raw, position, last)
            if match is None:
                raise _Garbage("a header field is malformed")
            count += 1
            if count > self.max_fields:
                raise _Garbage(f"more than {self.max_fields} header fields")
            if match.end() - position > self.max_line:
                raise _Garbage(f"a header field is longer than {self.max_line} bytes")
            name = match[1].lower()
            span = match.span(2)
            fields[name] = (*fields[name], span) if name in fields else (span,)
            position = match.end()
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


def _text(value: bytes) -> str:
    if b"\n" in value:
        value = _FOLD.sub(b" ", value)
    return value.strip().decode("utf-8", "replace")
