"""Figures: equal to what scikit-learn and numpy make of all examples, in memory that does not grow."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from dataflows.instants import HOUR
from dataflows.scoring import CLIP
from dataflows.target import figures as module
from dataflows.target.examples import Example, Standing
from dataflows.target.figures import Tally, TargetFigures, _with_bounds
from dataflows.target.ranking import Ranking

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

HORIZON = 30 * HOUR
THRESHOLD = 0.3

scores = st.floats(0, 1) | st.sampled_from([0.0, 1.0, CLIP, 1 - CLIP, THRESHOLD])
counted = st.tuples(scores, st.sampled_from([0, 1]), st.integers(1, HORIZON))
many = st.lists(counted, min_size=1, max_size=60)


def filled(
    examples: list[tuple[float, int, int]], state: dict[str, Any] | None = None, sign: int = 1
) -> Tally:
    tally = Tally(THRESHOLD, HORIZON, state)
    for score, label, lead in examples:
        tally.add(score, label, lead if label else None, sign)
    return tally


def assert_equal(row: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal figures, sums to their last digits."""
    assert row.keys() == expected.keys()
    for name, value in expected.items():
        assert row[name] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)), name


def plain(state: dict[str, Any]) -> dict[str, Any]:
    """State as it comes out of a snapshot."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=dict[str, Any])


@given(many)
def test_sums_equal_those_of_scikit_learn(examples: list[tuple[float, int, int]]) -> None:
    """Log loss of clipped scores, Brier score, precision, recall and rates, for any examples."""
    row = filled(examples).row()
    given_scores = np.array([score for score, _, _ in examples])
    labels = np.array([label for _, label, _ in examples])
    warned = given_scores >= THRESHOLD
    assert row["examples"] == len(examples)
    assert row["positives"] == labels.sum()
    clipped = given_scores.clip(CLIP, 1 - CLIP)
    assert row["log_loss"] == pytest.approx(log_loss(labels, clipped, labels=[0, 1]), rel=1e-9)
    assert row["brier"] == pytest.approx(((given_scores - labels) ** 2).mean(), rel=1e-9, abs=1e-300)
    if 0 < labels.sum() < len(labels):
        assert row["brier"] == pytest.approx(brier_score_loss(labels, given_scores))
    assert row["mean_score"] == pytest.approx(given_scores.mean(), rel=1e-9, abs=1e-300)
    assert row["base_rate"] == pytest.approx(labels.mean())
    if warned.any():
        assert row["precision"] == pytest.approx(precision_score(labels, warned, zero_division=0.0))
    else:
        assert row["precision"] is None
    if labels.any():
        assert row["recall"] == pytest.approx(recall_score(labels, warned))
    else:
        assert row["recall"] is None


@given(many)
def test_the_median_lead_is_that_of_warned_positives(examples: list[tuple[float, int, int]]) -> None:
    """To a 64th of the horizon it is the lower median of the leads of positives at or above the threshold."""
    row = filled(examples).row()
    leads = sorted(lead for score, label, lead in examples if label and score >= THRESHOLD)
    if not leads:
        assert row["median_lead"] is None
    else:
        median = leads[(len(leads) - 1) // 2] / HOUR
        assert abs(row["median_lead"] - median) <= HORIZON / HOUR / 128 + 1e-9


def learned(seed: int, sharpness: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels and scores as models give them: log-odds that are apart by so much."""
    draw = np.random.default_rng(seed)
    labels = (draw.random(4_000) < 0.05).astype(int)
    odds = draw.normal(size=4_000) + sharpness * labels - 3
    return labels, 1 / (1 + np.exp(-odds))


