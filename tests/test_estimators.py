"""Our own estimators: stored as plain data, under former paths too, and not blinded by wild values."""

from __future__ import annotations

import copy
import doctest
import inspect
import pickle
import random
from typing import TYPE_CHECKING, Any

import pytest
from river import compose, linear_model, metrics, naive_bayes, preprocessing

from dataflows import estimators
from dataflows.estimators import (
    FORMER_PATHS,
    BayesianLogistic,
    Calibration,
    Prior,
    RobustScaler,
    from_stored,
    online,
    to_stored,
)
from dataflows.fleet.fleet import Model
from dataflows.fleet.models import _locate
from dataflows.state.snapshots import SnapshotError, contents, seal
from dataflows.target.models import spec_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

MAKERS = {
    "prior": Prior,
    "bayesian": BayesianLogistic,
    "limited": lambda: BayesianLogistic(limit=8.0),
    "calibration": lambda: Calibration(after=5),
}
WILD = 65535.0


def rows(count: int, seed: int = 1, wild: int | None = None) -> Iterator[tuple[dict[str, float], bool]]:
    """Examples with a signal, one that tells nothing, gaps, and a wild value in one of them."""
    draw = random.Random(seed)
    for number in range(count):
        label = draw.random() < 0.3
        x = {"signal": 20.0 + 2.0 * label + draw.gauss(0, 1), "noise": draw.gauss(500, 30)}
        if draw.random() < 0.1:
            del x["noise"]
        if number == wild:
            x["signal"] = WILD
        yield x, label


def taught(name: str, count: int = 100) -> Any:  # noqa: ANN401 - River's protocol is by method names
    estimator = MAKERS[name]()
    for x, label in rows(count):
        estimator.learn_one({"other": 0.2 + 0.5 * label} if name == "calibration" else x, label)
    return estimator


def asked(name: str, estimator: Any) -> list[float]:  # noqa: ANN401 - River's protocol is by method names
    given = ({"other": 0.3} if name == "calibration" else x for x, _ in rows(20, seed=2))
    return [estimator.predict_proba_one(x)[True] for x in given]


def test_examples_in_the_documentation_run() -> None:
    """Every public estimator has one."""
    found = doctest.testmod(online)
    assert (found.failed, found.attempted > 12) == (0, True)
    for name in ("BayesianLogistic", "Calibration", "Mixture", "Prior", "RobustScaler"):
        said = inspect.getdoc(getattr(estimators, name)) or ""
        assert ">>>" in said
        assert "When to use it:" in said


@pytest.mark.parametrize("name", MAKERS)
def test_bytes_hold_all_and_no_class(name: str) -> None:
    """What is read back scores and learns on to the last bit; the bytes are a snapshot of plain data."""
    estimator = taught(name)
    data = estimator.to_bytes()
    assert contents(data)[:2] == ("estimator", 1)
    assert b"dataflows" not in data
    for again in (
        type(estimator).from_bytes(data),
        from_stored(to_stored(estimator)),
        copy.deepcopy(estimator),
    ):
        assert asked(name, again) == asked(name, estimator)
        for x, label in rows(30, seed=3):
            each = {"other": 0.4} if name == "calibration" else x
            again.learn_one(each, label)
        assert again.to_bytes() != data
    twin = type(estimator).from_bytes(data)
    assert twin.to_bytes() == data


def test_inside_a_pipeline_an_estimator_is_its_bytes_too() -> None:
    """River's pickle holds a call that reads them, and nothing of the class."""
    pipeline = compose.Pipeline(RobustScaler(), BayesianLogistic())
    for x, label in rows(50):
        pipeline.learn_one(x, label)
    data = to_stored(pipeline)
    assert b"RobustScaler" in data, "as a name in its bytes"
    assert b"from_stored" in data
    assert b"__setstate__" not in data
    again = from_stored(data)
    assert [again.predict_proba_one(x) for x, _ in rows(9)] == [
        pipeline.predict_proba_one(x) for x, _ in rows(9)
    ]


def test_an_estimator_that_holds_a_function_of_its_class_is_read_again() -> None:
    """River's GaussianNB pickles ``GaussianNB._make_gaussian``, a name with a dot in it."""
    estimator = naive_bayes.GaussianNB()
    for x, label in rows(50):
        estimator.learn_one(x, label)
    again = from_stored(to_stored(estimator))
    assert [again.predict_proba_one(x) for x, _ in rows(9)] == [
        estimator.predict_proba_one(x) for x, _ in rows(9)
    ]


