"""What is kept of confirmed rulesets, and what a power cut may do to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.stand import Stand, config, stand

pytestmark = pytest.mark.root


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Stand]:
    with stand(tmp_path) as built:
        yield built


def apply_port(router: Stand, port: int) -> str:
    router.config.write_text(config(rtsp=f"ports = [{port}]"))
    router.nftrtsp("apply", "--yes")
    return router.table()


def entries(router: Stand) -> list[str]:
    return [json.loads(line)["entry"] for line in router.nftrtsp("history", "--json").splitlines()]


def test_the_last_ten_before_the_good_one_are_kept(router: Stand) -> None:
    assert "no ruleset was confirmed yet" in router.nftrtsp("history", "-c", str(router.config))
    for port in range(1000, 1013):
        apply_port(router, port)
    assert entries(router) == ["good", *(str(number) for number in range(1, 11))]
    kept = [path.read_text() for path in sorted((router.state / "history").iterdir())]
    assert [any(f"elements = {{ {port} }}" in text for text in kept) for port in (1001, 1002, 1011)] == [
        False,
        True,
        True,
    ]


def test_rollback_n_loads_it_and_makes_it_the_good_one(router: Stand) -> None:
    first = apply_port(router, 1001)
    apply_port(router, 1002)
    apply_port(router, 1003)
    text = router.nftrtsp("rollback", "2", "--yes")
    assert "-       1003" in text
    assert "+       1001" in text
    assert nft_sets(router) == "1001"
    assert router.table() == first
    router.nft("delete table inet nftrtsp")
    router.nftrtsp("restore")
    assert nft_sets(router) == "1001"
    assert "the history has" in router.nftrtsp("rollback", "9", "--yes", code=2)


def nft_sets(router: Stand) -> str:
    text = router.nft("list set inet nftrtsp rtsp_ports")
    return text.partition("elements = { ")[2].partition(" }")[0]


DAMAGE: dict[str, Callable[[str], str]] = {
    "cut off": lambda text: text[: len(text) // 2],
    "empty": lambda _text: "",
    "zeroed": lambda text: "\0" * len(text),
    "head only": lambda text: text[:40],
    "of a later version": lambda text: text.replace('"version": 1', '"version": 9'),
    "edited": lambda text: text.replace("drop", "accept"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_good_ruleset_gives_way_to_the_one_before(router: Stand, how: str) -> None:
    apply_port(router, 1001)
    apply_port(router, 1002)
    good = router.state / "good.nft"
    good.write_text(DAMAGE[how](good.read_text()))
    router.nft("delete table inet nftrtsp")
    text = router.nftrtsp("restore")
    assert str(good) in text
    assert "took 000001.nft instead" in text
    assert nft_sets(router) == "1001"
    assert "good" in router.nftrtsp("history")
    router.nftrtsp("status")
    router.nftrtsp("apply", "--yes")  # the config's ruleset again, and the good one whole
    assert nft_sets(router) == "1002"
    router.nft("delete table inet nftrtsp")
    router.nftrtsp("restore")
    assert nft_sets(router) == "1002"


def test_nothing_intact_is_an_error_and_loads_nothing(router: Stand) -> None:
    apply_port(router, 1001)
    (router.state / "good.nft").write_text("garbage")
    router.nft("delete table inet nftrtsp")
    text = router.nftrtsp("restore", code=2)
    assert "good.nft: has no valid head" in text
    assert router.table() == ""


@pytest.mark.parametrize(
    "name", ["trial.new", "trial.loading", "trial.armed", "trial.confirmed", "trial.reverted"]
)
@pytest.mark.parametrize("content", ["", "{", '{"version":9}', None])
def test_a_trial_that_a_power_cut_left_in_pieces_stops_nobody(
    router: Stand, name: str, content: str | None
) -> None:
    apply_port(router, 1001)
    folder = router.state / name
    folder.mkdir()
    if content is not None:
        (folder / "trial.json").write_text(content)
        (folder / "back.sh").write_text(content)
    router.nftrtsp("status")
    apply_port(router, 1002)
    assert nft_sets(router) == "1002"
    assert not [path.name for path in router.state.glob("trial.*")]


def test_state_files_that_are_missing_or_garbage_stop_nobody(router: Stand) -> None:
    apply_port(router, 1001)
    (router.state / "last.json").write_text("\0\0")
    (router.state / "history").rmdir() if (router.state / "history").is_dir() else None
    router.nftrtsp("status")
    apply_port(router, 1002)
    (router.state / "good.nft").unlink()
    router.nftrtsp("status")
    assert "is now the good one" in router.nftrtsp("apply", "--yes")
    assert entries(router)[0] == "good"
