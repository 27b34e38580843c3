"""The quality study: its batch baseline learns what can be known, and nothing earlier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dataflows.evaluation.figures import figures
from dataflows.evaluation.reading import load_evaluations
from dataflows.fleet import load
from dataflows.instants import HOUR, format_instant, parse_instant
from studies.quality import BATCH, batch_scores, with_horizons
from tests.evaluation.rows import HORIZON, START, evaluation, written


def served(*, known_after: int = 0) -> list[dict[str, Any]]:
    """Forty assets that start a day apart and fail at hour 60; the one feature is their age in hours."""
    rows = []
    for unit in range(40):
        for age in range(60):
            hour = 24 * unit + age
            positive = age >= 30
            settled = format_instant(START + (24 * unit + 60 + known_after) * HOUR)
            row = evaluation(f"u{unit:02}", hour, "positive" if positive else "negative", {"good": 0.5})
            rows.append({**row, "known": settled, "matured": settled, "features": {"age": float(age)}})
    return rows


def with_examples(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write evaluations, and their features as an output of its own."""
    examples = [{"id": row["id"], "features": row["features"]} for row in rows]
    written(path.with_name("examples.jsonl"), examples)
    lean = ({name: value for name, value in row.items() if name != "features"} for row in rows)
    return written(path, [{**row, "example": row["id"]} for row in lean])


def test_the_batch_baseline_learns_what_the_features_tell(tmp_path: Path) -> None:
    """Where age decides the label, examples after the first retrainings are told apart."""
    rows = load_evaluations(with_examples(tmp_path / "rows", served()), features=True)
    scores = batch_scores(rows, HORIZON)
    late = rows.times >= START + 500 * HOUR
    assert figures(rows.labels[late], scores[late]).roc_auc > 0.99


def test_the_batch_baseline_knows_no_label_before_it_settled(tmp_path: Path) -> None:
    """With labels that come to be known after the recording's end, it has nothing but the empty prior."""
    rows = load_evaluations(with_examples(tmp_path / "rows", served(known_after=10_000)), features=True)
    assert set(batch_scores(rows, HORIZON)) == {0.5}


def test_the_batch_baseline_learns_positives_no_earlier_than_negatives(tmp_path: Path) -> None:
    """A label known at once waits for its horizon: at hour 100 it is learned of examples up to hour 69."""
    rows = served(known_after=-60)
    changed = [
        {**row, "label": "negative"} if (parse_instant(row["time"]) - START) // HOUR > 69 else row
        for row in rows
    ]
    before, after = (
        batch_scores(load_evaluations(with_examples(tmp_path / name, given_rows), features=True), HORIZON)
        for name, given_rows in (("as served", rows), ("later labels changed", changed))
    )
    hours = np.array([(parse_instant(row["time"]) - START) // HOUR for row in rows])
    assert len(set(before[(hours >= 100) & (hours < 200)])) > 1
    assert (before[hours < 200] == after[hours < 200]).all()
    assert (before[hours >= 200] != after[hours >= 200]).any()


def test_every_batch_model_learns_what_the_features_tell(tmp_path: Path) -> None:
    """Logistic regression and forest, which fill missing values, rank as well as boosting here."""
    rows = load_evaluations(with_examples(tmp_path / "rows", served()), features=True)
    late = rows.times >= START + 500 * HOUR
    for build in BATCH.values():
        scores = batch_scores(rows, HORIZON, 300 * HOUR, build)
        assert figures(rows.labels[late], scores[late]).roc_auc > 0.99


def test_a_fleet_is_studied_at_other_horizons_that_agree(tmp_path: Path) -> None:
    """Each target of the file gets all of them; the rest stays."""
    file = tmp_path / "fleet.toml"
    file.write_text(with_horizons(Path("examples/azure_pdm/fleet.toml"), ["24h", "48h"]))
    fleet = load(file)
    assert [*fleet.targets] == [
        f"machine/comp{part}/{hours}" for part in range(1, 5) for hours in ("24h", "2d")
    ]
    assert all(target.agrees for target in fleet.targets.values())
