"""Windows of an asset whose gateway sends one sensor a message: a time is scored when it is complete.

The newest time is held until each required sensor has a reading for it, until newer telemetry comes, until a
fault moves the watermark past it, or until the asset is silent for `idle_timeout` or retired. Until then it
moves the watermark and can be merged and repeated like any other, but no window holds it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from dataflows.asset.windows import WindowPlan, Windows
from dataflows.event_time import Placement
from dataflows.events import AssetEvent, Failure, Fault, Maintenance, Registration, Telemetry, kind_of
from dataflows.items import Expiry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.asset.plan import ClassPlan
    from dataflows.items import LateWeather

__all__ = ["HeldReadings"]


class HeldReadings(Windows):
    """Windows that hold the newest time until it is complete.

    Args:
        plan: the layout of its class, with the sensors that are required.
        state: what `state` returned, None for a new asset.
    """

    __slots__ = ()

    def __init__(self, plan: WindowPlan, state: dict[str, Any] | None = None) -> None:
        super().__init__(plan, state)
        if state is not None:
            self.held = state.get("held")

    def _ends_wait(self, time: int) -> bool:
        """Whether an event of this time ends the wait of the time that is held."""
        return self.held is not None and time > self.held

    def ends_with(
        self,
        event: AssetEvent | Expiry | LateWeather,
        plan: ClassPlan,
        plans: Mapping[str, ClassPlan],
    ) -> bool:
        """Whether the time that is held is scored before an event takes effect.

        Args:
            event: of its asset.
            plan: of its class.
            plans: of every class.
        """
        if isinstance(event, Telemetry):
            return self._ends_wait(event.time)
        if isinstance(event, Fault):
            # It may have overtaken messages of the time that is held; none can come past the watermark.
            return self._ends_wait(event.time - self._plan.lateness)
        if isinstance(event, Failure | Maintenance):
            # A reset drops readings of its own time too.
            return kind_of(event) in plan.resets and self._ends_wait(event.time + 1)
        if isinstance(event, Registration):
            leaves = event.retired or plans[event.asset_class] is not plan
            return leaves and self.held is not None
        # The asset has been silent for idle_timeout: the time is scored with the readings it has.
        return isinstance(event, Expiry) and self.held is not None

    def close(self) -> int | None:
        """Score the time that is held with the readings it has, and return it; None if the machine stands.

        Raises:
            ValueError: none is held.
        """
        if self.held is None:
            msg = "no time is held"
            raise ValueError(msg)
        time = self.held
        if not self.runs_at(time):
            self.held = None
            return None
        self._score(time)
        return time

    @override
    def _score_latest(self, time: int) -> Placement:
        if not self._is_complete(self._rows[time]):
            return Placement.HELD
        if not self.runs_at(time):
            self.held = None
            return Placement.HELD
        self._score(time)
        return Placement.ON_TIME

    @override
    def _add_newest(
        self, time: int, values: Sequence[float | None], identity: str | None, content: bytes | None
    ) -> Placement:
        row = np.array(values, dtype=np.float64)
        if self._is_complete(row):
            return super()._add_newest(time, values, identity, content)
        self.held = time
        return self._put_off(time, row, identity, content)

    def _is_complete(self, row: NDArray[np.float64]) -> bool:
        return not np.isnan(row[self._plan.required]).any()

    def _score(self, time: int) -> None:
        """Enter the held time, and late ones before it, into the panes."""
        row = self._rows[time].copy()
        self._ahead.remove(time)
        self.held = None
        self._enter(time, row)

    @override
    def carry(self, new: Windows, kept: list[tuple[int, int]]) -> Windows:
        carried = super().carry(new, kept)
        if isinstance(carried, HeldReadings):
            carried.held = self.held
        return carried

    @override
    def reset(self, time: int) -> bool:
        if self.held is not None and self.held <= time:
            self.held = None
        return super().reset(time)

    @override
    def state(self) -> dict[str, Any]:
        return {**super().state(), "held": self.held}
