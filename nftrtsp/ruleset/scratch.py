"""A scratch network namespace: a ruleset is loaded there to see what the kernel makes of it.

A child process unshares its network (and, where it is not root, its user) namespace, so nothing of this
machine is touched and the namespace ends with the child. Source: unshare(2), user_namespaces(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import signal
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING, NoReturn

from nftrtsp.errors import HelperAbsentError, KernelError, NftrtspError, PrivilegeError
from nftrtsp.ruleset import names
from nftrtsp.ruleset.kernel import Nft

if TYPE_CHECKING:
    from types import TracebackType

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1

#: Helpers on TCP over IPv4 that kernels have; one stands in where nobody registered ``rtsp``.
STAND_INS = ("ftp", "irc", "sane")


class Scratch:
    """A scratch network namespace with a libnftables context in it, kept until the block ends.

    >>> with Scratch() as scratch:
    ...     scratch.load(text)
    ...     listing = scratch.list_table()

    ``stand_in`` is the helper type that stood in for ``rtsp`` at the last :meth:`load`, or None.
    Raises :class:`PrivilegeError` where neither root nor a user namespace is to be had.
    """

    def __init__(self) -> None:
        self.stand_in: str | None = None
        ours, theirs = Pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            _serve(theirs, parent)
        theirs.close()
        self._link = ours
        try:
            self._receive()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Scratch:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child, and with it the namespace."""
        self.close()

    def close(self) -> None:
        """End the child, and with it the namespace. Idempotent."""
        self._link.close()
        if self._pid:
            # Not by the end of the pipe: a process forked meanwhile may hold it open.
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def run(
        self, text: str, *, stateless: bool = False, json: bool = False, source: str | None = None
    ) -> str:
        """Carry out nft commands there and return what they print, and raise, as :meth:`Nft.run`."""
        self._link.send((text, {"stateless": stateless, "json": json, "source": source}))
        return self._receive(source)

    def load(self, text: str, *, source: str | None = None) -> None:
        """Load a ruleset there; where no helper ``rtsp`` is registered, another stands in for it."""
        self.stand_in = None
        try:
            self.run(text, source=source)
        except HelperAbsentError as error:
            self._load_with_stand_in(text, error, source)

    def _load_with_stand_in(self, text: str, error: HelperAbsentError, source: str | None) -> None:
        for kind in STAND_INS:
            try:
                self.run(_retype(text, names.CT_HELPER_TYPE, kind), source=source)
            except HelperAbsentError:
                continue
            self.stand_in = kind
            return
        raise error

    def list_table(self) -> str:
        """Return our table as the kernel prints it, without counters, the stand-in named ``rtsp`` again.

        Empty where nothing of ours was loaded.
        """
        try:
            text = self.run(f"list table {names.TABLE_FAMILY} {names.TABLE_NAME}", stateless=True)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return ""
            raise
        return _retype(text, self.stand_in, names.CT_HELPER_TYPE) if self.stand_in else text

    def _receive(self, source: str | None = None) -> str:
        try:
            answer = self._link.recv()
        except (EOFError, OSError):
            raise KernelError("the scratch namespace ended unexpectedly", place=source) from None
        if isinstance(answer, NftrtspError):
            raise answer
        return str(answer)


def canonical_listing(text: str, *, source: str | None = None) -> tuple[str, str | None]:
    """Load ``text`` in a scratch namespace; return what the kernel prints of our table, and the stand-in.

    Raises what :meth:`Nft.run` raises when the kernel refuses the ruleset, naming its ``source``.
    """
    with Scratch() as scratch:
        scratch.load(text, source=source)
        return scratch.list_table(), scratch.stand_in


def _retype(text: str, old: str | None, new: str) -> str:
    return re.sub(rf'(\btype\s+)"{old}"(\s+protocol\b)', rf'\1"{new}"\2', text)


def _serve(link: Connection, parent: int) -> NoReturn:
    """Be the child: unshare, then answer until the parent is gone. Never returns into the caller's code."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        _answer(link, libc)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _answer(link: Connection, libc: ctypes.CDLL) -> None:
    try:
        _unshare(libc)
        nft = Nft()
    except NftrtspError as error:
        link.send(error)
        return
    link.send("")
    with contextlib.suppress(EOFError):
        while True:
            text, options = link.recv()
            try:
                link.send(nft.run(text, **options))
            except NftrtspError as error:
                link.send(error)


def _unshare(libc: ctypes.CDLL) -> None:
    for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET):
        if libc.unshare(flags) == 0:
            return
    raise PrivilegeError(
        f"a scratch network namespace was refused: {os.strerror(ctypes.get_errno())}",
        remedy="run it as root, or allow user namespaces (sysctl user.max_user_namespaces)",
    )
