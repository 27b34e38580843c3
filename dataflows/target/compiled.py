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

from dataflows.estimators.online import RobustScaler, scale_robustly

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
    """The fast form of one estimator.

    What it learns it writes into the estimator when it is told to, by `flush`: before anybody reads, asks or
    teaches the estimator itself.
    """

    def learned(self) -> None:
        """Note that the estimator itself learned: what was read from it is of the past."""
        ...

    def flush(self) -> None:
        """Write what was learned into the estimator."""
        ...

    def learn(self, row: Floats, label: bool) -> bool:  # noqa: FBT001 - as River's
        """Learn one example (features that the model sees; NaN is missing), to the last bit as the estimator.

        Returns:
            Whether it did; where not, the estimator itself has to learn.
        """
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

    def flush(self) -> None:
        """Do nothing: the estimator learns itself."""

    def learn(self, row: Floats, label: bool) -> bool:  # noqa: ARG002, FBT001 - as `Compiled.learn`
        """Return False: the estimator learns itself."""
        return False

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
def _logits(rows: Floats, known: Floats, limit: float) -> Floats:
    """(n) dot products of weights and scaled values; NaN where a value is given that the model never saw.

    ``known`` (3, features and 1) are means, deviations and weights; the two latter are NaN
    for a feature that it never saw. The last weight is the intercept. No scaled value is beyond ``limit``.
    """
    logits = np.empty(rows.shape[0])
    for row in range(rows.shape[0]):
        total = 0.0
        for index in range(rows.shape[1]):
            value = rows[row, index]
            if not math.isnan(value):
                deviation = known[1, index]
                if deviation != 0.0:
                    scaled = (value - known[0, index]) / deviation
                    total += known[2, index] * min(max(scaled, -limit), limit)
        total += known[2, rows.shape[1]]
        logits[row] = total if math.isfinite(total) else math.nan
    return logits


#: River's ``sigmoid`` is 0 or 1 beyond this.
_STEEPEST = 30.0
#: How a `RobustScaler` scales, see `_learn_linear`.
_ROBUSTLY = 3
#: The gradient of River's log loss has another form beyond this.
_CERTAIN = 18.0


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


@njit(cache=True)
def _scaling(moments: Floats, weights: Floats, scales: int, half: float) -> Floats:
    """Return what `_logits` takes; the arguments are those of `_learn_linear`."""
    known = np.ones((3, len(weights)))
    for i in range(moments.shape[1]):
        known[0, i] = moments[1, i]
        if math.isnan(weights[i]):
            known[1, i] = math.nan
        elif scales == _ROBUSTLY:
            known[1, i] = math.sqrt(moments[2, i]) if moments[2, i] > 0.0 else 0.0
        elif scales > 1:
            known[1, i] = math.pow(moments[2, i], half)
    known[2] = weights
    return known


@njit(cache=True)
def _learn_linear(  # noqa: C901, PLR0912 - compiled: one call for one example
    row: Floats,
    positive: int,
    moments: Floats,
    early: Floats,
    weights: Floats,
    rates: Floats,
    scales: int,
    half: float,
) -> bool:
    """Learn one example in place, as the scaler and River's regression do; return False where these have to.

    Args:
        row: (features) NaN where missing.
        positive: its label, 0 or 1.
        moments: (3, features) counts, means and variances.
        early: (features, values) the first values of each, of a `RobustScaler`.
        weights: (features + 1) NaN for a feature that was never learned; the intercept is last.
        rates: of the weights and of the intercept; limit of a gradient; weights of positives and negatives;
            ``limit`` and ``memory`` of a `RobustScaler`.
        scales: 0 without a scaler, 1 if it only centres, 2 if it divides by the deviation too, 3 for a
            `RobustScaler`.
        half: 0.5, which is not written here, since a compiler makes a root of the power that Python computes.
    """
    size = len(row)
    scaled = np.zeros(size)
    new = moments.copy()
    if scales == _ROBUSTLY:
        # Where it returns False, the scaler itself writes the same values into the same places of ``early``.
        scale_robustly(row, new[0], new[1], new[2], early, scaled, rates[5], rates[6])
    logit = 0.0
    for i in range(size):
        value = row[i]
        if math.isnan(value):
            continue
        if scales == _ROBUSTLY:
            pass
        elif scales > 0:
            new[0, i] += 1.0
            before = new[1, i]
            new[1, i] += (value - before) / new[0, i]
            if scales > 1:
                new[2, i] += ((value - before) * (value - new[1, i]) - new[2, i]) / new[0, i]
                variance = new[2, i]
                if variance < 0.0:
                    return False
                scaled[i] = (value - new[1, i]) / math.pow(variance, half) if variance != 0.0 else 0.0
            else:
                scaled[i] = value - new[1, i]
        else:
            scaled[i] = value
        logit += weights[i] * scaled[i]
    logit += weights[size]
    if not math.isfinite(logit):  # a feature is new, or a weight is
        return False
    sign = 1.0 if positive else -1.0
    weight = rates[3] if positive else rates[4]
    margin = logit * sign
    if margin > _CERTAIN:
        gradient = weight * math.exp(-margin) * -sign
    elif margin < -_CERTAIN:
        gradient = weight * -sign
    else:
        gradient = weight * -sign / (math.exp(margin) + 1.0)
    gradient = max(min(gradient, rates[2]), -rates[2])
    moments[:] = new
    for i in range(size):
        if not math.isnan(row[i]):
            weights[i] -= scaled[i] * gradient * rates[0]
    weights[size] -= rates[1] * gradient
    return True


