"""The figures of a run, held to scikit-learn and to rows whose right answer is known by construction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.evaluation import figures
from dataflows.evaluation.reading import PUBLISHED, Evaluations, labelled, load_evaluations
from dataflows.instants import HOUR
from tests.evaluation.rows import START, evaluation, generated, written

if TYPE_CHECKING:
    from pathlib import Path


def test_figures_equal_those_of_scikit_learn(tmp_path: Path) -> None:
    """Each metric of each model, computed by hand from the rows, scores clipped for the log loss only."""
    rows = generated(1)
    rows[0]["scores"]["good"] = 0.0
    rows[0]["label"] = "positive"
    entries = figures.compare(load_evaluations(written(tmp_path / "rows", rows)), resamples=2)
    labels = [row["label"] == "positive" for row in rows]
    for model in ("good", "guess"):
        scores = [row["scores"][model] for row in rows]
        (entry,) = (e for e in entries if e.model == model and e.labels == "first")
        assert entry.figures.examples == len(rows)
        assert entry.figures.positives == sum(labels)
        assert entry.figures.roc_auc == pytest.approx(roc_auc_score(labels, scores))
        assert entry.figures.pr_auc == pytest.approx(average_precision_score(labels, scores))
        assert entry.figures.log_loss == pytest.approx(log_loss(labels, np.clip(scores, 1e-4, 1 - 1e-4)))
        assert entry.figures.brier == pytest.approx(brier_score_loss(labels, scores))


def test_a_correction_replaces_the_label_in_the_final_figures_only(tmp_path: Path) -> None:
    """First labels are those of correction 0; the largest correction of an id stands in the end."""
    rows = [
        evaluation("a", 0, "negative", {"good": 0.9}),
        evaluation("b", 0, "negative", {"good": 0.2}),
        evaluation("c", 0, "positive", {"good": 0.8}),
        evaluation("a", 0, "negative", {"good": 0.9}, correction=2),
        evaluation("a", 0, "positive", {"good": 0.9}, correction=1),
        evaluation("b", 0, "positive", {"good": 0.2}, correction=1),
    ]
    evaluations = load_evaluations(written(tmp_path / "rows", rows))
    assert dict(zip(*ids_and_labels(labelled(evaluations, "first")), strict=True)) == {
        "a@0": 0,
        "b@0": 0,
        "c@0": 1,
    }
    assert dict(zip(*ids_and_labels(labelled(evaluations, "final")), strict=True)) == {
        "a@0": 0,
        "b@0": 1,
        "c@0": 1,
    }


def test_a_first_label_that_was_withdrawn_is_still_the_first(tmp_path: Path) -> None:
    """It counts under first labels; under final labels the next one does, and without one none."""
    scores: dict[str, float | None] = {"good": 0.9}
    rows = [
        *(evaluation(asset, 0, "positive", scores) for asset in "ab"),
        *(evaluation(asset, 0, "undecided", scores, correction=1, learned=False) for asset in "ab"),
        evaluation("a", 0, "negative", scores, correction=2, learned=True),
    ]
    evaluations = load_evaluations(written(tmp_path / "rows", rows))
    assert ids_and_labels(labelled(evaluations, "first")) == (["a@0", "b@0"], [1, 1])
    assert ids_and_labels(labelled(evaluations, "final")) == (["b@0", "a@0"], [-2, 0])
    (entry, *_) = figures.compare(evaluations, resamples=2)
    assert (entry.figures.examples, entry.figures.positives) == (2, 2)


def ids_and_labels(evaluations: Evaluations) -> tuple[list[str], list[int]]:
    return evaluations.ids.tolist(), evaluations.labels.tolist()


def test_a_label_given_twice_is_refused(tmp_path: Path) -> None:
    """Two rows of one id and correction would count an example twice."""
    rows = [evaluation("a", 0, "negative", {"good": 0.9})] * 2
    evaluations = load_evaluations(written(tmp_path / "rows", rows))
    with pytest.raises(ValueError, match="a@0 has two rows with correction 0"):
        labelled(evaluations, "first")


def test_censored_and_unscored_examples_do_not_count(tmp_path: Path) -> None:
    """A censored row has no label; a row without a model's score is counted as unscored for that model."""
    rows = generated(2)
    plain = figures.compare(load_evaluations(written(tmp_path / "plain", rows)), resamples=2)
    more = [
        evaluation("z", 0, "censored", {"good": 0.99, "guess": 0.99}),
        evaluation("z", 1, "positive", {"good": None, "guess": 0.5}),
    ]
    entries = figures.compare(load_evaluations(written(tmp_path / "more", rows + more)), resamples=2)
    expected = next(entry for entry in plain if entry.model == "good").figures
    found = next(entry for entry in entries if entry.model == "good").figures
    assert found.unscored == 1
    assert (found.examples, found.roc_auc, found.log_loss) == (
        expected.examples,
        expected.roc_auc,
        expected.log_loss,
    )


