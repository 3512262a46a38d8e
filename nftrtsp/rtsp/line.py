"""The lines of an RTSP head: start lines, folded values. Pure.

No expression is matched here, nor anywhere else where strangers choose the text: one that backtracks turned
2,000 blanks into 15 seconds. Everything is found, cut and compared, and each step passes over what it looked
at, so that the time is in proportion to the bytes by construction. Source: RFC 2326 sections 4 to 7.
"""

from __future__ import annotations

Bytes = bytes | bytearray

#: A request's method, URI and version; or a response's status, reason and version.
StartLine = tuple[str | int, str, str]

#: Begins a method (RFC 2326 section 15.1 allows any token, nobody uses others).
METHOD_START = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
_METHOD = METHOD_START + b"0123456789.-"
_BLANK = b" \t"
_USUAL = (b" RTSP/1.0", b" RTSP/2.0")
# Known methods only begin a message where the beginning was missed, before a blank and one of these.
_KNOWN = tuple(
    method + b" "
    for method in (
        b"OPTIONS",
        b"DESCRIBE",
        b"SETUP",
        b"PLAY",
        b"PAUSE",
        b"TEARDOWN",
        b"GET_PARAMETER",
        b"SET_PARAMETER",
        b"ANNOUNCE",
        b"RECORD",
        b"REDIRECT",
        b"PLAY_NOTIFY",
    )
)
_URI = (b"rtsp://", b"rtsps://", b"rtspu://", b"rtspus://", b"*", b"/")


def read_start_line(line: bytes) -> StartLine | None:
    """Return what a message's first line says, given without its line feed; None if it is none."""
    line = line.removesuffix(b"\r")
    if b"\r" in line:
        return None
    return _status_line(line) if line.startswith(b"RTSP/") else _request_line(line)


def _request_line(line: bytes) -> StartLine | None:
    method, _, rest = line.partition(b" ")
    rest = rest.rstrip(_BLANK)
    uri, version = rest[:-9], rest[-9:]
    if not uri or not (version in _USUAL or (version[:6] == b" RTSP/" and _is_version(version[6:]))):
        return None
    if not method or method.translate(None, _METHOD) or method[0] not in METHOD_START:
        return None
    return method.decode(), uri.strip().decode("utf-8", "replace"), version[6:].decode()


def _status_line(line: bytes) -> StartLine | None:
    version, rest = line[5:8], line[8:]
    code = rest.lstrip(b" ")
    status, reason = code[:3], code[3:]
    if not _is_version(version) or len(code) == len(rest) or len(status) < 3 or not status.isdigit():
        return None
    if reason and reason[0] != 0x20 and reason.strip(_BLANK):
        return None
    return int(status), reason.strip().decode("utf-8", "replace"), version.decode()


def _is_version(text: bytes) -> bool:
    return len(text) == 3 and text[1] == 0x2E and (text[:1] + text[2:]).isdigit()


def unfold(value: bytes) -> str:
    """Return a value as text: what was folded over several lines on one, without blanks around it."""
    if b"\n" in value:
        lines = value.split(b"\n")
        value = b" ".join(
            [lines[0].removesuffix(b"\r")] + [one.lstrip(_BLANK).removesuffix(b"\r") for one in lines[1:]]
        )
    return value.strip().decode("utf-8", "replace")


def find_start(buffer: Bytes, position: int, max_line: int) -> int:
    """Return where a message may begin when the beginning was missed, or -1.

    Only whole lines count, so that it does not matter how the bytes were cut, and of those only the last
    ``max_line`` bytes. What comes before the start line in its line may be the end of a body.
    """
    end = buffer.rfind(b"\n", position) + 1
    at = position
    while (at := buffer.find(b"RTSP/", at, end)) >= 0:
        stop = buffer.find(b"\n", at, end)
        first = max(buffer.rfind(b"\n", position, at) + 1, position, stop + 1 - max_line)
        found = _start_in(buffer, first, stop)
        if found >= 0:
            return found
        at = position = stop + 1
    return -1


def _start_in(buffer: Bytes, first: int, stop: int) -> int:
    """Return where a start line begins that ends with the line ``buffer[first:stop]``, or -1."""
    line = bytes(buffer[first:stop]).removesuffix(b"\r")
    skipped = line.rfind(b"\r") + 1  # no start line has a carriage return inside
    line, first = line[skipped:], first + skipped
    places = [_status_in(line), _request_in(line, buffer[first - 1] if first else 0x0A)]
    return first + min((place for place in places if place >= 0), default=-1 - first)


def _status_in(line: bytes) -> int:
    at = line.find(b"RTSP/")
    while at >= 0:
        text = line[at + 5 : at + 13]  # 1.0 200, and a blank if there is more
        if (
            text[:1] in (b"1", b"2")
            and _is_version(text[:3])
            and text[3:4] == b" "
            and len(text) >= 7
            and text[4:7].isdigit()
            and text[7:] in (b"", b" ")
        ):
            return at
        at = line.find(b"RTSP/", at + 1)
    return -1


def _request_in(line: bytes, before: int) -> int:
    """``before`` is the byte before the line: a method is a word of its own."""
    end = len(line.rstrip(_BLANK)) - 9
    if (
        end < 0
        or not line.startswith((b" RTSP/1.", b" RTSP/2."), end)
        or not line[end + 8 : end + 9].isdigit()
    ):
        return -1
    places = []
    for method in _KNOWN:
        at = line.find(method, 0, end)
        while at >= 0:
            uri = at + len(method)
            while line[uri] == 0x20:  # ends at the version at the latest
                uri += 1
            after = next((uri + len(one) for one in _URI if line.startswith(one, uri)), end + 1)
            if after <= end and (line[at - 1] if at else before) not in METHOD_START:
                places.append(at)
                break
            at = line.find(method, at + 1, end)
    return min(places, default=-1)
