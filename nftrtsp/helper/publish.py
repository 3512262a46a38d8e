"""What a running helper publishes: JSON lines on a Unix socket in the run directory, and how to read them.

The first line is the greeting (:class:`nftrtsp.helper.note.Hello`, with the ports open now), then comes one
line an event (:class:`nftrtsp.helper.note.Note`). A reader that does not read is dropped, never waited for;
it connects again and is greeted anew, so nothing that matters is lost. To one that lags, of a box that floods
only so much is told as leaves room for the others (:mod:`nftrtsp.helper.backlog`); then how much was left
out, and a new greeting where that was about ports. The socket is read nowhere but here, by
:class:`HelperSubscription` and :func:`ask`.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import select
import socket
import sys
import termios
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import msgspec

from nftrtsp import paths
from nftrtsp.errors import PrivilegeError, StateError
from nftrtsp.helper.backlog import Backlog
from nftrtsp.helper.note import NOTES, Hello, Line, Note, Untold

GROUP = "nftrtsp"
_MODE = 0o660
_READERS = 32
_SO_SNDBUFFORCE = 32  # beyond net.core.wmem_max, which is a fifth of what we want
# Bytes that a slow reader may lag behind, beyond its greeting: some 500 events. The kernel holds them for us,
# and all readers together must leave room below the unit's MemoryMax=.
_SEND_BUFFER = 1 << 18
_LINE_MAX = 8 << 20  # a greeting with all 65,535 ways open would be longer; nobody has that many boxes


class _Reader:
    """One who reads: the socket, and what may wait in it."""

    def __init__(self, socket_: socket.socket) -> None:
        self.socket = socket_
        self.backlog = Backlog()
        self._room = 1

    def make_room(self, greeting: int) -> None:
        """Make room for a greeting of so many bytes, however long: nobody is waited for."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER + greeting)
        self._room = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    @property
    def full(self) -> float:
        """How full its buffer is: 0 to 1. Memory counts, as the kernel counts it, not bytes."""
        waiting = int.from_bytes(fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        return waiting / self._room


class Publisher:
    """The server: :meth:`accept` when its descriptor is readable, :meth:`publish` for each event.

    ``greeting`` returns the first line for a new reader. Call :meth:`tell_untold` every second. The socket
    belongs to ``group``, where that group exists, else to root alone. A socket left by an earlier helper is
    replaced: hold the lock first.
    """

    def __init__(
        self,
        greeting: Callable[[], Hello],
        *,
        path: Path | None = None,
        group: str = GROUP,
    ) -> None:
        self.path = path or paths.helper_socket()
        self.dropped = 0
        self._untold_to_gone = 0
        self._greeting = greeting
        self._readers: list[_Reader] = []
        self._encode = msgspec.json.Encoder().encode
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._bind(group)
        except BaseException:
            self._listener.close()
            raise

    def _bind(self, group: str) -> None:
        # Under another name first: nobody may connect before the mode is right, nor find no socket meanwhile.
        part = self.path.with_suffix(".part")
        try:
            part.unlink(missing_ok=True)
            # Made with that mode, and no link followed: another user's directory may lie under root's hands.
            mask = os.umask(0o777 & ~_MODE)
            try:
                self._listener.bind(str(part))
            finally:
                os.umask(mask)
            with contextlib.suppress(KeyError, PermissionError):
                os.chown(part, -1, grp.getgrnam(group).gr_gid, follow_symlinks=False)
            self._listener.listen(16)
            self._listener.setblocking(False)
            part.replace(self.path)
        except PermissionError:
            raise PrivilegeError("may not be made", place=str(self.path), remedy="run it as root") from None
        except OSError as error:
            raise StateError(
                f"cannot be made: {error.strerror or error}",
                place=str(self.path),
                remedy="choose a shorter or another $NFTRTSP_RUN_DIR",
            ) from None

    def fileno(self) -> int:
        """The listening descriptor, for select and poll."""
        return self._listener.fileno()

    @property
    def readers(self) -> int:
        """How many read now."""
        return len(self._readers)

    @property
    def untold(self) -> int:
        """How many lines readers that lagged did not get, for their boxes caused too many."""
        return self._untold_to_gone + sum(reader.backlog.left_out for reader in self._readers)

    def accept(self) -> None:
        """Greet those who have connected."""
        while True:
            try:
                reader, _ = self._listener.accept()
            except OSError:
                return
            reader.setblocking(False)
            self._reap()
            if len(self._readers) >= _READERS:
                reader.close()
                self.dropped += 1
                continue
            self._readers.append(_Reader(reader))
            self._greet(self._readers[-1])

    def publish(self, note: Note) -> None:
        """Send one event to all who read and have not had too many of its box.

        ``note.time`` is set to now where it is absent.
        """
        if not self._readers:
            return
        if note.time is None:
            note = msgspec.structs.replace(note, time=time.time())
        line = self._encode(note) + b"\n"
        box, kind = note.stb or "", note.event
        for reader in list(self._readers):
            self._tell_untold(reader)
            if reader.backlog.admit(box, kind, reader.full):
                self._send(reader, line)

    def tell_untold(self) -> None:
        """Say to those who have caught up what was left out meanwhile."""
        for reader in list(self._readers):
            self._tell_untold(reader)

    def _tell_untold(self, reader: _Reader) -> None:
        if not reader.backlog.lacks:
            return
        untold = reader.backlog.untold(reader.full)
        for box, kinds in untold:
            said = Untold(time=time.time(), stb=box or None, count=sum(kinds.values()), kinds=kinds)
            self._send(reader, self._encode(said) + b"\n")
        if any("way-open" in kinds or "way-closed" in kinds for _, kinds in untold):
            self._greet(reader)

    def close(self) -> None:
        """Hang up on all and take the socket away."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self._listener.close()
        for reader in self._readers:
            reader.socket.close()
        self._readers.clear()

    def _greet(self, reader: _Reader) -> None:
        greeting = self._encode(self._greeting()) + b"\n"
        reader.make_room(len(greeting))
        self._send(reader, greeting)

    def _send(self, reader: _Reader, line: bytes) -> None:
        view = memoryview(line)
        try:
            while view:
                view = view[reader.socket.send(view) :]
        except OSError:  # gone, or its buffer is full: half a line would mislead it
            self._drop(reader)

    def _reap(self) -> None:
        """Take away readers that have hung up: nothing else would tell while there are no events."""
        poll = select.poll()
        for reader in self._readers:
            poll.register(reader.socket, select.POLLHUP | select.POLLERR)
        gone = {fd for fd, _ in poll.poll(0)}
        for reader in [one for one in self._readers if one.socket.fileno() in gone]:
            self._drop(reader)

    def _drop(self, reader: _Reader) -> None:
        if reader not in self._readers:  # while several lines were told
            return
        self.dropped += 1
        self._untold_to_gone += reader.backlog.left_out
        self._readers.remove(reader)
        reader.socket.close()


class HelperSubscription:
    """One connection to a running helper; for loops that wait on several things.

    ``malformed`` counts the lines that are none, ``unknown`` those of kinds that only a newer helper knows;
    both are passed over. Raises :class:`ConnectionError` or another :class:`OSError` where no helper is
    there, and :class:`PrivilegeError` where the socket may not be opened.
    """

    def __init__(self, path: Path | None = None) -> None:
        path = path or paths.helper_socket()
        self.malformed = self.unknown = 0
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(5)
            self._socket.connect(str(path))
            self._socket.setblocking(False)
        except PermissionError:
            self._socket.close()
            raise PrivilegeError(
                "may not be read", place=str(path), remedy=f"run it as root or join the group {GROUP}"
            ) from None
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The descriptor, for select and poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def receive(self, timeout: float | None = 0) -> list[Line]:
        """Wait up to ``timeout`` seconds (None: for ever); return what the helper has said.

        Raises :class:`ConnectionResetError` when the helper has hung up.
        """
        ready, _, _ = select.select([self._socket], [], [], timeout)
        said: list[Line] = []
        while ready:
            try:
                data = self._socket.recv(1 << 18)
            except BlockingIOError:
                break
            if not data or len(self._buffer) > _LINE_MAX:
                if said:
                    break  # raised at the next call
                raise ConnectionResetError("the helper has hung up")
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            for line in lines:
                self._take(line, said)
        return said

    def _take(self, line: bytes, said: list[Line]) -> None:
        try:
            said.append(decode(line))
        except msgspec.DecodeError:
            kind = kind_of(line)
            if kind and kind not in _KINDS:
                self.unknown += 1
            else:
                self.malformed += 1


class Bye(msgspec.Struct, frozen=True):
    """The helper has hung up; of :func:`subscribe`, never on the wire."""

    time: float


def subscribe(
    path: Path | None = None, *, retry: float = 1.0, stop: Callable[[], bool] = lambda: False
) -> Iterator[Line | Bye]:
    """Yield what a helper says for ever, connecting again every ``retry`` seconds while no helper is there.

    When the helper hangs up, :class:`Bye` is yielded. ``stop`` is asked at least every ``retry`` seconds.
    Raises :class:`PrivilegeError`.
    """
    while not stop():
        try:
            subscription = HelperSubscription(path)
        except OSError:
            time.sleep(retry)
            continue
        try:
            while not stop():
                yield from subscription.receive(retry)
        except OSError:
            yield Bye(time.time())
        finally:
            subscription.close()


class Answer(msgspec.Struct, frozen=True):
    """What became of a question: the greeting, or whether at least somebody ``listens``."""

    hello: Hello | None = None
    listens: bool = False


def inquire(path: Path | None = None, *, timeout: float = 2.0) -> Answer:
    """Ask for the greeting of the running helper; one that is stopped listens and does not answer.

    Raises :class:`PrivilegeError`.
    """
    try:
        subscription = HelperSubscription(path)
    except OSError:
        return Answer()
    try:
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            for line in subscription.receive(left):
                if isinstance(line, Hello):
                    return Answer(line, listens=True)
    except OSError:
        return Answer()
    finally:
        subscription.close()
    return Answer(listens=True)


def ask(path: Path | None = None, *, timeout: float = 2.0) -> Hello | None:
    """Return the greeting of the running helper, with the ports open now, or None where none runs.

    Raises :class:`PrivilegeError`.
    """
    return inquire(path, timeout=timeout).hello


_KINDS = frozenset(NOTES) | {"hello"}


class _Tag(msgspec.Struct):
    event: str = ""


@cache
def _decoder() -> msgspec.json.Decoder[Line]:
    # Made when the first line is read: a helper, which reads none, starts without it.
    return msgspec.json.Decoder(Line)


def decode(line: bytes) -> Line:
    """Return what a line says. Raises :class:`msgspec.DecodeError`."""
    return _decoder().decode(line)


def kind_of(line: bytes) -> str:
    """Return the kind that a line says it is, empty for what is no line at all."""
    try:
        return msgspec.json.decode(line, type=_Tag).event
    except msgspec.DecodeError:
        return ""
