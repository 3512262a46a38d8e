"""Each attack for some seconds, with real packets, on the pinhole helper of this kernel.

Beside each a film plays at one box, another box asks for films, and what is open is looked at all the while.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.attacks import scenarios
from tests.attacks.network import Network, network
from tests.attacks.scenarios import Scenario
from tests.attacks.scene import Scene
from tests.attacks.table import CONE, OPEN, POLICY_ACCEPT

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def standing() -> Iterator[Network]:
    with network() as made:
        yield made


def does_no_harm(standing: Network, folder: Path, iptv: str, attack: Scenario) -> None:
    standing.configure(iptv=iptv)
    with closing(Scene(standing, folder)) as scene:
        outcome = attack(scene)
    assert outcome.held, f"the attack came true: {outcome}"
    assert outcome.unharmed, f"somebody else was harmed: {outcome}"


@pytest.mark.parametrize("attack", scenarios.OPEN.values(), ids=scenarios.OPEN)
def test_where_every_host_may_ask_an_attack_does_no_harm(
    standing: Network, tmp_path: Path, attack: Scenario
) -> None:
    does_no_harm(standing, tmp_path, OPEN, attack)


@pytest.mark.parametrize("attack", scenarios.ACCEPT.values(), ids=scenarios.ACCEPT)
def test_where_others_judge_the_router_an_attack_does_no_harm(
    standing: Network, tmp_path: Path, attack: Scenario
) -> None:
    does_no_harm(standing, tmp_path, POLICY_ACCEPT, attack)


@pytest.mark.parametrize("attack", scenarios.CONE.values(), ids=scenarios.CONE)
def test_with_a_full_cone_an_attack_does_no_harm(standing: Network, tmp_path: Path, attack: Scenario) -> None:
    does_no_harm(standing, tmp_path, CONE, attack)
