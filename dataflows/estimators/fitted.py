"""Fitted classifiers of scikit-learn and LightGBM as arrays, scored row by row.

`fitted` turns a fitted classifier into `FittedTrees` or `FittedLinear`: plain arrays and one compiled loop in
a fixed order of summation. So a score does not depend on how many rows are scored together, the snapshot
holds no pickle, and a row costs microseconds where scikit-learn checks its input for hundreds. A classifier
that neither can hold is kept as it is (`FittedElsewhere`).

`score_rows` of each takes rows (n, k) of the values that the classifier was fitted on, in that order, NaN
where missing, and returns the probability of the positive label of each (n).
"""

from __future__ import annotations

import importlib.metadata
import math
import pickle
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import structlog
from numba import njit

from dataflows.estimators.stored import Stored
from dataflows.state.snapshots import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["Fitted", "FittedElsewhere", "FittedLinear", "FittedTrees", "fitted", "library_of"]

#: Largest difference of a score to the library's own, for the arrays to be used instead.
_TOLERANCE = 1e-9
_log = structlog.get_logger()


@njit(cache=True)
def _prepared(rows: Floats, steps: Floats) -> Floats:
    """Impute and scale: ``steps`` (steps, 3, k) are the value for a missing one (NaN: none), shift, scale."""
    prepared = rows.copy()
    for row in range(rows.shape[0]):
        for step in range(steps.shape[0]):
            for i in range(rows.shape[1]):
                value = prepared[row, i]
                if math.isnan(value):
                    value = steps[step, 0, i]
                prepared[row, i] = (value - steps[step, 1, i]) / steps[step, 2, i]
    return prepared


@njit(cache=True)
def _sums_of_leaves(rows: Floats, nodes: Integers, numbers: Floats, roots: Integers) -> Floats:
    """Add up the leaves that each row reaches, tree by tree.

    Args:
        rows: (n, k).
        nodes: (nodes, 4) feature, left and right child (-1: a leaf), whether a missing value goes left.
        numbers: (nodes, 2) threshold, value of a leaf.
        roots: (trees,) first node of each tree.
    """
    sums = np.zeros(rows.shape[0])
    for row in range(rows.shape[0]):
        for tree in range(len(roots)):
            node = roots[tree]
            while nodes[node, 1] >= 0:
                value = rows[row, nodes[node, 0]]
                left = nodes[node, 3] == 1 if math.isnan(value) else value <= numbers[node, 0]
                node = nodes[node, 1] if left else nodes[node, 2]
            sums[row] += numbers[node, 1]
    return sums


@njit(cache=True)
def _weighted(rows: Floats, weights: Floats) -> Floats:
    sums = np.full(rows.shape[0], weights[-1])
    for row in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            sums[row] += weights[i] * rows[row, i]
    return sums


@njit(cache=True)
def _sigmoids(logits: Floats) -> Floats:
    scores = np.empty(len(logits))
    for row in range(len(logits)):
        scores[row] = 1.0 / (1.0 + math.exp(-min(max(logits[row], -700.0), 700.0)))
    return scores


class FittedTrees(Stored):
    """Trees whose leaves are added up: boosting (a logit), or a forest or one tree (a mean of shares).

    Args:
        steps: see `_prepared`.
        nodes: see `_sum_of_leaves`, as numbers and roots.
        numbers: of the nodes.
        roots: of the trees.
        base: what the sum starts from.
        divisor: by which it is divided.
        logit: whether the result is a logit.
        single: values are rounded to single precision first, as scikit-learn's trees do.
    """

    _STATE = ("steps", "nodes", "numbers", "roots", "base", "divisor", "logit", "single")

    def __init__(
        self,
        steps: Floats,
        nodes: Integers,
        numbers: Floats,
        roots: Integers,
        base: float,
        divisor: float,
        *,
        logit: bool,
        single: bool,
    ) -> None:
        self.steps, self.nodes, self.numbers, self.roots = steps, nodes, numbers, roots
        self.base, self.divisor, self.logit, self.single = base, divisor, logit, single

    def score_rows(self, rows: Floats) -> Floats:
        """Probability of the positive label of each row; see the module."""
        if len(self.steps):
            rows = _prepared(rows, self.steps)
        if self.single:
            rows = rows.astype(np.float32).astype(np.float64)
        totals: Floats = (
            self.base + _sums_of_leaves(rows, self.nodes, self.numbers, self.roots) / self.divisor
        )
        return _sigmoids(totals) if self.logit else totals


class FittedLinear(Stored):
    """A linear model of imputed and scaled values.

    Args:
        steps: see `_prepared`.
        weights: (k + 1,), the intercept last.
    """

    _STATE = ("steps", "weights")

    def __init__(self, steps: Floats, weights: Floats) -> None:
        self.steps, self.weights = steps, weights

    def score_rows(self, rows: Floats) -> Floats:
        """Probability of the positive label of each row; see the module."""
        scores: Floats = _sigmoids(_weighted(_prepared(rows, self.steps), self.weights))
        return scores


