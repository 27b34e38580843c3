"""What we ship for tests of users: each check finds its fault, builders make what a run reads."""

from __future__ import annotations

import doctest
import importlib
import itertools
import math
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from dataflows import testing
from dataflows.evaluation.reading import ALERTS, EVALUATIONS, PREDICTIONS
from dataflows.fleet import FleetError
from dataflows.testing import (
    CHECKS,
    Examples,
    check_estimator,
    failure,
    maintenance,
    pump_fleet,
    run_lines,
    telemetry,
)

ROOT = Path(__file__).resolve().parents[1]


class Mean:
    """Keeps the contract: the share of positives, moved by how large the features are."""

    def __init__(self) -> None:
        self.learned = self.positives = 0
        self.calls = 0

    def learn_one(self, x: dict[str, float], y: bool) -> None:  # noqa: ARG002 - the protocol
        self.learned += 1
        self.positives += y

    def score(self, x: dict[str, float]) -> float:
        base = (self.positives + 0.5) / (self.learned + 1)
        return base / 2 + 0.5 / (1 + math.exp(-math.fsum(x.values()) / 1e3))

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        score = self.score(x)
        return {True: score, False: 1 - score}


class TooHigh(Mean):
    def score(self, x: dict[str, float]) -> float:
        return 1.5 if self.positives else super().score(x)


class Deaf(Mean):
    def learn_one(self, x: dict[str, float], y: bool) -> None:
        """Learn nothing."""


class Counting(Mean):
    def score(self, x: dict[str, float]) -> float:
        self.calls += 1
        return super().score(x)


class Settled(Mean):
    """What it is asked first, it takes for an example."""

    def score(self, x: dict[str, float]) -> float:
        if not self.learned:
            self.learned = 1
        return super().score(x)


class Forgetful(Mean):
    def __reduce__(self) -> tuple[Any, ...]:
        return Forgetful, (), {"learned": self.learned, "positives": self.learned // 2}

    def __deepcopy__(self, memo: object) -> Forgetful:
        same = Forgetful()
        vars(same).update(vars(self))
        return same


class Rolling(Mean):
    def learn_one(self, x: dict[str, float], y: bool) -> None:
        super().learn_one(x, y)
        self.learned += random.randrange(2**20)


class InOrder(Mean):
    def score(self, x: dict[str, float]) -> float:
        return super().score(dict(itertools.islice(x.items(), 1)))


class Picky(Mean):
    def score(self, x: dict[str, float]) -> float:
        return super().score(x) if "a" in x else math.nan


class Writing(Mean):
    def learn_one(self, x: dict[str, float], y: bool) -> None:
        super().learn_one(x, y)
        x["bias"] = 1.0


class Below(Mean):
    def score(self, x: dict[str, float]) -> float:
        return super().score(x) if self.positives else -0.1


class OtherRows(Mean):
    def score_rows(self, rows: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        given = [dict(zip(names, row.tolist(), strict=True)) for row in rows]
        return np.array([self.score(x) + (0.0 if len(rows) == 1 else 1e-6) for x in given])


def test_an_estimator_that_keeps_the_contract_passes_and_stays_as_it_is() -> None:
    """It is copied: afterwards it has still learned nothing."""
    estimator = Mean()
    check_estimator(estimator)
    check_estimator(estimator, ("other",), scores=True)
    assert vars(estimator) == vars(Mean())


#: For each check, in their order, an estimator that it refuses.
FAULTY = [
    TooHigh(),
    Deaf(),
    Counting(),
    Settled(),
    Forgetful(),
    Rolling(),
    InOrder(),
    Picky(),
    Writing(),
    Below(),
    OtherRows(),
]


@pytest.mark.parametrize(
    ("check", "estimator"),
    [*zip(CHECKS, FAULTY, strict=True)],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_each_check_finds_its_fault(check: Any, estimator: Mean) -> None:  # noqa: ANN401 - any check
    """The message names the estimator, what was expected and what came."""
    examples = Examples(("a", "b", "c", "d"))
    check(Mean(), examples)
    with pytest.raises(AssertionError, match=rf"{type(estimator).__name__}: expected .*, got "):
        check(estimator, examples)


def test_a_fleet_of_pumps_runs_on_the_events_that_are_built(tmp_path: Path) -> None:
    """Every hour has a prediction; the failure labels; each output can be read back row by row."""
    tables = {
        "targets": [
            {
                "class": "pump",
                "mode": "leak",
                "component": "seal",
                "horizon": "12h",
                "champion": "bayes",
                "alert": {"open": 0.2},
            }
        ]
    }
    models = {"bayes": {"pipeline": [{"estimator": "river.naive_bayes.GaussianNB"}]}}
    lines = []
    for hour in range(200):
        worn = hour % 50 >= 38
        readings = {"pressure": 9.0 + hour % 3 if worn else 4.0 + hour % 3, "flow": None}
        lines.append(telemetry("p1", hour * 3600, readings))
        if hour % 50 == 49:
            lines.append(failure("p1", hour * 3600 + 60, "leak", id=f"order-{hour}"))
            lines.append(maintenance("p1", hour * 3600 + 120, "seal"))
    out = run_lines(pump_fleet(models, **tables), lines)
    assert len(out["predictions"]) >= 200
    assert out["rejects"] == []
    counts = {}
    for output, reader in (("predictions", PREDICTIONS), ("evaluations", EVALUATIONS), ("alerts", ALERTS)):
        path = tmp_path / f"{output}.jsonl"
        path.write_bytes(b"".join(row + b"\n" for row in out[output]))
        counts[output] = len(list(reader.rows(path)))
    assert counts == {output: len(out[output]) for output in counts}
    assert min(counts.values()) > 0
    labels = [orjson.loads(row)["label"] for row in out["evaluations"]]
    assert labels.count("positive") == 4 * 12


def test_a_fleet_that_is_none_is_refused_with_every_problem() -> None:
    """As one in a file is."""
    with pytest.raises(FleetError, match="champion"):
        pump_fleet(targets=[{"class": "pump", "mode": "leak", "horizon": "12h", "champion": "nobody"}])


def test_examples_in_the_docstrings_run() -> None:
    """They show what is built."""
    found = doctest.testmod(testing)
    assert (found.failed, found.attempted > 3) == (0, True)


def test_the_page_on_estimators_shows_tests_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimator and the test of docs/estimators.md, as they stand there."""
    page = (ROOT / "docs/estimators.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", page, re.DOTALL))
    assert set(blocks) == {"my_models", "test_my_models"}
    for name, text in blocks.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = importlib.import_module("test_my_models")
    tests = [value for name, value in vars(found).items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()
