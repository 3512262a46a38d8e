"""What a running helper publishes: JSON lines on a Unix socket in the run directory, and how to read them.

The first line is the greeting (``"event":"hello"``, with the ways open now), then comes one line an event, as
:class:`nftrtsp.helper.note.Note` has. A reader that does not read is dropped, never waited for; it connects
again and is greeted anew, so nothing that matters is lost.
"""

from __future__ import annotations

import contextlib
import grp
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from nftrtsp import paths
from nftrtsp.errors import PrivilegeError, StateError
from nftrtsp.helper.note import Note

GROUP = "nftrtsp"
_MODE = 0o660
_READERS = 32
_SO_SNDBUFFORCE = 32  # beyond net.core.wmem_max, which is a fifth of what we want
# Bytes that a slow reader may lag behind, beyond its greeting: some 500 events. The kernel holds them for us,
# and all readers together must leave room below the unit's MemoryMax=.
_SEND_BUFFER = 1 << 18
_LINE_MAX = 8 << 20  # a greeting with all 65,535 ways open would be longer; nobody has that many boxes


class Publisher:
    """The server: :meth:`accept` when its descriptor is readable, :meth:`publish` for each event.

    ``greeting`` returns the first line for a new reader. The socket belongs to ``group``, where that group
    exists, else to root alone. A socket left by an earlier helper is replaced: hold the lock first.
    """

    def __init__(
        self, greeting: Callable[[], dict[str, Any]], *, path: Path | None = None, group: str = GROUP
    ) -> None:
        self.path = path or paths.helper_socket()
        self.dropped = 0
        self._greeting = greeting
        self._readers: list[socket.socket] = []
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
            self._readers.append(reader)
            greeting = self._encode(self._greeting()) + b"\n"
            # Room for all of it, however long: nobody is waited for.
            with contextlib.suppress(OSError):
                reader.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER + len(greeting))
            self._send(reader, greeting)

    def publish(self, note: Note) -> None:
        """Send one event to all who read; ``note.time`` is set to now where it is absent."""
        if not self._readers:
            return
        if note.time is None:
            note = msgspec.structs.replace(note, time=time.time())
        line = self._encode(note) + b"\n"
        for reader in list(self._readers):
            self._send(reader, line)

    def close(self) -> None:
        """Hang up on all and take the socket away."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self._listener.close()
        for reader in self._readers:
            reader.close()
        self._readers.clear()

    def _send(self, reader: socket.socket, line: bytes) -> None:
        view = memoryview(line)
        try:
            while view:
                view = view[reader.send(view) :]
        except OSError:  # gone, or its buffer is full: half a line would mislead it
            self._drop(reader)

    def _reap(self) -> None:
        """Take away readers that have hung up: nothing else would tell while there are no events."""
        poll = select.poll()
        for reader in self._readers:
            poll.register(reader, select.POLLHUP | select.POLLERR)
        gone = {fd for fd, _ in poll.poll(0)}
        for reader in [one for one in self._readers if one.fileno() in gone]:
            self._drop(reader)

    def _drop(self, reader: socket.socket) -> None:
        self.dropped += 1
        self._readers.remove(reader)
        reader.close()


class Subscription:
    """One connection to a running helper; for loops that wait on several things.

    Raises :class:`ConnectionError` or another :class:`OSError` where no helper is there, and
    :class:`PrivilegeError` where the socket may not be opened.
    """

    def __init__(self, path: Path | None = None) -> None:
        path = path or paths.helper_socket()
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

    def receive(self, timeout: float | None = 0) -> list[dict[str, Any]]:
        """Wait up to ``timeout`` seconds (None: for ever); return the events that have come.

        Raises :class:`ConnectionResetError` when the helper has hung up.
        """
        ready, _, _ = select.select([self._socket], [], [], timeout)
        events: list[dict[str, Any]] = []
        while ready:
            try:
                data = self._socket.recv(1 << 18)
            except BlockingIOError:
                break
            if not data or len(self._buffer) > _LINE_MAX:
                if events:
                    break  # said at the next call
                raise ConnectionResetError("the helper has hung up")
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            events += [event for line in lines if isinstance(event := _decode(line), dict)]
        return events


def subscribe(
    path: Path | None = None, *, retry: float = 1.0, stop: Callable[[], bool] = lambda: False
) -> Iterator[dict[str, Any]]:
    """Yield events for ever, connecting again every ``retry`` seconds while no helper is there.

    When the helper hangs up, ``{"time": …, "event": "bye"}`` is yielded. ``stop`` is asked at least every
    ``retry`` seconds. Raises :class:`PrivilegeError`.
    """
    while not stop():
        try:
            subscription = Subscription(path)
        except OSError:
            time.sleep(retry)
            continue
        try:
            while not stop():
                yield from subscription.receive(retry)
        except OSError:
            yield {"time": time.time(), "event": "bye"}
        finally:
            subscription.close()


def ask(path: Path | None = None, *, timeout: float = 2.0) -> dict[str, Any] | None:
    """Return the greeting of the running helper, with the ways open now, or None where none runs.

    Raises :class:`PrivilegeError`.
    """
    try:
        subscription = Subscription(path)
    except OSError:
        return None
    try:
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            for event in subscription.receive(left):
                if event.get("event") == "hello":
                    return event
    except OSError:
        pass
    finally:
        subscription.close()
    return None


def _decode(line: bytes) -> object:
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
