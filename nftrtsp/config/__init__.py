"""The configuration: TOML and a profile in, a typed and validated :class:`Config` out.

Pure but for :func:`load`, which reads the file and its profile. Whether interfaces exist is a question to a
machine, not to a file: :func:`check_interfaces` asks it.
"""

from __future__ import annotations

from nftrtsp.config.read import check_interfaces, load, load_profile, parse, profiles
from nftrtsp.config.values import (
    LONGEST_WAY,
    Config,
    HelperKind,
    Iptv,
    IptvService,
    Lan,
    MarkBits,
    Policy,
    Rtsp,
    Seconds,
    Stb,
)

#: One table of our own in the kernel; no other table is ever touched.
TABLE_FAMILY = "inet"
TABLE_NAME = "nftrtsp"

__all__ = [
    "LONGEST_WAY",
    "TABLE_FAMILY",
    "TABLE_NAME",
    "Config",
    "HelperKind",
    "Iptv",
    "IptvService",
    "Lan",
    "MarkBits",
    "Policy",
    "Rtsp",
    "Seconds",
    "Stb",
    "check_interfaces",
    "load",
    "load_profile",
    "parse",
    "profiles",
]
