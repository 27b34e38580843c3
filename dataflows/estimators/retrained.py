"""A batch classifier that is fitted again and again, at exact points of the stream.

`Retrained` keeps the matured examples as they were served, and fits a classifier of scikit-learn or LightGBM
on them every so many examples, or every so many hours of event time. Between two fits the model is frozen. A
fit that starts at one example takes effect at another, ``lag`` later, and runs in a thread until then; so the
scores depend on the stream alone, however long a fit takes.
"""

from __future__ import annotations

import functools
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dataflows.estimators.fitted import fitted
from dataflows.estimators.kept import KEPT_PARTS, MOST_KEPT, KeptExamples
from dataflows.estimators.stored import Stored
from dataflows.instants import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.estimators.fitted import Fitted

    Floats = NDArray[np.float64]

__all__ = ["Fit", "Retrained", "fitting_thread", "weight_parameter"]

#: Rows on which a fitted model is compared with the arrays made of it.
_COMPARED = 64


class Fit(NamedTuple):
    """One fit.

    Attributes:
        low: number of the first example that it sees.
        high: number of the first that it does not see any more.
        effect: the number of examples, or the time, from which on it scores.
        latest: time of the last example that it sees.
        positives: how many of the examples are positive.
        width: number of features.
    """

    low: int
    high: int
    effect: int
    latest: int
    positives: int
    width: int

    def __str__(self) -> str:
        """Say what it is fitted on, as rows of `changes` do."""
        return f"fitted on {self.high - self.low:,} examples, {self.positives:,} of them positive"


