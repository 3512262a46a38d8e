"""A small share of `python -m tests.integration.kills`, which spreads 300 kills and more over an apply."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration import kills

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_a_killed_apply_leaves_the_old_ruleset_or_the_new_one_and_unconfirmed_means_back(
    tmp_path: Path,
) -> None:
    count = int(os.environ.get("NFTRTSP_KILLS", "12"))
    found = kills.run(count, tmp_path)
    assert found[kills.RUNNING] == count
    assert found["unconfirmed, and back"] >= count // 2
