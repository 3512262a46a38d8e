"""The one exception family: each error carries the sentence the user reads and what to do about it."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return ``text``, which others made up, without what would steer a terminal: such characters escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class NftrtspError(Exception):
    """Something a user can cause or fix.

    ``message`` is one sentence without a final full stop, ``place`` names where it is
    (``nftrtsp.toml: iptv.interface``), ``remedy`` says what to do. The command line prints
    ``PLACE: MESSAGE; REMEDY`` on stderr and exits with ``exit_code``.
    """

    exit_code = 2

    def __init__(self, message: str, *, place: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (type(self), dict(self.__dict__))

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text}; {self.remedy}" if self.remedy else text


class ConfigError(NftrtspError):
    """The configuration cannot be read or does not make sense; the place names the key."""


class PrivilegeError(NftrtspError):
    """The kernel refused for want of CAP_NET_ADMIN."""


class KernelError(NftrtspError):
    """The kernel, or libnftables for it, refused; ``errno`` is its number where it gave one."""

    def __init__(
        self,
        message: str,
        *,
        place: str | None = None,
        remedy: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(message, place=place, remedy=remedy)
        self.errno = errno


class UnsupportedError(KernelError):
    """This kernel, or this machine, lacks a part that was asked for."""


class HelperAbsentError(UnsupportedError):
    """No conntrack helper of the type that a ruleset names is registered in this kernel."""


class BusyError(NftrtspError):
    """Another nftrtsp process holds what this one needs."""


class StateError(NftrtspError):
    """What lies in the state directory is missing, damaged or of another version."""


class MalformedError(NftrtspError):
    """Bytes from the kernel or the network do not follow their format."""


class LabError(NftrtspError):
    """The lab could not be built, or a program of the lab stands outside it."""


def _rebuilt(kind: type[NftrtspError], parts: dict[str, object]) -> NftrtspError:
    """Return an error that came through pickle, which cannot call constructors with keywords."""
    error = kind.__new__(kind, parts["message"])
    error.__dict__.update(parts)
    return error
