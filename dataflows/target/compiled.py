"""Fast calls of an estimator: compiled scores of many rows for some, a shorter call for others.

`compiled_of` finds the fast form of an estimator in one registry. An estimator brings it as a method
``score_rows(rows, names)``; one of River's has an adapter here, registered under the paths of its pipeline's
steps. Its scores equal those of the estimator to the last bit, and a row that it cannot score is NaN there:
then the estimator itself is asked. `calls_of` finds how to ask any estimator.

Sums are added up in one order, and never by a BLAS, so a row has the same score in whatever run of rows.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import structlog
from numba import njit
from river import base, compose
from river.compose import Pipeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "Calls",
    "Compiled",
    "Probabilities",
    "calls_of",
    "compiled_of",
    "probabilities_of",
]

#: Filling the arrays of a linear model costs as much as some scores of River's, so it waits for these.
PATIENCE = 4
_log = structlog.get_logger()


def _river_classes(module: str, *names: str) -> tuple[Any, ...]:
    """Classes of one of River's modules; none if it is not imported, so that no value can be of them.

    ``river.preprocessing`` imports SciPy's statistics, which takes as long as all the rest of a start: only
    fleets that name it pay for it.
    """
    found = sys.modules.get(module)
    return () if found is None else tuple(getattr(found, name) for name in names)


class Compiled(Protocol):
    """The fast form of one estimator."""

    def learned(self) -> None:
        """Note that the estimator learned: what was read from it is of the past."""
        ...

    def score_rows(self, rows: Floats) -> Floats | None:
        """Return the probability of True of each row.

        Args:
            rows: (n, features that the model sees); NaN is missing.

        Returns:
            (n) NaN where the estimator has to be asked; None where it has to be asked for every row.
        """
        ...


class _Own:
    """The fast form that an estimator brings itself: its method ``score_rows(rows, names)``."""

    def __init__(self, estimator: Any, names: tuple[str, ...]) -> None:  # noqa: ANN401 - by method names
        self._score_rows = estimator.score_rows
        self._names = names

    def learned(self) -> None:
        """Do nothing: nothing is copied."""

    def score_rows(self, rows: Floats) -> Floats | None:
        """As `Compiled.score_rows`."""
        found: Floats | None = self._score_rows(rows, self._names)
        return found


#: Makes the fast form of an estimator with these steps (one, if it is no pipeline) and features; None where
#: its settings rule it out.
Adapter = Callable[[list[Any], tuple[str, ...]], Compiled | None]
#: By the paths of the classes of the steps.
_ADAPTERS: dict[tuple[str, ...], Adapter] = {}


def _adapts(*steps: str) -> Callable[[Adapter], Adapter]:
    """Register an adapter for a pipeline of these steps, which are paths of classes."""

    def register(adapter: Adapter) -> Adapter:
        _ADAPTERS[steps] = adapter
        return adapter

    return register


def compiled_of(estimator: object, names: tuple[str, ...]) -> Compiled | None:
    """Return the fast form of an estimator, None where only the estimator can score.

    Args:
        estimator: of one model.
        names: of the features that it sees, in the order of the columns of its rows.
    """
    if callable(getattr(type(estimator), "score_rows", None)):
        return _Own(estimator, names)
    steps: list[Any] = [*estimator.steps.values()] if isinstance(estimator, Pipeline) else [estimator]
    adapter = _ADAPTERS.get(tuple(_path(type(step)) for step in steps))
    return None if adapter is None else adapter(steps, names)


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@njit(cache=True)
def _logits(rows: Floats, known: Floats, intercept: float) -> Floats:
    """(n) dot products of weights and scaled values; NaN where a value is given that the model never saw.

    ``known`` (3, features that the model sees) are means, deviations and weights.
    """
    logits = np.empty(rows.shape[0])
    for row in range(rows.shape[0]):
        total = 0.0
        for index in range(rows.shape[1]):
            value = rows[row, index]
            if not math.isnan(value):
                deviation = known[1, index]
                if deviation != 0.0:
                    total += known[2, index] * ((value - known[0, index]) / deviation)
        total += intercept
        logits[row] = total if math.isfinite(total) else math.nan
    return logits


#: River's ``sigmoid`` is 0 or 1 beyond this.
_STEEPEST = 30.0


@njit(cache=True)
def _sigmoids(logits: Floats) -> Floats:
    """(n) River's ``sigmoid`` of each."""
    scores = np.empty(len(logits))
    for row in range(len(logits)):
        logit = logits[row]
        if logit < -_STEEPEST:
            scores[row] = 0.0
        elif logit > _STEEPEST:
            scores[row] = 1.0
        else:
            scores[row] = 1.0 / (1.0 + math.exp(-logit))
    return scores


