"""The alerts study: rows are counted alike for both rules, and compared at equal use."""

from __future__ import annotations

from dataflows.evaluation.outcomes import Scored
from dataflows.fleet.fleet import Alert
from studies.alerts import Use, booked, compare, thresholded

ALERT = Alert(open=0.5, clear=0.4, dwell=0, update_by=1.0)


def life(asset: str, scores: list[float], failure: int | None) -> list[Scored]:
    return [Scored(asset, time, score, failure) for time, score in enumerate(scores)]


def test_an_alert_is_two_rows_where_each_score_is_one() -> None:
    """One false alarm that trembles at the threshold, and one warning until the failure."""
    examples = [
        *life("a", [0.9] * 10, 10),
        Scored("a", 11, 0.1, None),
        *life("b", [0.1, 0.6, 0.45, 0.6, 0.1], None),
    ]
    assert booked(ALERT, examples, 5) == Use(0.5, 4, 2, 1, 1)
    assert thresholded(0.5, examples, 5) == Use(0.5, 12, 3, 2, 1)
    assert thresholded(0.5, examples, 11).warned == 0


def test_the_plain_rule_is_given_its_best_threshold() -> None:
    """Of those with no fewer warnings and no more false alarms, the one with the fewest rows."""
    examples = [*life("a", [0.6] * 9 + [0.9], 30), *life("b", [0.1] * 10, None)]
    mine, plain, equal = compare(ALERT, examples, 5)
    assert (mine.rows, mine.warned) == (1, 1)
    assert (plain.rows, plain.false, plain.warned) == (1, 0, 1)
    assert equal
