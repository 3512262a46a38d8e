"""What libnftables says when it refuses, in plain words: pure, text in, one of our errors out."""

from __future__ import annotations

import errno
import os
import re

from nftrtsp.errors import (
    HelperAbsentError,
    KernelError,
    NftrtspError,
    PrivilegeError,
    UnsupportedError,
    printable,
)
from nftrtsp.ruleset.names import CT_HELPER_TYPE

#: ``FILE:LINE:FROM-TO: Error: …`` of a file, ``Error: …`` of one line, ``netlink: Error: …`` of the cache.
_ERROR = re.compile(r"^(?:\S*?:(?P<line>\d+):\d+-\d+: |netlink: )?Error: (?P<text>.*)$", re.M)
_QUOTED = 120  # characters of a line
_SOCKET_MATCH = "socket transparent"  # how the rule `cone-router` asks for the router's own ports
_ERRNO = {os.strerror(number): number for number in errno.errorcode}
_HELPER = re.compile(r'^\s*(?:ct helper\b|type\s+"(?P<type>[^"]+)"\s+protocol)')


def explain(error: str, text: str, source: str | None = None) -> NftrtspError:
    """Return the error to raise for ``error``, what libnftables printed about the commands in ``text``.

    Both may hold any characters; the error's are printable. ``source`` names the file that the text is from.
    """
    match = _ERROR.search(error)
    if match is None:
        message = f"libnftables: {printable(error.strip()) or 'refused without a word'}"
        return KernelError(message, place=source)
    words = printable(match["text"].strip())
    number = _ERRNO.get(words.rpartition(": ")[2])
    line = _line(text, match["line"])
    place = _place(source, match["line"])
    if number == errno.EPERM:
        return PrivilegeError("the kernel lets only root change its ruleset", remedy="run it as root")
    helper = _helper_type(text, match["line"]) if number == errno.ENOENT else None
    if helper is not None:
        return helper_absent(helper, place=place)
    if number == errno.ENOENT and _SOCKET_MATCH in line:
        return UnsupportedError(
            "this kernel has no nft match for sockets, which iptv.full_cone needs",
            place=place,
            remedy="load it (modprobe nft_socket; on OpenWrt the package kmod-nft-socket), or leave "
            "full_cone out",
            errno=number,
        )
    if "cache initialization failed" in words:
        return UnsupportedError("this kernel has no nf_tables", remedy="modprobe nf_tables", errno=number)
    quoted = f" in `{line}`" if line else ""
    message, remedy, kind = _plain(words, number)
    return kind(f"{message}{quoted}", place=place, remedy=remedy, errno=number)


def helper_absent(kind: str = CT_HELPER_TYPE, *, place: str | None = None) -> HelperAbsentError:
    """Return the error for a ``ct helper`` of a type that is not registered in the kernel."""
    remedy = f"load the module that has it: modprobe nf_conntrack_{kind}"
    if kind == CT_HELPER_TYPE:
        remedy = (
            "load the module (modprobe nf_nat_rtsp), or start `nftrtsp helper` with rtsp.helper = "
            '"userspace", or set rtsp.helper = "pinhole"'
        )
    return HelperAbsentError(
        f"the kernel knows no conntrack helper of type {kind!r}",
        place=place,
        remedy=remedy,
        errno=errno.ENOENT,
    )


def _place(source: str | None, number: str | None) -> str | None:
    """Return ``good.nft: line 7``, or for a text of our own ``ruleset line 7``."""
    if number is None:
        return source
    return f"{source}: line {number}" if source else f"ruleset line {number}"


def _plain(words: str, number: int | None) -> tuple[str, str | None, type[KernelError]]:
    if number == errno.EBUSY:
        return "it is in use, so the kernel does not let it go", "remove what refers to it first", KernelError
    if number == errno.EEXIST:
        return "it is there already, with another definition", "remove the old one first", KernelError
    if number in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
        return "this kernel does not support it", "it needs an nf_tables module it lacks", UnsupportedError
    if number == errno.ENOENT and words.startswith("Could not process rule"):
        return (
            "the kernel lacks something it names, or a module for it",
            "see what the line refers to",
            KernelError,
        )
    if number == errno.ENOENT:
        return "there is no such thing", None, KernelError
    return f"nft refuses it: {words}", None, KernelError


def _line(text: str, number: str | None) -> str:
    lines = text.strip("\n").split("\n") if number is None else text.split("\n")  # as nft counts them
    index = 0 if number is None else int(number) - 1
    if index >= len(lines) or (number is None and len(lines) > 1):
        return ""
    line = printable(lines[index].strip())
    return line if len(line) <= _QUOTED else f"{line[:_QUOTED]}…"


def _helper_type(text: str, number: str | None) -> str | None:
    """Return the type of the ct helper object whose definition begins on line ``number``, or None."""
    if number is None:
        return None
    lines = text.splitlines()
    index = int(number) - 1
    if index >= len(lines) or not _HELPER.match(lines[index]):
        return None
    for line in lines[index : index + 4]:
        match = re.search(r'type\s+"([^"]+)"\s+protocol', line)
        if match:
            return match[1]
    return None
