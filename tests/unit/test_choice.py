from __future__ import annotations

from pathlib import Path

import pytest

from nftrtsp.config import HelperKind, parse
from nftrtsp.helper import choice
from nftrtsp.helper.choice import Evidence, decide

AUTO, KERNEL, USERSPACE, PINHOLE = HelperKind


def test_what_the_config_names_is_taken_unasked() -> None:
    for kind in (KERNEL, USERSPACE, PINHOLE):
        found = decide(kind, Evidence())
        assert (found.kind, found.tried) == (kind, ())
        assert str(kind) in found.why


def test_a_module_that_pins_is_said_to_even_where_the_config_names_it() -> None:
    assert "pins its expectations" in decide(KERNEL, Evidence(module=True, pinned=True)).why
    assert "pins" not in decide(KERNEL, Evidence(module=True, pinned=False)).why


@pytest.mark.parametrize(
    ("evidence", "kind", "why"),
    [
        (Evidence(module=True, nat_module=True), KERNEL, "is loaded, and no pinned expectation was seen"),
        (Evidence(module=True, nat_module=True, pinned=False), KERNEL, "any-source"),
        (Evidence(module=True, nat_module=True, pinned=True), PINHOLE, "pins"),
        (Evidence(module=True), PINHOLE, "without nf_nat_rtsp"),
        (Evidence(module=True, nat_module=True, pinned=True, cthelper=True), PINHOLE, "holds the name rtsp"),
        (Evidence(cthelper=True, release="6.1.0"), USERSPACE, "Linux 6.1.0 has nfnetlink_cthelper"),
        (Evidence(cthelper=False, release="6.18"), PINHOLE, "Linux 6.18 lacks nfnetlink_cthelper"),
        (Evidence(cthelper=None), PINHOLE, "cannot be told"),
    ],
)
def test_auto_takes_the_first_that_works_and_says_why(evidence: Evidence, kind: HelperKind, why: str) -> None:
    found = decide(AUTO, evidence)
    assert found.kind is kind
    assert why in found.why
    assert [one.works for one in found.tried] == [False] * (len(found.tried) - 1) + [True]


def test_choosing_here_never_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NFTRTSP_STATE_DIR", str(tmp_path))
    config = parse({"iptv": {"interface": "v"}, "lan": {"interfaces": ["b"], "networks": ["192.168.1.0/24"]}})
    assert choice.choose(config).kind in (KERNEL, USERSPACE, PINHOLE)
    assert list(tmp_path.iterdir()) == [], "asking leaves nothing behind"