class FittedElsewhere(Stored):
    """A fitted classifier that only its own library can score, pickled with the version of the library.

    Args:
        model: with ``predict_proba``.
        positive: index of the positive label among its classes.

    Raises:
        SnapshotError: `from_bytes` of a model that another version of the library wrote.
    """

    _STATE = ("pickled", "positive", "library")

    def __init__(self, model: Any, positive: int = 1) -> None:  # noqa: ANN401 - of any library
        self.pickled = pickle.dumps(model, protocol=5)
        self.positive = positive
        self.library = library_of(model)
        self._model: Any = model

    def score_rows(self, rows: Floats) -> Floats:
        """Probability of the positive label of each row, which is asked alone; see the module."""
        if getattr(self, "_model", None) is None:
            self._load()
        return np.array([self._model.predict_proba(row[np.newaxis])[0, self.positive] for row in rows])

    def _load(self) -> None:
        name, _, version = self.library.rpartition(" ")
        installed = _installed(name)
        if installed != version:
            msg = (
                f"a fitted model was stored by {name} {version}, installed is {installed or 'none'}; "
                f"install {name}=={version}, or start with a new store"
            )
            raise SnapshotError(msg)
        self._model = pickle.loads(self.pickled)  # noqa: S301 - from the store, as all models


Fitted: TypeAlias = "FittedTrees | FittedLinear | FittedElsewhere"


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def library_of(model: object) -> str:
    """Return the library of a classifier, with its version: ``scikit-learn 1.9.1``."""
    package = type(model).__module__.partition(".")[0]
    name = {"sklearn": "scikit-learn"}.get(package, package)
    return f"{name} {_installed(name) or 'unknown'}"


def fitted(model: Any, rows: Floats, positive: int = 1) -> Fitted:  # noqa: ANN401 - of any library
    """Return a fitted classifier as arrays, if they give its scores, else as it is.

    Args:
        model: with ``predict_proba``; a classifier or a pipeline of scikit-learn, or one of LightGBM.
        rows: (n, k) some rows, on which both are compared.
        positive: index of the positive label among its classes.
    """
    try:
        arrays = _as_arrays(model, rows.shape[1]) if positive == 1 else None
        if arrays is not None:
            own = np.asarray(model.predict_proba(rows))[:, 1]
            difference = float(np.abs(arrays.score_rows(rows) - own).max())
            if difference <= _TOLERANCE:
                return arrays
            name = type(model).__name__
            _log.warning("a fitted model is read wrongly, so its library scores", model=name, by=difference)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        _log.info("a fitted model is scored by its library", model=type(model).__name__, why=str(error))
    return FittedElsewhere(model, positive)


def _as_arrays(model: Any, width: int) -> FittedTrees | FittedLinear | None:  # noqa: ANN401 - of any library
    """Read a classifier; None where no reader knows its class."""
    before = [step for _, step in model.steps[:-1]] if hasattr(model, "steps") else []
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    steps = np.array([_step(step, width) for step in before]).reshape(-1, 3, width)
    readers: dict[str, Callable[[Any, Floats], FittedTrees | FittedLinear]] = {
        "HistGradientBoostingClassifier": _boosted,
        "GradientBoostingClassifier": _gradient_boosted,
        "RandomForestClassifier": _forest,
        "ExtraTreesClassifier": _forest,
        "DecisionTreeClassifier": _forest,
        "ExtraTreeClassifier": _forest,
        "LGBMClassifier": _light,
        "LogisticRegression": _linear,
    }
    reader = readers.get(type(last).__name__)
    return None if reader is None else reader(last, steps)


def _step(step: Any, width: int) -> list[Any]:  # noqa: ANN401 - of scikit-learn
    """Read a transformer as a row of ``steps``, see `_prepared`.

    Raises:
        ValueError: it is of another class, or changes the number of columns.
    """
    name, none, zero, one = type(step).__name__, np.full(width, np.nan), np.zeros(width), np.ones(width)
    if name == "SimpleImputer" and not step.add_indicator and not np.isnan(step.statistics_).any():
        return [step.statistics_, zero, one]
    if name == "StandardScaler":
        shift = zero if step.mean_ is None or not step.with_mean else step.mean_
        return [none, shift, one if step.scale_ is None else step.scale_]
    if name == "RobustScaler":
        return [
            none,
            step.center_ if step.with_centering else zero,
            step.scale_ if step.with_scaling else one,
        ]
    msg = f"{name} is no step that can be read"
    raise ValueError(msg)


