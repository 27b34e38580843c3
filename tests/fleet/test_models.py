from __future__ import annotations

import pickle
import sys
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from river import compose, forest, linear_model, optim, preprocessing

from dataflows.fleet.models import Blueprint, blueprint, seed_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from dataflows.fleet import Problem

AT = ("models", "m", "pipeline")
SCALER = {"estimator": "river.preprocessing.StandardScaler"}
LINEAR = {"estimator": "river.linear_model.LogisticRegression"}
FOREST = {"estimator": "river.forest.ARFClassifier", "n_models": 3}


OWN_MODELS = """
class Mine:
    def __init__(self, share): self.share = share
    def learn_one(self, x, y): pass
    def predict_proba_one(self, x): return {True: self.share}

class Open(Mine):
    def __init__(self, share=0.5, **rest): self.share, self.rest = share, rest
"""


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with estimators of a user's own."""
    tmp_path.joinpath("fleet_own_models.py").write_text(OWN_MODELS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "fleet_own_models"
    sys.modules.pop("fleet_own_models", None)


def built(*pipeline: Mapping[str, Any], name: str = "m") -> Blueprint:
    """The blueprint of a pipeline that nothing is wrong with."""
    problems: list[Problem] = []
    made = blueprint(name, pipeline, AT, problems)
    assert problems == []
    assert made is not None
    return made


def refused(*pipeline: Mapping[str, Any]) -> dict[str, Problem]:
    """The problems of a pipeline, by what comes after ``models.m.pipeline``."""
    problems: list[Problem] = []
    assert blueprint("m", pipeline, AT, problems) is None
    return {problem.key.removeprefix("models.m.pipeline"): problem for problem in problems}


def stream(count: int = 300) -> list[tuple[dict[str, float], bool]]:
    """Examples that a model can learn something from."""
    return [({"a": (i * 37 % 101) / 10, "b": (i * 53 % 97) / 10}, i * 37 % 101 > 50) for i in range(count)]


def scores(model: Any) -> list[float]:  # noqa: ANN401 - River's protocol is by method names
    """Test-then-train over the stream."""
    out = []
    for features, label in stream():
        out.append(model.predict_proba_one(features).get(True, 0.0))
        model.learn_one(features, label)
    return out


def test_a_single_step_is_the_estimator_itself() -> None:
    """No pipeline is put around one step."""
    model = built({**LINEAR, "l2": 0.5})()
    assert isinstance(model, linear_model.LogisticRegression)
    assert model.l2 == 0.5


def test_several_steps_are_joined_as_river_joins_them() -> None:
    """The pipeline scores exactly as the one written in Python."""
    model = built(SCALER, {**LINEAR, "optimizer": {"estimator": "river.optim.SGD", "lr": 0.05}})()
    by_hand = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.05))
    assert scores(model) == scores(by_hand)


def test_every_build_is_fresh() -> None:
    """What one instance learns no other one knows; nested estimators are not shared either."""
    build = built(SCALER, {**LINEAR, "optimizer": {"estimator": "river.optim.Adam"}})
    first, second = build(), build()
    before = scores(build())
    assert scores(first) == before
    assert scores(second) == before
    assert first[-1].optimizer is not second[-1].optimizer


def test_what_an_estimator_keeps_of_a_list_is_its_own(own_models: str) -> None:
    """A list or table among the parameters is not shared with the next instance, nor with the document."""
    step = {"estimator": f"{own_models}.Mine", "share": {"of": [0.25]}}
    build = built(step)
    build().share["of"].append(1.0)
    assert build().share == {"of": [0.25]}
    assert step["share"] == {"of": [0.25]}


