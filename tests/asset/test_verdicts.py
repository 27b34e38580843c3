"""Verdicts: what a person found gives a label to examples that maintenance would censor."""

from __future__ import annotations

import pytest

from dataflows.asset.labels import CENSORED, NEGATIVE, POSITIVE, Labels
from dataflows.events import Finding, Verdict
from tests.asset.oracle import TargetShape
from tests.asset.streams import target_of

#: Horizon 10, no delay, remembered for 30.
SEAL = TargetShape("seal", "seal", "seal", 10, 0, 30)


def judged(
    time: int,
    verdict: Finding,
    since: int | None = None,
    identity: str | None = None,
    fails: int | None = None,
) -> Verdict:
    return Verdict("p", time, "seal", verdict, "ada", since, None, None, identity, None, fails)


def labels_at(*times: int) -> Labels:
    """An example at each time."""
    labels = Labels((target_of(SEAL),))
    for time in times:
        labels.advance(time)
        labels.add(time)
    return labels


def decided(found: object) -> list[tuple[int, int | None, str, int]]:
    """Time, label, reason and correction of what was decided."""
    assert isinstance(found, dict)
    return [(each.time, each.label, each.why, each.correction) for each in found.get("seal", [])]


@pytest.mark.parametrize(
    ("finding", "since", "expected"),
    [
        (
            "healthy",
            None,
            [(0, NEGATIVE, "horizon passed", 0), (3, NEGATIVE, "healthy", 0), (6, NEGATIVE, "healthy", 0)],
        ),
        (
            "confirmed",
            None,
            [
                (0, NEGATIVE, "horizon passed", 0),
                (3, POSITIVE, "confirmed", 0),
                (6, POSITIVE, "confirmed", 0),
            ],
        ),
        (
            "confirmed",
            5,
            [
                (0, NEGATIVE, "horizon passed", 0),
                (3, CENSORED, "maintenance", 0),
                (6, POSITIVE, "confirmed", 0),
            ],
        ),
        (
            "unclear",
            None,
            [
                (0, NEGATIVE, "horizon passed", 0),
                (3, CENSORED, "maintenance", 0),
                (6, CENSORED, "maintenance", 0),
            ],
        ),
    ],
)
def test_a_verdict_labels_what_maintenance_would_censor(
    finding: Finding, since: int | None, expected: list[tuple[int, int, str, int]]
) -> None:
    """Of a repair at 12: the example at 0 had its whole horizon before; confirmed ones since the alert."""
    labels = labels_at(0, 3, 6)
    assert labels.judge(judged(12, finding, since)) == {}
    recorded = labels.record("maintenance", 12, "seal", None)
    assert recorded is not None
    assert decided(recorded[0]) + decided(labels.advance(30)) == expected


@pytest.mark.parametrize(
    ("fails", "early", "late"),
    [(13, POSITIVE, POSITIVE), (14, NEGATIVE, POSITIVE), (16, NEGATIVE, POSITIVE), (17, NEGATIVE, NEGATIVE)],
)
def test_a_verdict_that_says_when_it_would_have_failed_labels_by_that_time(
    fails: int, early: int, late: int
) -> None:
    """Of a repair at 12 the examples at 3 and 6, with horizons to 13 and 16: also those before any alert."""
    labels = labels_at(0, 3, 6)
    labels.judge(judged(12, "confirmed", 5, fails=fails))
    labels.record("maintenance", 12, "seal", None)
    assert decided(labels.advance(30)) == [(3, early, "confirmed", 0), (6, late, "confirmed", 0)]


