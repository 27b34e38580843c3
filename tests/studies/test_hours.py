"""Hours to failure replayed on the examples of a run."""

from __future__ import annotations

import math
import random

from studies.hours import Asked, replayed


def lives(count: int) -> list[Asked]:
    """Assets that fail every 60 hours; wear tells the hours left."""
    draw = random.Random(1)
    found = []
    for hour in range(count):
        for asset in range(5):
            left = 60.0 - (hour + 12 * asset) % 60
            label = left <= 30
            wear = -left + draw.gauss(0, 3)
            score = 1.0 / (1.0 + math.exp(-(wear + 30.0)))
            found.append(Asked(hour, f"a-{asset}", {"wear": wear}, label, left if label else None, score))
    return found


def test_a_replay_finds_horizons_that_agree_and_intervals_that_cover() -> None:
    """And a model that is about as good within a shorter horizon as one for it alone."""
    found = replayed(lives(900), 30.0, 0.0, [5.0, 12.0], 200.0)
    assert found.said == 3_500
    assert found.contradictory == 0
    assert found.closed > 800
    assert 0.78 < found.covered / found.closed < 0.96
    for mine, alone in found.losses.values():
        assert mine < 1.1 * alone


def test_nothing_is_learned_before_its_horizon_has_passed() -> None:
    """So at first there is nothing to say."""
    assert replayed(lives(30), 30.0, 0.0, [5.0], 0.0).said == 0
