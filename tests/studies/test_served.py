"""What promotions are worth: the scores that were served, beside those of each model."""

from __future__ import annotations

import math
import tomllib
from datetime import datetime
from typing import TYPE_CHECKING

import orjson
import pytest

from dataflows.fleet import load
from dataflows.pipeline import run_lines
from studies.served import changed, served
from tests.studies.tables import figures, table
from tests.target.promotions import NAME, document, recording

if TYPE_CHECKING:
    from pathlib import Path


def test_a_fleet_starts_from_the_prior_and_promotes(tmp_path: Path) -> None:
    """Two keys of each target change, and nothing else; the result is a valid fleet."""
    path = tmp_path / "fleet.toml"
    path.write_text(document("propose", champion="bayes"))
    text = changed(path)
    path.write_text(text)
    target = load(path, environ={}).targets[NAME]
    assert target.champion == "prior"
    assert target.promotion is not None
    assert target.promotion.auto
    before = tomllib.loads(document("auto", champion="prior"))
    assert tomllib.loads(text) == before


def test_what_was_served_is_scored_by_whoever_was_champion(tmp_path: Path) -> None:
    """The loss is that of the prior before the promotion, and of the other model after it."""
    path = tmp_path / "fleet.toml"
    path.write_text(document())
    out = run_lines(load(path, environ={}), recording())
    for name in ("changes", "evaluations"):
        (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(out[name]))
    found = served(tmp_path)[NAME]
    assert [model for _, model, _ in found.terms] == ["prior", "bayes"]
    losses = []
    for row in map(orjson.loads, out["evaluations"]):
        if not row["correction"] and row["label"] != "censored":
            score = min(max(row["scores"][row["champion"]], 1e-4), 1 - 1e-4)
            losses.append(-math.log(score if row["label"] == "positive" else 1 - score))
    assert found.examples == len(losses)
    assert found.loss == pytest.approx(sum(losses) / len(losses))
    assert min(found.models.values()) < found.loss < max(found.models.values())


def test_the_docs_say_who_served_and_how_well() -> None:
    """The table of docs/promotion.md has what the study printed for each recording."""
    expected = []
    for row in figures("served"):
        (first, *_), losses = row["terms"], row["models"]
        begun = datetime.fromisoformat(first[0])
        days = [
            round((datetime.fromisoformat(time) - begun).total_seconds() / 86_400)
            for time, *_ in row["terms"]
        ]
        champions = [
            model if not day else f"{model} (day {day})"
            for (_, model, _), day in zip(row["terms"], days, strict=True)
        ]
        single = min((model for model in losses if model != "mixture"), key=losses.__getitem__)
        best = min(losses, key=losses.__getitem__)
        part = row["target"].split("/")[1] if row["recording"] == "Azure" else ""
        expected.append(
            [
                f"{row['recording']}, {part}" if part else row["recording"],
                ", ".join(champions),
                f"{row['loss']:.3f}",
                f"{losses['prior']:.3f}",
                *(f"{model}, {losses[model]:.3f}" for model in (single, best)),
            ]
        )
    assert table("promotion.md", "recording", "champions") == expected
