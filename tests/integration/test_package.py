"""What `make install` installs: the wheel holds all that the checkout runs with, and works away from it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from .stand import config

CHECKOUT = Path(__file__).resolve().parents[2]
UNITS = sorted((CHECKOUT / "contrib/systemd").glob("*.service"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel was unpacked to; built with what is installed, without a network."""
    made = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*words, "-w", made, CHECKOUT], check=True)
    (wheel,) = made.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(made / "site")
    return made / "site"


def _files(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    return {path.relative_to(folder).as_posix() for path in paths}


def test_the_wheel_holds_every_file_of_the_package(site: Path) -> None:
    profiles = {f"rulesets/{name}" for name in _files(CHECKOUT / "rulesets")}
    assert _files(site / "nftrtsp") == _files(CHECKOUT / "nftrtsp") | profiles


def test_it_generates_a_ruleset_away_from_the_checkout(site: Path, tmp_path: Path) -> None:
    place = tmp_path / "nftrtsp.toml"
    place.write_text(config())
    program = (
        "import sys, nftrtsp; print(nftrtsp.__file__, file=sys.stderr); from nftrtsp.cli import main; main()"
    )
    words = [sys.executable, "-c", program, "generate", "--config", str(place)]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stderr
    assert 'iifname "vlan2"' in done.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_units_run_what_make_install_links(unit: Path) -> None:
    setup = (CHECKOUT / "contrib/setup.sh").read_text()
    (commands,) = re.findall(r"^commands=\((.*)\)", setup, re.MULTILINE)
    scripts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"]
    assert [Path(one).name for one in commands.split()] == list(scripts)
    (started,) = re.findall(r"^ExecStart=(\S+)", unit.read_text(), re.MULTILINE)
    assert started in commands.split()
    assert unit.name in setup
