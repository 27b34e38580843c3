"""Further detectors of drift, as River has them: their statistics are reported, and they raise no alarms.

A detector of ``drift_detectors`` is given the champion's Brier loss of each settled example, in the order of
(time, asset), as its authors mean it. What it reports is no alarm, since it promises no number of false ones.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from dataflows.estimators import from_stored, to_stored
from dataflows.instants import format_instant
from dataflows.items import in_words
from dataflows.outputs import DetectorMetrics
from dataflows.target.evidence import losses
from dataflows.target.models import RIVER, read_models, sealed_models
from dataflows.target.monitors import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dataflows.items import Item
    from dataflows.outputs import OutputRow
    from dataflows.target.examples import Example
    from dataflows.target.monitors import Context, Period, Rows

__all__ = ["RiverDetectors"]

#: Public numbers of River's detectors.
_STATISTICS = ("estimation", "n_detections", "total", "variance", "width", "p_value", "statistic")


class RiverDetectors(Monitor):
    """The further detectors of one target.

    Args:
        build: makes a new detector, by name.
        key: signs them as they are stored; None: they are not signed.
        state: what `state` returned, None for a new target.
    """

    name: ClassVar[str] = "detectors"

    def __init__(
        self, build: Mapping[str, Callable[[], Any]], key: bytes | None, state: Mapping[str, Any] | None
    ) -> None:
        self._key = key
        kept: Mapping[str, Any] = state or {"counts": {}, "detectors": b""}
        stored = read_models({0: kept["detectors"]}, key) if kept["counts"] else {}
        #: By name: losses, changes in the period, changes ever, example time of the latest, the last error.
        self._counts: dict[str, list[Any]] = {}
        self._detectors: dict[str, Any] = {}
        for name, make in build.items():
            self._counts[name] = [*kept["counts"].get(name, (0, 0, 0, None, None))]
            self._detectors[name] = from_stored(stored[name][2]) if name in stored else make()

    @classmethod
    @override
    def open(cls, context: Context, state: Any) -> RiverDetectors | None:
        """Return the further detectors of a target, None where it has none."""
        policy = context.target.drift
        return cls(policy.detectors, context.store_key, state) if policy and policy.detectors else None

    @override
    def settled(self, item: Item, example: Example) -> Rows:
        """Give each detector the champion's loss."""
        score = example.scores.get(example.champion)
        if example.label not in {0, 1} or score is None:
            return ()
        self.changed = True
        loss = losses(score, "brier")[example.label]
        for name, detector in self._detectors.items():
            counts = self._counts[name]
            try:
                detector.update(loss)
                detected = bool(detector.drift_detected)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - foreign code; the rest goes on
                counts[4] = in_words(error)
                continue
            counts[0] += 1
            counts[1] += detected
            counts[2] += detected
            if detected:
                counts[3] = example.time
        return ()

    @override
    def period_rows(self, period: Period) -> Sequence[OutputRow]:
        """Return a row for each detector that was given a loss."""
        return [
            DetectorMetrics(
                target=period.target,
                detector=name,
                examples=examples,
                detected=detected,
                ever=ever,
                latest=None if latest is None else format_instant(latest),
                statistics=_statistics(self._detectors[name]),
                error=error,
                **period.fields,
            )
            for name, (examples, detected, ever, latest, error) in self._counts.items()
            if examples or error
        ]

    @override
    def begin_period(self) -> None:
        """Count changes of the next period."""
        for counts in self._counts.values():
            counts[1] = 0
        self.changed = True

    @override
    def state(self) -> dict[str, Any]:
        """Return plain data, and the detectors as pickles, signed as models are."""
        pickles = {name: (0, RIVER, 1, to_stored(found)) for name, found in self._detectors.items()}
        return {"counts": self._counts, "detectors": sealed_models(pickles, self._key)}


def _statistics(detector: object) -> dict[str, float]:
    """Return the public numbers of a detector that it has."""
    found = {}
    for name in _STATISTICS:
        value = getattr(detector, name, None)
        if isinstance(value, int | float) and math.isfinite(value):
            found[name] = float(value)
    return found