@functools.cache
def fitting_thread() -> ThreadPoolExecutor:
    """Return the thread that fits the models of this process, one after the other."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="fit")


def weight_parameter(classifier: Any) -> str | None:  # noqa: ANN401 - of any library
    """Return the name under which ``fit`` takes the weights of examples; None where it takes none."""
    from sklearn.utils.validation import has_fit_parameter  # noqa: PLC0415 - an extra

    name, last = [("", classifier), *getattr(classifier, "steps", ())][-1]
    if not has_fit_parameter(last, "sample_weight"):
        return None
    return f"{name}__sample_weight" if name else "sample_weight"


def _fit(
    classifier: Any,  # noqa: ANN401 - of any library
    values: Floats,
    labels: NDArray[np.int64],
    weights: NDArray[np.int32],
) -> Fitted:
    """Fit a copy of a classifier, on one thread, so that sums are added up in one order."""
    from sklearn.base import clone  # noqa: PLC0415 - an extra
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - comes with scikit-learn

    model = clone(classifier)
    # LightGBM takes all cores by default, whatever OpenMP is limited to.
    model.set_params(
        **{
            f"{name}__n_jobs" if name else "n_jobs": 1
            for name, part in [("", model), *getattr(model, "steps", ())]
            if type(part).__module__.startswith("lightgbm")
        }
    )
    weighted = weight_parameter(classifier) if (weights != 1).any() else None
    with threadpool_limits(1):
        model.fit(values, labels, **({weighted: weights.astype(float)} if weighted else {}))
        rows = values[np.linspace(0, len(values) - 1, min(len(values), _COMPARED)).astype(int)]
        return fitted(model, rows)


def _gathered(values: Floats, places: NDArray[np.intp]) -> Floats:
    """Return columns of the last axis; NaN where the place is -1."""
    found = values[..., places]
    if (places < 0).any():
        found[..., places < 0] = np.nan
    return found


def _span(value: int | str) -> int:
    """Return a number of examples as it is, a duration in microseconds."""
    return parse_duration(value) if isinstance(value, str) else value


class Retrained(Stored):
    """Fits a batch classifier on the matured examples so far, at exact points of the stream.

    When to use it: where boosting or a forest in batches is better than models that learn online, as with
    rare failures and features that act together. It competes with them under the same judge. In a
    ``fleet.toml`` it is made by ``refit_every``, ``keep`` and ``refit_lag`` of a model whose ``pipeline`` is
    of scikit-learn or LightGBM.

    Fits run on one thread and with a fixed seed, so the same stream gives the same scores. What they cost:
    the memory of the examples (8 bytes a feature), and the time of a fit, which is spent beside the scoring
    unless the stream reaches the point at which the fit takes effect before it has ended: then it waits.

    Args:
        classifier: with ``fit(X, y)`` and ``predict_proba(X)``. Missing values are NaN.
        every: examples, or a duration of event time, from one fit to the next.
        keep: a fit sees at most so many of the latest examples.
        lag: examples, or a duration as ``every`` is, from the start of a fit to where it takes effect; None
            for a tenth of ``every``.

    Raises:
        ValueError: ``every`` or ``keep`` is not positive, or ``lag`` is longer than ``every`` or of another
            unit.

    Example:
        >>> from sklearn.tree import DecisionTreeClassifier
        >>> model = Retrained(DecisionTreeClassifier(max_depth=1), every=100, lag=0)
        >>> for number in range(100):
        ...     model.learn_one({"pressure": float(number % 10)}, number % 10 > 6)
        >>> model.predict_proba_one({"pressure": 9.0})[True], model.predict_proba_one({"pressure": 1.0})[True]
        (1.0, 0.0)
    """

    _STATE = ("classifier", "every", "keep", "lag", "names", "model", "current", "pending", "reached", "own")

    def __init__(
        self,
        classifier: Any,  # noqa: ANN401 - of any library
        every: int | str,
        keep: int = 100_000,
        lag: int | str | None = None,
    ) -> None:
        self.classifier = classifier
        self.every = every
        self.keep = keep
        self.lag: int | str = _span(every) // 10 if lag is None and not isinstance(every, str) else 0
        if lag is not None:
            self.lag = lag
        elif isinstance(every, str):
            self.lag = f"{_span(every) // 10}us"
        if not (_span(every) > 0 and 0 < keep <= MOST_KEPT):
            msg = f"expected every > 0 and keep from 1 to {MOST_KEPT:,}, got {every} and {keep}"
            raise ValueError(msg)
        if isinstance(self.lag, str) != isinstance(every, str) or not 0 <= _span(self.lag) <= _span(every):
            msg = f"expected a lag from 0 to {every}, in the same unit, got {self.lag}"
            raise ValueError(msg)
        #: Columns of the features, by name.
        self.names: dict[str, int] = {}
        #: The fitted classifier that scores now, and its fit; None before the first one.
        self.model: Fitted | None = None
        self.current: Fit | None = None
        #: The fit that runs, or waits for its place in the stream.
        self.pending: Fit | None = None
        #: The last multiple of ``every`` that the stream passed.
        self.reached: int | None = None
        self._start_empty()

    def _start_empty(self) -> None:
        self._kept: KeptExamples | None = None
        #: Places of the columns in the shared examples, -1 for a feature that is gone.
        self._places: NDArray[np.intp] | None = None
        self._running: Future[Fitted] | None = None
        #: Names of the columns that rows were scored by last, and the places of the features in them.
        self._asked: tuple[str, ...] | None = None
        self._order = np.empty(0, dtype=np.intp)
        #: Whether a fit started or took effect since the state was written.
        self.changed = True

    def share(self, kept: KeptExamples, features: Sequence[str], names: Sequence[str]) -> None:
        """Fit on examples that several models share, to which their owner adds.

        Args:
            kept: the examples; each is added before `learn_one` is called.
            features: names of their values.
            names: of the features that this model sees; one that was fitted before sees the same as then.
        """
        self.names = self.names or {name: column for column, name in enumerate(names)}
        places = {name: place for place, name in enumerate(features)}
        self._kept = kept
        self._places = np.array([places.get(name, -1) for name in self.names], dtype=np.intp)
        if self.pending is not None:
            self._submit(self.pending)

    @property
    def needed(self) -> int:
        """Number of the oldest example that a fit can still need."""
        count = 0 if self._kept is None else self._kept.count
        return min(count - self.keep, count if self.pending is None else self.pending.low)

    def learn_one(self, x: Mapping[str, float], y: bool, time: int = 0) -> None:  # noqa: FBT001 - River's signature
        """Keep one example; with ``every`` examples, a fit starts or takes effect where it is due.

        Args:
            x: features, ignored where the examples are shared.
            y: its label.
            time: of the example in microseconds, for `reach`; ignored where the examples are shared.
        """
        kept = self._kept = KeptExamples(0) if self._kept is None else self._kept
        if self._places is None:
            if self.by_time:
                self.reach(time)
            self._add(kept, x, y, time)
        if not self.by_time:
            self._reach(kept, kept.count)
        if self._places is None:
            kept.drop_before(self.needed)

    def reach(self, time: int) -> None:
        """With ``every`` a duration, start a fit or let one take effect where time has reached its place.

        Args:
            time: in microseconds, never smaller than before: by which the labels of all kept examples were
                known.
        """
        if self._kept is not None:
            self._reach(self._kept, time)

    @property
    def due(self) -> int | None:
        """The time at which `reach` does something next; None where it never does."""
        if self._kept is None or not self.by_time:
            return None
        start = ((self.reached or 0) + 1) * _span(self.every)
        return start if self.pending is None else min(start, self.pending.effect)

    @property
    def by_time(self) -> bool:
        """Whether ``every`` is a duration."""
        return isinstance(self.every, str)

    def _reach(self, kept: KeptExamples, now: int) -> None:
        if self.pending is not None and now >= self.pending.effect:
            self._take_effect()
        every = _span(self.every)
        start = now // every
        if start > (self.reached or 0):
            self.reached, self.changed = start, True
            self._begin(kept, start * every + _span(self.lag))
            if self.pending is not None and now >= self.pending.effect:
                self._take_effect()

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Probability of either label; empty before the first fit."""
        if self.model is None or self.current is None:
            return {}
        values = np.full(len(self.names), np.nan)
        for name, value in x.items():
            if name in self.names:
                values[self.names[name]] = value
        positive = float(self.model.score_rows(values[np.newaxis, : self.current.width])[0])
        return {False: 1.0 - positive, True: positive}

    def score_rows(self, rows: Floats, names: tuple[str, ...]) -> Floats | None:
        """Probability of True of each row (n, features); None before the first fit.

        Args:
            rows: NaN where missing.
            names: of their columns.
        """
        if self.model is None or self.current is None:
            return None
        if names is not self._asked:
            places = {name: place for place, name in enumerate(names)}
            self._order = np.array([places.get(name, -1) for name in self.names], dtype=np.intp)
            self._asked = names
        return self.model.score_rows(_gathered(rows, self._order[: self.current.width]))

    @property
    def own(self) -> Any:  # noqa: ANN401 - plain data
        """Examples of its own, as plain data; None where they are shared."""
        if self._kept is None or self._places is not None:
            return None
        parts = {part: self._kept.part(part) for part in range(KEPT_PARTS)}
        return [self._kept.width, parts]

    @own.setter
    def own(self, stored: Any) -> None:  # noqa: ANN401 - as above
        self._start_empty()
        self.changed = False
        self.current = None if self.current is None else Fit(*self.current)
        self.pending = None if self.pending is None else Fit(*self.pending)
        if stored is not None:
            width, parts = stored
            self._kept = KeptExamples.restored(width, parts)
            if self.pending is not None:
                self._submit(self.pending)

    def _add(self, kept: KeptExamples, x: Mapping[str, float], y: bool, time: int) -> None:  # noqa: FBT001
        new = [name for name in x if name not in self.names]
        if new:
            known = len(self.names)
            self.names.update((name, known + place) for place, name in enumerate(new))
            kept.widen(len(self.names))
            self._asked = None
        values = np.full(kept.width, np.nan)
        for name, value in x.items():
            values[self.names[name]] = value
        kept.add(values, int(y), time)

    def _begin(self, kept: KeptExamples, effect: int) -> None:
        """Start a fit, unless the examples have one label only."""
        if self.pending is not None:
            self._take_effect()
        low, high = max(kept.first, kept.count - self.keep), kept.count
        positives = kept.positives(low, high)
        if 0 < positives < high - low:
            width = kept.width if self._places is None else len(self._places)
            self.pending = Fit(low, high, effect, kept.time(high - 1), positives, width)
            self._submit(self.pending)

    def _submit(self, fit: Fit) -> None:
        """Run a fit in the thread."""
        if self._kept is None:
            return
        values, labels = self._kept.between(fit.low, fit.high)
        values = values[:, : fit.width] if self._places is None else _gathered(values, self._places)
        weights = self._kept.weights(fit.low, fit.high)
        self._running = fitting_thread().submit(_fit, self.classifier, values, labels, weights)

    def _take_effect(self) -> None:
        """Score with the pending fit from now on, once it has ended.

        Raises:
            Exception: whatever the classifier raises; the former fit goes on scoring.
        """
        fit, running = self.pending, self._running
        self.pending, self._running, self.changed = None, None, True
        if fit is not None and running is not None:
            self.model = running.result()
            self.current = fit