class _Linear:
    """River's ``StandardScaler | LogisticRegression``, or the regression alone.

    Its weights are read into arrays while it learns nothing.
    """

    def __init__(self, steps: list[Any], names: tuple[str, ...]) -> None:
        self._scaler: Any = steps[0] if len(steps) > 1 else None
        self._regression: Any = steps[-1]
        (binary,) = _river_classes("river.optim.losses", "BinaryLoss")
        loss: Any = self._regression.loss
        self._mean = None if type(loss).mean_func is binary.mean_func else loss.mean_func
        self._names = names
        self._asked = 0
        self._known: Floats | None = None
        self._differs = False

    def learned(self) -> None:
        """Discard the arrays: the model learned since they were read."""
        self._known = None
        self._asked = 0

    def score_rows(self, rows: Floats) -> Floats | None:
        """As `Compiled.score_rows`; None for the first rows after the model learned."""
        if self._known is not None:
            return self._compute(rows, self._known)
        self._asked += len(rows)
        if self._asked < PATIENCE or self._differs:
            return None
        known = self._read()
        scores = self._compute(rows, known)
        self._differs = not math.isnan(scores[-1]) and scores[-1] != self._score_by_river(rows[-1])
        if self._differs:
            _log.warning("a linear model is read wrongly, so River is asked for every score")
            return None
        self._known = known
        return scores

    def _compute(self, rows: Floats, known: Floats) -> Floats:
        logits: Floats = _logits(rows, known, float(self._regression.intercept))
        if self._mean is None:
            scores: Floats = _sigmoids(logits)
            return scores
        return np.array([math.nan if logit != logit else self._mean(logit) for logit in logits.tolist()])  # noqa: PLR0124 - NaN

    def _score_by_river(self, row: Floats) -> float:
        """Return the score that River computes."""
        given = zip(self._names, row.tolist(), strict=True)
        x = {name: value for name, value in given if not math.isnan(value)}
        scaled = x if self._scaler is None else self._scaler.transform_one(x)
        return float(self._regression.predict_proba_one(scaled)[True])

    def _read(self) -> Floats:
        """Means, deviations and weights as they are now; NaN for a feature that the model never saw."""
        weights = self._regression.weights
        scaler = self._scaler
        columns = [(math.nan,) * 3] * len(self._names)
        for index, name in enumerate(self._names):
            # A scaler that is asked before it learned holds zeros for a feature; a regression does not.
            if name in weights:
                mean = 0.0 if scaler is None else scaler.means[name]
                deviation = scaler.vars[name] ** 0.5 if scaler is not None and scaler.with_std else 1.0
                columns[index] = (mean, deviation, weights[name])
        return np.array(columns).reshape(-1, 3).T.copy()


_SCALER = "river.preprocessing.scale.StandardScaler"
_REGRESSION = "river.linear_model.log_reg.LogisticRegression"


@_adapts(_REGRESSION)
@_adapts(_SCALER, _REGRESSION)
def _linear(steps: list[Any], names: tuple[str, ...]) -> Compiled | None:
    return None if len(steps) > 1 and steps[0].window_size is not None else _Linear(steps, names)


#: What River's naive Bayes adds to each density.
_LEAST_DENSITY = 10e-10


@njit(cache=True)
def _likelihoods(rows: Floats, gaussians: Floats, priors: Floats) -> Floats:
    """(n, labels) joint log likelihoods.

    Args:
        rows: (n, features).
        gaussians: (labels, features, 2) mean and deviation; the deviation is 0 where there is none.
        priors: (labels) logs.
    """
    least = math.log(_LEAST_DENSITY)
    root = math.sqrt(2.0 * math.pi)
    found = np.empty((rows.shape[0], len(priors)))
    for row in range(rows.shape[0]):
        for label in range(len(priors)):
            total = 0.0
            for index in range(rows.shape[1]):
                value = rows[row, index]
                if math.isnan(value):
                    continue
                deviation = gaussians[label, index, 1]
                if deviation > 0.0:
                    scaled = (value - gaussians[label, index, 0]) / deviation
                    density = math.exp(-0.5 * scaled * scaled) / root / deviation
                    total += math.log(_LEAST_DENSITY + density)
                else:
                    total += least
            found[row, label] = priors[label] + total
    return found