class _Linear:
    """River's ``LogisticRegression`` alone, after its ``StandardScaler``, or after our `RobustScaler`.

    Its numbers are read into arrays when they are first needed. As long as no new feature comes, it learns
    there, if its optimizer is plain gradient descent at a constant rate. A regression that is trained
    otherwise is read once more after each example.
    """

    def __init__(self, steps: list[Any], names: tuple[str, ...]) -> None:
        self._scaler: Any = steps[0] if len(steps) > 1 else None
        self._regression: Any = steps[-1]
        (binary,) = _river_classes("river.optim.losses", "BinaryLoss")
        loss: Any = self._regression.loss
        self._mean = None if type(loss).mean_func is binary.mean_func else loss.mean_func
        self._names = names
        self._asked = 0
        #: Counts, means and variances of the scaler, and early values; weights, with the intercept.
        self._moments: Floats = np.zeros((3, len(names)))
        self._early: Floats = np.zeros((len(names), 0))
        self._weights: Floats | None = None
        #: Means, deviations and weights, as `_logits` takes them; None where they are to be computed.
        self._known: Floats | None = None
        #: Examples that the arrays learned and the estimator did not yet.
        self._ahead = 0
        self._limit = math.inf
        self._rates = _rates_of(self._regression)
        if self._scaler is None:
            self._scales = 0
        elif isinstance(self._scaler, RobustScaler):
            self._scales, self._limit = _ROBUSTLY, self._scaler.limit
            if self._rates is not None:
                self._rates = np.array([*self._rates, self._limit, float(self._scaler.memory)])
        else:
            self._scales = 1 + bool(self._scaler.with_std)
        self._trusted = False
        self._differs = False

    def learned(self) -> None:
        """As `Compiled.learned`."""
        self._weights = self._known = None
        self._asked = 0

    def flush(self) -> None:
        """As `Compiled.flush`."""
        if not self._ahead or self._weights is None:
            return
        weights = self._weights.tolist()
        learned = [index for index, weight in enumerate(weights[:-1]) if not math.isnan(weight)]
        names = [self._names[index] for index in learned]
        if isinstance(self._scaler, RobustScaler):
            places = [self._scaler.names[name] for name in names]
            self._scaler.counts[places], self._scaler.means[places], self._scaler.variances[places] = (
                self._moments[:, learned]
            )
            self._scaler.early[places] = self._early[learned]
        elif self._scaler is not None:
            counts, means, variances = self._moments[:, learned].tolist()
            # A counter's own update would add.
            dict.update(self._scaler.counts, zip(names, map(int, counts), strict=True))
            self._scaler.means.update(zip(names, means, strict=True))
            if self._scaler.with_std:
                self._scaler.vars.update(zip(names, variances, strict=True))
        for index in learned:
            self._regression._weights[self._names[index]] = weights[index]  # noqa: SLF001 - no way in
        self._regression.intercept = weights[-1]
        self._regression.optimizer.n_iterations += self._ahead
        self._ahead = 0

    def learn(self, row: Floats, label: bool) -> bool:  # noqa: FBT001 - as `Compiled.learn`
        """As `Compiled.learn`; the first example is learned by River too, and the results are compared."""
        if self._rates is None or self._differs:
            return False
        weights = self._read() if self._weights is None else self._weights
        learned = self._moments, self._early, weights
        if not _learn_linear(row, int(label), *learned, self._rates, self._scales, 0.5):
            return False
        self._known = None
        if self._trusted:
            self._ahead += 1
        else:
            self._compare(row, label, weights)
        return True

    def _compare(self, row: Floats, label: bool, weights: Floats) -> None:  # noqa: FBT001 - as above
        """Let River learn what the arrays just learned, and trust them where both are equal."""
        learned = weights, self._moments, self._early
        x = {
            name: value
            for name, value in zip(self._names, row.tolist(), strict=True)
            if not math.isnan(value)
        }
        scaled = x
        if self._scaler is not None:
            self._scaler.learn_one(x)
            scaled = self._scaler.transform_one(x)
        self._regression.learn_one(scaled, label)
        found = self._read(), self._moments, self._early
        self._trusted = all(map(_equal, learned, found))
        self._distrust(not self._trusted)

    def _distrust(self, differs: bool) -> None:  # noqa: FBT001 - a finding
        if differs:
            self._differs = True
            self.learned()
            _log.warning("a linear model is read wrongly, so River is asked for every score")

    def score_rows(self, rows: Floats) -> Floats | None:
        """As `Compiled.score_rows`; None for the first rows after the model itself learned."""
        if self._known is not None:
            return self._compute(rows, self._known)
        fresh = self._weights is None
        if fresh:
            self._asked += len(rows)
            if self._asked < PATIENCE or self._differs:
                return None
            self._read()
        known = self._known = self._scaling()
        scores = self._compute(rows, known)
        if fresh and not math.isnan(scores[-1]):
            self._distrust(scores[-1] != self._score_by_river(rows[-1]))
        return None if self._differs else scores

    def _compute(self, rows: Floats, known: Floats) -> Floats:
        logits: Floats = _logits(rows, known, self._limit)
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

    def _scaling(self) -> Floats:
        """Return what `_logits` takes."""
        weights = self._read() if self._weights is None else self._weights
        known: Floats = _scaling(self._moments, weights, self._scales, 0.5)
        return known

    def _read(self) -> Floats:
        """Fill the arrays with the numbers of the estimator, and return the weights."""
        weights = self._regression.weights
        scaler = self._scaler
        self._moments = np.zeros((3, len(self._names)))
        self._weights = np.full(len(self._names) + 1, math.nan)
        self._weights[-1] = self._regression.intercept
        robust = isinstance(scaler, RobustScaler)
        if robust:
            self._early = np.zeros((len(self._names), scaler.early.shape[1]))
        for index, name in enumerate(self._names):
            # A scaler that is asked before it learned holds zeros for a feature; a regression does not.
            if name in weights:
                self._weights[index] = weights[name]
                if robust:
                    place = scaler.names[name]
                    self._moments[:, index] = (
                        scaler.counts[place],
                        scaler.means[place],
                        scaler.variances[place],
                    )
                    self._early[index] = scaler.early[place]
                elif scaler is not None:
                    variance = scaler.vars[name] if scaler.with_std else 0.0
                    self._moments[:, index] = scaler.counts[name], scaler.means[name], variance
        return self._weights


