"""What a helper tells others, a line each: the greeting, then what it saw or did on control connections.

Both ends of the socket (:mod:`nftrtsp.helper.publish`) have these structs: a line is the JSON object of one
of them, and its ``event`` says of which (``tag`` below). Times are seconds since the epoch, ``client`` and
``server`` the ends of the control connection as ``address:port``, ``stb`` the set-top box's address.

Whoever adds a field gives it a default, and whoever adds a kind adds it to :data:`Line`: then an older reader
passes it over, and a newer one reads what an older helper says. What a reader would take for something else
needs a new :data:`PROTOCOL`.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from socket import inet_ntoa
from typing import Any, TypeVar

import msgspec

from nftrtsp.conntrack.record import OpenPortRecord
from nftrtsp.errors import printable
from nftrtsp.helper.ways import Connection

#: The version of the lines; 1 is what helpers speak that do not say.
PROTOCOL = 1


class HelperCounters(msgspec.Struct):
    """What a helper counted since it started.

    ``lost`` is bytes of control connections that were not seen. ``readers`` read it now, ``readers_dropped``
    were hung up on because they did not read. ``untold`` lines were not sent to readers that lagged, for
    their box had caused too many.
    """

    packets: int = 0
    connections: int = 0
    setups: int = 0
    opened: int = 0
    refused: int = 0
    closed: int = 0
    garbage: int = 0
    rewritten: int = 0
    overruns: int = 0
    lost: int = 0
    readers: int = 0
    readers_dropped: int = 0
    untold: int = 0


class LastRefusal(msgspec.Struct, frozen=True, gc=False):
    """What was last refused to a box; ``holder`` is the box that had the port already."""

    time: float
    stb: str
    port: int | None = None
    reason: str | None = None
    holder: str | None = None


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="hello"):
    """The greeting: which helper runs since when, the ports that it keeps open now, what it counted.

    ``version`` is the program's, ``protocol`` that of the lines.
    """

    time: float = 0.0
    kind: str = ""
    why: str = ""
    pid: int = 0
    since: float = 0.0
    version: str = ""
    protocol: int = 1
    ways: tuple[OpenPortRecord, ...] = ()
    refused: tuple[LastRefusal, ...] = ()
    counters: HelperCounters = msgspec.field(default_factory=HelperCounters)

    @property
    def event(self) -> str:
        """The name of the kind."""
        return "hello"


class Note(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag_field="event"):
    """What was seen or done on one control connection; absent parts do not apply, or are not known."""

    time: float | None = None
    stb: str | None = None
    client: str | None = None
    server: str | None = None

    @property
    def event(self) -> str:
        """The name of the kind."""
        return str(self.__struct_config__.tag)

    @property
    def box(self) -> bytes | None:
        """The set-top box's packed address."""
        try:
            return IPv4Address(self.stb or "").packed
        except AddressValueError:
            return None


class ConnectionOpen(Note, frozen=True, gc=False, kw_only=True, tag="connection-open"):
    """A box has connected to an RTSP server."""


class ConnectionClose(Note, frozen=True, gc=False, kw_only=True, tag="connection-close"):
    """The connection has ended, ``reason`` says how."""

    reason: str | None = None


class Setup(Note, frozen=True, gc=False, kw_only=True, tag="setup"):
    """A box asked for a film; ``port`` is the first UDP port of its Transport, None without one."""

    port: int | None = None
    session: str | None = None
    cseq: int | None = None
    uri: str | None = None


class Answered(Note, frozen=True, gc=False, kw_only=True, tag="response"):
    """The server answered; ``uri`` is that of the request."""

    session: str | None = None
    cseq: int | None = None
    uri: str | None = None
    status: int | None = None
    reason: str | None = None


class WayOpen(Note, frozen=True, gc=False, kw_only=True, tag="way-open"):
    """A port was opened; ``reason`` where it is not simply the one that was asked for."""

    port: int | None = None
    cseq: int | None = None
    uri: str | None = None
    reason: str | None = None
    way: OpenPortRecord | None = None


