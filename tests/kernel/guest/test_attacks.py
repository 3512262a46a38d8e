"""The attacks of tests/attacks on the userspace helper, on Debian's own kernels.

All is emulated here: how long a SETUP waits is held against what it waits without any attack, in the same
guest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.attacks import scenarios
from tests.attacks.network import network
from tests.attacks.scenarios import Scenario
from tests.attacks.scene import Beside, Scene

#: Those in which the userspace helper is another than the pinhole helper, as far as a minute or two will do.
ATTACKS = {
    name: attack
    for name, attack in scenarios.OPEN.items()
    if name.startswith(("1 ", "2 ", "3 500", "7 a server that answers other", "8 ", "text"))
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with network(intruders=2) as standing:
        standing.configure(helper="userspace")
        with closing(Scene(standing, tmp_path_factory.mktemp("helper"), helper="userspace")) as made:
            yield made


@pytest.fixture(scope="module")
def calm(scene: Scene) -> Beside:
    """What the boxes have while nobody attacks."""
    with scene.audience() as beside:
        time.sleep(6)
    assert not beside.lost
    assert not beside.troubles
    return beside


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_on_the_userspace_helper_does_no_harm(scene: Scene, calm: Beside, attack: Scenario) -> None:
    outcome = attack(scene)
    beside = outcome.beside
    assert outcome.held, f"the attack came true: {outcome}"
    assert not beside.lost, f"the film lost datagrams: {outcome}"
    assert not beside.troubles, f"a film failed: {outcome}"
    assert not beside.illegal, f"ways are open that nobody asked for: {outcome}"
    assert beside.longest < 4 * calm.longest + 1, f"without attack {calm.longest:.2f} s: {outcome}"
