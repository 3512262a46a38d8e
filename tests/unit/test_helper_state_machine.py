"""The core of trust as a state machine: whatever boxes, servers and strangers do, in whatever order.

Rules and invariants are those of tests/unit/trust_model.py; a million steps of them: make fuzz.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.fuzz.trust_steps import play
from tests.unit.trust_model import RULES, Model


class Trust(RuleBasedStateMachine):
    """Plays the rules of the model; see there for what must hold."""

    model: Model

    @initialize(substitutes=st.booleans())
    def start(self, substitutes: bool) -> None:
        """Begin with a helper in the path, or with one that sees copies."""
        self.model = Model(substitutes=substitutes)

    @invariant()
    def holds(self) -> None:
        """Check what holds after every step."""
        if hasattr(self, "model"):
            self.model.check()

    def teardown(self) -> None:
        """Whatever happened: after a day of silence nothing is open."""
        if hasattr(self, "model"):
            self.model.silence()


def _rule(name: str) -> Callable[..., None]:
    def step(self: Trust, numbers: tuple[int, ...]) -> None:
        getattr(self.model, name)(*numbers)

    step.__name__ = name
    return step


for _name, (_, _ranges) in RULES.items():
    _numbers: Any = st.tuples(*(st.integers(low, high) for low, high in _ranges))
    setattr(Trust, _name, rule(numbers=_numbers)(_rule(_name)))

TestTrust = Trust.TestCase
TestTrust.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("seed", range(2))
def test_twenty_thousand_steps_at_random_open_ways_and_keep_every_promise(seed: int) -> None:
    opened = play(random.Random(seed), 20_000)
    assert opened > 300
