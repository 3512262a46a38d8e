"""The ruleset on this guest's nft and kernel: what was applied is what is wanted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nftrtsp.lab.network import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.build(stbs=2, media_servers=1, helper="pinhole") as made:
        yield made


@pytest.mark.parametrize(
    ("profile", "cone"),
    [("generic", ""), ("china-unicom", ""), ("movistar", "full_cone = true\n")],
    ids=["generic", "china-unicom", "movistar-full_cone"],
)
def test_nothing_differs_after_apply(lab: Lab, profile: str, cone: str) -> None:
    lab.write_config(helper="pinhole")
    text = lab.config_path.read_text().replace('"movistar"', f'"{profile}"')
    lab.write_config(text.replace("[iptv]\n", f"[iptv]\n{cone}"))
    before = lab.router.nftrtsp("diff", check=False)
    assert before.returncode == 1, before.stdout + before.stderr
    lab.router.nftrtsp("apply", "--yes")
    after = lab.router.nftrtsp("diff", check=False)
    assert after.returncode == 0, after.stdout + after.stderr


def test_a_changed_rule_is_seen_and_put_right(lab: Lab) -> None:
    lab.write_config(helper="pinhole")
    lab.router.nftrtsp("apply", "--yes")
    lab.router.run(["nft", "add", "rule", "inet", "nftrtsp", "forward", "counter"])
    assert lab.router.nftrtsp("diff", check=False).returncode == 1
    lab.router.nftrtsp("apply", "--yes")
    assert lab.router.nftrtsp("diff", check=False).returncode == 0


def test_remove_takes_our_table_and_no_other(lab: Lab) -> None:
    lab.router.run(["nft", "add", "table", "inet", "mine"])
    lab.router.nftrtsp("apply", "--yes")
    lab.router.nftrtsp("remove", "--yes")
    assert lab.router.run(["nft", "list", "tables"]).stdout.split("\n")[:-1] == ["table inet mine"]