@njit(cache=True)
def _shares(logs: Floats, positive: int) -> Floats:
    """(n) probability of one label from joint log likelihoods (n, labels); see `_of_logs`."""
    scores = np.empty(logs.shape[0])
    for row in range(logs.shape[0]):
        most = logs[row, 0]
        for label in range(1, logs.shape[1]):
            most = max(most, logs[row, label])
        total = 0.0
        for label in range(logs.shape[1]):
            total += math.exp(logs[row, label] - most)
        scores[row] = math.exp(logs[row, positive] - most) / total
    return scores


class _NaiveBayes:
    """River's ``GaussianNB``: its means and deviations are read into arrays while it learns nothing."""

    def __init__(self, steps: list[Any], names: tuple[str, ...]) -> None:
        self._estimator: Any = steps[0]
        self._names = names
        self._known: tuple[Floats, Floats, int] | None = None

    def learned(self) -> None:
        """Discard the arrays: the model learned since they were read."""
        self._known = None

    def score_rows(self, rows: Floats) -> Floats | None:
        """As `Compiled.score_rows`; None where it never saw a label that is True."""
        if True not in self._estimator.class_counts:
            return None
        self._known = self._known or self._read()
        gaussians, priors, positive = self._known
        scores: Floats = _shares(_likelihoods(rows, gaussians, priors), positive)
        return scores

    def _read(self) -> tuple[Floats, Floats, int]:
        """Gaussians and priors as they are now (see `_likelihoods`), and the place of the label True."""
        estimator = self._estimator
        labels = [*estimator.class_counts]
        gaussians = np.zeros((len(labels), len(self._names), 2))
        for place, label in enumerate(labels):
            known = estimator.gaussians.get(label, {})
            for index, name in enumerate(self._names):
                gaussian = known.get(name)
                # As River's density: one value has no deviation, nor have equal ones.
                if gaussian is not None and gaussian.n_samples > 0 and gaussian.sigma > 0:
                    gaussians[place, index] = gaussian.mu, math.sqrt(gaussian._var.get())  # noqa: SLF001 - River's own power of 0.5 may differ
        priors = np.array([math.log(estimator.p_class(label)) for label in labels])
        return gaussians, priors, labels.index(True)


_adapts("river.naive_bayes.gaussian.GaussianNB")(_NaiveBayes)


@njit(cache=True)
def _descend(rows: Floats, nodes: NDArray[np.int64], thresholds: Floats, scores: Floats) -> Floats:
    """(n) score of the leaf that each row reaches.

    Args:
        rows: (n, features).
        nodes: (nodes, 4) feature of the node, -1 for a leaf; then the nodes of values up to the threshold,
            of those above, and of a missing value.
        thresholds: (nodes).
        scores: (nodes) of the leaves; NaN where River has to be asked.
    """
    found = np.empty(rows.shape[0])
    for row in range(rows.shape[0]):
        node = 0
        while nodes[node, 0] >= 0:
            value = rows[row, nodes[node, 0]]
            if math.isnan(value):
                node = nodes[node, 3]
            elif value <= thresholds[node]:
                node = nodes[node, 1]
            else:
                node = nodes[node, 2]
        found[row] = scores[node]
    return found


