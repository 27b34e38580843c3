"""Targets of one mode whose horizons agree: what is published, what stays a target's own, and their state."""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.fleet import FleetError
from dataflows.items import Item, Matured, Row, asset_part, by_order, lane_part
from dataflows.pipeline import Stages, run_inline
from dataflows.recovery.kinds import check, describe
from dataflows.scoring import log_loss
from dataflows.state.layouts import StateHistory, going_on
from dataflows.state.snapshots import SnapshotError, seal
from dataflows.target.horizons import AGREEING, AgreeingTargets, agreeing, stored_apart
from dataflows.testing import failure, pump_fleet, telemetry
from tests.observations import observation

if TYPE_CHECKING:
    from dataflows.fleet.fleet import Fleet

HOUR = 3600
SHORT, MIDDLE, LONG = "pump/leak/6h", "pump/leak/12h", "pump/leak/30h"


def fleet(*, agree: bool = True, **keys: object) -> Fleet:
    """Pumps with three horizons, named in no order."""
    models = {
        "mine": {"pipeline": [{"estimator": "river.naive_bayes.GaussianNB"}]},
        "hazard": {"pipeline": [{"estimator": "dataflows.estimators.Hazard", "horizon": 30.0}]},
    }
    common = {"class": "pump", "mode": "leak", "agree": agree, "champion": "mine"}
    hours = {"horizon": "30h", "models": ["mine", "hazard"], "hours": "hazard", "within": ["3h", "12h"]}
    several = {"horizon": ["12h", "6h"], "models": ["mine"], "alert": {"open": 0.5, "clear": 0.2}}
    return pump_fleet(models, targets=[{**common, **hours, **keys}, {**common, **several, **keys}])


def recording(hours: int = 300) -> list[bytes]:
    """Three pumps that fail every 50 hours and are noisy, so that horizons contradict each other."""
    draw, lines = random.Random(7), []
    for number in range(1, hours):
        for pump in range(3):
            left = (number + 17 * pump) % 50
            readings = {"pressure": 50.0 - left + draw.gauss(0, 12), "flow": draw.gauss(0, 1)}
            lines.append(telemetry(f"p-{pump}", number * HOUR, readings))
            if left == 49:
                lines.append(failure(f"p-{pump}", number * HOUR + 1800, "leak"))
    return lines


@cache
def ran(*, agree: bool) -> dict[str, list[dict[str, Any]]]:
    """Rows of a run, by output."""
    return run_inline(fleet(agree=agree), recording())


