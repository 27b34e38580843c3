"""The error by the age of a score, and as it looked before labels; what came of alerts under late reports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dataflows.evaluation.alert_lives import Labels, alert_lives
from dataflows.evaluation.two_clocks import Revisions, Served, by_age, looks
from dataflows.instants import HOUR, format_instant
from dataflows.scoring import log_loss

DAY = 24 * HOUR
WEEK = 7 * DAY


def served(scores: list[float], labels: list[int], times: list[int], known: list[int]) -> Served:
    names = np.array([f"pump-{number}" for number in range(len(scores))])
    return Served(names, np.array(times), np.array(labels), np.array(known), np.array(scores))


def revisions(*rows: tuple[int, int, float]) -> Revisions:
    example, age, scores = zip(*rows, strict=True)
    return Revisions(np.array(example), np.array(age), np.array(scores))


def test_a_score_is_judged_at_each_age_by_the_newest_that_was_known() -> None:
    """Three examples: one is never revised, one after minutes, one after minutes and after two weeks."""
    made = served([0.2, 0.3, 0.4], [0, 1, 1], [0, 0, 0], [3 * WEEK] * 3)
    late = revisions((2, 2 * WEEK, 0.9), (1, HOUR // 6, 0.6), (2, HOUR // 12, 0.5))
    found = by_age(made, late)
    expected = [(0, [0.2, 0.3, 0.4], 0), (HOUR // 6, [0.2, 0.6, 0.5], 2), (None, [0.2, 0.6, 0.9], 2)]
    assert [(age.after, age.revised) for age in found] == [(after, count) for after, _, count in expected]
    for age, (_, scores, _) in zip(found, expected, strict=True):
        losses = [log_loss(score, label) for score, label in zip(scores, [0, 1, 1], strict=True)]
        assert age.loss == pytest.approx(np.mean(losses))
        assert age.loss_of_revised == pytest.approx(np.mean(losses[1:]))


def test_calibrated_scores_expect_the_loss_that_comes() -> None:
    """Labels drawn from the scores, 400 pumps: the loss lies in the interval at nearly all weeks' ends."""
    draw = np.random.default_rng(4)
    times = np.sort(draw.integers(0, 30 * WEEK, 4000))
    scores = draw.beta(0.4, 4.0, 4000).clip(0.001, 0.999)
    labels = (draw.random(4000) < scores).astype(np.int64)
    # A failure within five days is reported two days later; a healthy one is known after the seven.
    known = np.where(labels == 1, times + draw.integers(0, 5 * DAY, 4000) + 2 * DAY, times + 7 * DAY)
    names = np.array([f"pump-{number}" for number in draw.integers(0, 400, 4000)])
    found = looks(Served(names, times, labels, known, scores), 5 * DAY, WEEK)
    assert len(found) >= 25
    assert sum(look.inside for look in found) >= 0.9 * len(found)
    # Without that failures are reported before the healthy are known, too much would be expected.
    assert np.mean([look.expected - look.turned_out for look in found]) == pytest.approx(0, abs=0.015)


def test_the_first_labels_of_a_week_are_not_its_labels() -> None:
    """Positives are known after a day, negatives after five: by the week's end all that is known failed."""
    times = [WEEK - 2 * DAY, WEEK - 2 * DAY, WEEK - 2 * DAY, 2 * WEEK - 1]
    made = served([0.1] * 4, [1, 0, 0, 0], times, [WEEK - DAY, WEEK + 3 * DAY, WEEK + 3 * DAY, 3 * WEEK])
    [look] = looks(made, DAY, WEEK)
    assert (look.at, look.waiting, look.labelled, look.examples) == (WEEK, 2, 1, 3)
    assert look.loss_then == pytest.approx(log_loss(0.1, 1))
    assert look.loss == pytest.approx((log_loss(0.1, 1) + 2 * log_loss(0.1, 0)) / 3)
    assert look.turned_out == pytest.approx(log_loss(0.1, 0))


@pytest.mark.parametrize(
    ("cleared", "outcome"),
    [(None, "failure"), (60, "failure"), (50, "none")],
    ids=["open", "after", "before"],
)
def test_an_alert_that_stood_when_the_failure_came_led_to_it(cleared: int | None, outcome: str) -> None:
    """It opened 55 hours before, beyond the horizon of two days; the report came when it was cleared."""
    labels = Labels()
    labels.add("a", "pump/leak/2d", 20 * HOUR, 200 * HOUR, 35.0)
    row: dict[str, Any] = {
        "id": "1",
        "asset": "a",
        "target": "pump/leak/2d",
        "opened": format_instant(0),
        "score": 1.0,
    }
    rows = [{**row, "state": "opened", "time": format_instant(0), "why": "score"}]
    if cleared is not None:
        rows.append({**row, "state": "cleared", "time": format_instant(cleared * HOUR), "why": "score"})
    [life] = alert_lives(rows, labels)
    assert life.outcome == outcome
    assert life.lead == (55.0 if outcome == "failure" else None)