@pytest.mark.parametrize("sharpness", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_areas_equal_the_exact_ones_within_the_bins(seed: int, sharpness: float) -> None:
    """ROC AUC and PR AUC differ from those of the exact scores by less than 0.005."""
    labels, given_scores = learned(seed, sharpness)
    pairs = zip(given_scores.tolist(), labels.tolist(), strict=True)
    row = filled([(score, label, 1) for score, label in pairs]).row()
    assert row["roc_auc"] == pytest.approx(roc_auc_score(labels, given_scores), abs=0.005)
    assert row["pr_auc"] == pytest.approx(average_precision_score(labels, given_scores), abs=0.005)


@given(many)
def test_the_area_is_off_by_ties_alone(examples: list[tuple[float, int, int]]) -> None:
    """ROC AUC is off by no more than half the share of pairs that are nearer than a bin is wide."""
    labels = np.array([label for _, label, _ in examples])
    given_scores = np.array([score for score, _, _ in examples])
    row = filled(examples).row()
    if labels.all() or not labels.any():
        assert row["roc_auc"] is None
        assert row["pr_auc"] is None
        return
    clipped = given_scores.clip(CLIP, 1 - CLIP)
    odds = np.log(clipped / (1 - clipped))
    width = 2 * math.log((1 - CLIP) / CLIP) / 1_024
    near = np.abs(odds[labels == 1][:, None] - odds[labels == 0][None, :]) <= width
    assert abs(row["roc_auc"] - roc_auc_score(labels, given_scores)) <= near.mean() / 2 + 1e-9


@pytest.mark.parametrize(("score", "label"), [(0.0, 1), (1.0, 0)])
def test_a_certain_mistake_costs_what_the_clip_says(score: float, label: int) -> None:
    """A score of 0 or 1 that is wrong has a finite loss."""
    assert filled([(score, label, 1)]).row()["log_loss"] == pytest.approx(-math.log(CLIP))


def test_no_examples_have_no_figures() -> None:
    """Of nothing there is a count and no rate."""
    assert Tally(THRESHOLD, HORIZON).row() == {"examples": 0, "positives": 0}


@given(many, many)
def test_a_tally_goes_on_from_its_state(
    before: list[tuple[float, int, int]], after: list[tuple[float, int, int]]
) -> None:
    """Written and read in between, bit-equal figures follow."""
    whole = filled(before + after)
    resumed = filled(after, plain(filled(before).state()))
    assert resumed.row() == whole.row()
    assert plain(resumed.state()) == plain(whole.state())


@given(many, many)
def test_what_is_taken_back_was_never_there(
    kept: list[tuple[float, int, int]], gone: list[tuple[float, int, int]]
) -> None:
    """Counting and taking back leaves the figures, but for the last digits of sums."""
    tally = filled(kept + gone)
    for score, label, lead in gone:
        tally.add(score, label, lead if label else None, -1)
    expected = filled(kept).row()
    row = tally.row()
    assert_equal(row, expected)


@given(many)
def test_what_is_all_taken_back_is_nothing(examples: list[tuple[float, int, int]]) -> None:
    """No figure is left of examples that are all withdrawn."""
    tally = filled(examples)
    filled(examples, None)
    for score, label, lead in examples:
        tally.add(score, label, lead if label else None, -1)
    assert tally.row() == {"examples": 0, "positives": 0}


def figures(start: int | None = None, state: dict[str, Any] | None = None) -> TargetFigures:
    return TargetFigures(THRESHOLD, HORIZON, start, state)


NEGATIVE = Standing(0, None, "horizon passed")
MAINTAINED = Standing(-1, None, "maintenance")
SILENT = Standing(-1, None, "silent")


def positive(lead: int = HOUR) -> Standing:
    return Standing(1, lead, "failure")


def test_a_period_counts_everything_and_the_summary_from_its_start_on() -> None:
    """Examples before ``figures_from`` are in the metrics of their period, and in no summary."""
    found = figures(100)
    found.count(99, {"m": 0.5}, positive())
    found.count(100, {"m": 0.25}, NEGATIVE)
    found.count(99, {"m": 0.5}, MAINTAINED)
    found.count(100, {"m": 0.5}, MAINTAINED)
    found.correct(99, {"m": 0.5}, positive(), NEGATIVE)
    summary = found.summary()
    assert summary["first_labels"]["m"]["examples"] == summary["final_labels"]["m"]["examples"] == 1
    assert summary["first_labels"]["m"]["positives"] == 0
    assert (summary["censored"], summary["contradicted"]) == ({"maintenance": 1}, 0)
    row = found.running()["m"]
    assert (row["examples"], row["positives"]) == (2, 1)
    assert (row["censored"], row["contradicted"]) == ({"maintenance": 2}, 1)


def test_a_closed_period_leaves_nothing_to_the_next() -> None:
    """The next period begins at zero; the summary goes on."""
    found = figures()
    found.count(1, {"m": 0.5}, positive())
    found.begin_period()
    assert found.running(["m"]) == {}
    found.count(2, {"m": 0.5}, NEGATIVE)
    assert found.running()["m"]["examples"] == 1
    assert found.summary()["first_labels"]["m"]["examples"] == 2


def test_a_period_of_censored_examples_alone_has_rows() -> None:
    """What was counted is told, also where no example was learned."""
    found = figures()
    found.count(1, {"m": 0.5, "n": 0.5}, SILENT)
    rows = found.running(["m", "n"])
    expected = {"examples": 0, "positives": 0, "censored": {"silent": 1}, "contradicted": 0}
    expected["positive_after_silence"] = 0
    assert rows == {"m": expected, "n": expected}


def test_a_corrected_label_moves_in_the_final_figures_only() -> None:
    """First labels stand; under final labels the example is removed and counted again, lead and all."""
    found = figures()
    found.count(1, {"m": 0.5}, NEGATIVE)
    found.correct(1, {"m": 0.5}, NEGATIVE, positive(20 * HOUR))
    summary = found.summary()
    assert summary["contradicted"] == 1
    assert summary["first_labels"]["m"]["positives"] == 0
    assert summary["final_labels"]["m"]["positives"] == 1
    assert summary["final_labels"]["m"]["median_lead"] == pytest.approx(20, abs=0.25)
    found.correct(1, {"m": 0.5}, positive(20 * HOUR), NEGATIVE)
    again = found.summary()["final_labels"]["m"]
    assert (again["examples"], again["positives"], again["median_lead"]) == (1, 0, None)
    found.correct(1, {"m": 0.5}, NEGATIVE, SILENT)
    assert found.summary()["final_labels"]["m"] == {"examples": 0, "positives": 0, "reliability": []}


@given(many)
def test_the_reliability_table_holds_every_example_once(examples: list[tuple[float, int, int]]) -> None:
    """Its bins follow each other by score, and together they have all examples, positives and scores."""
    tally = filled(examples)
    table = tally.reliability()
    assert len(table) <= 10
    assert sum(row["examples"] for row in table) == len(examples)
    positives = sum(row["examples"] * row["share_positive"] for row in table)
    assert positives == pytest.approx(sum(label for _, label, _ in examples))
    total = sum(row["examples"] * row["mean_score"] for row in table)
    assert total == pytest.approx(sum(score for score, _, _ in examples), abs=1e-9)
    means = [row["mean_score"] for row in table]
    assert all(lower < upper + 1e-12 for lower, upper in pairwise(means))
    gaps = [row["examples"] * abs(row["mean_score"] - row["share_positive"]) for row in table]
    assert tally.row()["calibration_error"] == pytest.approx(sum(gaps) / len(examples))


@pytest.mark.parametrize(("factor", "error"), [(1.0, 0.0), (0.5, 0.125)])
def test_the_calibration_error_is_the_mean_gap(factor: float, error: float) -> None:
    """Scores that hold have an error near 0; those of half the rate are off by half the rate."""
    examples = [
        (factor * tenth / 20, int(number < tenth), HOUR) for tenth in range(1, 10) for number in range(20)
    ]
    assert filled(examples).row()["calibration_error"] == pytest.approx(error, abs=1e-9)


def test_maintenance_that_hid_a_failure_bounds_precision_and_recall() -> None:
    """Censored examples at or above the threshold are all false in one bound, all true in the other."""
    found = figures()
    for score, label in ((0.9, 1), (0.9, 0), (0.1, 1)):
        found.count(1, {"m": score}, positive() if label else NEGATIVE)
    for score in (THRESHOLD, 0.5, 0.1):
        found.count(1, {"m": score, "aside": None}, MAINTAINED)
    found.count(1, {"m": 0.9}, SILENT)
    for labels in ("first_labels", "final_labels"):
        row = found.summary()[labels]["m"]
        assert row["censored_warned"] == 2
        assert (row["precision"], row["precision_low"], row["precision_high"]) == (1 / 2, 1 / 4, 3 / 4)
        assert (row["recall"], row["recall_low"], row["recall_high"]) == (1 / 2, 1 / 2, 3 / 4)
    assert plain(found.state()) == plain(figures(state=plain(found.state())).state())


def test_a_correction_moves_an_example_in_and_out_of_the_final_bounds() -> None:
    """What maintenance censors now is in the bounds of final labels, and what it no longer censors is not."""
    found = figures()
    found.count(1, {"m": 0.9}, positive())
    found.count(2, {"m": 0.9}, MAINTAINED)
    found.count(3, {"m": 0.9}, NEGATIVE)
    found.correct(2, {"m": 0.9}, MAINTAINED, positive())
    assert found.summary()["final_labels"]["m"]["censored_warned"] == 0
    found.correct(3, {"m": 0.9}, NEGATIVE, MAINTAINED)
    row = found.summary()["final_labels"]["m"]
    assert (row["censored_warned"], row["precision_low"], row["recall_high"]) == (1, 2 / 3, 1)
    found.correct(3, {"m": 0.9}, MAINTAINED, SILENT)
    assert found.summary()["final_labels"]["m"]["censored_warned"] == 0
    assert found.summary()["first_labels"]["m"]["censored_warned"] == 1
    assert found.summary()["contradicted"] == 2, "another reason alone contradicts nothing"


def test_a_failure_after_silence_is_counted_apart() -> None:
    """Silence had censored the example; such positives have no negatives beside them."""
    found = figures()
    for censored in (SILENT, MAINTAINED):
        found.count(1, {"m": 0.5}, censored)
        found.correct(1, {"m": 0.5}, censored, positive())
    assert found.summary()["positive_after_silence"] == 1


def test_a_model_without_a_score_is_not_counted() -> None:
    """A model that was put aside has no figures for examples that it did not score."""
    found = figures()
    found.count(1, {"m": 0.5, "aside": None}, positive())
    assert set(found.summary()["first_labels"]) == {"m"}


standings = st.sampled_from([NEGATIVE, MAINTAINED, SILENT]) | st.integers(1, HORIZON).map(positive)
histories = st.lists(
    st.tuples(st.integers(0, 200), scores, st.lists(standings, min_size=1, max_size=4)), max_size=25
)


@given(histories, st.integers(0, 25))
def test_final_figures_are_those_of_the_last_labels(
    examples: list[tuple[int, float, list[Standing]]], restored_at: int
) -> None:
    """Whatever the corrections, final figures equal those of only counting each example's last label."""
    assume(restored_at <= len(examples))
    found, expected = figures(50), figures(50)
    for number, (time, score, sequence) in enumerate(examples):
        if number == restored_at:
            found = figures(50, plain(found.state()))
        found.count(time, {"m": score}, sequence[0])
        for before, after in pairwise(sequence):
            found.correct(time, {"m": score}, before, after)
        expected.count(time, {"m": score}, sequence[-1])
    nothing: dict[str, Any] = {"examples": 0, "positives": 0}
    row = found.summary()["final_labels"].get("m", nothing)
    right = expected.summary()["final_labels"].get("m", nothing)
    bins = zip(row.pop("reliability", []), right.pop("reliability", []), strict=True)
    assert_equal(row, right)
    for mine, theirs in bins:
        assert_equal(mine, theirs)


@pytest.mark.parametrize("nth", range(6))
@pytest.mark.parametrize("owner", ["Tally.enter", "Ranking.add", "measured"])
@pytest.mark.parametrize("known", [False, True])
def test_an_example_counts_for_all_models_or_for_none(
    monkeypatch: pytest.MonkeyPatch, nth: int, owner: str, known: bool
) -> None:
    """Where counting or correcting raises for the nth tally, the figures are those from before."""
    figures = TargetFigures(THRESHOLD, HORIZON, None)
    given_scores = {"champion": 0.5, "challenger": 0.25, "silent": None}
    if known:
        figures.count(1, given_scores, NEGATIVE)
    before = plain(figures.state())
    calls = 0

    def unlucky(name: str, original: Callable[..., object]) -> Callable[..., object]:
        def throws(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == nth + 1:
                raise ArithmeticError(name)
            return original(*arguments, **named)

        return throws

    home, name = {
        "Tally.enter": (Tally, "enter"),
        "Ranking.add": (Ranking, "add"),
        "measured": (module, "_measured"),
    }[owner]
    monkeypatch.setattr(home, name, unlucky(name, getattr(home, name)))

    def count(into: TargetFigures) -> None:
        if known:
            into.correct(1, given_scores, NEGATIVE, positive())
        else:
            into.count(1, given_scores, positive())

    try:
        count(figures)
    except ArithmeticError:
        assert plain(figures.state()) == before
        count(figures)
    monkeypatch.undo()
    whole = TargetFigures(THRESHOLD, HORIZON, None, before)
    count(whole)
    assert plain(figures.state()) == plain(whole.state())


def test_a_store_of_before_counts_what_it_had_labelled_and_not_counted() -> None:
    """Once, under first and under present labels; bounds of final labels begin with those of first ones."""
    old = figures()
    old.count(1, {"m": 0.9}, MAINTAINED)
    state = plain(old.state())
    state["tallies"]["final"] = {}
    served: dict[str, float | None] = {"m": 0.9}
    waiting = [
        Example("a", 2, b"", served, "m", label=1, first=1, lead=HOUR),
        Example("b", 2, b"", served, "m", label=0, first=1, correction=1),
    ]
    pump = SimpleNamespace(threshold=THRESHOLD, horizon=HORIZON)
    context: Any = SimpleNamespace(target=pump, figures_from=None, models=None, unsettled=waiting)
    found = TargetFigures.open(context, _with_bounds({"tallies": state})["tallies"])
    for again in (found, TargetFigures.open(context, plain(found.state()))):
        first, final = (again.summary()[f"{labels}_labels"]["m"] for labels in ("first", "final"))
        assert (first["examples"], first["positives"]) == (2, 2)
        assert (final["examples"], final["positives"]) == (2, 1)
        assert first["censored_warned"] == final["censored_warned"] == 1
    assert found.changed, "so that it is written with what it counted"
