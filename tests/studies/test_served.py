"""What promotions are worth: the scores that were served, beside those of each model."""

from __future__ import annotations

import math
import tomllib
from typing import TYPE_CHECKING

import orjson
import pytest

from dataflows.fleet import load
from dataflows.pipeline import run_lines
from studies.served import changed, served
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
