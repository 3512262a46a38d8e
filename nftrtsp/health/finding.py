"""A finding: what one check has found, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class State(StrEnum):
    """How it stands with what was checked."""

    OK = "ok"
    WARNING = "warning"  # VoD works all the same, or only sometimes not
    FAULT = "fault"  # with this, no film arrives
    UNKNOWN = "unknown"  # could not be looked at


class Finding(msgspec.Struct, frozen=True):
    """One finding of the check named ``check``; ``remedy`` is empty where there is nothing to fix.

    ``message`` is a clause that can follow "VoD does not work here:", or with a ``place`` (a setting, a
    chain, a key of the config) what is said of that place. ``id`` is what was found, stable, where a check
    looks for more than one thing.
    """

    check: str
    state: State
    message: str
    remedy: str = ""
    place: str = ""
    id: str = ""

    @property
    def text(self) -> str:
        """The whole clause."""
        return f"{self.place} {self.message}" if self.place else self.message

    @property
    def is_bad(self) -> bool:
        """Whether it keeps films away or may."""
        return self.state in (State.FAULT, State.WARNING)


def listed(names: Sequence[str]) -> str:
    """Return ``A``, ``A and B`` or ``A, B and C``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
