"""A second process that packets go on by while the first one, which reads the queue, is stuck or gone.

NFQUEUE is bypassed when nobody reads it and fails open when it is full, but neither is enough for a conntrack
helper: a process that is stopped or hangs holds the few packets of a set-top box for ever, and a *new*
connection whose first packet was bypassed is never confirmed by conntrack, so that its answer finds no NAT
(nf_confirm() returns before nf_conntrack_confirm()). So this tiny process shares the netlink socket:

- while the heartbeat of the first one fails, it reads the queue and accepts every packet;
- when the first one ends, it says what it was given as last words: that the helper is disabled, whose
  packets then do not go to the queue at all. Not so where another router (network namespace) of this
  machine still uses the helper: registrations are the machine's.

This file is both the class for the first process and the program of the second, which imports little.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import sys
import time

#: Seconds without a heartbeat after which a process counts as stuck: at once if it was stopped, later if it
#: just has not had the processor for a while.
PATIENCE = 1.0
LONG_PATIENCE = 5.0

#: Held shared by every process of this machine that serves the helper; who holds it alone may disable it. One
#: place for all routers of the machine, whatever their own run directories are: so are registrations.
LOCK_FILE = "/run/nftrtsp/cthelper.lock"

_PACKET = 3 << 8 | 0  # NFNL_SUBSYS_QUEUE, NFQNL_MSG_PACKET
_VERDICT = 3 << 8 | 1
_VERDICT_BATCH = 3 << 8 | 3
_ACCEPT = 1


class Watchdog:
    """Watches this process on behalf of the queue ``number``, whose netlink socket is ``fd``.

    ``last_words`` are sent to the socket when this process has ended. Making it waits for the last words of
    a forerunner. Call :meth:`beat` several times in each :data:`PATIENCE`.
    """

    def __init__(self, fd: int, number: int, last_words: bytes) -> None:
        self._fd = fd
        self._number = number
        self._last_words = last_words
        self._process = 0
        self._pipe = -1
        self._lock = _hold()
        self._start()

    @property
    def pid(self) -> int:
        """The process id of the second process; 0: there is none."""
        return self._process

    def beat(self) -> None:
        """Say that we are alive; a watchdog that has died is replaced."""
        try:
            os.write(self._pipe, b".")
        except BlockingIOError:
            pass  # it is the slow one: the pipe is full of heartbeats
        except BrokenPipeError:
            self._end()
            self._start()

    def close(self) -> None:
        """End the second process, after its last words."""
        self._end()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _end(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if self._process:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._process, 0)
            self._process = 0

    def _start(self) -> None:
        read, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        words = (os.getpid(), read, self._fd, self._lock, self._number, self._last_words.hex())
        passed = [fd for fd in (read, self._fd, self._lock) if fd >= 0]
        try:
            # Not subprocess, whose import alone takes a twentieth of a helper's start.
            self._process = os.posix_spawn(
                sys.executable,
                # -I and -S: no site packages, so that it is small and starts at once.
                [sys.executable, "-I", "-S", __file__, *map(str, words)],
                os.environ,
                file_actions=[
                    # Unless one of ours is 0: we were started without a standard input.
                    *([] if 0 in passed else [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]),
                    # A descriptor that is duplicated onto itself stays open; all others close.
                    *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in passed),
                ],
                # A signal to our process group (Ctrl-C) is for us; the end of our pipe is for it.
                setsid=True,
            )
        finally:
            os.close(read)


def _hold() -> int:
    """Take our share of the lock; return its descriptor, -1 where no such file can be made."""
    try:
        os.makedirs(os.path.dirname(LOCK_FILE), 0o755, exist_ok=True)  # noqa: PTH103, PTH120 - see the imports
        fd = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        status, folder = os.fstat(fd), os.stat(os.path.dirname(LOCK_FILE))  # noqa: PTH116, PTH120
        if status.st_nlink == 1 and status.st_uid == os.geteuid():
            os.fchmod(fd, 0o600)
            if status.st_uid == 0:  # by hand; the service, which is not root, shall share it
                os.fchown(fd, folder.st_uid, folder.st_gid)
    except OSError:
        return -1
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def watch(process: int, pipe: int, queue: int, number: int) -> None:
    """Return when ``pipe`` ends; read the queue in its owner's place while no heartbeat comes from it."""
    stuck, heard = False, time.monotonic()
    while True:
        waits = [pipe, queue] if stuck else [pipe]
        ready, _, _ = select.select(waits, [], [], None if stuck else PATIENCE)
        if pipe in ready:
            if not os.read(pipe, 4096):
                return
            stuck, heard = False, time.monotonic()
        elif stuck:
            accept(queue, number)
        elif is_stopped(process) or time.monotonic() - heard >= LONG_PATIENCE:
            stuck = True
            write(queue, accept_all(number))


def is_stopped(process: int) -> bool:
    """Whether a process was stopped by a signal or a debugger. Source: proc(5)."""
    try:
        fd = os.open(f"/proc/{process}/stat", os.O_RDONLY)
        try:
            return os.read(fd, 4096).rpartition(b")")[2].split()[0] in (b"T", b"t")
        finally:
            os.close(fd)
    except (OSError, IndexError):
        return False


def write(queue: int, data: bytes) -> None:
    """Send a verdict. An error that waits on the shared socket (ENOBUFS) comes instead once: try twice."""
    for _ in range(2):
        with contextlib.suppress(OSError):
            os.write(queue, data)
            return


def accept(queue: int, number: int) -> None:
    """Accept the packets of one datagram of the queue."""
    try:
        data = os.read(queue, 1 << 17)
    except OSError:  # its owner was faster, or some passed unseen (ENOBUFS)
        return
    at = 0
    while at + 28 <= len(data):
        size, kind = struct.unpack_from("=IH", data, at)
        # NFQA_PACKET_HDR is a packet's first attribute; it begins with the packet's number.
        if kind == _PACKET and struct.unpack_from("=H", data, at + 22)[0] & 0x3FFF == 1:
            write(queue, verdict(_VERDICT, number, struct.unpack_from("!I", data, at + 24)[0]))
        at += max(16, size + 3 & ~3)


def accept_all(number: int) -> bytes:
    """Return the verdict that accepts all packets that wait, whoever has read of them."""
    return verdict(_VERDICT_BATCH, number, 0x7FFFFFFF)


def verdict(kind: int, number: int, packet: int) -> bytes:
    """Return an accepting verdict: struct nlmsghdr, struct nfgenmsg, NFQA_VERDICT_HDR."""
    head = struct.pack("=IHHII", 32, kind, 1, 0, 0) + struct.pack("!BBH", 0, 0, number)
    return head + struct.pack("=HH", 12, 2) + struct.pack("!II", _ACCEPT, packet)


def main(words: list[str]) -> None:
    """Be the second process."""
    # What ends our service (systemd signals all of it: SIGABRT, if it hung) must find us at work: we go when
    # our pipe does.
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGABRT):
        signal.signal(one, signal.SIG_IGN)
    process, pipe, queue, lock, number = map(int, words[:5])
    watch(process, pipe, queue, number)
    if lock >= 0:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # another router of this machine has its helper running
    write(queue, bytes.fromhex(words[5]))


if __name__ == "__main__":
    main(sys.argv[1:])
