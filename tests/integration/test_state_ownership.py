"""What root runs or loads must have been written by root: else it is refused, and said why."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nftrtsp.ruleset.lifeline import landmark
from tests.integration.stand import NFTRTSP, SECOND_BOX, Stand, config, needs_mounts, stand

pytestmark = pytest.mark.root

DAEMON = 65534  # any user but root
PLANTED = "table inet planted { }\n"


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Stand]:
    with stand(tmp_path) as built:
        built.nftrtsp("apply", "--yes")
        yield built


def plant(router: Stand, owner: int) -> None:
    """Put a change on trial whose time is over, and whose way back loads a table that nobody wanted."""
    trial = router.state / "trial.armed"
    trial.mkdir(mode=0o700)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    texts = {
        "back.nft": PLANTED,
        "back.sh": "#!/bin/sh\nnft add table inet planted\n",
        "before.txt": landmark(router.nft("-s", "list", "table", "inet", "nftrtsp")),
        "id": "x",
        "trial.json": f'{{"id":"x","boot":"{boot}","started":1,"by":"y","kind":"","summary":"","ends":1}}',
    }
    for name, text in texts.items():
        (trial / name).write_text(text)
        (trial / name).chmod(0o600)
        os.chown(trial / name, owner, owner)
    os.chown(trial, owner, owner)


def planted(router: Stand) -> bool:
    """Whether what was planted has been run or loaded."""
    return "planted" in router.nft("list", "tables")


COMMANDS = [
    ("restore",),
    ("status",),
    ("confirm",),
    ("rollback", "--yes"),
    ("apply", "--yes"),
    ("remove", "--yes"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_way_back_that_another_user_planted_is_not_run(router: Stand, words: tuple[str, ...]) -> None:
    before = router.table()
    plant(router, DAEMON)
    text = router.nftrtsp(*words, code=0 if words == ("status",) else 2)
    assert "trial.armed: belongs to the user nobody" in " ".join(text.split())
    assert "chown root" in text
    assert not planted(router)
    assert router.table() == before


def test_a_way_back_of_root_s_own_is_run(router: Stand) -> None:
    plant(router, 0)
    router.nftrtsp("restore")
    assert planted(router)


@pytest.mark.parametrize("name", ["back.sh", "back.nft"])
def test_a_file_alone_that_another_user_may_write_is_not_run(router: Stand, name: str) -> None:
    plant(router, 0)
    (router.state / "trial.armed" / name).chmod(0o622)
    assert "may be written by others (mode 0622)" in router.nftrtsp("restore", code=2)
    assert not planted(router)


def test_nothing_is_loaded_from_a_directory_that_another_user_may_write(router: Stand) -> None:
    for owner, mode in ((DAEMON, 0o700), (0, 0o770)):
        os.chown(router.state, owner, owner)
        router.state.chmod(mode)
        router.nft("flush ruleset")
        for words in (("restore",), ("apply", "--yes"), ("apply", "--yes", "--confirm-within", "5")):
            assert "so it is neither run nor loaded" in " ".join(router.nftrtsp(*words, code=2).split())
        assert router.table() == ""


def test_a_good_ruleset_of_another_user_gives_way_to_the_one_before_it(router: Stand) -> None:
    first = router.table()
    router.config.write_text(config(more=SECOND_BOX))
    router.nftrtsp("apply", "--yes")
    os.chown(router.state / "good.nft", DAEMON, DAEMON)
    text = " ".join(router.nftrtsp("restore").split())
    assert "good.nft: belongs to the user nobody" in text
    assert "took 000001.nft instead" in text
    assert router.table() == first


def test_what_stood_before_us_is_not_put_back_from_another_user_s_file(router: Stand) -> None:
    origin = router.state / "origin.nft"
    origin.write_text("table ip planted {}\n")
    os.chown(origin, DAEMON, DAEMON)
    assert "origin.nft: belongs to the user nobody" in router.nftrtsp("remove", "--yes", code=2)
    assert "planted" not in router.nft("list", "tables")


def test_nobody_else_can_hold_up_a_change(router: Stand) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        state = Path(folder, "state")
        state.mkdir(mode=0o755)  # by somebody who let others look into it
        router.environment["NFTRTSP_STATE_DIR"] = str(state)
        router.nftrtsp("apply", "--yes")
        for place in (state / "lock", router.run_dir / "lock"):
            words = ["flock", "--nonblock", str(place), "true"]
            done = subprocess.run(words, user=DAEMON, check=False, capture_output=True, text=True)
            assert done.returncode != 0, place


@needs_mounts
def test_at_boot_a_ruleset_is_loaded_from_a_read_only_state_too(router: Stand) -> None:
    before = router.table()
    (router.state / "lock").unlink()
    router.nft("flush ruleset")
    mounted = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    done = router.run(
        "unshare", "-m", "sh", "-c", mounted, str(router.state), *NFTRTSP, "restore", check=False
    )
    assert done.returncode == 0, done
    assert router.table() == before