def _equal(one: Floats, other: Floats) -> bool:
    return np.array_equal(one, other, equal_nan=True)


def _rates_of(regression: Any) -> Floats | None:  # noqa: ANN401 - of River
    """Return the rates of `_learn_linear`; None where River's regression learns in another way."""
    optimizer, loss, intercept = regression.optimizer, regression.loss, regression.intercept_lr
    plain = (
        _path(type(optimizer)) == "river.optim.sgd.SGD"
        and _path(type(loss)) == "river.optim.losses.Log"
        and _path(type(optimizer.lr)) == _path(type(intercept)) == "river.optim.schedulers.Constant"
        and not regression.l1
        and not regression.l2
    )
    if not plain:
        return None
    rates = (optimizer.lr.learning_rate, intercept.learning_rate, regression.clip_gradient)
    return np.array([*rates, loss.weight_pos, loss.weight_neg], dtype=np.float64)


_SCALER = "river.preprocessing.scale.StandardScaler"
_REGRESSION = "river.linear_model.log_reg.LogisticRegression"


@_adapts(_REGRESSION)
@_adapts(_SCALER, _REGRESSION)
@_adapts(_path(RobustScaler), _REGRESSION)
def _linear(steps: list[Any], names: tuple[str, ...]) -> Compiled | None:
    windowed = getattr(steps[0], "window_size", None) is not None
    return None if windowed else _Linear(steps, names)


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


@njit(cache=True)
def _learn_gaussians(row: Floats, gaussians: Floats) -> bool:
    """Learn one example of a label in place, as River's ``Var``; return False where a feature is new.

    Args:
        row: (features) NaN where missing.
        gaussians: (features, 3) of the label: count, mean, sum of squares; the count is 0 for a new feature.
    """
    for i in range(len(row)):
        if not math.isnan(row[i]) and gaussians[i, 0] == 0.0:
            return False
    for i in range(len(row)):
        value = row[i]
        if not math.isnan(value):
            gaussians[i, 0] += 1.0
            before = gaussians[i, 1]
            gaussians[i, 1] += (1.0 / gaussians[i, 0]) * (value - before)
            gaussians[i, 2] += 1.0 * (value - before) * (value - gaussians[i, 1])
    return True


