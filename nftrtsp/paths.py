"""Where nftrtsp keeps things. Several routers (namespaces) on one machine set the variables."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_CONFIG = Path("/etc/nftrtsp/nftrtsp.toml")
DEFAULT_STATE_DIR = Path("/var/lib/nftrtsp")
DEFAULT_RUN_DIR = Path("/run/nftrtsp")


def config_file() -> Path:
    """Return the configuration file: ``$NFTRTSP_CONFIG`` or ``/etc/nftrtsp/nftrtsp.toml``."""
    return Path(os.environ.get("NFTRTSP_CONFIG") or DEFAULT_CONFIG)


def state_dir() -> Path:
    """Return the directory of confirmed rulesets: ``$NFTRTSP_STATE_DIR`` or ``/var/lib/nftrtsp``."""
    return Path(os.environ.get("NFTRTSP_STATE_DIR") or DEFAULT_STATE_DIR)


def run_dir() -> Path:
    """Return the directory of pid files, locks and sockets: ``$NFTRTSP_RUN_DIR`` or ``/run/nftrtsp``."""
    return Path(os.environ.get("NFTRTSP_RUN_DIR") or DEFAULT_RUN_DIR)


def helper_socket() -> Path:
    """Return the Unix socket on which a running helper publishes JSON lines."""
    return run_dir() / "helper.sock"


def profile_dirs() -> tuple[Path, ...]:
    """Return where profiles lie: in the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    return (package / "rulesets", package.parent / "rulesets")
