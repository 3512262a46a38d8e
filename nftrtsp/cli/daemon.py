"""``nftrtsp-helper``: `nftrtsp helper` as systemd starts it, without click.

A router is without its helper for as long as this takes, a second and more where processors are slow. What it
says and how it ends is the same in both.
"""

from __future__ import annotations

import getopt
import sys
from pathlib import Path

from nftrtsp.cli import ended
from nftrtsp.errors import ConfigError

USAGE = """\
Usage: nftrtsp-helper [-c FILE] [--kind KIND] [--netns NAME]

Run the userspace or pinhole helper in the foreground, as `nftrtsp helper` does; see its --help.
"""
KINDS = ("auto", "userspace", "pinhole")


def main() -> None:
    """Run the helper until it is told to stop."""
    ended(run)


def run() -> None:
    """Run the helper as the arguments say. Raises :class:`ConfigError` for unknown ones."""
    try:
        options, rest = getopt.gnu_getopt(sys.argv[1:], "c:h", ["config=", "kind=", "netns=", "help"])
    except getopt.GetoptError as error:
        raise ConfigError(error.msg, place="nftrtsp-helper", remedy="see nftrtsp-helper --help") from None
    given = dict(options)
    if "-h" in given or "--help" in given:
        sys.stdout.write(USAGE)
        return
    kind = given.get("--kind")
    if rest or kind not in (None, *KINDS):
        wrong = rest[0] if rest else f"--kind {kind}"
        raise ConfigError(
            f"{wrong!r} is not known", place="nftrtsp-helper", remedy="see nftrtsp-helper --help"
        )
    _serve(given.get("-c") or given.get("--config"), kind, given.get("--netns"))


def _serve(path: str | None, kind: str | None, netns: str | None) -> None:
    _spare_typing_extensions()
    from nftrtsp import config, paths
    from nftrtsp.helper.serve import serve

    if netns:
        from nftrtsp import netns as namespaces

        namespaces.enter(netns)
    loaded = config.load(Path(path) if path else paths.config_file())
    serve(loaded, None if kind is None else config.HelperKind(kind))


def _spare_typing_extensions() -> None:
    """Import msgspec without typing_extensions, of which it takes one name that typing has as well.

    That import is a seventh of a helper's start, and nothing else here wants it.
    """
    if "msgspec" in sys.modules or "typing_extensions" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment] # an import of it fails, as if absent
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules["typing_extensions"]