class _NaiveBayes:
    """River's ``GaussianNB``: its Gaussians are read into arrays, and learn there while no feature is new."""

    def __init__(self, steps: list[Any], names: tuple[str, ...]) -> None:
        self._estimator: Any = steps[0]
        self._names = names
        #: By label, as `_learn_gaussians` takes them; and examples by label, those of the arrays too.
        self._gaussians: dict[Any, Floats] | None = None
        self._counts: dict[Any, int] = {}
        #: As `_likelihoods` takes them, and the place of the label True; None where they are to be computed.
        self._known: tuple[Floats, Floats, int] | None = None
        self._ahead = False

    def learned(self) -> None:
        """As `Compiled.learned`."""
        self._gaussians = self._known = None

    def flush(self) -> None:
        """As `Compiled.flush`."""
        if not self._ahead or self._gaussians is None:
            return
        for label, gaussians in self._gaussians.items():
            known = self._estimator.gaussians.get(label, {})
            for name, (count, mean, squares) in zip(self._names, gaussians.tolist(), strict=True):
                if count:
                    variance = known[name]._var  # noqa: SLF001 - no way in
                    variance.mean.n, variance.mean._mean, variance._S = count, mean, squares  # noqa: SLF001
        dict.update(self._estimator.class_counts, self._counts)
        self._ahead = False

    def learn(self, row: Floats, label: bool) -> bool:  # noqa: FBT001 - as `Compiled.learn`
        """As `Compiled.learn`."""
        gaussians = self._read().get(label)
        if gaussians is None or not _learn_gaussians(row, gaussians):
            return False
        self._counts[label] += 1
        self._ahead, self._known = True, None
        return True

    def score_rows(self, rows: Floats) -> Floats | None:
        """As `Compiled.score_rows`; None where it never saw a label that is True."""
        self._read()
        if True not in self._counts:
            return None
        self._known = self._known or self._compute()
        gaussians, priors, positive = self._known
        scores: Floats = _shares(_likelihoods(rows, gaussians, priors), positive)
        return scores

    def _compute(self) -> tuple[Floats, Floats, int]:
        """Means, deviations and priors (see `_likelihoods`), and the place of the label True."""
        every, labels, total = self._read(), [*self._counts], sum(self._counts.values())
        known = np.zeros((len(labels), len(self._names), 2))
        for place, label in enumerate(labels):
            gaussians = every[label]
            # As River's density: one value has no deviation, nor have equal ones.
            with np.errstate(invalid="ignore"):
                variances = gaussians[:, 2] / gaussians[:, 0]
            known[place, :, 0] = gaussians[:, 1]
            known[place, :, 1] = np.sqrt(np.where(variances > 0.0, variances, 0.0))
        priors = np.array([math.log(count / total) for count in self._counts.values()])
        return known, priors, labels.index(True)

    def _read(self) -> dict[Any, Floats]:
        """Return the Gaussians by label, which are those of the estimator until they learn."""
        if self._gaussians is not None:
            return self._gaussians
        self._counts = dict(self._estimator.class_counts)
        self._gaussians = {}
        for label in self._counts:
            gaussians = self._gaussians[label] = np.zeros((len(self._names), 3))
            known = self._estimator.gaussians.get(label, {})
            for index, name in enumerate(self._names):
                gaussian = known.get(name)
                if gaussian is not None:
                    variance = gaussian._var  # noqa: SLF001 - as above
                    gaussians[index] = variance.mean.n, variance.mean._mean, variance._S  # noqa: SLF001
        return self._gaussians


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
        """As `Compiled.learned`."""
        self._known = None
        self._asked = 0

    def flush(self) -> None:
        """Do nothing: the tree learns itself."""

    def learn(self, row: Floats, label: bool) -> bool:  # noqa: ARG002, FBT001 - as `Compiled.learn`
        """Return False: the tree learns itself."""
        return False

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
        of_all_classes: it learns from the examples of all classes, and counts their ``positives``.
        mixes: its probability is made of the scores of others; it has one as soon as they have.
        learns_asset: both its calls take the name of the asset, ``asset``; ``knows(asset)`` is whether it can
            score that one.
    """

    probabilities: Probabilities
    learn: Callable[[dict[str, Any], bool], None]
    supervised: bool
    pretrained: bool
    with_none: bool
    learns_lead: bool
    of_all_classes: bool
    mixes: bool
    learns_asset: bool


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
        bool(getattr(last, "of_all_classes", False)),
        bool(getattr(last, "mixes", False)),
        bool(getattr(last, "learns_asset", False)),
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
