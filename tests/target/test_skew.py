"""Served against complete: figures against a recomputation, rows of the metrics, the summary."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.items import Compared, Item, Matured, Row
from dataflows.state.snapshots import seal, unseal
from dataflows.target import TargetStage
from dataflows.target.examples import Example, LabelChange
from dataflows.target.monitors import Period, Served
from dataflows.target.skew import Skew
from tests.observations import observation
from tests.target.fleets import FEATURES, fleet, model, target, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataflows.fleet.fleet import Fleet
    from dataflows.outputs import PeriodFields

HOUR = 3_600_000_000
KEY = "pump/leak/4h"
NAMES = ("a", "b")
FIELDS: PeriodFields = {
    "start": "",
    "end": "",
    "known": "",
    "sequence": 1,
    "arrival": None,
    "watermark": None,
}
ITEM = Item(1, 0, None, 0, ("", 0, 0), b"")
_values = st.sampled_from([math.nan, -1.0, 0.0, 0.25, 3.0])
_vectors = st.tuples(_values, _values)
#: An example's features as served, from complete data (None: given up), and its label.
_examples = st.lists(
    st.tuples(_vectors, st.none() | _vectors, st.sampled_from([None, -1, 0, 1]), st.booleans()), max_size=12
)


def ask(features: bytes) -> float:
    """A score that depends on both features."""
    first, second = np.nan_to_num(np.frombuffer(features)).tolist()
    return 1 / (1 + math.exp(-first - second / 2))


def loss(score: float, label: int) -> float:
    return -math.log(score if label else 1 - score)


def mature(skew: Skew, example: Example, label: int) -> None:
    example.first = example.label = label
    matured = Matured(example.time, label, "why", None, 0, 0)
    skew.matured(ITEM, LabelChange(example, matured, None))


def packed(values: Sequence[float]) -> bytes:
    return np.array(values, dtype=np.float64).tobytes()


@given(_examples)
def test_figures_equal_a_recomputation(
    steps: list[tuple[tuple[float, float], tuple[float, float] | None, int | None, bool]],
) -> None:
    """Changes by feature in units of the spread so far, of the score and of the log loss, by plain lists."""
    skew = Skew(NAMES, None)
    served: list[tuple[float, float]] = []
    changes: dict[str, list[float | None]] = {}
    scores, losses, compared, changed = [], [], 0, 0
    for number, (values, complete, label, label_first) in enumerate(steps):
        served.append(values)
        example = Example("p", number, packed(values), {}, "m")
        skew.served(ITEM, Served("p", number, 0, example.features, 0.5, "class", "m", example))
        if label_first and label is not None:
            mature(skew, example, label)
        again = None if complete is None else packed(complete)
        if again is not None:
            example.compared = ask(example.features), ask(again)
        skew.compared(ITEM, example, Compared(number, again, None if complete else "why"))
        if not label_first and label is not None:
            mature(skew, example, label)
        if complete is None:
            continue
        compared += 1
        before, after = ask(example.features), ask(packed(complete))
        scores.append(after - before)
        if label in {0, 1}:
            losses.append(loss(after, label) - loss(before, label))
        differs = False
        for index, name in enumerate(NAMES):
            old, new = values[index], complete[index]
            if old == new or (math.isnan(old) and math.isnan(new)):
                continue
            differs = True
            known = [vector[index] for vector in served if not math.isnan(vector[index])]
            spread = float(np.std(known)) if known else 0.0
            distance = abs(new - old) / spread if spread > 1e-12 else math.nan
            changes.setdefault(name, []).append(None if math.isnan(distance) else distance)
        changed += differs
    row = skew.summary()["skew"]
    assert (row["compared"], row["changed"]) == (compared, changed)
    assert row["given_up"] == ({"why": len(steps) - compared} if len(steps) > compared else {})
    check(row, changes, scores, losses)
    resumed = Skew(NAMES, None, restored(skew.state()))
    assert resumed.summary()["skew"] == row
    period = Period("t", "m", 0, FIELDS)
    assert resumed.period_rows(period) == skew.period_rows(period)


def check(
    row: dict[str, Any], changes: dict[str, list[float | None]], scores: list[float], losses: list[float]
) -> None:
    """Means and extremes of a row, against every single change."""
    assert set(row["features"]) == set(changes)
    for name, found in changes.items():
        told = row["features"][name]
        known = [distance for distance in found if distance is not None]
        assert told["changed"] == len(found)
        assert told["share"] == len(found) / row["compared"]
        assert told["mean"] == (pytest.approx(np.mean(known)) if known else None)
        assert told["worst"] == (pytest.approx(max(known)) if known else None)
    assert row["score"]["examples"] == len(scores)
    assert row["score"]["mean"] == (pytest.approx(np.mean(scores), abs=1e-12) if scores else None)
    if scores:
        assert row["score"]["mean_absolute"] == pytest.approx(np.mean(np.abs(scores)))
        assert abs(row["score"]["worst"]) == pytest.approx(max(abs(score) for score in scores))
    assert row["log_loss_change"]["examples"] == len(losses)
    assert row["log_loss_change"]["mean"] == (pytest.approx(np.mean(losses), abs=1e-12) if losses else None)


def restored(state: dict[str, Any]) -> dict[str, Any]:
    """The state as a snapshot brings it back."""
    found: dict[str, Any] = unseal("skew", 1, seal("skew", 1, state))
    return found


def pumps(**changes: object) -> Fleet:
    made = fleet(target([model("linear"), model("prior")]), **changes)
    return replace(made, classes={"pump": replace(made.classes["pump"], compare=1.0)})


def raised(item: Item, error: Exception, stage: str) -> Item:  # noqa: ARG001 - as the stages call it
    raise error


def opened(of: Fleet) -> TargetStage:
    return TargetStage(of, KEY, strict=True, on_error=raised, main=None, parts={})


def seen(sequence: int, known: int, **fields: object) -> Item:
    settings: dict[str, Any] = {"asset": "a", "target": KEY, "clock": known, "watermark": known, **fields}
    return Item(sequence, 0, None, known, ("pumps", sequence, 0), observation(**settings))


def _skew(group: TargetStage) -> dict[str, Any]:
    skew = group._monitors.of(Skew)
    assert skew is not None
    found: dict[str, Any] = skew.summary()["skew"]
    return found


def example(sequence: int, time: int, features: bytes) -> Item:
    return seen(sequence, time, time=time, features=features, example=True)


def rows_of(items: Sequence[Item], output: str) -> list[dict[str, Any]]:
    return [
        orjson.loads(item.body.data)
        for item in items
        if isinstance(item.body, Row) and item.body.output == output
    ]


def test_a_period_has_a_row_of_what_late_data_changed() -> None:
    """With kind `skew`, from and to, and the figures; the summary begins with figures_from."""
    group = opened(pumps())
    group.process([example(1, HOUR, vector(1.0)), example(2, 5 * HOUR, vector(3.0))])
    compared = (Compared(HOUR, vector(2.0)), Compared(5 * HOUR, vector(3.0)), Compared(9 * HOUR, vector(0.0)))
    group.process([seen(3, 6 * HOUR, compared=compared)])
    rows = rows_of(group.process([seen(4, 13 * HOUR)]), "metrics")
    (row,) = [row for row in rows if row.get("kind") == "skew"]
    assert (row["target"], row["from"]) == (KEY, "1970-01-01T00:00:00.000000Z")
    assert row["to"] == "1970-01-01T06:00:00.000000Z"
    assert (row["compared"], row["changed"], row["given_up"]) == (2, 1, {"not remembered": 1})
    # Served were 1 and 3: their standard deviation is 1.
    assert row["features"] == {FEATURES[0]: {"changed": 1, "share": 0.5, "mean": 1.0, "worst": 1.0}}
    assert row["score"] == {"examples": 2, "mean": 0.0, "mean_absolute": 0.0, "worst": 0.0}, "all prior"
    assert not [row for row in rows_of(group.process([seen(5, 25 * HOUR)]), "metrics") if "kind" in row]
    (item,) = group.finish()
    assert isinstance(item.body, Row)
    told = orjson.loads(item.body.data)["targets"][KEY]["skew"]
    assert (told["compared"], told["changed"], told["features"]) == (1, 0, {})


def test_the_champion_of_now_scores_both_vectors() -> None:
    """Only the features differ between the two scores, whatever was learned since the example was served."""
    group = opened(pumps(figures_from=None))
    items = [example(n, n * HOUR, vector(float(n % 2), n / 10)) for n in range(1, 21)]
    group.process(items)
    leads = {0: None, 1: HOUR}
    labels = tuple(Matured(n * HOUR, n % 2, "why", leads[n % 2], 26 * HOUR, 0) for n in range(1, 19))
    group.process([seen(21, 26 * HOUR, matured=labels)])
    served, complete = vector(0.0, 2.0), vector(1.0, 2.0)
    group.process([seen(22, 27 * HOUR, compared=(Compared(20 * HOUR, complete),))])
    ask_now = group._models.answer
    change = ask_now("linear", complete)[0] - ask_now("linear", served)[0]
    assert change > 0
    told = _skew(group)
    assert told["score"]["mean"] == change
    assert told["log_loss_change"] == {"examples": 0, "mean": None}
    group.process([seen(23, 28 * HOUR, matured=(Matured(20 * HOUR, 0, "why", None, 28 * HOUR, 0),))])
    told = _skew(group)
    assert told["log_loss_change"]["examples"] == 1
    assert told["log_loss_change"]["mean"] > 0, "a higher score is worse for a negative"
    correction = Matured(20 * HOUR, 1, "why", HOUR, 29 * HOUR, 1)
    group.process([seen(24, 29 * HOUR, matured=(correction,))])
    assert _skew(group)["log_loss_change"]["examples"] == 1, "it counts under its first label"


def test_a_fleet_that_compares_nothing_says_nothing_of_it() -> None:
    """No rows, no section in the summary."""
    group = opened(fleet(target([model("prior")])))
    group.process([example(1, HOUR, vector(1.0))])
    rows = rows_of(group.process([seen(2, 13 * HOUR)]), "metrics")
    assert not [row for row in rows if "kind" in row]
    (item,) = group.finish()
    assert isinstance(item.body, Row)
    assert "skew" not in orjson.loads(item.body.data)["targets"][KEY]
