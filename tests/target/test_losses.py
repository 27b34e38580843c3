"""Counters of the losses of a champion, for the metrics of a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dataflows.scoring import log_loss
from dataflows.target.examples import Example
from dataflows.target.losses import Losses, expected_loss


@pytest.fixture
def losses() -> Losses:
    context: Any = SimpleNamespace(models=SimpleNamespace(prior=0.25))
    return Losses.open(context, None)


def settle(losses: Losses, label: int, score: float | None) -> None:
    example = Example("pump-1", 0, b"", {"linear": score, "tree": 0.9}, "linear", label=label)
    assert losses.settled(cast("Any", None), example) == ()


def test_sums_and_numbers_give_the_mean_loss_of_each_role(losses: Losses) -> None:
    """The champion's as published, the prior's, and what the champion expects of itself."""
    settle(losses, 1, 0.8)
    settle(losses, 0, 0.1)
    assert losses.examples == {"positive": 1, "negative": 1}
    assert losses.sums["champion"] == pytest.approx(log_loss(0.8, 1) + log_loss(0.1, 0))
    assert losses.sums["prior"] == pytest.approx(log_loss(0.25, 1) + log_loss(0.25, 0))
    assert losses.sums["expected"] == pytest.approx(expected_loss(0.8) + expected_loss(0.1))


def test_where_the_prior_answered_its_loss_is_the_published_one(losses: Losses) -> None:
    """As for the figures of the target."""
    settle(losses, 0, None)
    assert losses.sums["champion"] == losses.sums["prior"]


def test_a_censored_example_has_no_loss(losses: Losses) -> None:
    """Nobody knows what would have become of it."""
    settle(losses, -1, 0.5)
    assert not losses.examples
    assert set(losses.sums.values()) == {0.0}


def test_nothing_is_stored(losses: Losses) -> None:
    """Counters begin at 0 with the process, as Prometheus expects of them."""
    settle(losses, 1, 0.5)
    assert losses.state() is None
    assert not losses.changed
