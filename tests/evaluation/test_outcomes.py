"""What came of alerts: scores as they were served, the failures after them, and what a threshold had done."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from dataflows.evaluation.outcomes import Labels, Outcome, Scored, outcomes, read_labels, read_scores
from dataflows.fleet import load
from dataflows.instants import HOUR
from dataflows.tools.thresholds import Wish, choose
from tests.evaluation.pumps import BLOCK, FLEET, LEAK, life, prediction, row, saved, write_predictions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataflows.fleet.fleet import Fleet, Target


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A fleet.toml."""
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET)
    return path


@pytest.fixture
def leak(path: Path) -> Target:
    """Its first target."""
    return load(path, environ={}).targets[LEAK]


def test_alerts_between_the_examples_are_counted(path: Path) -> None:
    """The examples are calm and a message in between is not: alerts open on it, so it is a false alarm."""
    rows = [*life("a", 40), *life("b", None)]
    source = saved(path.parent, rows)
    served = [prediction(each, each["scores"]["prior"]) for each in rows]
    served += [prediction(each, 0.85, minutes=30) for each in rows if each["asset"] == "b"][::4]
    served.sort(key=lambda each: each["time"])
    write_predictions(path.parent, served)
    found = choose(load(path, environ={}), source, Wish(1.0, 1.0, None, 0), Console(quiet=True))
    fleet = load(path, environ={})
    scored = read_scores(path.parent / "predictions.jsonl", fleet, read_labels(source, fleet))[LEAK]
    by_threshold = {each.threshold: each for each in outcomes(fleet.targets[LEAK], scored, 0)}
    assert by_threshold[0.8].false == 12
    assert by_threshold[0.8].false == sum(
        each["score"] == 0.85 and each["asset"] == "b" for each in served
    ), "the dwell is 0 s: each clears before the next"
    assert found[LEAK].false == 0 or found[LEAK].warned == 1


def test_a_revision_and_the_prior_count_as_in_the_stream(path: Path) -> None:
    """A revised score opens an alert too; what the prior answered opens none."""
    rows = life("b", None)
    source = saved(path.parent, rows)
    served = [prediction(each, 0.1) for each in rows]
    served[11:11] = [prediction(rows[10], 0.9, revision=1), prediction(rows[10], 0.9, revision=2)]
    served.insert(21, {**prediction(rows[19], 0.95), "link": "prior"})
    write_predictions(path.parent, served)
    fleet = load(path, environ={})
    scored = read_scores(path.parent / "predictions.jsonl", fleet, read_labels(source, fleet))[LEAK]
    assert [each.revision for each in scored if each.revision] == [1, 2]
    assert max(each.score for each in scored) == 0.9
    found = outcomes(fleet.targets[LEAK], scored, 0)[-1]
    assert found.threshold == 0.9
    assert (found.opened, found.false) == (1, 1)


def test_what_came_is_known_of_every_score_or_said_to_be_unknown() -> None:
    """By failures first, then by the example of the cell; after a failure in the cell, by the next."""
    labels = Labels(
        [
            ("a", 1 * HOUR, "negative", None),
            ("a", 2 * HOUR, "positive", 5 * HOUR // 2),
            ("a", 3 * HOUR, "negative", None),
            ("a", 4 * HOUR, "censored", None),
        ],
        HOUR,
    )
    half = HOUR // 2
    assert labels.of("a", HOUR, HOUR) == (None, True)
    assert labels.of("a", HOUR + half, HOUR) == (5 * half, True), "later than its example, and so before it"
    assert labels.of("a", 2 * HOUR, HOUR) == (5 * half, True)
    assert labels.of("a", 2 * HOUR + half, HOUR) == (None, True)
    assert labels.of("a", 4 * HOUR + half, HOUR) == (None, False)
    assert labels.of("a", 5 * HOUR, HOUR) == (None, False)
    assert labels.of("b", 2 * HOUR, HOUR) == (None, False)


def test_scores_are_read_with_what_came_of_them_under_final_labels(path: Path) -> None:
    """The largest correction counts wherever it stands; scores before ``figures_from`` do not."""
    rows = [
        row(9, 0.9, "negative"),
        row(9, 0.9, "positive", correction=2, lead=3.5),
        row(9, 0.9, "censored", correction=1),
        row(10, 0.8, "positive", asset="c", lead=2.5),
        row(10, 0.8, "censored", asset="c", correction=1),
        row(1, 0.1, "negative", asset="b"),
        row(8, 0.2, "negative", asset="b"),
        row(9, 0.3, "negative", target=BLOCK),
        row(9, 0.3, "negative", target="truck/leak/24h"),
    ]
    early = Scored("b", HOUR, 0.1, None)
    expected = {
        LEAK: [
            Scored("a", 9 * HOUR, 0.9, round(12.5 * HOUR)),
            Scored("c", 10 * HOUR, 0.8, None, known=False),
            Scored("b", 8 * HOUR, 0.2, None),
        ],
        BLOCK: [Scored("a", 9 * HOUR, 0.3, None)],
    }
    fleet = load(path, environ={})
    assert served(path, rows, replace(fleet, figures_from=2 * HOUR)) == expected
    expected[LEAK].insert(2, early)
    assert served(path, rows, fleet) == expected


def served(path: Path, rows: Sequence[dict[str, Any]], fleet: Fleet) -> dict[str, list[Scored]]:
    """Scores of the rows, as they are read."""
    labels = read_labels(saved(path.parent, rows), fleet)
    return read_scores(path.parent / "predictions.jsonl", fleet, labels)


def test_outcomes_tell_alerts_false_ones_and_failures_warned_in_time(path: Path, leak: Target) -> None:
    """A low threshold warns and cries wolf, a high one only warns; no score is high any earlier."""
    rows = [*life("a", 40), *life("b", None), *life("c", None)]
    examples = served(path, rows, load(path, environ={}))[LEAK]
    found = {outcome.threshold: outcome for outcome in outcomes(leak, examples, 12 * HOUR)}
    assert found[0.4] == Outcome(0.4, 4, 3, 1, 1, 6.0, 2.0)
    assert found[0.8] == Outcome(0.8, 1, 0, 1, 1, 6.0, 2.0)
    assert found[0.4].false_per_asset_day == 0.5
    assert {outcome.warned for outcome in outcomes(leak, examples, 20 * HOUR)} == {1}
    assert outcomes(leak, examples, 20 * HOUR + 1)[-1].warned == 0


def test_a_failure_ends_its_alert(leak: Target) -> None:
    """What is scored high after a repair is another alert, and it counts for the next failure."""
    examples = [
        Scored("a", HOUR, 0.9, 3 * HOUR),
        Scored("a", 2 * HOUR, 0.9, 3 * HOUR),
        Scored("a", 3 * HOUR, 0.9, 5 * HOUR),
        Scored("a", 4 * HOUR, 0.2, 5 * HOUR),
        Scored("b", 4 * HOUR, 0.1, None),
    ]
    found = next(outcome for outcome in outcomes(leak, examples, HOUR) if outcome.threshold == 0.9)
    assert (found.opened, found.false, found.failures, found.warned) == (2, 0, 2, 2)
