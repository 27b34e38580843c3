"""Targets of several classes that share models: who answers, what is learned in which order, what is kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.engine.operators import MAIN, PART
from dataflows.estimators import (
    AssetModel,
    BayesianLogistic,
    Chain,
    FleetModel,
    Mixture,
    from_stored,
    to_stored,
)
from dataflows.events import decode
from dataflows.fleet import FleetError
from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.pipeline import Stages
from dataflows.recovery.kinds import describe
from dataflows.state.layouts import StateHistory, going_on
from dataflows.target.horizons import AGREEING, SHARED, stored_apart
from dataflows.target.sharing import SHARED_MODELS, SharingTargets
from dataflows.testing import check_estimator, failure, pump_fleet, registration, run_inline, telemetry
from dataflows.tools.trial import check_models, costs
from tests.block_runs import check
from tests.block_worlds import KILLS, SIZES
from tests.stored import MemoryStore

if TYPE_CHECKING:
    from dataflows.fleet import Fleet
    from dataflows.items import Row

BAYESIAN = [{"estimator": "dataflows.estimators.BayesianLogistic"}]
CHAIN = Chain(links=["own", "common"])
MODELS: dict[str, Any] = {
    "own": {"pipeline": BAYESIAN, "least_positives": 6},
    "common": {"pipeline": BAYESIAN, "scope": "fleet"},
    "chain": {
        "scores": ["own", "common"],
        "pipeline": [{"estimator": "dataflows.estimators.Chain", "links": ["own", "common"]}],
    },
    "mixed": {
        "scores": ["own", "common"],
        "pipeline": [{"estimator": "dataflows.estimators.Mixture", "method": "aggregate"}],
    },
}
CLASS = {"example_every": "1h", "windows": [{"length": "4h", "hop": "1h", "statistics": ["mean"]}]}
CLASSES = {
    "pump": {**CLASS, "sensors": ["flow", "heat"], "allowed_lateness": "1h"},
    "fan": {**CLASS, "sensors": ["flow"]},
}
KEY = "*/leak/4h"
TARGETS = ("pump/leak/4h", "fan/leak/4h")


def fleet(
    classes: tuple[str, ...] = ("pump", "fan"),
    models: dict[str, Any] = MODELS,
    champion: str = "chain",
    **target: object,
) -> Fleet:
    """Pumps and fans, whose leaks are predicted by models that they share, and by models of their own."""
    return pump_fleet(
        models,
        classes={name: CLASSES[name] for name in classes},
        assets={"unknown": "reject"},
        targets=[
            {"class": [*classes], "mode": "leak", "horizon": "4h", "champion": champion, **target},
        ],
    )


ROWS = [registration("p", "pump", {}), registration("v", "fan", {})]


def hours(asset: str, first: int, last: int, since: int = 0) -> list[bytes]:
    """Telemetry of some hours, with a failure after each tenth: the flow rises up to it."""
    made = []
    for hour in range(first, last):
        time, flow = format_instant(hour * HOUR), float((hour - since) % 10)
        made.append(telemetry(asset, time, {"flow": flow, "heat": 1.0}))
        if flow == 9:
            made.append(failure(asset, format_instant(hour * HOUR + HOUR // 2), "leak"))
    return made


def links(rows: dict[str, list[dict[str, Any]]], asset: str) -> list[str]:
    """The links that answered for an asset, in order, each once."""
    found = [row["link"] for row in rows["predictions"] if row["asset"] == asset]
    return [link for at, link in enumerate(found) if not at or found[at - 1] != link]


def test_a_prediction_says_which_link_answered() -> None:
    """First the prior, then the model of all classes, then that of the class, when it knows enough."""
    rows = run_inline(fleet(), [*ROWS, *hours("p", 0, 40), *hours("v", 40, 80)])
    assert links(rows, "p") == ["prior", "fleet", "class"]
    assert links(rows, "v") == ["fleet", "class"]
    for row in rows["evaluations"]:
        scores = row["scores"]
        assert scores["chain"] in {scores["own"], scores["common"]}


def test_a_new_class_is_served_by_what_the_others_taught() -> None:
    """Its first score is, to the bit, that of the examples of the other class, learned in their order."""
    rows = run_inline(fleet(), [*ROWS, *hours("p", 0, 40), *hours("v", 40, 41)])
    features = {row["id"]: row["features"] for row in rows["examples"]}
    expected = BayesianLogistic()
    for row in sorted(rows["evaluations"], key=lambda row: row["time"]):
        # Positives are learned when the negatives of their time are; the last failure moved the clock.
        if parse_instant(row["time"]) + 4 * HOUR < 39.5 * HOUR:
            given = {name: value for name, value in features[row["example"]].items() if value is not None}
            expected.learn_one(given, row["label"] == "positive")
    first = next(row for row in rows["predictions"] if row["asset"] == "v")
    assert first["link"] == "fleet"
    assert first["score"] == expected.predict_proba_one({"flow": 0.0, "flow:mean:4h": 0.0})[True]


def test_a_mixture_over_a_shared_model_serves_at_once() -> None:
    """It has equal weights before it has learned; its link is that of the expert that counts most."""
    rows = run_inline(fleet(champion="mixed"), [*ROWS, *hours("p", 0, 40), *hours("v", 40, 80)])
    assert links(rows, "v")[0] == "fleet"
    mixture = Mixture(method="aggregate")
    mixture.learn_one({"a": 0.9, "b": 0.2}, True)
    assert mixture.answering({"a": 0.9, "b": 0.2}) == "a"


#: As `MODELS`, with an offset of each asset as the first link.
OF_ASSETS: dict[str, Any] = {
    **MODELS,
    "machine": {"scope": "asset", "least_positives": 9, "pipeline": BAYESIAN},
    "chain": {
        "scores": ["machine", "own", "common"],
        "pipeline": [
            {"estimator": "dataflows.estimators.Chain", "links": ["machine", "own", "common"]},
        ],
    },
}


def test_an_asset_that_failed_is_served_by_what_it_taught() -> None:
    """It is the first link of a chain once it has shown enough positives; another asset is not."""
    lines = [*ROWS, registration("q", "pump", {}), *hours("p", 0, 80), *hours("q", 80, 85)]
    rows = run_inline(fleet(models=OF_ASSETS), lines)
    assert links(rows, "p") == ["prior", "fleet", "class", "asset"]
    assert links(rows, "q") == ["class"]
    served = {row["id"]: row["link"] for row in rows["predictions"]}
    scores = [row["scores"] for row in rows["evaluations"] if served[row["id"]] == "asset"]
    assert all(each["chain"] == each["machine"] for each in scores)
    assert any(each["machine"] != each["own"] for each in scores)


def test_an_asset_counts_an_example_for_its_share_of_the_horizon() -> None:
    """Four examples an hour apart within a horizon of four hours share one outcome."""
    (model,) = (each for each in fleet(models=OF_ASSETS).targets[TARGETS[0]].models if each.name == "machine")
    assert (model.build().share, model.build().least) == (0.25, 9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([0.25, 1.0]))
def test_an_offset_is_near_the_most_probable_one(seed: int, share: float) -> None:
    """Newton's steps end near the best of a fine grid: at most 1.03 deviations off for 3,000 seeds."""
    chance = np.random.default_rng(seed)
    scores = chance.uniform(0.05, 0.6, 200)
    odds = np.log(scores / (1 - scores))
    labels = chance.random(200) < 1 / (1 + np.exp(-odds - chance.normal()))
    model = AssetModel(Constant(), share=share)
    for label in (True, False) * 20:
        model.learn_one({"p": 0.5}, label)
    for score, label in zip(scores.tolist(), labels.tolist(), strict=True):
        model.learn_one({"p": score}, label, asset="a")
    grid = np.linspace(-4, 4, 1601)
    logits = odds[:, None] + grid
    likelihood = (labels[:, None] * logits - np.logaddexp(0, logits)).sum(axis=0)
    best = grid[np.argmax(share * likelihood - grid**2 / 2)]
    ((name, count, positives, offset, variance),) = model.rows
    assert (name, count, positives) == ("a", 200, labels.sum())
    p = 1 / (1 + np.exp(-odds - best))
    expected = 1 / (1 + share * (p * (1 - p)).sum())
    assert expected / 3 < variance < 1.5 * expected
    assert abs(offset - best) < 1.5 * math.sqrt(expected)