def test_bytes_of_another_estimator_or_release_are_refused() -> None:
    """The message says what was expected and what came."""
    with pytest.raises(SnapshotError, match="expected the bytes of a Prior, got those of a Calibration"):
        Prior.from_bytes(Calibration().to_bytes())
    with pytest.raises(SnapshotError, match="'Later' was stored, which this release does not know"):
        from_stored(seal("estimator", 1, ("Later", {})))
    with pytest.raises(SnapshotError, match="version 99"):
        Prior.from_bytes(seal("estimator", 99, ("Prior", {})))


@pytest.mark.parametrize("name", ["prior", "bayesian", "calibration"])
def test_what_a_former_release_pickled_is_read(name: str) -> None:
    """Its classes had other modules, and no limit."""
    estimator = taught(name)
    state = {key: value for key, value in vars(estimator).items() if key not in {"limit", "early"}}
    module = "estimators" if name == "prior" else "bayes"
    path = f"cdataflows.group.{module}\n{type(estimator).__name__}\n"
    pickled = b"\x80\x04" + path.encode() + b")\x81" + pickle.dumps(state, protocol=4)[2:-1] + b"b."
    again = from_stored(pickled)
    assert type(again) is type(estimator)
    assert again.to_bytes() == estimator.to_bytes()


def test_former_paths_are_the_same_models() -> None:
    """Files may name either path; a champion goes on where its path changes from one to the other."""
    assert {former.rpartition(".")[2] for former in FORMER_PATHS} == {
        "BayesianLogistic",
        "Calibration",
        "Prior",
    }
    for former, today in FORMER_PATHS.items():
        assert _locate(former) is _locate(today)

    def digest(path: str) -> str:
        spec = {"pipeline": [{"estimator": path, "variance": 1.0}]}
        return spec_digest(Model("m", spec, (0, 1), Prior), ("a", "b"))

    assert digest("dataflows.estimators.BayesianLogistic") == digest("dataflows.group.bayes.BayesianLogistic")
    assert digest("dataflows.estimators.Calibration") != digest("dataflows.group.bayes.BayesianLogistic")


def auc(model: Any, wild: int | None, count: int = 3_000, after: int = 1_500) -> float:  # noqa: ANN401 - River's protocol is by method names
    """Area under the curve of the scores after the first ``after`` examples, test then train."""
    figure = metrics.ROCAUC(n_thresholds=100)
    for number, (x, label) in enumerate(rows(count, wild=wild)):
        if number >= after:
            figure.update(label, model.predict_proba_one(x).get(True, 0.5))
        model.learn_one(x, label)
    return figure.get()


@pytest.mark.parametrize("wild", [0, 3, 40, 1_000])
@pytest.mark.parametrize(
    "make",
    [
        lambda: compose.Pipeline(RobustScaler(), linear_model.LogisticRegression()),
        lambda: compose.Pipeline(RobustScaler(), BayesianLogistic()),
        lambda: BayesianLogistic(limit=8.0),
    ],
)
def test_one_wild_value_is_survived_wherever_it_stands(make: Any, wild: int) -> None:  # noqa: ANN401 - River's protocol is by method names
    """Among the first values too, ranks afterwards are those of a recording without it."""
    assert auc(make(), wild) > auc(make(), None) - 0.02 > 0.85


def test_rivers_scaler_does_not_recover() -> None:
    """What the robust one is for: the same model behind a StandardScaler ranks no better than by chance."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    assert auc(model, 1_000) < 0.75
    assert auc(model.clone(), None) > 0.85


def test_a_limit_that_nothing_reaches_changes_no_ranks() -> None:
    """Without wild values the limit costs nothing."""
    assert abs(auc(BayesianLogistic(limit=8.0), None) - auc(BayesianLogistic(), None)) < 0.005


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: RobustScaler(limit=0), "limit > 0 and memory >= 32"),
        (lambda: RobustScaler(memory=5), "limit > 0 and memory >= 32"),
        (lambda: BayesianLogistic(limit=-1), "limit >= 0"),
    ],
)
def test_parameters_that_cannot_be_are_refused(make: Any, why: str) -> None:  # noqa: ANN401 - River's protocol is by method names
    """With what was expected and what came."""
    with pytest.raises(ValueError, match=why):
        make()
