"""nfnetlink sockets: opening one, asking a question and reading its answers."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from nftrtsp.errors import KernelError, PrivilegeError, UnsupportedError
from nftrtsp.netlink import wire
from nftrtsp.netlink.wire import NLMSG_DONE, NLMSG_ERROR

NETLINK_NETFILTER = 12
SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33


def open_netlink() -> socket.socket:
    """Return a NETLINK_NETFILTER socket of this network namespace."""
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        opened.bind((0, 0))
    except OSError as error:
        raise UnsupportedError(
            f"this kernel has no nfnetlink ({error.strerror})",
            place="netlink",
            remedy="it needs CONFIG_NETFILTER_NETLINK",
            errno=error.errno,
        ) from None
    return opened


def widen(opened: socket.socket, size: int) -> None:
    """Set a receive buffer to ``size`` bytes, past net.core.rmem_max where we may. Source: socket(7)."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def refused(number: int, what: str, place: str) -> KernelError | PrivilegeError:
    """Return the error for an errno that the kernel answered to ``what``; ``place`` is the subsystem."""
    if number in (errno.EPERM, errno.EACCES):
        return PrivilegeError(f"{what} was refused", place=place, remedy="run it as root")
    return KernelError(f"{what} failed: {os.strerror(number)}", place=place, errno=number)


def attach(opened: socket.socket, program: bytes) -> None:
    """Attach a classic BPF program (an array of struct sock_filter) to a socket. Source: socket(7)."""
    import ctypes  # which helpers do without

    steps = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HP", len(program) // 8, ctypes.addressof(steps))  # struct sock_fprog
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)


#: One message of an answer: (type, family, start, end) of its attributes.
Answer = tuple[int, int, int, int]


class RequestSocket:
    """A socket for requests to ``place``, a subsystem. One at a time; not to be shared between threads."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._socket = open_netlink()
        self._number = 0
        self._ended = True

    def close(self) -> None:
        """Close the socket. A dump that is under way ends with it."""
        self._socket.close()

    @property
    def last(self) -> int:
        """The sequence number of the last request."""
        return self._number

    def number(self) -> int:
        """Return the sequence number for the next request."""
        self._number = self._number % 0xFFFFFFFF + 1
        return self._number

    def send(self, ask: bytes, what: str) -> None:
        """Send a request; ``what`` says in errors what was asked.

        A dump that was given up half-way would make the kernel answer EBUSY: a new socket ends it.
        """
        if not self._ended:
            self._socket.close()
            self._socket = open_netlink()
        self._ended = False
        try:
            self._socket.send(ask)
        except OSError as error:
            raise refused(error.errno or errno.EIO, what, self._place) from None

    def receive(self) -> bytes:
        """Return the next datagram."""
        return self._socket.recv(1 << 16)

    def split(self, datagram: bytes, what: str) -> tuple[list[Answer], bool]:
        """Return the answers to the last request in ``datagram``, and whether that was the last of them.

        Raises :class:`KernelError` with the errno that the kernel answered.
        """
        answers: list[Answer] = []
        for kind, _, number, family, start, end in wire.messages(datagram):
            if number != self._number:  # what is left of a dump that was given up half-way
                continue
            self._ended = kind in (NLMSG_DONE, NLMSG_ERROR)
            if kind == NLMSG_DONE:
                return answers, True
            if kind == NLMSG_ERROR:
                code = wire.error_number(datagram, start)
                if code:
                    raise refused(code, what, self._place)
                return answers, True
            answers.append((kind, family, start, end))
        return answers, False

    def ask(self, ask: bytes, what: str) -> Iterator[tuple[bytes, int, int, int, int]]:
        """Send ``ask`` and yield ``(data, type, family, start, end)`` of each answer up to its end.

        ``what`` says in errors what was asked. Raises :class:`KernelError` with the errno of the answer.
        """
        self.send(ask, what)
        ended = False
        while not ended:
            data = self.receive()
            answers, ended = self.split(data, what)
            for kind, family, start, end in answers:
                yield data, kind, family, start, end