def test_parameters_hold_estimators_in_lists_and_below_each_other() -> None:
    """``*arguments`` are given as a list under their name, pipelines can be nested."""
    union = {
        "estimator": "river.compose.TransformerUnion",
        "transformers": [
            {"estimator": "river.compose.Select", "keys": ["a"]},
            {
                "estimator": "river.compose.Pipeline",
                "steps": [{"estimator": "river.compose.Select", "keys": ["b"]}, SCALER],
            },
        ],
    }
    model = built(union, LINEAR)()
    assert isinstance(model[0], compose.TransformerUnion)
    model.learn_one({"a": 1.0, "b": 2.0, "c": 3.0}, True)
    assert set(model[-1].weights) == {"a", "b"}


def test_further_keywords_reach_a_class_that_takes_any(own_models: str) -> None:
    """A constructor with ``**kwargs`` gets the parameters it does not name, estimators too."""
    model = built({"estimator": f"{own_models}.Open", "colour": "red", "inner": LINEAR})()
    assert model.rest["colour"] == "red"
    assert isinstance(model.rest["inner"], linear_model.LogisticRegression)


def test_an_anomaly_scorer_is_a_model() -> None:
    """score_one does in place of predict_proba_one."""
    model = built(SCALER, {"estimator": "river.anomaly.HalfSpaceTrees"})()
    model.learn_one({"a": 0.5})
    assert model.score_one({"a": 0.5}) >= 0


def test_our_own_classes_are_models(own_models: str) -> None:
    """Anything importable with the protocol will do."""
    model = built({"estimator": f"{own_models}.Mine", "share": 0.25})()
    assert model.predict_proba_one({}) == {True: 0.25}


def test_a_blueprint_can_be_pickled() -> None:
    """It builds the same in another process."""
    build = built(SCALER, FOREST)
    again = pickle.loads(pickle.dumps(build))  # noqa: S301 - our own bytes
    assert again == build
    assert scores(again()) == scores(build())


def test_a_seed_that_is_not_given_comes_from_the_models_name() -> None:
    """The same name draws the same numbers in every run, another name draws others."""
    one, other = built(FOREST, name="one")(), built(FOREST, name="other")()
    assert one.seed == seed_of("one", "[0].seed") == zlib.crc32(b"one [0].seed") & 0x7FFF_FFFF
    assert one.seed != other.seed
    assert scores(built(FOREST, name="one")()) == scores(one)


def test_two_estimators_of_a_model_draw_different_numbers() -> None:
    """The place in the pipeline is part of the seed."""
    voting = {"estimator": "river.ensemble.VotingClassifier", "models": [FOREST, FOREST]}
    stacking = {
        "estimator": "river.ensemble.StackingClassifier",
        "models": [FOREST, FOREST],
        "meta_classifier": LINEAR,
    }
    assert "[0]" in refused(voting), "a vote gives no probabilities"
    first, second = built(stacking)()
    assert isinstance(first, forest.ARFClassifier)
    assert first.seed != second.seed


def test_a_seed_that_is_given_stays() -> None:
    """Zero is a seed too."""
    assert built({**FOREST, "seed": 0})().seed == 0


@pytest.mark.parametrize(
    ("path", "expected", "hint"),
    [
        ("river.linear_model.LogisticRegresion", "has no Log", "river.linear_model.LogisticRegression"),
        ("river.linear_modl.LogisticRegression", "has no lin", "river.linear_model.LogisticRegression"),
        ("rivr.tree.HoeffdingTreeClassifier", "not rivr", "river.tree.HoeffdingTreeClassifier"),
        ("river.linear_model.GaussianNB", "has no GaussianNB", "river.naive_bayes.GaussianNB"),
        ("river.tree.hoeffdingtreeclassifier", "has no hoeff", "river.tree.HoeffdingTreeClassifier"),
        ("dataflows.fleet.fleet.Modle", "has no Modle", "dataflows.fleet.fleet.Model"),
        ("qqq.zzz", "not qqq", None),
        ("river.tree", "a class, not a module", None),
        ("river.tree.HoeffdingTreeClassifier.learn_one", "a class, not a function", None),
        ("LogisticRegression", "the dotted path of a class", None),
        ("river..tree", "the dotted path of a class", None),
        ("", "the dotted path of a class", None),
        (3, "the dotted path of a class", None),
    ],
)
def test_a_path_that_leads_to_no_class_is_refused(path: object, expected: str, hint: str | None) -> None:
    """The nearest class is named: of like spelling, or of the same name elsewhere in River."""
    problem = refused({"estimator": path})["[0].estimator"]
    assert expected in problem.expected
    assert problem.hint == hint


