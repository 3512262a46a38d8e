"""The timeout of films as the kernel has it: that of a ruleset loaded before may differ from the config's."""

from __future__ import annotations

import re

from nftrtsp.errors import NftrtspError
from nftrtsp.ruleset import names

_REPLIED = re.compile(rf"ct timeout {names.PAUSE_TIMEOUT} \{{[^}}]*\breplied : (?P<time>[0-9dhms]+)")
_PART = re.compile(r"(\d+)([dhms]?)")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "": 1}


def read(listing: str) -> int | None:
    """Return the seconds of the timeout object in what nft lists, None where it is not there (pure)."""
    match = _REPLIED.search(listing)
    return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(match["time"])) if match else None


def live() -> int | None:
    """Return the seconds that films get in this network namespace, None where it cannot be told."""
    from nftrtsp.ruleset.kernel import Nft

    try:
        with Nft() as nft:
            return read(nft.list(f"ct timeout {names.TABLE_FAMILY} {names.TABLE_NAME} {names.PAUSE_TIMEOUT}"))
    except NftrtspError:
        return None
