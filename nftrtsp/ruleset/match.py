"""Matches that rules of several chains begin with (pure)."""

from __future__ import annotations

from nftrtsp.config import Config
from nftrtsp.ruleset import names

UNPRIVILEGED = 1024  # no film goes to a port below: those are for services of the router


def from_iptv(config: Config) -> str:
    """Return the match of what comes in over the IPTV interface."""
    return f'iifname "{config.iptv.interface}"'


def to_iptv(config: Config) -> str:
    """Return the match of what leaves over the IPTV interface."""
    return f'oifname "{config.iptv.interface}"'


def from_servers(config: Config, source: str) -> str:
    """Return the match that limits films to servers of the config, where it asks for that.

    ``source`` is the expression that it looks at: ``ip saddr``, or of the tuple.
    """
    return f"{source} @{names.SERVERS_SET} " if config.iptv.strict_sources else ""
