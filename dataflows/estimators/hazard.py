"""When an asset will fail: probabilities of a failure within parts of the horizon, and hours to failure."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dataflows.estimators.online import BayesianLogistic
from dataflows.estimators.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Hazard", "IntervalLevels", "TimeLeft"]

#: Shares of the failures below the lower end, the median and the upper end of the interval of 80 %.
_LOW, _MEDIAN, _HIGH = 0.1, 0.5, 0.9


class TimeLeft(NamedTuple):
    """Distribution of the hours to a failure, given that there is one within the horizon.

    Attributes:
        hours: ends of the parts of the horizon, ascending from 0 to the horizon.
        shares: probability of a failure up to each, ascending from 0 to 1.
    """

    hours: tuple[float, ...]
    shares: tuple[float, ...]

    def within(self, hours: float, score: float) -> float:
        """Probability of a failure within some hours, where that within the horizon is the score.

        >>> TimeLeft((0.0, 10.0, 30.0), (0.0, 0.5, 1.0)).within(10.0, 0.8)
        0.4
        """
        return score * float(np.interp(hours, self.hours, self.shares))

    def quantile(self, share: float, score: float) -> float | None:
        """Hours within which it fails with a probability; None where they are beyond the horizon.

        >>> left = TimeLeft((0.0, 10.0, 30.0), (0.0, 0.5, 1.0))
        >>> left.quantile(0.4, 0.8), left.quantile(0.9, 0.8)
        (10.0, None)
        """
        return None if score < share else float(np.interp(share / score, self.shares, self.hours))

    def reached(self, hours: float | None, score: float) -> float:
        """Probability that was given to a failure by the time at which it came; infinite where none came.

        >>> left = TimeLeft((0.0, 10.0, 30.0), (0.0, 0.5, 1.0))
        >>> left.reached(20.0, 0.8), left.reached(None, 0.8)
        (0.6000000000000001, inf)
        """
        return math.inf if hours is None else self.within(hours, score)

    def interval(
        self, score: float, levels: tuple[float, float] = (_LOW, _HIGH)
    ) -> tuple[float | None, float | None, float | None]:
        """Lower end, median and upper end of the hours to failure.

        Args:
            score: probability of a failure within the horizon.
            levels: probabilities of a failure by the lower and by the upper end, see `IntervalLevels`.

        >>> TimeLeft((0.0, 10.0, 30.0), (0.0, 0.5, 1.0)).interval(0.2)
        (10.0, None, None)
        """
        low, median, high = (self.quantile(share, score) for share in (levels[0], _MEDIAN, levels[1]))
        return low, median, high


class IntervalLevels:
    """The probabilities at which an interval of the hours to failure ends, so that it covers 80 %.

    Only an example that would surely fail has an upper end: where the score is at least `SURE`. A model that
    is right about probabilities ends the interval where it gives 10 % and 90 % to an earlier failure. Others
    are too wide, or surprised too often. So the ends follow what came: each of the latest of these examples
    has the probability that had been given to a failure by the time at which it came, as served
    (`TimeLeft.reached`), and of n of these the levels are those of rank (n + 1) / 10 from below and above.
    Where no failure came within the horizon the time is above every end (censored).

    Sources: V. Kuleshov, N. Fenner, S. Ermon, "Accurate uncertainties for deep learning using calibrated
    regression", ICML 2018, for levels of probabilities; V. Vovk, A. Gammerman, G. Shafer, "Algorithmic
    learning in a random world", 2005, for the ranks; I. Gibbs and E. Candès, "Adaptive conformal inference
    under distribution shift", NeurIPS 2021, for levels that follow the stream. Their guarantee needs labels
    at once; here these come a horizon late, so coverage is measured, not promised. Examples of one failure
    share its time, so it takes as many failures as anywhere to be sure.

    Args:
        reached: the latest probabilities, in the order in which they became known.

    Example:
        >>> levels = IntervalLevels()
        >>> levels.ends
        (0.075, 0.925)
        >>> for number in range(200):
        ...     levels.add(0.3 + 0.4 * (number % 20) / 20)
        >>> [round(end, 2) for end in levels.ends]
        [0.32, 0.66]
    """

    #: From this score on an interval has both ends, and an example counts. The two go together: ends that are
    #: found among sure examples, but serve others too, cover these less often.
    SURE = 0.9
    #: So many latest ones are remembered; at first, so many even ones stand for a model that is right.
    _LATEST = 1_000
    _ASSUMED = 20
    #: The ends stay apart, and inside.
    _BORDERS = ((0.005, 0.45), (0.55, 0.995))

    def __init__(self, reached: Iterable[float] = ()) -> None:
        self._latest = deque(reached)
        assumed = ((number + 0.5) / self._ASSUMED for number in range(self._ASSUMED))
        self._sorted = sorted([*self._latest, *assumed])

    @property
    def reached(self) -> list[float]:
        """The latest probabilities, in the order in which they became known."""
        return [*self._latest]

    @property
    def ends(self) -> tuple[float, float]:
        """Probabilities of a failure by the lower and by the upper end of an interval."""
        # Of n + 1 in any order the last lies beyond the rank (n + 1) / 10 of the others a tenth of the time.
        rank = int(_LOW * (len(self._sorted) + 1))
        places = rank - 1, len(self._sorted) - rank
        low, high = (
            min(max(self._sorted[place], least), largest)
            for place, (least, largest) in zip(places, self._BORDERS, strict=True)
        )
        return low, high

    def interval(self, left: TimeLeft, score: float) -> tuple[float | None, float | None, float | None]:
        """Lower end, median and upper end of the hours to failure, see `TimeLeft.interval`.

        >>> left = TimeLeft((0.0, 10.0, 30.0), (0.0, 0.5, 1.0))
        >>> levels = IntervalLevels()
        >>> [None if end is None else round(end, 2) for end in levels.interval(left, 0.94)]
        [1.6, 11.28, 29.36]
        >>> [None if end is None else round(end, 2) for end in levels.interval(left, 0.89)]
        [1.69, 12.47, None]
        """
        low, median, high = left.interval(score, self.ends)
        return low, median, high if score >= self.SURE else None

    def add(self, reached: float) -> None:
        """Add what became known of one example whose score was at least `SURE`."""
        self._latest.append(reached)
        insort(self._sorted, reached)
        if len(self._latest) > self._LATEST:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]


class Hazard(Stored):
    """Discrete-time hazard: when within the horizon an asset fails, by a chain of logistic regressions.

    When to use it: as the model ``hours`` of a target, which gives its predictions the hours to failure and
    the probabilities ``within`` shorter horizons; it may compete as a model, too. One regression learns
    whether there is a failure within the horizon, from every example. For each part of the horizon another
    one learns, from positives alone, whether a failure that came by the end of the next part came by the end
    of this one (D. R. Cox, "Regression models and life-tables", JRSS-B 34, 1972, in discrete time). So the
    probabilities ascend with the hours, for any features.

    Args:
        horizon: hours; that of the target.
        parts: number of parts of the horizon.
        variance: prior variance of a weight, see `BayesianLogistic`.
        memory: about how many examples back each regression remembers.
        limit: see `BayesianLogistic`.

    Raises:
        ValueError: a parameter is not positive.

    Example:
        >>> model = Hazard(horizon=30, parts=3)
        >>> for number in range(600):
        ...     left = 60 - number % 60
        ...     model.learn_one({"wear": -left}, left <= 30, lead=left if left <= 30 else None)
        >>> left = model.time_left({"wear": -8.0})
        >>> low, median, high = left.interval(1.0)
        >>> low < median < high, 5 < median < 12
        (True, True)
    """

    _STATE = ("horizon", "parts", "dated", "regressions")
    #: `learn_one` gets the hours to failure.
    learns_lead = True

    def __init__(
        self, horizon: float, parts: int = 8, variance: float = 0.1, memory: int = 30_000, limit: float = 8.0
    ) -> None:
        if not (horizon > 0 and parts >= 1):
            msg = f"expected horizon > 0 and parts >= 1, got {horizon} and {parts}"
            raise ValueError(msg)
        self.horizon = float(horizon)
        self.parts = parts
        #: Positives whose hours were known.
        self.dated = 0
        self._failing = BayesianLogistic(variance, memory, limit)
        self._by = [BayesianLogistic(variance, memory, limit) for _ in range(parts - 1)]

    @property
    def regressions(self) -> list[bytes]:
        """All regressions as they are stored: whether it fails, then by the end of each part but the last."""
        return [each.to_bytes() for each in (self._failing, *self._by)]

    @regressions.setter
    def regressions(self, stored: Sequence[bytes]) -> None:
        self._failing, *self._by = (BayesianLogistic.from_bytes(each) for each in stored)

    @property
    def ends(self) -> tuple[float, ...]:
        """Ends of the parts in hours, from 0."""
        return tuple(self.horizon * number / self.parts for number in range(self.parts + 1))

    def learn_one(self, x: Mapping[str, float], y: bool, lead: float | None = None) -> None:  # noqa: FBT001 - River's signature
        """Learn whether it failed within the horizon, and when.

        Args:
            x: features.
            y: whether it failed.
            lead: hours to the failure, None where they are not known.
        """
        features = dict(x)
        self._failing.learn_one(features, y)
        if not y or lead is None:
            return
        self.dated += 1
        for by, (end, after) in zip(self._by, pairwise(self.ends[1:]), strict=True):
            if lead <= after:
                by.learn_one(features, lead <= end)

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Probability of a failure within the horizon."""
        return self._failing.predict_proba_one(dict(x))

    def score_rows(self, rows: Floats, names: tuple[str, ...]) -> Floats:
        """As `predict_proba_one`, of many rows; see `BayesianLogistic.score_rows`."""
        return self._failing.score_rows(rows, names)

    def time_left(self, x: Mapping[str, float]) -> TimeLeft | None:
        """Distribution of the hours to a failure within the horizon; None before one was learned."""
        if not self.dated:
            return None
        return TimeLeft(self.ends, tuple(self._shares(dict(x)).tolist()))

    def _shares(self, x: dict[str, float]) -> Floats:
        """Probability of a failure up to the end of each part, given one within the horizon."""
        shares = np.ones(self.parts + 1)
        for number in range(self.parts - 1, 0, -1):
            shares[number] = shares[number + 1] * self._by[number - 1].predict_proba_one(x)[True]
        shares[0] = 0.0
        return shares