def test_a_verdict_that_says_another_time_corrects_the_label() -> None:
    """It replaces the former one, also after a snapshot; nothing else of a store changes by it."""
    labels = labels_at(3)
    labels.record("maintenance", 5, "seal", None)
    labels.judge(judged(5, "confirmed", 2, identity="v1"))
    assert labels.state()["records"]["verdicts"] == {"seal": {"\x1fv1": (5, 2, "confirmed")}}
    assert decided(labels.advance(20)) == [(3, POSITIVE, "confirmed", 0)]
    assert decided(labels.judge(judged(5, "confirmed", 2, identity="v1", fails=14))) == [
        (3, NEGATIVE, "confirmed", 1)
    ]
    again = Labels((target_of(SEAL),), labels.state())
    assert again.state() == labels.state()
    assert decided(again.judge(judged(5, "confirmed", 2, identity="v1", fails=13))) == [
        (3, POSITIVE, "confirmed", 2)
    ]


def test_a_verdict_without_a_repair_changes_no_label() -> None:
    """Nothing would censor those examples: whether they failed is seen."""
    labels = labels_at(0, 3)
    assert labels.judge(judged(5, "confirmed")) == {}
    assert decided(labels.advance(30)) == [
        (0, NEGATIVE, "horizon passed", 0),
        (3, NEGATIVE, "horizon passed", 0),
    ]


def test_a_failure_counts_more_than_a_verdict() -> None:
    """A machine that was found healthy, and repaired, and failed all the same."""
    labels = labels_at(3)
    labels.record("maintenance", 5, "seal", None)
    labels.judge(judged(5, "healthy"))
    labels.record("failure", 8, "seal", None)
    assert labels._targets["seal"].examples[0].label == POSITIVE
    assert labels._targets["seal"].examples[0].lead == 5


def test_a_late_verdict_corrects_an_example_that_was_censored() -> None:
    """It is learned then, since it never was."""
    labels = labels_at(3)
    labels.record("maintenance", 5, "seal", None)
    assert decided(labels.advance(20)) == [(3, CENSORED, "maintenance", 0)]
    assert decided(labels.judge(judged(5, "confirmed", 2))) == [(3, POSITIVE, "confirmed", 1)]


def test_the_same_verdict_twice_is_a_duplicate_and_another_of_its_id_replaces_it() -> None:
    """Without an id, one of the same target and time."""
    labels = labels_at(3)
    labels.record("maintenance", 5, "seal", None)
    labels.advance(20)
    first = judged(5, "confirmed", 2, identity="v1")
    assert decided(labels.judge(first)) == [(3, POSITIVE, "confirmed", 1)]
    assert labels.judge(first) is None
    assert decided(labels.judge(judged(6, "healthy", identity="v1"))) == [(3, NEGATIVE, "healthy", 2)]


def test_a_retraction_withdraws_a_verdict() -> None:
    """The example is censored again."""
    labels = labels_at(3)
    labels.record("maintenance", 5, "seal", None)
    labels.judge(judged(5, "confirmed", identity="v1"))
    labels.advance(20)
    found, withdrawn = labels.retract("v1")
    assert withdrawn == [("verdict", 5, "seal")]
    assert decided(found) == [(3, CENSORED, "maintenance", 1)]


def test_the_earliest_verdict_that_says_something_counts() -> None:
    """An unclear one before it says nothing."""
    labels = labels_at(3)
    labels.record("maintenance", 8, "seal", None)
    labels.judge(judged(6, "healthy"))
    labels.judge(judged(5, "unclear"))
    labels.judge(judged(8, "confirmed"))
    assert decided(labels.advance(20)) == [(3, NEGATIVE, "healthy", 0)]


def test_verdicts_outlive_a_snapshot_and_are_forgotten_with_their_examples() -> None:
    """Labels restored in between decide the same; nothing is left of a verdict that no example needs."""
    labels = labels_at(3)
    labels.judge(judged(5, "confirmed", 1, identity="v1"))
    labels.record("maintenance", 5, "seal", None)
    again = Labels((target_of(SEAL),), labels.state())
    assert again.state() == labels.state()
    assert decided(again.advance(20)) == [(3, POSITIVE, "confirmed", 0)]
    again.advance(200)
    again.release(200)
    assert again.state()["records"] == {"failures": {}, "maintenance": {"seal": []}, "seen": {}}
