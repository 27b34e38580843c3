"""Rows that are scored in runs are those that are scored one by one: the same bytes, and the same state."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from dataflows.estimators import BayesianLogistic, Calibration, Mixture, Retrained
from dataflows.fleet.fleet import Alert, DriftPolicy, Fleet, Model, Output
from dataflows.instants import HOUR
from dataflows.items import ClockMoved, Item, Observation, Row, ScoredTable, ScoreRequest, Scores
from dataflows.target import TargetStage
from dataflows.target import target as module
from dataflows.target.models import MODEL_PARTS, ModelSet
from dataflows.target.runs import ScoredRows
from tests.target.fleets import FEATURES, PartStore, fleet, model, target
from tests.target.learners import Breaking, Picky
from tests.target.streams import _lines, observed
from tests.target.worlds import KEY, encoded, pumps, raised

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def of_scores(name: str, below: str) -> Model:
    return Model(name, {"name": name}, tuple(range(len(FEATURES))), lambda: Calibration(2), (below,))


def mixture(*below: str) -> Model:
    return Model("mixture", {"name": "mixture"}, tuple(range(len(FEATURES))), Mixture, below)


def made(*models: Model, output: Output | None = None, **changes: object) -> Fleet:
    """A fleet whose examples and periods are so far apart that rows between them are many."""
    built = fleet(target(models, label_memory=10_000 * HOUR, **changes), metrics_every=48 * HOUR)
    classes = {"pump": replace(built.classes["pump"], example_every=4 * HOUR, compare=1.0)}
    return replace(built, classes=classes, output=output or built.output)


OUT = Path("out")
FLEETS: dict[str, Fleet] = {
    "alerts": pumps("together"),
    "at once": pumps("at_once"),
    "calibrated": made(of_scores("calibrated", "bayes"), model("bayes", BayesianLogistic), model("prior")),
    "no alerts": made(model("linear"), model("bayes"), threshold=0.3),
    "a tree": made(model("tree"), model("linear")),
    "a challenger of River's": made(model("linear"), model("tree"), alert=Alert(0.2, 0.1, 0, 0.01)),
    "only changes": made(model("linear"), output=Output(OUT, "examples", "changed", 0.05)),
    "the grid": made(model("bayes"), output=Output(OUT, "none", "grid"), alert=Alert(0.2, 0.1, HOUR, 0.01)),
    "all features": made(model("linear"), output=Output(OUT, "all")),
    "fits by time": made(
        model("fitted", lambda: Retrained(LogisticRegression(), "5h", 100, "1h")), model("linear")
    ),
    "fits by examples": made(
        model("linear"), model("fitted", lambda: Retrained(LogisticRegression(), 4, 100, 1))
    ),
    "a mixture": made(
        mixture("linear", "bayes"), model("linear"), model("bayes"), alert=Alert(0.2, 0.1, 0, 0.01)
    ),
    "a mixture as challenger": made(model("linear"), mixture("linear", "bayes"), model("bayes")),
    "labels put right": made(
        model("linear"), model("bayes"), relearn=10 * HOUR, alert=Alert(0.2, 0.1, 0, 0.01)
    ),
    "drift": made(model("linear"), model("prior"), drift=DriftPolicy(1e6, "challenger", "linear")),
    "a champion that fails": made(model("picky", Picky), model("linear")),
    "a challenger that fails": made(
        model("linear"), model("breaking", lambda: Breaking(2, "nan")), model("picky", Picky)
    ),
}


def row_of_block(item: Item) -> tuple[Any, ...] | None:
    """An observation as the row of a block, where it is one."""
    seen = item.body
    assert isinstance(seen, Observation)
    *first, last = seen.effects or (None,)
    if (
        not isinstance(last, ScoreRequest)
        or len(first) > 1
        or not all(isinstance(each, ClockMoved) for each in first)
    ):
        return None
    clock = first[0].clock if first else None
    head = (item.sequence, item.part, item.arrival, item.known, item.position, seen.watermark, clock)
    return (*head, seen.resting, last.time, last.revision, last.example), last.features


def in_blocks(items: Iterable[Item]) -> list[Item]:
    """Items as the assets of one activation send them: by asset, rows together."""
    blocks: dict[str, list[Any]] = {}
    out = []
    for item in items:
        row = row_of_block(item)
        if row is None:
            out.append(item)
        else:
            blocks.setdefault(item.body.asset, []).append(row)
    for asset, rows in sorted(blocks.items(), reverse=True):
        features = np.array([np.frombuffer(vector) for _, vector in rows])
        out.append(
            Item(
                *rows[0][0][:5],
                Scores(KEY, 0, ScoredTable([asset] * len(rows), [row for row, _ in rows], features)),
            )
        )
    return out


class Run:
    """A target that was given observations: what it wrote, and its state."""

    def __init__(self, of: Fleet, batches: Iterable[list[Item]], *, strict: bool = True) -> None:
        stage = TargetStage(of, KEY, strict=strict, on_error=_reject, main=None, parts={})
        store = PartStore()
        rows: list[Item] = []
        for batch in batches:
            rows += stage.process(batch)
            store.after_batch(stage)
        store.end_epoch(stage)
        self.rows = encoded(rows)
        self.state = store.main
        #: River's Gaussians hold unseeded generators, which they never use, so pickles differ.
        self.parts = {number: part for number, part in store.parts.items() if number >= MODEL_PARTS}
        self.summary = encoded(stage.finish())
        self.answers = [stage._models.answers(example.features) for example in stage._examples]


def _reject(item: Item, error: Exception, stage: str) -> Row:  # noqa: ARG001 - as the stages call it
    if not isinstance(error, UnluckyError):
        raise error
    return Row("rejects", orjson.dumps({"sequence": item.sequence, "why": repr(error)}), "internal_error")


class UnluckyError(ArithmeticError):
    """What is thrown."""


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def dense(records: int = 500, seed: int = 5) -> list[bytes]:
    """Telemetry every few minutes, so that many records lie between two examples; some records are others."""
    chance = random.Random(seed)
    kinds = ["telemetry"] * 40 + ["late", "late", "failure", "maintenance"]
    return _lines(
        [
            (
                chance.randrange(12),
                chance.choice("aaab"),
                chance.choice(kinds),
                round(chance.uniform(-3, 3), 2),
                chance.randrange(300),
            )
            for _ in range(records)
        ]
    )


def assert_alike(one: Run, other: Run) -> None:
    assert one.rows == other.rows
    assert one.summary == other.summary
    assert one.state == other.state
    assert one.parts == other.parts
    assert one.answers == other.answers


@pytest.mark.parametrize("name", FLEETS)
def test_a_recording_in_blocks_is_written_as_one_record_after_the_other(name: str) -> None:
    """Whatever the batches, publication, alerts and models; the state is the same too."""
    of = FLEETS[name]
    items = observed(of, dense())
    alone = Run(of, [[item] for item in items])
    assert len(alone.rows) > 15
    chance = random.Random(3)
    for size in (2, 9, 40, len(items)):
        cuts = sorted({0, len(items), *(chance.randrange(len(items)) for _ in range(len(items) // size))})
        batches = [in_blocks(items[first:stop]) for first, stop in itertools.pairwise(cuts)]
        assert_alike(Run(of, batches), alone)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(FLEETS)), st.integers(0, 99), st.sets(st.integers(1, 99), max_size=12))
def test_any_cut_into_blocks_gives_the_same_bytes(name: str, seed: int, cuts: set[int]) -> None:
    """The batches of the engine are chance, and change nothing."""
    of = FLEETS[name]
    items = observed(of, dense(100, seed))
    edges = [0, *sorted(cut for cut in cuts if cut < len(items)), len(items)]
    batches = [in_blocks(items[first:stop]) for first, stop in itertools.pairwise(edges)]
    assert_alike(Run(of, batches), Run(of, [[item] for item in items]))


def count_rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the rows that are scored in runs, and those alone."""
    counts, score_run, answer = {"run": 0, "alone": 0}, ModelSet.score_run, ModelSet.answer

    def in_a_run(self: ModelSet, champion: str, rows: np.ndarray, examples: list[int]) -> Any:  # noqa: ANN401
        scored = score_run(self, champion, rows, examples)
        counts["run"] += len(scored[0]) if scored else 0
        return scored

    def alone(self: ModelSet, *asked: Any) -> Any:  # noqa: ANN401
        counts["alone"] += 1
        return answer(self, *asked)

    monkeypatch.setattr(ModelSet, "score_run", in_a_run)
    monkeypatch.setattr(ModelSet, "answer", alone)
    return counts


