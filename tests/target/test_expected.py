"""Error before labels: its expectation, its interval, and what a label that has not come yet says."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from dataflows.instants import HOUR
from dataflows.pipeline import run_inline
from dataflows.scoring import log_loss
from dataflows.target.expected import Outlook, positive_still
from tests.target.moving import fleet, recording


def test_expectation_and_interval_are_those_of_all_outcomes() -> None:
    """Of four independent blocks, loss and counts have the mean, and twice the variance, of all outcomes."""
    scores = [0.9, 0.6, 0.2, 0.05]
    outlook = Outlook([(f"{number}", 0, p, p) for number, p in enumerate(scores)], HOUR, 0.5)
    losses, hits, weights = [], [], []
    for labels in itertools.product((0, 1), repeat=4):
        weights.append(math.prod(p if y else 1 - p for p, y in zip(scores, labels, strict=True)))
        losses.append(sum(log_loss(p, y) for p, y in zip(scores, labels, strict=True)) / 4)
        hits.append(labels[0] + labels[1])
    mean = np.average(losses, weights=weights)
    deviation = math.sqrt(np.average((np.array(losses) - mean) ** 2, weights=weights))
    found = outlook.loss()
    assert found["expected"] == pytest.approx(mean, rel=1e-12)
    assert found["high"] == pytest.approx(mean + 1.959964 * math.sqrt(2.0) * deviation, rel=1e-9)
    assert outlook.confusion()["hits"]["expected"] == pytest.approx(np.average(hits, weights=weights))


@pytest.mark.parametrize("together", [True, False])
def test_the_interval_holds_the_realised_loss(together: bool) -> None:
    """It holds the loss of labels drawn from the scores in 95 of 100 periods, shared labels or not."""
    chance, inside = random.Random(3), 0
    for _ in range(400):
        examples, realised = [], []
        for asset in range(30):
            p = chance.betavariate(0.5, 3)
            shared = chance.random()
            for number in range(4):
                label = int((shared if together else chance.random()) < p)
                examples.append((f"{asset}", number * HOUR // 4, p, p))
                realised.append(log_loss(p, label))
        found = Outlook(examples, HOUR, 0.5).loss()
        inside += (found["low"] or 0) <= sum(realised) / len(realised) <= (found["high"] or 0)
    assert inside >= 370


def test_no_report_makes_a_positive_less_likely() -> None:
    """Of examples without a report at an age, as many are positive as the correction says."""
    rng = np.random.default_rng(4)
    p, known = 0.3, 0.6
    positive = rng.random(200_000) < p
    silent = ~(positive & (rng.random(200_000) < known))
    assert positive_still(p, known) == pytest.approx(positive[silent].mean(), abs=0.005)


def test_rows_tell_the_error_before_labels() -> None:
    """Each period has a row: open examples with their interval, settled ones beside their realised loss."""
    rows = [row for row in run_inline(fleet(), recording())["metrics"] if row["kind"] == "expected"]
    assert len(rows) >= 5
    last = rows[-1]
    assert last["open"]["examples"] > 0
    assert last["open"]["low"] <= last["open"]["expected"] <= last["open"]["high"]
    assert last["open"]["realised"] is None
    assert last["settled"]["realised"] > 0
    counts = last["confusion"]
    total = counts["hits"]["expected"] + counts["false_alarms"]["expected"]
    assert total == pytest.approx(round(total), abs=1e-9)