class Constant:
    """Gives back the score that it is given, and learns nothing."""

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        pass

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        return {False: 1 - x["p"], True: x["p"]}


@pytest.mark.parametrize(("spread", "least", "most"), [(1.0, 0.03, 0.1), (0.0, -0.03, 0.0)])
def test_an_offset_is_worth_something_where_assets_differ(spread: float, least: float, most: float) -> None:
    """Log-odds that differ by 1 among assets: 3 % of the log loss at least; by 0: it costs at most 3 %."""
    chance = np.random.default_rng(1)
    of_assets = chance.normal(0.0, spread, 50)
    model, lost = AssetModel(BayesianLogistic()), np.zeros(2)
    for number in range(6_000):
        asset, x = f"a{number % 50}", {"x": float(chance.normal())}
        odds = 1.5 * x["x"] - 4.0 + of_assets[number % 50]
        label = bool(chance.random() < 1 / (1 + math.exp(-odds)))
        if model.knows(asset):
            scores = [model.predict_proba_one(x, asset=of)[label] for of in (None, asset)]
            lost -= np.log(scores)
        model.learn_one(x, label, asset=asset)
    assert least < 1 - lost[1] / lost[0] < most


def test_assets_that_learned_longest_ago_are_forgotten() -> None:
    """So many are kept as was said, whoever they are; what was stored goes on in their order."""
    model = AssetModel(Constant(), most=2)
    for label in (True, False) * 20:
        model.learn_one({"p": 0.5}, label)
    assert not model.knows("a")
    for asset in ("a", "estimator", "a", "b"):
        for label in (True, False):
            model.learn_one({"p": 0.5}, label, asset=asset)
    again = from_stored(to_stored(model))
    for each in (model, again):
        assert [row[0] for row in each.rows] == ["a", "b"]
        assert (each.knows("a"), each.knows("estimator"), each.knows(None)) == (True, False, True)
        each.learn_one({"p": 0.5}, True, asset="c")
        assert [row[0] for row in each.rows] == ["b", "c"]


_STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 20, 20, 45]),
        st.sampled_from("ppvvw"),
        st.sampled_from(["t"] * 6 + ["f", "l"]),
        st.integers(0, 9),
        st.integers(0, 90),
    ),
    min_size=25,
    max_size=60,
)


def recording(steps: list[tuple[int, str, str, int, int]], since: int = 0) -> list[bytes]:
    """Telemetry of three assets of two classes, late telemetry and failures, from minutes since the last."""
    now, made = since, [*ROWS, registration("w", "fan", {})]
    for number, (gap, asset, kind, value, back) in enumerate(steps):
        now += gap * 60_000_000
        past = format_instant(max(now - back * 60_000_000, 0))
        if kind == "f":
            made.append(failure(asset, past, "leak", id=f"f{number}"))
        else:
            time = past if kind == "l" else format_instant(now)
            made.append(telemetry(asset, time, {"flow": float(value), "heat": back / 10}))
    return made


@settings(max_examples=15, deadline=None)
@given(_STEPS, SIZES, KILLS)
def test_blocks_and_kills_change_no_byte_of_classes_that_share(
    steps: list[tuple[int, str, str, int, int]], sizes: list[int], kills: set[int]
) -> None:
    """The shared model learns the examples of all classes at the same points, however records come."""
    check(fleet(), recording(steps), sizes, kills)


@pytest.mark.ci
@settings(max_examples=10, deadline=None)
@given(_STEPS, SIZES, KILLS)
def test_blocks_and_kills_change_no_byte_of_assets_with_offsets(
    steps: list[tuple[int, str, str, int, int]], sizes: list[int], kills: set[int]
) -> None:
    """In a chain with a model that classes share, and alone in one class; one asset has an offset before."""
    of_assets = {**OF_ASSETS, "machine": {**OF_ASSETS["machine"], "least_positives": 1}}
    alone = {name: model for name, model in of_assets.items() if name in {"own", "machine"}}
    lines = [*ROWS, *hours("p", 0, 60), *recording(steps, 60 * HOUR)]
    check(fleet(models=of_assets), lines, sizes, kills)
    check(fleet(("pump",), alone, "machine"), lines, sizes, kills)


