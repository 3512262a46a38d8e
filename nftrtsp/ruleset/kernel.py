"""nf_tables in the kernel, through libnftables: list, load, and the plain words for what it refuses.

One libnftables context serves one thread: a context shared between threads aborts the process. A context
also belongs to the network namespace its thread was in when it was made.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import threading
from typing import TYPE_CHECKING, Any

from nftrtsp.errors import KernelError, UnsupportedError
from nftrtsp.ruleset import names, probe
from nftrtsp.ruleset.refusal import explain

if TYPE_CHECKING:
    from types import TracebackType

LIBRARY = "libnftables.so.1"

_NUMBERED = re.compile(r'^(\t\t(?:type "[^"]*" )?protocol )(6|17)$', re.MULTILINE)


class Nft:
    """One libnftables context, for the thread and the network namespace that made it.

    >>> nft = Nft()
    >>> nft.run("add element inet nftrtsp pinholes { 27336 timeout 1h : 192.168.1.200 . 27336 }")

    Raises :class:`PrivilegeError` without CAP_NET_ADMIN, :class:`UnsupportedError` when libnftables or
    nf_tables is absent.
    """

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError:
            raise _unsupported("libnftables is not installed", "apt-get install libnftables1") from None
        try:
            from nftables import Nftables
        except ImportError:
            raise _unsupported(
                "the Python binding of libnftables is not installed", "pip install pip-nftables"
            ) from None
        probe.require_nftables()
        self._thread = threading.get_ident()
        self._nft: Any = Nftables()
        self._context = self._nft._Nftables__ctx
        self._from_file = self._library.nft_run_cmd_from_filename
        self._from_file.restype = ctypes.c_int
        self._from_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p]

    def __enter__(self) -> Nft:
        """Return itself; the context is freed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the context."""
        self.close()

    def close(self) -> None:
        """Free the libnftables context. Idempotent."""
        self._context = None
        self.__dict__.pop("_nft", None)

    def run(
        self,
        text: str,
        *,
        stateless: bool = False,
        handles: bool = False,
        terse: bool = False,
        json: bool = False,
        source: str | None = None,
    ) -> str:
        """Carry out nft commands as one transaction and return what they print.

        ``stateless`` leaves counters and expiry times out of it, ``terse`` the elements of sets and maps;
        ``handles`` shows handles; ``json`` prints JSON, for one ``list table`` or ``list ruleset`` a call.
        ``source`` is the file that the text is from, for errors to name.
        Raises :class:`KernelError` (or its :class:`UnsupportedError`, or :class:`PrivilegeError`) with the
        offending line in it; nothing of a refused transaction stays.
        """
        if threading.get_ident() != self._thread or self._context is None:
            raise RuntimeError("a libnftables context serves the thread that made it, until it is closed")
        self._nft.set_stateless_output(stateless)
        self._nft.set_handle_output(handles)
        self._nft.set_terse_output(terse)
        self._nft.set_json_output(json)
        code, output, error = self._run_lines(text) if "\n" in text.strip() else self._nft.cmd(text)
        if code != 0:
            raise explain(error, text, source)
        return str(output) if json else _name_protocols(str(output))

    def _run_lines(self, text: str) -> tuple[int, str, str]:
        """Run ``text`` as a file: only then does libnftables name the line of an error."""
        fd = os.memfd_create("ruleset.nft")
        try:
            _write_all(fd, text.encode())
            path = f"/proc/{os.getpid()}/fd/{fd}".encode()
            code = self._from_file(self._context, path)
            output = self._nft.nft_ctx_get_output_buffer(self._context)
            error = self._nft.nft_ctx_get_error_buffer(self._context)
        finally:
            os.close(fd)
        return code, output.decode("utf-8", "replace"), error.decode("utf-8", "replace")

    def load(self, text: str) -> None:
        """Load a ruleset in one transaction: all of it or nothing."""
        self.run(text)

    def list_table(
        self,
        name: str = names.TABLE_NAME,
        family: str = names.TABLE_FAMILY,
        *,
        stateless: bool = False,
        handles: bool = False,
        terse: bool = False,
    ) -> str | None:
        """Return the table as the kernel has it, as text, or None where there is none."""
        try:
            return self.list(f"table {family} {name}", stateless=stateless, handles=handles, terse=terse)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def list(self, what: str, *, stateless: bool = False, handles: bool = False, terse: bool = False) -> str:
        """Return ``nft list WHAT`` (``ruleset``, ``chains``, ``table inet x``, …) as text."""
        return self.run(f"list {what}", stateless=stateless, handles=handles, terse=terse)


def _name_protocols(listing: str) -> str:
    """Name the protocols of ct helpers and timeouts that nft could only number, for want of /etc/protocols.

    It would not read its own listing again otherwise: ``protocol 17`` is a syntax error there.
    """
    return _NUMBERED.sub(lambda match: match[1] + {"6": "tcp", "17": "udp"}[match[2]], listing)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _unsupported(message: str, remedy: str) -> UnsupportedError:
    return UnsupportedError(message, remedy=remedy)
