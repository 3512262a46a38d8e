"""Puts a drafted configuration in its place, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from nftrtsp.errors import ConfigError


def write(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write the draft, whole or not at all; its folder is made where it is missing.

    Raises :class:`ConfigError` when the file is there and ``overwrite`` is not set, or cannot be written.
    """
    if path.exists() and not overwrite:
        raise ConfigError(
            "is there already", place=str(path), remedy="--force overwrites it, -o FILE names another"
        )
    part = path.with_name(f".{path.name}.part")
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            path.parent.chmod(0o755)
        try:
            part.write_text(text)
            part.chmod(0o644)  # whatever our umask: the helper's service, which is not root, reads it
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)  # a full disk leaves an empty one
    except PermissionError:
        raise ConfigError(
            "may not be written", place=str(path), remedy="run it as root, or name a file with -o"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"cannot be written: {error.strerror}", place=str(path), remedy="name another with -o"
        ) from None
