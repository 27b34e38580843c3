"""Models that were fitted elsewhere: by file and digest, features by name, exact at any batch size."""

from __future__ import annotations

import hashlib
import json
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skops import io as skops

from dataflows.estimators import Frozen, from_stored, to_stored
from dataflows.estimators.frozen import FrozenError
from dataflows.fleet import FleetError
from dataflows.testing import check_estimator, pump_fleet, run_lines, telemetry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = ("a", "b", "c", "d")


def digest_of(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def examples(width: int = 4) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    chance = np.random.default_rng(1)
    values = chance.normal(50, 20, size=(500, width))
    return values, (values[:, 0] + values[:, -1] > 100).astype(np.int64)


def onnx_file(path: Path, width: int, names: Sequence[str] = (), kind: int = TensorProto.FLOAT) -> Frozen:
    """A network of one layer, in ONNX, with the names of its features in its metadata."""
    chance = np.random.default_rng(2)
    element = np.float32 if kind == TensorProto.FLOAT else np.float64
    weights = numpy_helper.from_array(chance.normal(0, 0.01, size=(width, 1)).astype(element), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Sigmoid", ["z"], ["p"])]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, [None, width])],
        [helper.make_tensor_value_info("p", kind, [None, 1])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if names:
        helper.set_model_props(model, {"features": json.dumps(list(names))})
    onnx.save(model, str(path))
    return Frozen(str(path), digest_of(path))


def sklearn_file(path: Path, model: Any, columns: Sequence[str] = NAMES) -> Frozen:  # noqa: ANN401 - of scikit-learn
    values, labels = examples(len(columns))
    model.fit(values, labels)
    path.write_bytes(skops.dumps(model) if path.suffix == ".skops" else pickle.dumps(model))
    return Frozen(str(path), digest_of(path), columns)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE], ids=["single", "double"])
def test_an_onnx_model_gives_a_row_one_score_however_many_are_scored(tmp_path: Path, kind: int) -> None:
    """It is that of the row alone, to the last bit, in any run of rows."""
    names = tuple(f"f{number}" for number in range(200))
    model = onnx_file(tmp_path / "net.onnx", 200, names, kind)
    rows, _ = examples(200)
    alone = [model.score_rows(row[np.newaxis], names)[0] for row in rows]
    for size in (2, 7, 64, 500):
        parts = [model.score_rows(rows[start : start + size], names) for start in range(0, 500, size)]
        assert np.concatenate(parts).tolist() == alone
    assert [model.predict_proba_one(dict(zip(names, row, strict=True)))[True] for row in rows[:50]] == alone[
        :50
    ]
    session = onnxruntime.InferenceSession((tmp_path / "net.onnx").read_bytes())
    element = np.float32 if kind == TensorProto.FLOAT else np.float64
    together = session.run(None, {"x": rows.astype(element)})[0].ravel()
    np.testing.assert_allclose(alone, together, rtol=1e-4)


def test_features_are_matched_by_name(tmp_path: Path) -> None:
    """Columns in another order, and columns that the model does not see, change nothing."""
    model = onnx_file(tmp_path / "net.onnx", 4, NAMES)
    assert model.features == NAMES
    rows, _ = examples()
    expected = model.score_rows(rows, NAMES).tolist()
    mixed = np.hstack([rows[:, ::-1], np.full((len(rows), 1), 7.0)])
    assert model.score_rows(mixed, ("d", "c", "b", "a", "other")).tolist() == expected
    assert from_stored(to_stored(model)).score_rows(rows, NAMES).tolist() == expected


@pytest.mark.parametrize("ending", [".skops", ".pkl", ".joblib"])
def test_a_model_of_scikit_learn_gives_its_own_scores(tmp_path: Path, ending: str) -> None:
    """And keeps the contract of estimators, but that it learns nothing."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    model = sklearn_file(tmp_path / f"model{ending}", pipeline)
    rows, _ = examples()
    np.testing.assert_allclose(model.score_rows(rows, NAMES), pipeline.predict_proba(rows)[:, 1], atol=1e-12)
    boosting = (
        sklearn_file(tmp_path / f"b{ending}", HistGradientBoostingClassifier(max_iter=3))
        if ending != ".skops"
        else None
    )
    if boosting is not None:
        check_estimator(boosting)


def test_another_file_than_the_digest_says_is_refused(tmp_path: Path) -> None:
    """So are a file that is not there, one of another kind, and types of skops that nobody trusts."""
    path = tmp_path / "model.onnx"
    model = onnx_file(path, 4, NAMES)
    onnx_file(path, 5, [*NAMES, "e"])
    with pytest.raises(FrozenError, match=r"has the digest sha256:\w+, expected sha256:\w+"):
        from_stored(to_stored(model)).predict_proba_one({})
    with pytest.raises(FrozenError, match="No such file"):
        Frozen(str(tmp_path / "gone.onnx"), model.digest)
    with pytest.raises(FrozenError, match="does not name its features; give them as columns"):
        onnx_file(tmp_path / "nameless.onnx", 4)
    other = tmp_path / "model.bin"
    other.write_bytes(b"model")
    with pytest.raises(FrozenError, match="expected a file with one of the endings"):
        Frozen(str(other), digest_of(other))
    odd = make_pipeline(FunctionTransformer(func=digest_of), LogisticRegression())
    (tmp_path / "odd.skops").write_bytes(skops.dumps(odd))
    with pytest.raises(FrozenError, match=r"types that are not trusted: .*digest_of; name them in trusted"):
        Frozen(str(tmp_path / "odd.skops"), digest_of(tmp_path / "odd.skops"), NAMES)


def test_a_fleet_scores_with_it_from_the_first_record_and_refuses_unknown_features(tmp_path: Path) -> None:
    """The file stands beside the fleet.toml, and the model sees its own features alone."""
    names = ("flow", "pressure:mean:6h")
    frozen = onnx_file(tmp_path / "net.onnx", 2, names)
    step = {
        "estimator": "dataflows.estimators.Frozen",
        "file": str(tmp_path / "net.onnx"),
        "digest": frozen.digest,
    }
    fleet = pump_fleet({"frozen": {"pipeline": [step]}})
    model = fleet.targets["pump/leak/12h"].models[0]
    assert [fleet.classes["pump"].features[index] for index in model.features] == [*names]
    rows = run_lines(fleet, [telemetry("a", 0, {"pressure": 4.0, "flow": 2.0})])
    expected = frozen.predict_proba_one({"flow": 2.0, "pressure:mean:6h": 4.0})[True]
    assert json.loads(rows["predictions"][0])["score"] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(FleetError, match="did you mean flow:mean:6h"):
        pump_fleet({"frozen": {"pipeline": [{**step, "columns": ["flow", "flow:mean:8h"]}]}})
    with pytest.raises(FleetError, match="expected sha256:0"):
        pump_fleet({"frozen": {"pipeline": [{**step, "digest": "sha256:0"}]}})
