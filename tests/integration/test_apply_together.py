"""Several at once: applies, a rollback, other programs that edit their own tables."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stand import NFTRTSP, SECOND_BOX, Stand, config, stand

pytestmark = pytest.mark.root


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Stand]:
    with stand(tmp_path) as built:
        yield built


def outcome(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out + err


def test_applies_of_two_configs_at_once_leave_one_of_them_whole(router: Stand, tmp_path: Path) -> None:
    texts = [config(rtsp=f"ports = [{port}]", more=more) for port, more in ((1001, ""), (1002, SECOND_BOX))]
    wanted = []
    for index, text in enumerate(texts):
        path = tmp_path / f"{index}.toml"
        path.write_text(text)
        router.nftrtsp("apply", "--yes", "-c", str(path))
        wanted.append(router.table())
    for _round in range(5):
        processes = [
            router.popen(*NFTRTSP, "apply", "--yes", "-c", str(tmp_path / f"{index}.toml"))
            for index in (0, 1, 0, 1)
        ]
        for code, text in map(outcome, processes):
            assert code == 0 or "changed since the plan was shown" in text, text
        assert router.table() in wanted
        good = (router.state / "good.nft").read_text()
        assert ("{ 1001 }" in good) == (router.table() == wanted[0])  # what is live is what boot will load


def test_an_apply_and_a_rollback_at_once_leave_one_of_two_rulesets(router: Stand) -> None:
    router.nftrtsp("apply", "--yes")
    first = router.table()
    router.config.write_text(config(rtsp="ports = [554, 1554]"))
    router.nftrtsp("apply", "--yes")
    second = router.table()
    for _round in range(5):
        processes = [
            router.popen(*NFTRTSP, "apply", "--yes", "--confirm-within", "60"),
            router.popen(*NFTRTSP, "rollback", "--yes"),
        ]
        for code, text in map(outcome, processes):
            refused = "changed since the plan" in text or "waits for its confirmation" in text
            assert code == 0 or refused, text
        assert router.table() in (first, second)
        router.run(*NFTRTSP, "rollback", "--yes", check=False)
        assert router.table() in (first, second)


def test_a_lock_that_is_held_is_waited_for_and_its_holder_named(router: Stand) -> None:
    router.nftrtsp("apply", "--yes")
    router.config.write_text(config(more=SECOND_BOX))
    holder = router.popen("flock", str(router.state / "lock"), "sleep", "3")
    time.sleep(0.5)
    begun = time.monotonic()
    router.nftrtsp("apply", "--yes")
    assert time.monotonic() - begun > 1
    holder.communicate()


def test_others_edit_their_tables_while_we_apply(router: Stand, tmp_path: Path) -> None:
    edits = tmp_path / "edits.sh"
    edits.write_text(
        "nft add table ip theirs; nft add chain ip theirs c\n"
        "i=0; while [ $i -lt 300 ]; do\n"
        "i=$((i+1)); nft add rule ip theirs c tcp dport $i accept || exit 1; done\n"
        "echo done\n"
    )
    other = router.popen("sh", str(edits))
    for number in range(12):
        router.config.write_text(config(rtsp=f"ports = [554, {1000 + number}]"))
        router.nftrtsp("apply", "--yes")
        router.nftrtsp("diff")
    code, text = outcome(other)
    assert (code, text) == (0, "done\n")
    assert router.nft("list chain ip theirs c").count("tcp dport") == 300
