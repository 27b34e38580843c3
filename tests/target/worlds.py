"""Recordings, fleets and stages that tests of the target share."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

from dataflows.estimators import BayesianLogistic, Calibration
from dataflows.fleet.fleet import Alert, Model
from dataflows.instants import HOUR
from dataflows.items import Item, Row, by_order
from dataflows.target import TargetStage
from tests.observations import observation
from tests.target.fleets import FEATURES, PartStore, fleet, model, target, vector
from tests.target.learners import Hashed
from tests.target.streams import _lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataflows.fleet.fleet import Fleet, Target

KEY = "pump/leak/4h"
RECORDS = 100


def pumps(learn_positives: str) -> Fleet:
    """A linear champion, a big model, one with a reader, and one of scores; all assets are compared."""
    models = [
        model("linear"),
        model("bayes", BayesianLogistic),
        model("hashed", lambda: Hashed(9_000)),
        Model(
            "calibrated",
            {"name": "calibrated"},
            tuple(range(len(FEATURES))),
            lambda: Calibration(2),
            ("linear",),
        ),
    ]
    made = fleet(
        target(
            models,
            learn_positives=learn_positives,
            label_memory=10_000 * HOUR,
            alert=Alert(0.2, 0.1, 0, 0.01),
        ),
        metrics_every=24 * HOUR,
        figures_from=None,
    )
    return replace(made, classes={"pump": replace(made.classes["pump"], compare=1.0)})


def recording() -> list[bytes]:
    chance = random.Random(11)
    kinds = ["telemetry"] * 8 + ["late", "failure", "failure", "maintenance"]
    return _lines(
        [
            (
                chance.randrange(150),
                chance.choice("aaab"),
                chance.choice(kinds),
                round(chance.uniform(-3, 3), 2),
                chance.randrange(500),
            )
            for _ in range(RECORDS)
        ]
    )


def raised(item: Item, error: Exception, stage: str) -> NoReturn:  # noqa: ARG001 - as the stages call it
    raise error


def of_models(rows: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Changes of champion and models; what the models are made of is tested in test_lineage.py."""
    return [row for row in rows.get("changes", []) if row["change"] not in {"lineage", "threshold"}]


def encoded(items: Sequence[Item]) -> list[tuple[Any, ...]]:
    """All that a later step can see of items."""
    return [(*by_order(item), item.arrival, item.known, item.position, item.body) for item in items]


class Echo:
    """A model whose score is the first reading."""

    def learn_one(self, x: Mapping[str, Any], y: bool) -> None:
        """Nothing to learn."""

    def predict_proba_one(self, x: Mapping[str, Any]) -> dict[bool, float]:
        return {False: 1 - x["x"], True: x["x"]}


Rows = dict[str, list[dict[str, Any]]]


def opened(
    of: Fleet,
    *,
    strict: bool = True,
    main: bytes | None = None,
    parts: dict[int, bytes] | None = None,
    **sizes: int,
) -> TargetStage:
    """The stage; ``sizes`` are those of what it writes."""
    return TargetStage(of, KEY, strict=strict, on_error=raised, main=main, parts=parts or {}, **sizes)


def decoded(items: Sequence[Item]) -> Rows:
    """Rows by output."""
    rows: Rows = {}
    for item in items:
        assert isinstance(item.body, Row)
        rows.setdefault(item.body.output, []).append(orjson.loads(item.body.data))
    return rows


def seen(sequence: int, known: int, **fields: object) -> Item:
    """One handmade observation."""
    settings: dict[str, Any] = {"asset": "a", "target": KEY, "clock": known, "watermark": known, **fields}
    return Item(sequence, 0, None, known, ("pumps", sequence, 0), observation(**settings))


def scored(sequence: int, time: int, **fields: object) -> Item:
    """A handmade observation of telemetry that is an example."""
    return seen(sequence, time, **{"time": time, "features": vector(time / HOUR), "example": True, **fields})


def stored(of: Target) -> PartStore:
    """What is written of a group that took one example."""
    store, group = PartStore(), opened(fleet(of))
    group.process([scored(1, HOUR)])
    store.after_batch(group)
    store.end_epoch(group)
    return store