class _Tree:
    """River's ``HoeffdingTreeClassifier``: its nodes are read into arrays while it learns nothing.

    River scores the rows of a leaf that asks a naive Bayes of its own.
    """

    def __init__(self, steps: list[Any], names: tuple[str, ...]) -> None:
        self._tree: Any = steps[0]
        self._places = {name: place for place, name in enumerate(names)}
        self._missing = len(names)
        self._known: tuple[NDArray[np.int64], Floats, Floats] | None = None
        self._asked = 0

    def learned(self) -> None:
        """Discard the arrays: the tree learned since they were read."""
        self._known = None
        self._asked = 0

    def score_rows(self, rows: Floats) -> Floats | None:
        """As `Compiled.score_rows`; None for the first rows after the tree learned."""
        if self._known is None:
            self._asked += len(rows)
            if self._asked < PATIENCE:
                return None
            self._known = self._read()
        # A feature that the model no longer sees is missing in every row.
        padded = np.hstack([rows, np.full((len(rows), 1), np.nan)])
        scores: Floats = _descend(padded, *self._known)
        return scores

    def _read(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        nodes: list[tuple[int, int, int, int]] = []
        thresholds: list[float] = []
        scores: list[float] = []
        waiting = [] if self._tree._root is None else [self._tree._root]  # noqa: SLF001 - River's protocol has no way in
        while len(nodes) < len(waiting):
            node = waiting[len(nodes)]
            thresholds.append(getattr(node, "threshold", math.nan))
            scores.append(math.nan)
            if _path(type(node)) == "river.tree.nodes.branch.NumericBinaryBranch":
                first = len(waiting)
                waiting += node.children
                common = first + node.most_common_path()[0]
                nodes.append((self._places.get(node.feature, self._missing), first, first + 1, common))
            else:
                nodes.append((-1, 0, 0, 0))
                if self._is_constant(node):
                    scores[-1] = float(node.prediction({}, tree=self._tree).get(True, 0.0))
        return (
            np.array(nodes or [(-1, 0, 0, 0)]),
            np.array(thresholds or [math.nan]),
            np.array(scores or [math.nan]),
        )

    def _is_constant(self, leaf: Any) -> bool:  # noqa: ANN401 - of River
        """Whether a leaf gives every row the same score: the share of its labels."""
        if _path(type(leaf)) == "river.tree.nodes.htc_nodes.LeafMajorityClass":
            return True
        return hasattr(leaf, "is_active") and not leaf.is_active()


_adapts("river.tree.hoeffding_tree_classifier.HoeffdingTreeClassifier")(_Tree)


#: Probability of each label that an estimator knows, from the features by name.
Probabilities = Callable[[dict[str, Any]], dict[Any, float]]


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of an estimator.

    Attributes:
        probabilities: asks it for the probability of each label.
        learn: gives it an example.
        supervised: it learns from labels, and knows nothing before it has seen both.
        pretrained: it knows enough before it has learned anything.
        with_none: a missing feature is given to it as None; to all others it is absent.
        learns_lead: its ``learn_one`` takes the hours to failure, ``lead``.
    """

    probabilities: Probabilities
    learn: Callable[[dict[str, Any], bool], None]
    supervised: bool
    pretrained: bool
    with_none: bool
    learns_lead: bool


def calls_of(estimator: Any) -> Calls:  # noqa: ANN401 - River's protocol is by method names
    """Choose the calls of an estimator with River's protocol.

    A classifier has ``learn_one(x, y)`` and ``predict_proba_one(x)``. An anomaly detector has
    ``learn_one(x)`` and ``score_one(x)``, whose score is taken as the probability of a failure. An estimator
    with a true attribute ``pretrained`` is asked from the first record on.
    """
    steps = [*estimator.steps.values()] if isinstance(estimator, compose.Pipeline) else [estimator]
    last = steps[-1]
    supervised = not _scores_anomalies(last)
    chosen = (step for step in steps if not isinstance(step, compose.Select | compose.Discard))
    return Calls(
        probabilities_of(estimator) if supervised else lambda x: {True: estimator.score_one(x)},
        estimator.learn_one if supervised or len(steps) > 1 else lambda x, _: estimator.learn_one(x),
        supervised,
        bool(getattr(last, "pretrained", False)),
        isinstance(
            next(chosen, None), _river_classes("river.preprocessing", "StatImputer", "PreviousImputer")
        ),
        bool(getattr(last, "learns_lead", False)),
    )


def _scores_anomalies(estimator: object) -> bool:
    """Whether an estimator, or the last step of a pipeline, gives anomaly scores and no probabilities."""
    if isinstance(estimator, compose.Pipeline):  # a pipeline has every method, even if its last step lacks it
        return bool(len(estimator)) and _scores_anomalies([*estimator.steps.values()][-1])
    method = getattr(type(estimator), "predict_proba_one", None)
    # A River classifier without probabilities inherits a method that raises.
    probable = method is not None and method is not base.Classifier.predict_proba_one
    return not probable and hasattr(estimator, "score_one")


def probabilities_of(estimator: Any) -> Probabilities:  # noqa: ANN401 - River's protocol is by method names
    """Return the shortest call for the probability of each label."""
    method = getattr(type(estimator), "predict_proba_one", None)
    if any(method is bayes.predict_proba_one for bayes in _river_classes("river.naive_bayes.base", "BaseNB")):
        return lambda x: _of_logs(estimator.joint_log_likelihood(x))
    asked: Probabilities = estimator.predict_proba_one
    return asked


def _of_logs(logs: dict[Any, float]) -> dict[Any, float]:
    """Return probabilities of labels from their joint log likelihoods.

    River's naive Bayes calls SciPy's ``logsumexp`` for this, which is made for arrays and takes longer, for
    two labels, than all the rest of a score.
    """
    most = max(logs.values(), default=0.0)
    shares = {label: math.exp(log - most) for label, log in logs.items()}
    total = sum(shares.values())
    return {label: share / total for label, share in shares.items()}
