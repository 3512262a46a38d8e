"""A change under way, as a directory whose name is its state. Renaming it is the only step that counts.

::

    trial.new ──▶ trial.loading ──────────────▶ trial.confirmed ──▶ good.nft   (apply)
        │                                             ▲
        └──────▶ trial.armed ── nftrtsp confirm ──────┘                        (apply --confirm-within)
                     └───────── deadline, rollback, reboot ──▶ trial.reverted

Everything that a later step needs is written, and synced, before the kernel is touched: a full disk stops
us while nothing has changed. A process killed anywhere leaves one of these names, and :func:`state` says
which; none of them is a half ruleset, as the kernel's own step is one transaction.
"""

from __future__ import annotations

import json
import time
from enum import StrEnum
from pathlib import Path

import msgspec

from nftrtsp import paths
from nftrtsp.errors import StateError
from nftrtsp.ruleset import disk, ownership

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class TrialState(StrEnum):
    """Where a change stands; the directory is called ``trial.`` and this."""

    NEW = "new"
    LOADING = "loading"
    ARMED = "armed"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"


class Trial(msgspec.Struct, frozen=True):
    """What is known of a change. Times in seconds: ``started`` and ``deadline`` since the epoch, for people;
    ``ends`` on CLOCK_BOOTTIME, which nobody sets. ``deadline`` 0: it needs no confirmation."""

    id: str
    boot: str
    started: float
    by: str
    kind: str
    summary: str
    deadline: float = 0.0
    ends: float = 0.0
    version: int = 1

    @property
    def left(self) -> float:
        """Seconds until the way back is taken; negative when it should have been."""
        return self.ends - boottime()

    @property
    def of_this_boot(self) -> bool:
        """Whether the machine has not been booted since."""
        return self.boot == boot_id()


#: File names in a trial's directory.
META = "trial.json"
WANTED = "wanted.nft"  # sealed: becomes good.nft
BACK = "back.nft"  # from the new ruleset to the old one, touching what differs
FULL = "full.nft"  # the old ruleset whole, with its counters and elements
PLAIN = "plain.nft"  # the old ruleset whole, nothing else
BEFORE = "before.txt"  # what nft prints of the old one, to know when we are back
SCRIPT = "back.sh"
ID = "id"


def folder(state: TrialState) -> Path:
    """Return the directory of that state, there or not."""
    return paths.state_dir() / f"trial.{state}"


def boot_id() -> str:
    """Return the kernel's name for this boot."""
    return BOOT_ID.read_text().strip()


def boottime() -> float:
    """Return seconds since boot, suspend included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def find() -> tuple[TrialState, Trial] | None:
    """Return the change that is under way, if there is one (one that has been reverted is not).

    Raises :class:`StateError` where others than root (or this user) may have written what there is of it.
    """
    for state in (TrialState.CONFIRMED, TrialState.ARMED, TrialState.LOADING):
        if folder(state).is_dir():
            return state, _read(state)
    return None


def reverted() -> Trial | None:
    """Return the last change that was taken back, until the next one begins."""
    return _read(TrialState.REVERTED) if folder(TrialState.REVERTED).is_dir() else None


def stage(trial: Trial, files: dict[str, str]) -> None:
    """Write everything about a change to ``trial.new``, synced. Raises StateError, nothing changed."""
    place = folder(TrialState.NEW)
    disk.make_folder(paths.state_dir())
    ownership.require(paths.state_dir())
    disk.remove_folder(place)
    disk.make_folder(place)
    for name, text in {**files, ID: trial.id, META: msgspec.json.encode(trial).decode()}.items():
        disk.write(place / name, text)


def move(old: TrialState, new: TrialState) -> Path:
    """Go from one state to the next, in one rename; return the new directory."""
    disk.remove_folder(folder(new))
    with disk.telling(folder(new)):
        disk.rename(folder(old), folder(new))
    return folder(new)


def drop(state: TrialState) -> None:
    """Forget a change: its directory goes."""
    disk.remove_folder(folder(state))


def _read(state: TrialState) -> Trial:
    """Read what is known of a trial; of a damaged one nothing is, and it counts as long over."""
    ownership.require_folder(paths.state_dir(), folder(state))
    text = disk.read(folder(state) / META)
    try:
        trial = msgspec.json.decode(text or "", type=Trial)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return Trial("", "", 0.0, "", "", "")
    return trial if trial.version == 1 else Trial("", "", 0.0, "", "", "")


def note(name: str, fields: dict[str, object]) -> None:
    """Write a small JSON file beside the rulesets (``last.json``)."""
    disk.write(paths.state_dir() / name, json.dumps(fields) + "\n")


def noted(name: str) -> dict[str, object]:
    """Read such a file; empty where it is absent or damaged."""
    try:
        fields = json.loads(disk.read(paths.state_dir() / name) or "{}")
    except (ValueError, StateError):
        return {}
    return fields if isinstance(fields, dict) else {}