def by_reading(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Predictions by asset and time, then by target."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["asset"], row["time"]), {})[row["target"]] = row
    return found


def contradictions(rows: list[dict[str, Any]]) -> int:
    """Readings of which a shorter horizon is more probable than a longer one, of a target or of `within`."""
    count = 0
    for of in by_reading(rows).values():
        known = [(6, of[SHORT]["score"]), (12, of[MIDDLE]["score"]), (30, of[LONG]["score"])]
        known += [(int(span[:-1]), p) for span, p in (of[LONG]["within"] or {}).items()]
        known.sort()
        spans = [(a, b) for a in known for b in known if a[0] <= b[0]]
        count += any(a[1] > b[1] for a, b in spans if a[0] < b[0]) or any(
            a[1] != b[1] for a, b in spans if a[0] == b[0] and (of[LONG]["within"] or {})
        )
    return count


def test_no_prediction_contradicts_another_horizon() -> None:
    """Not the score of a target, and not what a longer one says of shorter horizons."""
    alone = ran(agree=False)["predictions"]
    together = ran(agree=True)["predictions"]
    assert len(together) == len(alone) == 3 * 299 * 3
    assert contradictions(alone) > 100
    assert contradictions(together) == 0


def test_the_nearest_scores_that_do_not_fall_are_published() -> None:
    """A target's own score is in the row where another is published."""
    alone, moved = by_reading(ran(agree=False)["predictions"]), 0
    for reading, of in by_reading(ran(agree=True)["predictions"]).items():
        own = [alone[reading][name]["score"] for name in (SHORT, MIDDLE, LONG)]
        assert [of[name]["score"] for name in (SHORT, MIDDLE, LONG)] == agreeing(own)
        for name, score in zip((SHORT, MIDDLE, LONG), own, strict=True):
            assert of[name].get("own", of[name]["score"]) == score
            assert ("own" in of[name]) == (of[name]["score"] != score)
            moved += "own" in of[name]
    assert moved > 20


_SCORES = st.lists(st.floats(0.001, 0.999), min_size=1, max_size=6)


@given(_SCORES, st.integers(0, 6))
def test_what_agrees_is_never_worse_in_all(scores: list[float], failed: int) -> None:
    """The sum of the log losses over the horizons does not grow, whenever a failure comes."""
    labels = [int(number >= failed) for number in range(len(scores))]
    found = agreeing(scores)
    assert found == sorted(found)
    losses = [
        sum(log_loss(score, label) for score, label in zip(each, labels, strict=True))
        for each in (found, scores)
    ]
    assert losses[0] <= losses[1] + 1e-9


@given(_SCORES)
def test_scores_that_agree_stay_as_they_are(scores: list[float]) -> None:
    """To the last bit."""
    assert agreeing(sorted(scores)) == sorted(scores)
    assert agreeing([0.0, 0.0, 1.0]) == [0.0, 0.0, 1.0]


def test_models_learn_and_are_judged_as_without() -> None:
    """Evaluations and figures are those of each model's own scores."""
    alone, together = (run_inline(fleet(agree=agree), recording()) for agree in (False, True))
    order = ("target", "sequence", "asset")
    for output in ("evaluations", "metrics"):
        rows = [
            sorted(run[output], key=lambda row: [row.get(key, "") for key in order])
            for run in (alone, together)
        ]
        assert rows[0] == rows[1], output


def test_alerts_follow_what_is_published() -> None:
    """Each opens at a published score of at least the threshold, and with that score."""
    published = by_reading(ran(agree=True)["predictions"])
    opened = [row for row in ran(agree=True)["alerts"] if row["state"] == "opened"]
    assert {row["target"] for row in opened} == {SHORT, MIDDLE}
    for row in opened:
        prediction = published[row["asset"], row["time"]][row["target"]]
        assert row["score"] == prediction["score"] >= 0.5
    assert any("own" in published[row["asset"], row["time"]][row["target"]] for row in opened)


def stages_of(of: Fleet) -> AgreeingTargets:
    group = Stages(of, strict=True).group("pump/leak", None, {})
    assert isinstance(group, AgreeingTargets)
    return group


def test_an_alert_that_a_record_opens_is_cleared_where_it_makes_the_asset_silent() -> None:
    """Late weather has its readings scored again, and the same record tells that the asset is silent."""
    of, hour, both = fleet(), HOUR * 1_000_000, (SHORT, MIDDLE)
    group = stages_of(of)

    def features(value: float) -> bytes:
        return np.full(len(of.classes["pump"].features), value).tobytes()

    def take(sequence: int, *effects: dict[str, Any]) -> list[Item]:
        """One item of the lane for each of the effects, of both targets."""
        return group.process(
            [
                Item(
                    sequence,
                    asset_part(lane_part(lane), index),
                    None,
                    0,
                    ("", 0, 0),
                    observation("p-0", name, **parts),
                )
                for index, name in enumerate(both)
                for lane, parts in enumerate(effects)
            ]
        )

    for number in range(1, 21):
        take(number, {"time": number * hour, "features": features(number % 2), "example": True})
    labels = [
        Matured(n * hour, n % 2, "failure", hour if n % 2 else None, 30 * hour, 0) for n in range(1, 21)
    ]
    take(21, {"matured": labels, "clock": 30 * hour})
    rows = take(
        22,
        {"time": 31 * hour, "features": features(1.0), "revision": 1},
        {"cleared": "silent", "cleared_at": 40 * hour},
    )
    alerts = [
        orjson.loads(row.body.data)
        for row in sorted(rows, key=by_order)
        if isinstance(row.body, Row) and row.body.output == "alerts"
    ]
    assert [alert["state"] for alert in alerts] == ["opened", "opened", "cleared", "cleared"]


def test_agreeing_targets_share_a_key_and_are_stored_apart() -> None:
    """Whoever only reads a store finds each target with its own snapshots; so do models that are signed."""
    group = stages_of(fleet())
    parts = {part: group.part_snapshot(part) for part in group.changed()}
    main = group.main_snapshot()
    apart = {name: (of, own) for name, of, own in stored_apart("pump/leak", main, parts)}
    assert [*apart] == [SHORT, MIDDLE, LONG]
    assert {*describe(main)} == {*apart}  # type: ignore[call-overload]
    for name, (of, own) in apart.items():
        stage = group.target(name)
        assert stage is not None
        assert of == stage.main_snapshot()
        assert all(own[part] == stage.part_snapshot(part) for part in own)
    assert [*stored_apart(SHORT, apart[SHORT][0], {3: b"x"})] == [(SHORT, apart[SHORT][0], {3: b"x"})]
    check(main)
    with pytest.raises(SnapshotError, match="not signed"):
        check(AGREEING.seal({SHORT: seal("models", 1, {})}), b"secret")


def test_a_target_that_is_gone_keeps_its_snapshots() -> None:
    """Of agreeing targets one may be left out for a run, as any target may."""
    group = stages_of(fleet())
    parts = {part: group.part_snapshot(part) for part in group.changed()}
    main = group.main_snapshot()
    fewer = AgreeingTargets([SHORT, LONG], lambda name, *_: group.target(name), main, parts)  # type: ignore[arg-type, return-value]
    assert {*AGREEING.describe(fewer.main_snapshot())} == {SHORT, MIDDLE, LONG}
    for part, sealed in parts.items():
        kept = AGREEING.describe(fewer.part_snapshot(part))
        assert kept.get(MIDDLE) == AGREEING.describe(sealed).get(MIDDLE)


def test_to_agree_on_live_state_starts_the_target_from_nothing() -> None:
    """Its state is under another key then; the cost is named, and has to be accepted."""
    past = going_on(StateHistory(), fleet(agree=False))[0]
    now, changes = going_on(past, fleet())
    assert {change.name: change.why for change in changes} == dict.fromkeys(
        (LONG, MIDDLE, SHORT), "it agrees with other horizons now, and did not"
    )
    assert set(now.targets.values()) == {1}
    assert going_on(now, fleet()) == (now, [])
    back, changes = going_on(now, fleet(agree=False))
    assert len(changes) == 3
    assert set(back.targets.values()) == {2}


def test_agree_is_true_or_false() -> None:
    """It is refused otherwise, with the line's key."""
    with pytest.raises(FleetError, match="agree"):
        fleet(agree="yes")  # type: ignore[arg-type]