def test_published_scores_are_those_of_the_champion_of_each_row(tmp_path: Path) -> None:
    """After a promotion the champion's figures go on with the new champion's scores."""
    rows = generated(3)
    for row in rows[len(rows) // 2 :]:
        row["champion"] = "guess"
    columns = load_evaluations(written(tmp_path / "rows", rows)).by_model()
    assert columns[PUBLISHED].tolist() == [row["scores"][row["champion"]] for row in rows]


def test_examples_before_20_percent_of_the_span_are_left_out(tmp_path: Path) -> None:
    """Of example hours 0 to 100 those from hour 20 on count, the mark itself too."""
    rows = [evaluation("a", hour, "negative", {"good": 0.1}) for hour in range(101)]
    evaluations = load_evaluations(written(tmp_path / "rows", rows))
    assert figures.instant_from(evaluations.times, "20%") == START + 20 * HOUR
    assert figures.instant_from(evaluations.times, "2020-01-02T00:00:00Z") == START + 24 * HOUR
    for start in ("20%", "2020-01-01T20:00:00Z"):
        assert figures.compare(evaluations, start, resamples=2)[0].figures.examples == 81


@given(seed=st.integers(0, 2**32 - 1), step=st.sampled_from([0.01, 0.1, 0.5]))
@settings(max_examples=50)
def test_resampled_figures_equal_those_of_repeated_rows(seed: int, step: float) -> None:
    """Weights give what scikit-learn gives for rows repeated as often as their asset was drawn."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, 5, 60)
    labels = random.integers(0, 2, 60)
    scores = np.round(random.random(60) / step) * step
    draws = random.multinomial(5, [0.2] * 5, size=3)
    roc, precision = figures._ranked(labels, scores, codes, draws)
    for i, draw in enumerate(draws):
        again = np.repeat(np.arange(60), draw[codes])
        if 0 < labels[again].sum() < len(again):
            assert roc[i] == pytest.approx(roc_auc_score(labels[again], scores[again]))
            assert precision[i] == pytest.approx(average_precision_score(labels[again], scores[again]))
        else:
            assert math.isnan(roc[i])
            assert math.isnan(precision[i])


def test_the_interval_contains_the_estimate_and_is_repeatable(tmp_path: Path) -> None:
    """Intervals lie around the figure they belong to, and the same seed gives the same interval."""
    evaluations = load_evaluations(written(tmp_path / "rows", generated(4)))
    entries = figures.compare(evaluations, resamples=200, seed=7)
    for entry in entries:
        for metric, (low, high) in entry.intervals.items():
            assert low < getattr(entry.figures, metric) < high
    assert figures.compare(evaluations, resamples=200, seed=7) == entries
    assert figures.compare(evaluations, resamples=200, seed=8) != entries


def test_the_interval_is_over_assets_not_over_rows() -> None:
    """Copies of each asset's rows add no information: ten times the rows, the same interval."""
    random = np.random.default_rng(5)
    assets = np.repeat(np.arange(20), 10)
    labels = (random.random(200) < 0.3).astype(np.int64)
    scores = np.clip(random.normal(0.3 + 0.3 * labels, 0.2), 0, 1)
    once = figures.bootstrap(labels, scores, assets)
    tenfold = figures.bootstrap(np.tile(labels, 10), np.tile(scores, 10), np.tile(assets, 10))
    for metric in figures.METRICS:
        assert tenfold[metric] == pytest.approx(once[metric])


def test_the_interval_of_a_loss_covers_where_few_machines_fail() -> None:
    """Forty machines, a fifth of which make most of the loss: 93 % of intervals hold the true mean."""
    random = np.random.default_rng(11)
    covered, percentiles = 0, 0
    for _ in range(400):
        bad = random.random(40) < 0.2
        means = np.where(bad, random.exponential(0.5, 40), 0.03)
        sizes = random.integers(20, 60, 40)
        assets = np.repeat(np.arange(40), sizes)
        losses = random.gamma(2.0, means[assets] / 2.0)
        low, high = figures.loss_interval(losses, assets)
        true = 0.2 * 0.5 + 0.8 * 0.03
        covered += low <= true <= high
        draws = random.multinomial(40, [1 / 40] * 40, size=200)
        resampled = draws @ np.bincount(assets, weights=losses) / (draws @ sizes)
        low, high = np.quantile(resampled, [0.025, 0.975])
        percentiles += low <= true <= high
    assert covered / 400 >= 0.93
    assert percentiles / 400 < 0.93


def test_one_machine_says_nothing_of_others() -> None:
    """Its interval has no end; machines without any difference have no width; no example, no interval."""
    assert figures.loss_interval(np.array([0.1, 0.3]), np.array(["a", "a"])) == (0.0, math.inf)
    assert figures.loss_interval(np.full(4, 0.25), np.array(["a", "a", "b", "b"])) == (0.25, 0.25)
    assert all(map(math.isnan, figures.loss_interval(np.empty(0), np.empty(0, dtype=np.str_))))


def test_figures_of_a_single_class_are_undefined_not_wrong() -> None:
    """Without a positive there is no ranking to judge; losses remain."""
    found = figures.figures(np.zeros(5, dtype=np.int64), np.full(5, 0.1))
    assert math.isnan(found.roc_auc)
    assert math.isnan(found.pr_auc)
    assert found.log_loss == pytest.approx(-math.log(0.9))


def test_a_row_that_is_no_evaluation_is_named_by_its_line(tmp_path: Path) -> None:
    """Another output's file by mistake must not give figures."""
    path = written(tmp_path / "rows", [evaluation("a", 0, "negative", {"good": 0.1}), {"id": "a prediction"}])
    with pytest.raises(ValueError, match="rows, line 2: expected a row of the evaluations, got"):
        load_evaluations(path)


def test_the_command_prints_every_model_and_json_for_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One JSON object for each target, kind of label and model; the table names the models too."""
    written(tmp_path / "evaluations.jsonl", generated(6))
    command = ["figures", str(tmp_path), "--resamples", "10"]
    shown = CliRunner().invoke(app, [*command, "--from", "20%", "--json"])
    entries = [orjson.loads(line) for line in shown.stdout.splitlines()]
    assert [(entry["labels"], entry["model"]) for entry in entries] == [
        (labels, model) for labels in ("first", "final") for model in (PUBLISHED, "good", "guess")
    ]
    monkeypatch.setenv("COLUMNS", "120")
    printed = CliRunner().invoke(app, command).stdout
    assert "guess" in printed
    assert f"{entries[1]['figures']['examples']:,}" not in printed  # without --from all rows count


def test_the_command_explains_a_folder_without_evaluations(tmp_path: Path) -> None:
    """It says which folder is meant."""
    shown = CliRunner().invoke(app, ["figures", str(tmp_path)])
    assert shown.exit_code == 1
    assert "evaluations.jsonl does not exist; name the folder of the outputs of a run" in shown.stderr


@pytest.mark.parametrize(
    ("rows", "options", "why"),
    [
        ([], (), "holds no rows of the evaluations"),
        ([{"id": "a prediction"}], (), "evaluations.jsonl"),
        (generated(6), ("--from", "120%"), "120% lies outside 0% to 100%"),
        (generated(6), ("--from", "yesterday"), "yesterday"),
    ],
)
def test_the_command_explains_what_it_cannot_read(
    tmp_path: Path, rows: list[dict[str, Any]], options: tuple[str, ...], why: str
) -> None:
    """One line on standard error, and exit code 1."""
    written(tmp_path / "evaluations.jsonl", rows)
    shown = CliRunner().invoke(app, ["figures", str(tmp_path), *options])
    assert shown.exit_code == 1
    assert shown.stderr.startswith("Error: ")
    assert why in shown.stderr