def test_most_rows_of_a_recording_are_scored_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the other tests of this file would show nothing."""
    of = FLEETS["calibrated"]
    items = in_blocks(observed(of, dense()))
    counts = count_rows(monkeypatch)
    Run(of, [items])
    assert counts["run"] > 2 * counts["alone"]


@pytest.mark.parametrize("lanes", [1, 2])
def test_rows_that_several_workers_make_of_a_lane_are_scored_in_runs(
    lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one worker come after later ones of another: they are counted, and not slower."""
    of = FLEETS["calibrated"]
    of = replace(of, input=replace(of.input, lanes=lanes))
    items, batches = observed(of, dense()), []
    for first in range(0, len(items), 40):
        taken = items[first : first + 40]
        batches += [[item for item in taken if item.body.asset == asset] for asset in "ab"]
    alone = Run(of, [[item] for batch in batches for item in batch], strict=False)
    assert orjson.loads(alone.summary[0][-1].data)["targets"][KEY]["order_violations"] > len(items) // 8
    counts = count_rows(monkeypatch)
    run = Run(of, [in_blocks(batch) for batch in batches], strict=False)
    assert_alike(run, alone)
    assert counts["run"] > 2 * counts["alone"]


@pytest.mark.parametrize("owner", [(ModelSet, "score_run"), (ScoredRows, "predictions"), (module, "rows_of")])
def test_where_a_call_for_many_rows_throws_they_are_taken_one_by_one(
    owner: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, nothing is done twice, and the log says so."""
    of = FLEETS["calibrated"]
    items = observed(of, dense())
    alone = Run(of, [[item] for item in items])

    def throw(*_: object) -> None:
        raise UnluckyError

    with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
        patch.setattr(*owner, throw)
        run = Run(of, [in_blocks(items[first : first + 40]) for first in range(0, len(items), 40)])
    assert_alike(run, alone)
    assert any(line["event"] == "rows are taken one by one" for line in logs)


def test_a_row_that_throws_is_rejected_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a run too, it costs its own score; all others are written as without it."""
    of = FLEETS["calibrated"]
    items = observed(of, dense())
    whole = Run(of, [[item] for item in items])
    rows = [row for item in items if (row := row_of_block(item)) is not None and not row[0][10]]
    wrong = rows[len(rows) // 2][0]
    format_one, of_many = module.prediction, ScoredRows.predictions

    def one(item: Item, *rest: Any) -> Any:  # noqa: ANN401
        if item.sequence == wrong[0]:
            raise UnluckyError
        return format_one(item, *rest)

    def many(self: ScoredRows, rows: list[int], *rest: Any) -> Any:  # noqa: ANN401
        if any(self.order(row)[0] == wrong[0] for row in rows):
            raise UnluckyError
        return of_many(self, rows, *rest)

    monkeypatch.setattr(module, "prediction", one)
    monkeypatch.setattr(ScoredRows, "predictions", many)
    alone = Run(of, [[item] for item in items])
    assert_alike(Run(of, [in_blocks(items[first : first + 40]) for first in range(0, len(items), 40)]), alone)
    lost = [row for row in whole.rows if row not in alone.rows]
    assert [row[:2] for row in lost if row[-1].output == "predictions"] == [wrong[:2]]
    assert [row[-1].output for row in alone.rows if row not in whole.rows] == ["rejects"]


def test_blocks_out_of_order_are_refused_like_records() -> None:
    """With one worker a row at or before the last one of the target is an error."""
    of = FLEETS["calibrated"]
    items = in_blocks(observed(of, dense()))
    stage = TargetStage(of, KEY, strict=True, on_error=raised, main=None, parts={})
    stage.process(list(items))
    with pytest.raises(module.OrderError, match="came after"):
        stage.process([item for item in items if isinstance(item.body, Scores)])
