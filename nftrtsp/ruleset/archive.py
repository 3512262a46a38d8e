"""Rulesets that were confirmed: the good one, and the last ten before it.

Each is a file that ``nft -f`` takes, below two comment lines: what wrote it, and a line of JSON with a sum of
the text below. A file whose sum is wrong (truncated, edited, of an unknown version) is never loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from nftrtsp import paths
from nftrtsp.errors import StateError
from nftrtsp.ruleset import disk, ownership

VERSION = 1
KEPT = 10
_TITLE = "# A ruleset kept by nftrtsp; `nftrtsp restore` loads it at boot. Do not edit: the sum must fit.\n"


class Saved:
    """A ruleset in the archive: ``text`` is what nft loads, ``time`` seconds since the epoch."""

    __slots__ = ("by", "kind", "path", "summary", "text", "time")

    def __init__(self, path: Path, text: str, fields: dict[str, object]) -> None:
        self.path = path
        self.text = text
        stamp = fields.get("time")
        self.time = float(stamp) if isinstance(stamp, int | float) else 0.0
        self.by = str(fields.get("by", ""))
        self.summary = str(fields.get("summary", ""))
        self.kind = str(fields.get("kind", ""))


def good_path() -> Path:
    """Return the file of the good ruleset."""
    return paths.state_dir() / "good.nft"


def history_dir() -> Path:
    """Return the directory of those before it."""
    return paths.state_dir() / "history"


def seal(text: str, *, by: str, kind: str = "", summary: str = "", now: float | None = None) -> str:
    """Return the content of an archive file for the ruleset ``text``."""
    fields = {
        "version": VERSION,
        "time": round(time.time() if now is None else now, 3),
        "by": by,
        "kind": kind,
        "summary": summary,
        "sum": _sum(text),
    }
    return f"{_TITLE}# {json.dumps(fields)}\n{text}"


def unseal(path: Path) -> Saved | None:
    """Read an archive file; None where there is none. Raises :class:`StateError` on a damaged one.

    The same where others than root (or this user) may have written it: a sum keeps out accidents, not them.
    """
    ownership.require(paths.state_dir(), path.parent, path)
    content = disk.read(path)
    if content is None:
        return None
    title, _, rest = content.partition("\n")
    line, _, text = rest.partition("\n")
    try:
        fields = json.loads(line.removeprefix("# "))
        version, total = fields["version"], fields["sum"]
    except (ValueError, KeyError, TypeError):
        raise _damaged(path, "has no valid head" if title else "is empty") from None
    if version != VERSION:
        raise _damaged(path, f"is of version {version}, this nftrtsp reads version {VERSION}")
    if total != _sum(text):
        raise _damaged(path, "does not fit its sum: it was cut off or edited")
    return Saved(path, text, fields)


def good() -> Saved | None:
    """Return the good ruleset, None where none was ever confirmed; :class:`StateError` if damaged."""
    return unseal(good_path())


def history() -> list[Saved | StateError]:
    """Return those before the good one, newest first; a damaged file is its error."""
    entries: list[Saved | StateError] = []
    current = _text_of(good_path())
    for path in sorted(_entries(), reverse=True):
        try:
            saved = unseal(path)
        except StateError as error:
            entries.append(error)
            continue
        # A power cut between keeping the old and placing the new one leaves the good one here too.
        if saved is not None and not (not entries and saved.text == current):
            entries.append(saved)
    return entries


def promote(sealed: Path) -> None:
    """Make the file ``sealed`` the good one, in one rename; what was good goes to the history.

    A power cut leaves the old good one or the new one.
    """
    place = good_path()
    folder = history_dir()
    disk.make_folder(folder)
    with disk.telling(place):
        if place.exists() and _text_of(place) != _text_of(sealed):
            number = max((int(path.stem) for path in _entries()), default=0) + 1
            os.link(place, folder / f"{number:06}.nft")
            disk.sync(folder)
        disk.rename(sealed, place)
        for path in sorted(_entries())[:-KEPT]:
            path.unlink(missing_ok=True)


def retire() -> None:
    """Take the good ruleset out of service (``remove``): it goes to the history, none is loaded at boot."""
    place = good_path()
    if not place.exists():
        return
    disk.make_folder(history_dir())
    number = max((int(path.stem) for path in _entries()), default=0) + 1
    with disk.telling(place):
        disk.rename(place, history_dir() / f"{number:06}.nft")
        disk.sync(place.parent)


def newest_intact() -> tuple[Saved | None, str]:
    """Return what to load at boot, and why it is not the good one (empty: it is)."""
    try:
        return good(), ""
    except StateError as error:
        intact = [entry for entry in history() if isinstance(entry, Saved)]
        if not intact:
            raise
        return intact[0], f"{error}; took {intact[0].path.name} instead"


def _entries() -> list[Path]:
    folder = history_dir()
    if not folder.is_dir():
        return []
    return [path for path in folder.glob("*.nft") if path.stem.isdigit()]


def _text_of(path: Path) -> str | None:
    try:
        saved = unseal(path)
    except StateError:
        return None
    return saved.text if saved else None


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _damaged(path: Path, what: str) -> StateError:
    return StateError(what, place=str(path), remedy="see `nftrtsp history`, or apply the config anew")
