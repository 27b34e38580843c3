"""Detect that the mean of a series has moved, under a budget of false alarms.

`Detectors` watches many series at once, one value a block for each. The first ``REFERENCE`` values of a
series are its reference: their mean, standard deviation and first autocorrelation. Every later value z, in
standard deviations from that mean and clipped at 5, moves two e-detectors of Shiryaev and Roberts, upwards
and downwards:

    M <- (M + 1) * exp(s * (z - tolerance) - s * s * variance / 2)

with stakes s from 1/8 to 2, whose mean counts. Before a change the expectation of M grows by at most 1 a
block, if z is sub-Gaussian with that variance about a mean of at most the tolerance. So among K series, with
two sides each, at most alpha alarms are expected a block where M has to reach 2 K / alpha, however the series
depend on each other (e-d-Bonferroni). Variance and tolerance grow with the autocorrelation of the reference,
since neighbouring blocks are alike, and a short reference misses the mean by more. After an alarm the series
gets a new reference.

Thirty values tell little of an autocorrelation. Among many series some look independent by chance, and raise
false alarms as soon as their reference is complete. So each estimate is drawn towards the mean of all series,
by empirical Bayes: the more, the less the estimates differ beyond their standard error.

The evidence of a side began after the last block in which the sum of z - tolerance, never below 0, was 0.
The *effect* is the mean distance from the reference since then. An alarm needs an effect of at least the
floor of its series, too: what is beyond doubt may be too small to matter.

The assumption is an approximation, because mean and deviation are estimates; `python -m studies drift` holds
it against autocorrelated and heavy-tailed series.

Sources: Shin, Ramdas and Rinaldo, "E-detectors", arXiv 2203.03532; Dandapanthula and Ramdas, "Multiple
testing in multi-stream sequential change detection", arXiv 2501.04130; Efron and Morris, "Stein's estimation
rule and its competitors", JASA 68, 1973.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["REFERENCE", "Alarm", "Detectors", "beyond"]

#: Blocks of a reference.
REFERENCE = 30
#: In standard deviations of a block, of a series without autocorrelation.
_TOLERANCE = 0.8
#: Instead of 1, since the standard deviation is an estimate.
_VARIANCE = 1.5
_CLIP = 5.0
_STAKES: Floats = 2.0 ** np.arange(-3.0, 2.0)
_MOST_CORRELATED = 0.9
#: Variance of an estimated correlation, on Fisher's scale (atanh).
_ESTIMATE = 1.0 / (REFERENCE - 3)
#: How much autocorrelations of a few series are supposed to differ on that scale: this variance, with the
#: weight of so many series.
_DIFFER, _SUPPOSED = 0.09, 2.0
#: A series that did not vary has this standard deviation, so that its first change is one.
_LEAST = 1e-9


def beyond(chance: float) -> float:
    """Return the standard errors beyond which a mean is by chance, on either side, with this probability.

    By Student's t: 30 values that depend on each other tell a deviation about as well as ten that do not.

    >>> round(beyond(0.05), 2)
    2.23
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second, which only an alarm needs

    return float(stdtrit(REFERENCE // 3, 1.0 - chance / 2.0))


class Alarm(NamedTuple):
    """The mean of a series has moved.

    Attributes:
        series: its number.
        side: where it moved.
        evidence: log of the e-detector.
        reference: mean of the reference.
        deviation: of the last value, in standard deviations of the reference.
        effect: mean distance from the reference since the evidence began.
        blocks: since the evidence began.
    """

    series: int
    side: Literal["up", "down"]
    evidence: float
    reference: float
    deviation: float
    effect: float
    blocks: int


class Detectors:
    """E-detectors of many series.

    Args:
        count: of the series.
        alpha: false alarms that are expected a block at most, of all series together.
        state: what `state` returned, None for new ones.
        floors: (count) least effect of an alarm; None: any effect is enough.

    >>> detectors = Detectors(1, alpha=1 / 365)
    >>> chance = np.random.default_rng(1)
    >>> before = [detectors.add(np.array([value])) for value in chance.normal(10, 1, 200)]
    >>> after = [detectors.add(np.array([value])) for value in chance.normal(16, 1, 10)]
    >>> any(before), [alarms[0].side for alarms in after if alarms]
    (False, ['up'])
    """

    def __init__(
        self,
        count: int,
        alpha: float,
        state: Mapping[str, Any] | None = None,
        floors: Floats | None = None,
    ) -> None:
        self._floors = np.zeros(count) if floors is None else floors
        self.needed = math.log(2.0 * count / alpha)
        self._values = np.full((REFERENCE, count), np.nan)
        self._seen = np.zeros(count, dtype=np.int64)
        #: Mean, standard deviation, variance and tolerance of each series.
        self._reference = np.zeros((4, count))
        self._m = np.zeros((2, len(_STAKES), count))
        #: By side, since the evidence began: sum of z - tolerance, blocks, sum of distances from the mean.
        self._since = np.zeros((2, 3, count))
        self._last = np.full(count, np.nan)
        if state is not None:
            self._seen[:] = state["seen"]
            arrays = {
                "values": self._values,
                "reference": self._reference,
                "m": self._m,
                "since": self._since,
            }
            for name, array in arrays.items():
                array[...] = np.frombuffer(state[name]).reshape(array.shape)
            self._last[:] = np.frombuffer(state["last"])

    def add(self, values: Floats) -> list[Alarm]:
        """Add one value of each series; NaN where a series has none.

        Returns:
            An alarm of each series whose mean has moved; these begin a new reference.
        """
        given = ~np.isnan(values)
        self._last = np.where(given, values, self._last)
        ready = given & (self._seen >= REFERENCE)
        learning = np.flatnonzero(given & ~ready)
        self._values[self._seen[learning], learning] = values[learning]
        self._seen[learning] += 1
        self._fix_reference(learning[self._seen[learning] == REFERENCE])
        mean, deviation, variance, tolerance = self._reference
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.clip((values - mean) / deviation, -_CLIP, _CLIP)
        stakes = _STAKES[:, None]
        for side, signed in enumerate((z, -z)):
            grown = (self._m[side] + 1.0) * np.exp(
                stakes * (signed - tolerance) - stakes * stakes * variance / 2
            )
            self._m[side] = np.where(ready, np.minimum(grown, 1e300), self._m[side])
            since = self._since[side] + (signed - tolerance, np.ones(len(z)), values - mean)
            since[:, since[0] <= 0.0] = 0.0
            self._since[side] = np.where(ready, since, self._since[side])
        alarms = [
            self._alarm(series, side, values)
            for series, side in self._beyond(ready)
            if self._effect(series, side) >= self._floors[series]
        ]
        for alarm in alarms:
            self.restart(alarm.series)
        return alarms

    def _beyond(self, ready: NDArray[np.bool_]) -> list[tuple[int, int]]:
        """Return the series with enough evidence, and the side of it."""
        evidence = self._evidence()
        found = np.flatnonzero(ready & (evidence.max(axis=0) >= self.needed)).tolist()
        return [(series, int(evidence[:, series].argmax())) for series in found]

    def _effect(self, series: int, side: int) -> float:
        blocks, distance = map(float, self._since[side, 1:, series])
        return abs(distance) / max(blocks, 1.0)

    def _alarm(self, series: int, side: int, values: Floats) -> Alarm:
        mean, deviation = self._reference[:2, series].tolist()
        effect = self._effect(series, side)
        return Alarm(
            series,
            "down" if side else "up",
            float(self._evidence()[side, series]),
            mean,
            (float(values[series]) - mean) / deviation,
            -effect if side else effect,
            int(self._since[side, 1, series]),
        )

    def restart(self, series: int) -> None:
        """Begin a new reference of a series."""
        self._seen[series] = 0
        self._m[:, :, series] = 0.0
        self._since[:, :, series] = 0.0

    def _fix_reference(self, done: NDArray[np.intp]) -> None:
        """Compute the reference of series that have enough values."""
        if not len(done):
            return
        values = self._values[:, done]
        square = np.maximum(((values - values.mean(axis=0)) ** 2).sum(axis=0), _LEAST**2)
        alike = np.clip(self._correlations()[done], 0.0, _MOST_CORRELATED)
        factor = (1.0 + alike) / (1.0 - alike)
        least = np.maximum(self._floors[done] / 5.0, _LEAST)
        deviation = np.maximum(np.sqrt(square / (REFERENCE - 1)), least)
        self._reference[:, done] = (
            values.mean(axis=0),
            deviation,
            _VARIANCE * factor,
            _TOLERANCE * np.sqrt(factor),
        )

    def _correlations(self) -> Floats:
        """First autocorrelation of each series with a complete reference; 0 of the others.

        Posterior means of normal variables on Fisher's scale, whose mean and variance are those of all
        series that varied.
        """
        ready = np.flatnonzero(self.ready())
        off = self._values[:, ready] - self._values[:, ready].mean(axis=0)
        square = (off**2).sum(axis=0)
        raw = (off[1:] * off[:-1]).sum(axis=0) / np.maximum(square, _LEAST**2)
        # The estimate from a short series is too small by about (1 + 4 * correlation) / REFERENCE.
        own = np.arctanh(np.clip((raw + 1.0 / REFERENCE) / (1.0 - 4.0 / REFERENCE), -0.95, 0.95))
        varied = square > _LEAST**2
        if varied.any():
            mean = own[varied].mean()
            differ = ((own[varied] - mean) ** 2).sum() + _SUPPOSED * (_DIFFER + _ESTIMATE)
            real = max(0.0, differ / (varied.sum() - 1.0 + _SUPPOSED) - _ESTIMATE)
            own[varied] = mean + real / (real + _ESTIMATE) * (own[varied] - mean)
        found = np.zeros(len(self._seen))
        found[ready] = np.tanh(own)
        return found

    def _evidence(self) -> Floats:
        with np.errstate(divide="ignore"):
            logs: Floats = np.log(self._m.mean(axis=1))
        return logs

    def evidence(self) -> list[float]:
        """Log of the larger e-detector of both sides, of each series."""
        found: list[float] = self._evidence().max(axis=0).tolist()
        return found

    def shown(self, series: int) -> dict[str, float | None]:
        """Last value, mean of the reference, deviation from it and evidence; None before a reference."""
        last = float(self._last[series])
        value = None if math.isnan(last) else last
        if self._seen[series] < REFERENCE:
            return {"value": value, "reference": None, "deviation": None, "evidence": None}
        mean, deviation = self._reference[:2, series].tolist()
        evidence = float(self._evidence()[:, series].max())
        return {
            "value": value,
            "reference": mean,
            "deviation": None if value is None else (value - mean) / deviation,
            "evidence": evidence if math.isfinite(evidence) else None,
        }

    def distances(self, means: Floats, blocks: int) -> Floats:
        """How far means over blocks are from the latest references, in their standard errors.

        Args:
            means: of each series.
            blocks: number of values of each mean.

        Returns:
            One number a series; NaN before its first reference. A series that had an alarm is compared with
            the reference of before until its new one is complete.
        """
        mean, deviation, variance, _ = self._reference
        factor = variance / _VARIANCE * (1.0 / blocks + 1.0 / REFERENCE)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = (means - mean) / (deviation * np.sqrt(factor))
        found[deviation == 0.0] = np.nan
        return found

    def distance(self, series: int, means: Floats, blocks: NDArray[np.int64]) -> Floats:
        """The same of several means of one series."""
        mean, deviation, variance, _ = self._reference[:, series]
        factor = variance / _VARIANCE * (1.0 / blocks + 1.0 / REFERENCE)
        found: Floats = (means - mean) / np.maximum(deviation * np.sqrt(factor), _LEAST)
        return found

    def means(self) -> Floats:
        """Mean of the latest reference of each series; 0 before the first."""
        means: Floats = self._reference[0].copy()
        return means

    def ready(self) -> NDArray[np.bool_]:
        """Whether the reference of each series is complete."""
        return self._seen >= REFERENCE

    def shares(self) -> Floats:
        """Share of the needed evidence that each series has; 0 before a reference, or without evidence."""
        logs = np.where(self._seen >= REFERENCE, self._evidence().max(axis=0), 0.0)
        return np.maximum(logs, 0.0) / self.needed

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "seen": self._seen.tolist(),
            "values": self._values.tobytes(),
            "reference": self._reference.tobytes(),
            "m": self._m.tobytes(),
            "since": self._since.tobytes(),
            "last": self._last.tobytes(),
        }