def found(rows: list[Row], output: str, asset: str) -> list[Any]:
    """Rows of an output of one asset, without what counts the records of the store."""
    made = [orjson.loads(row.data) for row in rows if row.output == output]
    return [{**row, "sequence": 0} for row in made if row["asset"] == asset]


def events(lines: list[bytes]) -> list[Any]:
    return [decode(line) for line in lines]


def test_a_class_that_joins_at_a_restart_is_served_from_its_first_event() -> None:
    """As if it had been configured from the start; the store asks for nothing."""
    before, after = [ROWS[0], *hours("p", 0, 40)], [ROWS[1], *hours("v", 40, 60)]
    store = MemoryStore()
    store.run(fleet(("pump",)), events(before))
    assert going_on(store.past, fleet())[1] == []
    joined = store.run(fleet(), events(after))
    served = found(joined, "predictions", "v")
    assert served[0]["link"] == "fleet"
    whole = MemoryStore().run(fleet(), events([*before, *after]))
    assert served == found(whole, "predictions", "v")
    # It may leave and come back, with nothing of its own: what all classes learned is still there.
    store.run(fleet(("pump",)), [])
    again = found(store.run(fleet(), events(hours("v", 60, 62))), "predictions", "v")
    assert {row["link"] for row in again} == {"fleet"}


def test_another_pipeline_of_a_shared_model_starts_from_nothing_and_the_champion_goes_on() -> None:
    """The former one is kept while a champion sees its scores, and each learns every example once."""
    store = MemoryStore()
    store.run(fleet(), events([*ROWS, *hours("p", 0, 40)]))
    other = {**MODELS, "common": {**MODELS["common"], "pipeline": [{**BAYESIAN[0], "variance": 0.5}]}}
    rows = store.run(fleet(models=other), events(hours("v", 40, 60)))
    assert found(rows, "predictions", "v")[0]["link"] == "fleet"
    stage = Stages(fleet(models=other), strict=True, past=store.past).group(KEY, *stored(store))
    assert isinstance(stage, SharingTargets)
    counts = SHARED_MODELS.describe(AGREEING.describe(stage.main_snapshot())[SHARED])
    pump, fan = (
        orjson.loads(item.body.data)["targets"][name]["learned"]
        for name, item in zip(TARGETS, stage.finish(), strict=True)
    )
    assert sorted(learned for learned, _ in counts.values()) == [fan, pump + fan]


def stored(store: MemoryStore) -> tuple[bytes | None, dict[int, bytes]]:
    """Main snapshot and parts of the key, as its stage wrote them."""
    of = {part: sealed for (key, part), sealed in store.steps["group"].items() if key == KEY}
    return MAIN.inner(MAIN.unseal(of[-2])), {n: PART.inner(PART.unseal(of[n])) for n in of if n >= 0}


def test_a_shared_model_is_tried_before_the_start() -> None:
    """It can be stored and read again, and its cost is known, as of any other model."""
    check_models(fleet())
    assert {name for name, _ in costs(fleet())} >= {"own", "common"}


def test_who_only_reads_a_store_finds_the_targets_apart() -> None:
    """What they share is no target; its kind is known to those who look into a store."""
    store = MemoryStore()
    store.run(fleet(), events([*ROWS, *hours("p", 0, 30)]))
    main, parts = stored(store)
    assert main is not None
    assert [name for name, *_ in stored_apart(KEY, main, parts)] == [*TARGETS]
    assert {*describe(main)} == {SHARED, *TARGETS}  # type: ignore[call-overload]


