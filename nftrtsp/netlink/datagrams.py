"""Many datagrams from a socket with one system call: recvmmsg(2) into buffers that are made once."""

from __future__ import annotations

import ctypes
import errno
import os
import socket

#: Datagrams for one call.
BATCH = 512

#: Bytes of a datagram that lie in the first, dense part of the buffers. Almost all events are shorter; the
#: dense part then stays in the processor's cache.
SLOT = 512

#: The longest datagram that is taken whole.
LONGEST = 8192


class _Part(ctypes.Structure):  # struct iovec
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):  # struct msghdr
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("parts", ctypes.c_void_p),
        ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):  # struct mmsghdr
    _fields_ = (("header", _Header), ("size", ctypes.c_uint32))


class Datagrams:
    """Reads datagrams from the non-blocking socket ``opened``. For one thread."""

    def __init__(self, opened: socket.socket) -> None:
        #: Datagrams longer than LONGEST, of which only a part came: they are left out.
        self.truncated = 0
        self._fd = opened.fileno()
        self._receive = ctypes.CDLL(None, use_errno=True).recvmmsg
        self._dense = bytearray(BATCH * SLOT)
        self._spill = bytearray(BATCH * (LONGEST - SLOT))
        self._view = memoryview(self._dense)
        self._parts = (_Part * (2 * BATCH))()
        self._messages = (_Message * BATCH)()
        dense = ctypes.addressof(ctypes.c_char.from_buffer(self._dense))
        spill = ctypes.addressof(ctypes.c_char.from_buffer(self._spill))
        for index in range(BATCH):
            first = self._parts[2 * index]
            first.base, first.size = dense + index * SLOT, SLOT
            second = self._parts[2 * index + 1]
            second.base, second.size = spill + index * (LONGEST - SLOT), LONGEST - SLOT
            header = self._messages[index].header
            header.parts, header.part_count = ctypes.addressof(first), 2
        words = ctypes.sizeof(_Message) // 4
        self._sizes = memoryview(self._messages).cast("B").cast("I")[_Message.size.offset // 4 :: words]

    def read(self) -> list[bytes]:
        """Return up to BATCH datagrams; fewer when there are no more; none when the socket is empty.

        Raises OSError for what else the kernel answers, ENOBUFS among it.
        """
        # MSG_TRUNC makes the kernel tell the true size of what did not fit.
        count = self._receive(self._fd, self._messages, BATCH, socket.MSG_DONTWAIT | socket.MSG_TRUNC, None)
        if count < 0:
            number = ctypes.get_errno()
            if number in (errno.EAGAIN, errno.EINTR):
                return []
            raise OSError(number, os.strerror(number))
        sizes = self._sizes[:count].tolist()
        dense = bytes(self._view[: count * SLOT])
        if max(sizes) > SLOT:
            return self._long(dense, sizes)
        return [dense[at : at + size] for at, size in zip(range(0, count * SLOT, SLOT), sizes, strict=True)]

    def _long(self, dense: bytes, sizes: list[int]) -> list[bytes]:
        found = []
        for index, size in enumerate(sizes):
            if size > LONGEST:
                self.truncated += 1
                continue
            data = dense[index * SLOT : index * SLOT + min(size, SLOT)]
            spill = index * (LONGEST - SLOT)
            found.append(data + bytes(self._spill[spill : spill + max(0, size - SLOT)]))
        return found
