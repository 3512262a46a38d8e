"""TOML and a profile in, a :class:`Config` out; each mistake with its key, its sentence and its remedy."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from nftrtsp import paths
from nftrtsp.config.check import check
from nftrtsp.config.decode import decode, explain
from nftrtsp.config.values import Config, Iptv, Lan, Rtsp, Stb
from nftrtsp.errors import ConfigError

_PROFILE = re.compile(r"[a-z0-9-]{1,64}")


def load(path: Path) -> Config:
    """Read, merge and validate the configuration at ``path``.

    Raises :class:`ConfigError` whose place is ``FILE: key`` for everything a user can get wrong.
    """
    return parse(_read_toml(path), place=path.name)


def parse(data: dict[str, Any], *, place: str = "nftrtsp.toml") -> Config:
    """Merge ``data`` over its profile and validate it; ``place`` names the file in errors."""
    known = dict(data)
    profile = known.get("profile", "generic")
    if not isinstance(profile, str):
        raise ConfigError("must be a text", place=f"{place}: profile", remedy=_profile_remedy())
    merged = _merge(load_profile(profile, place=f"{place}: profile"), known)
    _check_keys(merged, place)
    try:
        config = msgspec.convert(merged, Config, dec_hook=decode)
    except msgspec.ValidationError as error:
        raise explain(error, place) from None
    check(config, place)
    return config


def profiles() -> list[str]:
    """Return the names of the profiles, sorted."""
    names = {
        file.stem for folder in paths.profile_dirs() if folder.is_dir() for file in folder.glob("*.toml")
    }
    return sorted(names)


def load_profile(name: str, *, place: str = "profile") -> dict[str, Any]:
    """Return the defaults of the profile ``name`` as TOML data, without its ``description``."""
    for folder in paths.profile_dirs():
        file = folder / f"{name}.toml"
        if _PROFILE.fullmatch(name) and file.is_file():
            data = _read_toml(file)
            data.pop("description", None)
            return data
    raise ConfigError(f"there is no profile {name!r}", place=place, remedy=_profile_remedy(name))


def check_interfaces(config: Config, present: set[str], *, place: str = "nftrtsp.toml") -> None:
    """Raise :class:`ConfigError` if an interface of ``config`` is not among those ``present``."""
    wanted = [("iptv.interface", config.iptv.interface)]
    wanted += [(f"lan.interfaces[{i}]", name) for i, name in enumerate(config.lan.interfaces)]
    for key, name in wanted:
        if name not in present:
            raise ConfigError(
                f"this machine has no interface {name!r}",
                place=f"{place}: {key}",
                remedy=f"it has {', '.join(sorted(present - {'lo'})) or 'none'}",
            )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
        return tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(
            "there is no such file", place=str(path), remedy="write one with `nftrtsp init -o FILE`"
        ) from None
    except IsADirectoryError:
        raise ConfigError("is a directory", place=str(path), remedy="name the file in it") from None
    except PermissionError:
        remedy = f"run it as root, or chmod a+r {path}"
        raise ConfigError("may not be read", place=str(path), remedy=remedy) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"is not UTF-8 at byte {error.start}", place=path.name, remedy="save it as UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", place=path.name, remedy="correct that line") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", place=str(path)) from None


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _profile_remedy(name: str | None = None) -> str:
    close = _closest(name or "", profiles())
    return f"did you mean {close!r}?" if close else f"choose one of {', '.join(profiles())}"


def _closest(word: str, known: Sequence[str]) -> str | None:
    import difflib  # only for a mistake: it costs each start 2 ms

    found = difflib.get_close_matches(word, known, 1)
    return found[0] if found else None


_TABLES: dict[str, type[msgspec.Struct]] = {"iptv": Iptv, "lan": Lan, "rtsp": Rtsp}


def _check_keys(data: dict[str, Any], place: str) -> None:
    """Name the unknown or misplaced key before msgspec sees the data: its message lacks the remedy."""
    _check_known(data, Config, place, "")
    for key, struct in _TABLES.items():
        if isinstance(data.get(key), dict):
            _check_known(data[key], struct, place, f"{key}.")
    boxes = data.get("stb")
    if isinstance(boxes, dict):
        raise ConfigError("must be a list of tables", place=f"{place}: stb", remedy="write [[stb]]")
    for index, box in enumerate(boxes if isinstance(boxes, list) else ()):
        if isinstance(box, dict):
            _check_known(box, Stb, place, f"stb[{index}].")
    for key in ("iptv", "lan"):
        if key not in data:
            raise ConfigError(f"the table [{key}] is missing", place=place, remedy="see `nftrtsp init`")


def _check_known(data: dict[str, Any], struct: type[msgspec.Struct], place: str, prefix: str) -> None:
    fields = struct.__struct_fields__
    for key in data:
        if key not in fields:
            close = _closest(key, fields)
            remedy = f"did you mean {close!r}?" if close else f"known here: {', '.join(fields)}"
            raise ConfigError("unknown key", place=f"{place}: {prefix}{key}", remedy=remedy)