def test_to_share_on_live_state_starts_the_target_from_nothing() -> None:
    """Its state is under another key then; the cost is named, and has to be accepted."""
    alone = {**MODELS, "common": {"pipeline": BAYESIAN}}
    past = going_on(StateHistory(), fleet(models=alone))[0]
    now, changes = going_on(past, fleet())
    why = "it shares models with other classes now, and did not"
    assert {change.name: change.why for change in changes} == dict.fromkeys(TARGETS, why)
    assert going_on(now, fleet()) == (now, [])
    assert len(going_on(now, fleet(models=alone))[1]) == 2


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (
            {"scores": ["own"], "pipeline": [{"estimator": "dataflows.estimators.Calibration"}]},
            "one of scores",
        ),
        (
            {"refit_every": 100, "pipeline": [{"estimator": "sklearn.naive_bayes.GaussianNB"}]},
            "one with refit_every",
        ),
    ],
)
def test_what_has_no_offset_of_assets_is_refused(wrong: dict[str, Any], found: str) -> None:
    """Before the start, with the key and what was expected."""
    with pytest.raises(
        FleetError, match=f"models.machine.scope: expected a model of features .* got {found}"
    ):
        fleet(models={**MODELS, "machine": {"scope": "asset", **wrong}}, champion="machine")


@pytest.mark.parametrize(
    ("common", "target", "expected"),
    [
        ({"scope": "flet"}, {}, "models.common.scope"),
        (
            {"refit_every": 100, "pipeline": [{"estimator": "sklearn.naive_bayes.GaussianNB"}]},
            {},
            "example by example",
        ),
        ({}, {"agree": True}, "no horizons that agree beside the shared model common"),
        ({}, {"relearn": "1d"}, "no such key beside the shared model common"),
        ({}, {"drift": "reset", "drift_model": "common"}, "a model of one class for `reset`"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    common: dict[str, Any], target: dict[str, Any], expected: str
) -> None:
    """Before the start, with the key and what was expected."""
    models = {**MODELS, "common": {**MODELS["common"], **common}}
    with pytest.raises(FleetError, match=expected):
        fleet(models=models, **target)


def test_the_links_of_a_chain_are_its_scores() -> None:
    """A link that is misspelt would never answer."""
    wrong = {
        **MODELS["chain"],
        "pipeline": [{"estimator": "dataflows.estimators.Chain", "links": ["own", "comon"]}],
    }
    with pytest.raises(FleetError, match="links of the models in its scores, own, common, got own, comon"):
        fleet(models={**MODELS, "chain": wrong})


def test_classes_that_share_a_model_agree_about_units() -> None:
    """Under one name, degrees of one kind in one class and of another kind in the next are refused."""
    with pytest.raises(FleetError, match=r"limits\.flow\.unit: expected"):
        pump_fleet(
            MODELS,
            classes={
                "pump": {**CLASSES["pump"], "limits": {"flow": {"unit": "l/min"}}},
                "fan": {**CLASSES["fan"], "limits": {"flow": {"unit": "m3/h"}}},
            },
            targets=[{"class": ["pump", "fan"], "mode": "leak", "horizon": "4h", "champion": "chain"}],
        )


def test_the_contract_suite_holds_for_a_chain() -> None:
    """Every check that a run relies on; it has nothing to learn."""
    check_estimator(CHAIN, ("own", "common"), scores=True)
    assert CHAIN.predict_proba_one({"common": 0.5, "own": 0.25}) == {False: 0.75, True: 0.25}
    assert CHAIN.predict_proba_one({}) == {}


def test_the_contract_suite_holds_for_offsets_of_assets() -> None:
    """Every check that a run relies on."""
    check_estimator(AssetModel(BayesianLogistic()), ("flow", "heat"))


def test_a_shared_model_that_is_joined_to_nothing_is_one_of_its_own() -> None:
    """So an estimator can be tried before the start, as `check` does."""
    alone, plain = FleetModel("key", BayesianLogistic), BayesianLogistic()
    for number in range(50):
        for each in (alone, plain):
            each.learn_one({"flow": float(number % 10)}, number % 10 > 7)
    asked = {"flow": 9.0}
    assert alone.predict_proba_one(asked) == plain.predict_proba_one(asked)
