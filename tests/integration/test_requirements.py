"""What `make install` and `make setup` take from a registry: only what requirements/ names by hash."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
RUN = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
PINNED = re.compile(r"[\w.-]+==\S+[^\n]* \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+\Z")
NEEDED = {"run": RUN, "dev": [*RUN, *PROJECT["project"]["optional-dependencies"]["dev"]]}


def text(name: str) -> str:
    return (CHECKOUT / "requirements" / f"{name}.txt").read_text()


def pinned(lines: str) -> dict[str, set[str]]:
    """Return the versions of each package; there are two where Pythons need different ones."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lines, re.MULTILINE):
        found.setdefault(canonicalize_name(package), set()).add(version)
    return found


@pytest.mark.parametrize("name", NEEDED)
def test_all_that_pyproject_names_is_there_with_what_that_needs(name: str) -> None:
    there = pinned(text(name))
    known: set[str] = set()
    asked = [Requirement(one) for one in NEEDED[name]]
    while asked:
        one = asked.pop()
        package = canonicalize_name(one.name)
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        assert package in there, f"make lock: {one} is not in requirements/{name}.txt"
        assert all(one.specifier.contains(version) for version in there[package]), one
        key = f"{package}[{','.join(one.extras)}]"
        if key not in known:
            known.add(key)
            asked += [
                need
                for need in map(Requirement, _requires(one.name))
                if need.marker is None
                or any(need.marker.evaluate({"extra": extra}) for extra in ("", *one.extras))
            ]


def _requires(package: str) -> list[str]:
    try:
        return requires(package) or []
    except PackageNotFoundError:  # not for this Python or this machine
        return []


@pytest.mark.parametrize("name", NEEDED)
def test_each_package_is_one_version_with_hashes_and_no_registry_is_named(name: str) -> None:
    lines = text(name)
    for package in re.split(r"^(?=\S)", lines, flags=re.MULTILINE):
        if package and not package.startswith("#"):
            assert PINNED.match(package), package
    assert "://" not in lines
    assert "--index" not in lines


def test_the_versions_are_those_of_constraints_txt() -> None:
    chosen = pinned((CHECKOUT / "constraints.txt").read_text())
    for name in NEEDED:
        there = pinned(text(name))
        elsewhere = set(re.findall(r"^([\w.-]+)==.*sys_platform == 'win32'", text(name), re.MULTILINE))
        for package in there.keys() - elsewhere:
            assert there[package] == chosen[package], package
    assert chosen.keys() <= pinned(text("dev")).keys()


@pytest.mark.root
def test_a_package_with_another_hash_is_not_installed(tmp_path: Path) -> None:
    """The registry, or who stands before it, gives out another file under that name and version."""
    (version,) = pinned(text("run"))["click"]
    with zipfile.ZipFile(tmp_path / f"click-{version}-py3-none-any.whl", "w") as wheel:
        about = f"click-{version}.dist-info"
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: click\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
        wheel.writestr("click/__init__.py", "raise SystemExit('taken over')\n")
    prefix = tmp_path / "prefix"
    alone = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(
        ["contrib/setup.sh", "install"],
        cwd=CHECKOUT,
        env={**os.environ, **alone, "PREFIX": str(prefix)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert "Expected sha256" in done.stderr
    assert not list(prefix.glob("lib/*/site-packages/click"))
    assert not (prefix / "bin/nftrtsp").exists()
