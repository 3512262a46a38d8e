"""`nftrtsp lab up`, `play`, `exec`, `break`, `down`: a lab that stays, as people use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nftrtsp.errors import LabError
from nftrtsp.lab import fault, registry
from nftrtsp.lab.network import Lab
from nftrtsp.lab.player import Player

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def labs_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Labs of these tests only: `down` must not see anybody else's."""
    folder = Path("/run") / f"nftrtsp-lab-{os.getpid()}"
    old = os.environ.get("NFTRTSP_LAB_DIR")
    os.environ["NFTRTSP_LAB_DIR"] = str(folder)
    yield folder
    del os.environ["NFTRTSP_LAB_DIR"]
    if old is not None:
        os.environ["NFTRTSP_LAB_DIR"] = old
    assert not folder.exists()  # the last lab takes the folder of all labs with it


def _lab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from nftrtsp.cli import main; main()", "lab", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * registry.patience(),
    )


@pytest.fixture(scope="module")
def standing(labs_dir: Path) -> Iterator[Lab]:
    up = _lab("up", "--stbs", "2", "--media-servers", "2")
    assert up.returncode == 0, up.stderr
    yield Lab.open(registry.labs()[-1].id)
    down = _lab("down")
    assert down.stdout.startswith("removed ")


@pytest.fixture(scope="module")
def served(standing: Lab) -> Iterator[Lab]:
    """The lab with our ruleset and helper, started over `lab exec`."""
    applied = _lab("exec", "nftrtsp", "apply", "--yes")
    assert applied.returncode == 0, applied.stderr
    helper = standing.router.popen_nftrtsp("helper", stderr=subprocess.DEVNULL)
    end = time.monotonic() + 10 * registry.patience()
    while not (standing.run_dir / "helper.sock").exists():
        assert helper.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    yield standing
    helper.terminate()
    helper.wait()


def test_without_helper_play_says_what_is_missing(standing: Lab) -> None:
    standing.router.nftrtsp("remove", "--yes", check=False)
    played = _lab("play", "--stb", "1", "--seconds", "1")
    assert played.returncode == 2
    # Without masquerade not even the dialogue gets through.
    assert "no connection to 172.26.83.10:554; set the router up" in played.stderr
    assert len(played.stderr.splitlines()) == 1


def test_play_prints_what_each_box_got(served: Lab) -> None:
    played = _lab("play", "--seconds", "2", "--pause", "--start", "0.2")
    assert played.returncode == 0, played.stdout + played.stderr
    heading, *rows = played.stdout.splitlines()
    assert heading.split() == ["STB", "PORT", "FILM", "FROM", "FIRST", "SENT", "ARRIVED", "SHARE", "LOST"]
    assert [row.partition("  ")[0] for row in rows] == ["Living room", "Bedroom"]


def test_many_films_play_at_once(served: Lab) -> None:
    played = _lab("play", "--films", "8", "--mbps", "2", "--seconds", "2", "--start", "0.3", "--json")
    assert played.returncode == 0, played.stdout + played.stderr
    films = [json.loads(line) for line in played.stdout.splitlines()]
    assert len({film["port"] for film in films}) == 8
    assert {film["stb"] for film in films} == {"192.168.1.200", "192.168.1.201"}
    assert all(film["got"]["packets"] == film["sent"]["packets"] > 0 for film in films)


def test_exec_runs_in_the_router_and_gives_its_exit_code(standing: Lab) -> None:
    assert "vlan2" in _lab("exec", "ip", "-br", "link").stdout
    assert _lab("exec", "--", "sh", "-c", "exit 7").returncode == 7
    missing = _lab("exec", "nosuchprogram")
    assert missing.returncode == 127
    assert missing.stderr == "nftrtsp: lab: there is no program 'nosuchprogram' to run\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["play", "--stb", "9"], "there is no set-top box 9; 1 to 2"),
        (["play", "--lab", "absent"], "there is no lab 'absent'"),
        (["down", "--lab", "../../etc"], "there is no lab"),
        (["break", "nonsense"], "there is no fault 'nonsense'; choose one of"),
    ],
)
def test_mistakes_get_one_sentence(standing: Lab, words: list[str], said: str) -> None:
    refused = _lab(*words)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_lab_in_use_is_not_taken_down(standing: Lab) -> None:
    with Lab.build(stbs=1) as held:
        refused = _lab("down", "--lab", held.id)
        assert refused.returncode == 2
        assert "belongs to a running program" in refused.stderr
        held.router.run(["true"])


def _film_arrives(player: Player) -> bool:
    try:
        film = player.watch(fault.PINNED_PORT)
        film.wait(packets=700, wait=1.0)
    except LabError:
        return False
    film.teardown()
    return True


@pytest.mark.parametrize("name", fault.FAULTS)
def test_each_fault_keeps_the_film_away_until_it_is_mended(served: Lab, name: str) -> None:
    with served.stbs[0].player() as player:
        assert _film_arrives(player)
    broken = _lab("break", name)
    assert broken.returncode == 0, broken.stderr
    try:
        with served.stbs[0].player() as player:
            assert not _film_arrives(player)
            if name == "pinned":
                expected = served.router.nftrtsp("expectations").stdout
                assert "pinned to 172.26.83.10" in expected
    finally:
        mended = _lab("break", "--fix", name)
    assert mended.returncode == 0, mended.stderr
    with served.stbs[0].player() as player:
        assert _film_arrives(player)


def test_no_lab_is_up_is_said(labs_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NFTRTSP_LAB_DIR", str(tmp_path))
    refused = _lab("play")
    assert refused.returncode == 2
    assert refused.stderr == "nftrtsp: lab: no lab is up; build one with `nftrtsp lab up`\n"
    assert _lab("down").stdout == "there is no lab to remove\n"
