"""Readings relative to the operating condition: found online, for every asset of a class together.

Load changes readings more than wear does. So a class may declare the sensors of its operating condition,
each with a width. The first reading of a condition is its centre. A reading that is further than the width
of a sensor from every centre begins a new condition (leader clustering: J. A. Hartigan, "Clustering
Algorithms", 1975). Each condition keeps the running mean and deviation of the other sensors. Readings of
telemetry are given in deviations from the mean of its condition, by all telemetry of the class before it in
the sequence. Like weather, an event keeps the values it got; later events do not change them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dataflows.fleet.fleet import AssetClass, Relative

    Floats = NDArray[np.float64]

__all__ = ["Conditions", "ConditionsOfClass"]

#: Fewest readings of a condition for a deviation.
_FEWEST = 2
#: After this many readings, one further from the mean than this many deviations is clipped to that distance.
_SETTLED, _LIMIT = 32, 8.0


@njit(cache=True)
def _nearest(centres: Floats, widths: Floats, at: Floats, known: int) -> tuple[int, float]:
    """Return the nearest centre, and its largest distance along one sensor, in widths."""
    best, distance = -1, math.inf
    for number in range(known):
        furthest = 0.0
        for i in range(len(at)):
            furthest = max(furthest, abs(at[i] - centres[number, i]) / widths[i])
        if furthest < distance:
            best, distance = number, furthest
    return best, distance


@njit(cache=True)
def _relative(moments: Floats, values: Floats, *, learns: bool) -> Floats:
    """Return values in deviations from their means, and then add them to the moments.

    Args:
        moments: (3, sensors) counts, means and variances; changed in place.
        values: (sensors) NaN is missing.
        learns: whether they are added.
    """
    found = np.full(len(values), np.nan)
    for i in range(len(values)):
        value, count = values[i], moments[0, i]
        if math.isnan(value):
            continue
        deviation = math.sqrt(moments[2, i])
        if count >= _FEWEST and deviation > 0.0:
            found[i] = (value - moments[1, i]) / deviation
        if not learns:
            continue
        if count >= _SETTLED and deviation > 0.0:
            reach = _LIMIT * deviation
            value = min(max(value, moments[1, i] - reach), moments[1, i] + reach)
        moments[0, i] = count + 1.0
        before = moments[1, i]
        moments[1, i] += (value - before) / moments[0, i]
        moments[2, i] += ((value - before) * (value - moments[1, i]) - moments[2, i]) / moments[0, i]
    return found


class ConditionsOfClass:
    """Operating conditions of one class, with mean and deviation of each sensor in each.

    Args:
        declared: sensors of the condition, and sensors with relative readings.
        state: return value of `state`; None, or that of another declaration: no condition yet.

    Example:
        >>> from dataflows.fleet.fleet import Relative
        >>> pumps = ConditionsOfClass(Relative((("speed", 100.0),), ("flow",), 4))
        >>> for flow in (1.0, 3.0, 1.0, 3.0):
        ...     _ = pumps.relative({"speed": 900.0, "flow": flow})
        >>> pumps.relative({"speed": 950.0, "flow": 4.0}), pumps.relative({"speed": 2000.0, "flow": 4.0})
        ((2.0,), (nan,))
    """

    def __init__(self, declared: Relative, state: Mapping[str, Any] | None = None) -> None:
        self._declared = declared
        self._widths = np.array([width for _, width in declared.by])
        self._centres = np.zeros((declared.most, len(declared.by)))
        self._moments = np.zeros((declared.most, 3, len(declared.sensors)))
        self._known = 0
        if state is not None and state["declared"] == self._declaration():
            self._known = state["known"]
            for array, stored in ((self._centres, state["centres"]), (self._moments, state["moments"])):
                # Of no condition yet there are no bytes, from which no length could be inferred.
                array[: self._known] = np.frombuffer(stored).reshape(self._known, *array.shape[1:])

    def relative(self, readings: Mapping[str, float | None], *, learns: bool = True) -> tuple[float, ...]:
        """Return the readings relative to their condition, NaN if that is unknown; then learn them.

        Args:
            readings: of one event, by sensor.
            learns: whether to learn from the event.
        """
        by = [readings.get(name) for name, _ in self._declared.by]
        at = np.array([math.nan if value is None else value for value in by], dtype=np.float64)
        if np.isnan(at).any():
            return (math.nan,) * len(self._declared.sensors)
        number, distance = _nearest(self._centres, self._widths, at, self._known)
        if distance > 1.0 and self._known < self._declared.most and learns:
            number = self._known
            self._centres[number] = at
            self._known += 1
        if number < 0:
            return (math.nan,) * len(self._declared.sensors)
        given = [readings.get(name) for name in self._declared.sensors]
        values = np.array([math.nan if value is None else value for value in given], dtype=np.float64)
        return tuple(_relative(self._moments[number], values, learns=learns).tolist())

    def _declaration(self) -> list[Any]:
        declared = self._declared
        return [[[name, width] for name, width in declared.by], [*declared.sensors], declared.most]

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "declared": self._declaration(),
            "known": self._known,
            "centres": self._centres[: self._known].tobytes(),
            "moments": self._moments[: self._known].tobytes(),
        }


class Conditions:
    """Operating conditions of each class that declares them.

    Args:
        classes: by name.
        state: return value of `state`, None for a new lane.
    """

    def __init__(
        self, classes: Mapping[str, AssetClass], state: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        stored = state or {}
        self._of = {
            name: ConditionsOfClass(found.relative, stored.get(name))
            for name, found in classes.items()
            if found.relative is not None
        }

    def __bool__(self) -> bool:
        """Whether any class declares conditions."""
        return bool(self._of)

    def relative(
        self, asset_class: str, readings: Mapping[str, float | None], *, learns: bool
    ) -> tuple[float, ...] | None:
        """See `ConditionsOfClass.relative`; None for a class without conditions."""
        found = self._of.get(asset_class)
        return None if found is None else found.relative(readings, learns=learns)

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {name: found.state() for name, found in self._of.items()}
