"""A million steps of the core of trust at random: rules and invariants of tests/unit/trust_model.py.

usage: python -m tests.fuzz.trust_steps [STEPS [SEED]]      (default: 1000000 steps, a new seed)
A promise that breaks ends it with the seed, the number of the step, and the last steps.
"""

from __future__ import annotations

import random
import sys
import time
from collections import deque

from tests.unit.trust_model import RULES, Model

_LIFE = 5000  # steps of one router
_SHOWN = 30


def play(chance: random.Random, steps: int) -> int:
    """Play ``steps`` steps on one router after another; return how many ways opened. Raises what breaks."""
    names = list(RULES)
    weights = [weight for weight, _ in RULES.values()]
    opened = 0
    for start in range(0, steps, _LIFE):
        model = Model(substitutes=bool(chance.randrange(2)))
        last: deque[tuple[int, str, tuple[int, ...]]] = deque(maxlen=_SHOWN)
        count = min(_LIFE, steps - start)
        for number, name in enumerate(chance.choices(names, weights, k=count), start):
            numbers = tuple(chance.randint(low, high) for low, high in RULES[name][1])
            last.append((number, name, numbers))
            try:
                getattr(model, name)(*numbers)
                model.check()
            except Exception:
                for step in last:
                    print(*step, file=sys.stderr)
                raise
        model.silence()
        opened += model.opened
    return opened


def main() -> None:
    """Play as many steps as the command line says."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", file=sys.stderr)
    begun = time.monotonic()
    opened = play(random.Random(seed), steps)
    print(f"{steps} steps, {opened} ways opened, every promise kept; {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