def test_a_module_that_cannot_be_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a missing dependency nor an exception on import is taken for a misspelt path."""
    tmp_path.joinpath("fleet_needs.py").write_text("import not_installed_anywhere\n", encoding="utf-8")
    tmp_path.joinpath("fleet_raises.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    tmp_path.joinpath("fleet_ends.py").write_text("raise SystemExit('usage: ends FILE')\n", encoding="utf-8")
    needs, raises, ends = ({"estimator": f"fleet_{name}.Model"} for name in ("needs", "raises", "ends"))
    problems = refused(needs, raises, ends)
    assert "No module named 'not_installed_anywhere'" in problems["[0].estimator"].expected
    assert "ZeroDivisionError" in problems["[1].estimator"].expected
    assert "SystemExit: usage: ends FILE" in problems["[2].estimator"].expected


@pytest.mark.parametrize(
    ("pipeline", "key", "expected", "hint"),
    [
        ([{}], "[0]", "estimator, the dotted path", None),
        ([{"estimater": "river.tree.X"}], "[0].estimater", "estimator, the dotted path", "estimator"),
        ([{**LINEAR, "l3": 1}], "[0].l3", "a parameter of LogisticRegression", "l2"),
        (
            [{**LINEAR, "optimizer": {"estimator": "river.optim.SGD", "rl": 1}}],
            "[0].optimizer.rl",
            "a parameter of SGD",
            "lr",
        ),
        (
            [{"estimator": "river.ensemble.VotingClassifier", "models": [LINEAR, {"estimator": "x"}]}],
            "[0].models[1].estimator",
            "the dotted path",
            None,
        ),
        (
            [{"estimator": "river.ensemble.BaggingClassifier"}],
            "[0].model",
            "this parameter, which BaggingClassifier needs",
            None,
        ),
        ([{"estimator": "river.compose.Select", "keys": "a"}, LINEAR], "[0].keys", "a list", None),
        ([{"estimator": "river.stats.Quantile", "q": 7}], "[0]", "parameters that Quantile accepts", None),
        ([LINEAR, LINEAR], "[0]", "a transformer", None),
        ([SCALER], "[0]", "learn_one and predict_proba_one or score_one", None),
        ([LINEAR, SCALER], "[1]", "learn_one and predict_proba_one or score_one", None),
        ([{"estimator": "river.linear_model.LinearRegression"}], "[0]", "predict_proba_one", None),
        ([{"estimator": "river.compose.Pipeline", "steps": [SCALER]}], "[0]", "predict_proba_one", None),
        ([{"estimator": "river.compose.Pipeline"}], "[0]", "predict_proba_one", None),
        ([{"estimator": "river.anomaly.GaussianScorer"}], "[0]", "predict_proba_one", None),
        ([{"estimator": "builtins.dict"}], "[0]", "a class whose parameters can be known", None),
    ],
)
def test_what_cannot_be_built_or_asked_is_refused(
    pipeline: list[dict[str, Any]], key: str, expected: str, hint: str | None
) -> None:
    """Each is found when the file is read, at its place."""
    problems = refused(*pipeline)
    assert expected in problems[key].expected
    assert problems[key].hint == hint


def test_every_problem_of_a_model_is_reported_at_once() -> None:
    """Nested ones too."""
    problems = refused(
        {**SCALER, "with_sdt": True},
        {
            "estimator": "river.linear_model.LogisticRegression",
            "l3": 0,
            "loss": {"estimator": "river.optim.X"},
        },
        {"estimator": "river.forest.ARFClasifier"},
    )
    assert set(problems) == {"[0].with_sdt", "[1].l3", "[1].loss.estimator", "[2].estimator"}