class WayRefused(Note, frozen=True, gc=False, kw_only=True, tag="way-refused"):
    """A port was not opened; ``holder`` is the box that has it already."""

    port: int | None = None
    cseq: int | None = None
    reason: str | None = None
    holder: str | None = None


class WayClosed(Note, frozen=True, gc=False, kw_only=True, tag="way-closed"):
    """A port was closed."""

    port: int | None = None
    session: str | None = None
    uri: str | None = None
    reason: str | None = None
    way: OpenPortRecord | None = None


class _Asked(Note, frozen=True, gc=False, kw_only=True):
    session: str | None = None
    cseq: int | None = None
    uri: str | None = None


class Play(_Asked, frozen=True, gc=False, kw_only=True, tag="play"):
    """A box said PLAY: the film begins, goes on, or jumps to another place."""


class Pause(_Asked, frozen=True, gc=False, kw_only=True, tag="pause"):
    """A box said PAUSE."""


class Teardown(_Asked, frozen=True, gc=False, kw_only=True, tag="teardown"):
    """A box said TEARDOWN."""


class Rewritten(Note, frozen=True, gc=False, kw_only=True, tag="rewrite"):
    """A message was changed on its way, ``reason`` says what to what."""

    cseq: int | None = None
    reason: str | None = None


class Overrun(Note, frozen=True, gc=False, kw_only=True, tag="overrun"):
    """Packets came that were not read: something may have been missed."""

    reason: str | None = None


class Garbage(Note, frozen=True, gc=False, kw_only=True, tag="garbage"):
    """What is said on the connection is no RTSP; it is no longer read."""

    reason: str | None = None


class Untold(Note, frozen=True, gc=False, kw_only=True, tag="left-out"):
    """``count`` lines of ``stb`` (absent: of several boxes) were not sent to this reader, for it lagged.

    ``kinds`` says how many of each kind. Where ports were opened or closed among them, a greeting follows.
    """

    count: int = 0
    kinds: dict[str, int] = {}


#: One line of a helper.
Line = (
    Hello
    | ConnectionOpen
    | ConnectionClose
    | Setup
    | Answered
    | WayOpen
    | WayRefused
    | WayClosed
    | Play
    | Pause
    | Teardown
    | Rewritten
    | Overrun
    | Garbage
    | Untold
)

_NOTES: tuple[type[Note], ...] = (
    ConnectionOpen,
    ConnectionClose,
    Setup,
    Answered,
    WayOpen,
    WayRefused,
    WayClosed,
    Play,
    Pause,
    Teardown,
    Rewritten,
    Overrun,
    Garbage,
    Untold,
)

#: The kinds of note by their name on the wire.
NOTES: dict[str, type[Note]] = {str(kind.__struct_config__.tag): kind for kind in _NOTES}


_Kind = TypeVar("_Kind", bound=Note)


def note(kind: type[_Kind], connection: Connection | None = None, **parts: Any) -> _Kind:
    """Return a note of ``kind`` about ``connection``; parts that are None are left away.

    Its texts are printable: what a box or a server made up ends on terminals and in logs.
    """
    parts = {
        key: printable(part) if isinstance(part, str) else part
        for key, part in parts.items()
        if part is not None
    }
    if connection is not None:
        parts["stb"] = inet_ntoa(connection.client)
        parts["client"], parts["server"] = connection.client_text, connection.server_text
    return kind(**parts)


def parts(note: Note) -> dict[str, str]:
    """Return what ``note`` says beyond who: of ``port uri status reason`` those that it has, as texts."""
    if isinstance(note, Untold):
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(note.kinds.items()))
        return {"reason": f"{note.count:,} lines left out, more than could be read: {kinds}"}
    values = msgspec.structs.asdict(note)
    found = {key: values[key] for key in ("port", "uri", "status", "reason") if values.get(key) is not None}
    return {key: f"port {value}" if key == "port" else str(value) for key, value in found.items()}


def record(line: Hello | Note) -> dict[str, Any]:
    """Return the JSON object of ``line`` with its time first, as streams of events show it."""
    return {"time": line.time, **msgspec.json.decode(msgspec.json.encode(line))}