def _linear(model: Any, steps: Floats) -> FittedLinear:  # noqa: ANN401 - of scikit-learn
    return FittedLinear(steps, np.append(model.coef_[0], model.intercept_[0]).astype(np.float64))


def _joined(trees: Sequence[tuple[Integers, Floats]]) -> tuple[Integers, Floats, Integers]:
    """Join the arrays of trees; children count from the first node of all."""
    roots, nodes, size = [], [], 0
    for of_tree, _ in trees:
        moved = of_tree.astype(np.int64).copy()
        moved[:, 1:3][moved[:, 1:3] >= 0] += size
        roots.append(size)
        nodes.append(moved)
        size += len(moved)
    numbers = np.concatenate([numbers for _, numbers in trees]).astype(np.float64)
    return np.concatenate(nodes), numbers, np.array(roots, dtype=np.int64)


def _boosted(model: Any, steps: Floats) -> FittedTrees:  # noqa: ANN401 - of scikit-learn
    if getattr(model, "is_categorical_", None) is not None and np.any(model.is_categorical_):
        msg = "categorical splits"
        raise ValueError(msg)
    trees = []
    for (of_round,) in model._predictors:  # noqa: SLF001 - there is no other way to them
        found = of_round.nodes
        leaf = found["is_leaf"].astype(bool)
        left = np.where(leaf, -1, found["left"].astype(np.int64))
        right = np.where(leaf, -1, found["right"].astype(np.int64))
        nodes = np.stack([found["feature_idx"], left, right, found["missing_go_to_left"]], axis=1)
        trees.append((nodes, np.stack([found["num_threshold"], found["value"]], axis=1)))
    base = float(np.ravel(model._baseline_prediction)[0])  # noqa: SLF001 - as above
    return FittedTrees(steps, *_joined(trees), base, 1.0, logit=True, single=False)


def _tree(tree: Any, leaves: Floats) -> tuple[Integers, Floats]:  # noqa: ANN401 - of scikit-learn
    left, right = tree.children_left, tree.children_right
    nodes = np.stack([tree.feature, left, right, tree.missing_go_to_left], axis=1)
    return nodes, np.stack([tree.threshold, leaves], axis=1)


def _forest(model: Any, steps: Floats) -> FittedTrees:  # noqa: ANN401 - of scikit-learn
    trees = []
    for one in getattr(model, "estimators_", [model]):
        shares = one.tree_.value[:, 0, :]
        trees.append(_tree(one.tree_, shares[:, 1] / shares.sum(axis=1)))
    return FittedTrees(steps, *_joined(trees), 0.0, float(len(trees)), logit=False, single=True)


def _gradient_boosted(model: Any, steps: Floats) -> FittedTrees:  # noqa: ANN401 - of scikit-learn
    trees = [
        _tree(one.tree_, model.learning_rate * one.tree_.value[:, 0, 0]) for one in model.estimators_[:, 0]
    ]
    width = np.zeros((1, model.n_features_in_))
    base = float(np.ravel(model._raw_predict_init(width))[0])  # noqa: SLF001 - as in `_boosted`
    return FittedTrees(steps, *_joined(trees), base, 1.0, logit=True, single=True)


def _light(model: Any, steps: Floats) -> FittedTrees:  # noqa: ANN401 - of LightGBM
    found = model.booster_.dump_model()
    if not found["objective"].startswith("binary sigmoid:1") or found.get("average_output"):
        msg = f"objective {found['objective']}"
        raise ValueError(msg)
    trees = []
    for one in found["tree_info"]:
        nodes: list[tuple[int, int, int, int]] = []
        numbers: list[tuple[float, float]] = []
        _add_light(one["tree_structure"], nodes, numbers)
        trees.append((np.array(nodes, dtype=np.int64), np.array(numbers)))
    return FittedTrees(steps, *_joined(trees), 0.0, 1.0, logit=True, single=False)


def _add_light(
    node: dict[str, Any], nodes: list[tuple[int, int, int, int]], numbers: list[tuple[float, float]]
) -> int:
    """Add a node of LightGBM's dump and those below it; return its number."""
    place = len(nodes)
    nodes.append((0, -1, -1, 0))
    if "leaf_value" in node:
        numbers.append((0.0, node["leaf_value"]))
        return place
    if node["decision_type"] != "<=" or node["missing_type"] == "Zero":
        msg = f"splits by {node['decision_type']!r} with missing values as {node['missing_type']}"
        raise ValueError(msg)
    threshold = float(node["threshold"])
    # Where no value was missing in the examples, LightGBM takes a missing one for 0.
    missing = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0.0
    numbers.append((threshold, 0.0))
    left = _add_light(node["left_child"], nodes, numbers)
    right = _add_light(node["right_child"], nodes, numbers)
    nodes[place] = (node["split_feature"], left, right, int(missing))
    return place
