"""A model that learns a few of its past failures again and again, so that it does not forget what is rare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflows.estimators.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Rehearsal"]

_MASK = (1 << 64) - 1


class Rehearsal(Stored):
    """Lets a classifier learn its past failures again, one after each so many examples without one.

    When to use it: over a model that forgets (a window, a decay, a tree that prunes), where months pass
    between two failures.

    A reservoir holds a uniform sample of all failures so far (Vitter, "Random sampling with a reservoir",
    ACM TOMS 11, 1985); which ones follows from their number alone. What is learned again makes failures look
    more frequent than they are. Of P failures and R repetitions, the odds that the model gives are multiplied
    by P / (P + R), which is exact where the share of failures is all that changed (Elkan, "The foundations of
    cost-sensitive learning", IJCAI 2001). A model that forgets P and R unequally may need a `Calibration`
    over it.

    A version that starts at a drift begins with an empty reservoir: failures of another world mislead it.

    Args:
        model: with ``learn_one(x, y)`` and ``predict_proba_one(x)``.
        failures: so many are kept.
        every: examples without a failure between two repetitions.

    Raises:
        ValueError: ``failures`` or ``every`` is below 1.

    Example:
        >>> from river.neighbors import KNNClassifier, LazySearch
        >>> def learned(model):
        ...     for number in range(1_000):
        ...         failure = number < 10
        ...         model.learn_one({"pressure": 9.0 if failure else number % 5}, failure)
        ...     return model.predict_proba_one({"pressure": 9.0}).get(True, 0.0)
        >>> def window():
        ...     return KNNClassifier(n_neighbors=3, engine=LazySearch(window_size=200))
        >>> learned(window()), round(learned(Rehearsal(window())), 2)
        (0.0, 1.0)
    """

    _STATE = ("model", "failures", "every", "kept", "positives", "repeated", "since")

    def __init__(self, model: Any, failures: int = 50, every: int = 50) -> None:  # noqa: ANN401 - River's protocol
        if failures < 1 or every < 1:
            msg = f"expected failures >= 1 and every >= 1, got {failures} and {every}"
            raise ValueError(msg)
        self.model = model
        self.failures = failures
        self.every = every
        #: Features of the failures that are kept.
        self.kept: list[dict[str, float]] = []
        self.positives = self.repeated = 0
        #: Examples without a failure since the last repetition.
        self.since = 0

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:  # noqa: FBT001 - River's signature
        """Learn an example, and where it is time, one of the past failures again."""
        self.model.learn_one(dict(x), y)
        if y:
            self._keep(dict(x))
            return
        self.since += 1
        if self.since >= self.every and self.kept:
            self.since = 0
            self.model.learn_one(self.kept[self.repeated % len(self.kept)], True)  # noqa: FBT003 - as above
            self.repeated += 1

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Probability of either label; empty where the model gives none."""
        found = self.model.predict_proba_one(dict(x))
        if not found or not self.repeated:
            return dict(found)
        positive = float(found.get(True, 0.0)) * self.positives / (self.positives + self.repeated)
        negative = 1.0 - float(found.get(True, 0.0))
        total = positive + negative
        return {False: negative / total, True: positive / total}

    def _keep(self, x: dict[str, float]) -> None:
        self.positives += 1
        if len(self.kept) < self.failures:
            self.kept.append(x)
            return
        place = _mixed(self.positives) % self.positives
        if place < self.failures:
            self.kept[place] = x


def _mixed(number: int) -> int:
    """Return 64 bits that look drawn by chance (the finalizer of SplitMix64, Steele et al., OOPSLA 2014)."""
    mixed = (number * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)
