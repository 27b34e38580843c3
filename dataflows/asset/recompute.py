"""Features from complete data: the windows of one asset once nothing late can come any more."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.asset.fault_windows import FaultFeatures, without_surplus
from dataflows.asset.panes import Panes
from dataflows.items import Compared
from dataflows.state.layouts import Refit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dataflows.asset.plan import ClassPlan
    from dataflows.features import FeatureBlock

__all__ = ["RecomputedWindows"]

_time = itemgetter(0)


class RecomputedWindows:
    """A second set of panes, which receives a time only when the watermark has passed it.

    So data enters in order of event time. At the time of an example the newest panes hold exactly the data of
    its windows, late data included: the code that served its features computes them again.

    Args:
        plan: of the asset's class.
        since: event time up to which accepted events are missing here, None if none is; examples whose
            windows reach back to it cannot be computed again, and are left out.
        state: what `state` returned, None for a new asset.

    Attributes:
        given_up: examples that will not be computed again, until `advance` returns them.
    """

    __slots__ = (
        "_entered",
        "_examples",
        "_faults",
        "_later",
        "_panes",
        "_plan",
        "_rows",
        "_runs",
        "_since",
        "_times",
        "given_up",
    )

    def __init__(
        self, plan: ClassPlan, since: int | None = None, state: Mapping[str, Any] | None = None
    ) -> None:
        self._plan = plan
        #: Times that the watermark has not passed, ascending, and their readings (sensors).
        self._times: list[int] = []
        self._rows: dict[int, NDArray[np.float64]] = {}
        #: (time, code) of faults that have not entered, ascending.
        self._later: list[tuple[int, str]] = []
        #: (time, features as served) of examples that wait, ascending.
        self._examples: list[tuple[int, bytes]] = []
        #: The largest time that entered the panes.
        self._entered: int | None = None
        self._since = since
        #: Whether the machine runs at the time that entered last; always where its class has no condition.
        self._runs = True
        self.given_up: tuple[Compared, ...] = ()
        if state is None:
            self._panes = Panes(plan.windows)
            self._faults = FaultFeatures(plan.asset_class)
            return
        self._panes = Panes(plan.windows, state["panes"])
        self._faults = FaultFeatures(plan.asset_class, state["faults"])
        self._times = state["times"]
        table = np.frombuffer(state["rows"]).reshape(len(self._times), len(plan.windows.sensors))
        self._rows = {time: row.copy() for time, row in zip(self._times, table, strict=True)}
        self._later = [(time, code) for time, code in state["later"]]
        self._examples = [(time, served) for time, served in state["examples"]]
        self._entered = state["entered"]
        self._since = state["since"]
        self._runs = state.get("runs", True)

    def add(self, time: int, row: NDArray[np.float64]) -> None:
        """Add accepted telemetry; merged readings of a time replace those before.

        Args:
            time: microseconds, not below the watermark.
            row: (sensors) all readings of that time, NaN is missing.
        """
        if time not in self._rows:
            insort(self._times, time)
        self._rows[time] = row.copy()

    def add_fault(self, time: int, code: str, watermark: int | None) -> None:
        """Add an accepted fault of an asset with this watermark."""
        insort(self._later, (time, code))
        if watermark is not None:
            # Times that wait to be computed need every fault before them.
            kept = bisect_right(self._later, self._times[-1], key=_time) if self._times else 0
            self._later[kept:] = without_surplus(self._later[kept:], watermark - self._plan.reach)

    def expect(self, time: int, served: bytes) -> None:
        """Compute an example again once the watermark has passed it.

        Args:
            time: microseconds, after that of any other example.
            served: its float64 array (features of the class) as bytes; features of blocks that are not
                `recomputed` stay as they were served.
        """
        if self._since is None or time - self._plan.reach >= self._since:
            self._examples.append((time, served))

    def advance(self, mark: int | None, blocks: Sequence[FeatureBlock]) -> tuple[Compared, ...]:
        """Enter the data that the watermark has passed; return the examples in it, and those given up.

        Args:
            mark: the watermark.
            blocks: of the asset, as they are now.
        """
        if mark is None or not self._times or self._times[0] >= mark:
            return self._drained()
        passed = self._times[: bisect_left(self._times, mark)]
        del self._times[: len(passed)]
        out = []
        for time in passed:
            features = self._enter(time, self._rows.pop(time))
            if self._examples and self._examples[0][0] == time:
                _, served = self._examples.pop(0)
                out.append(Compared(time, self._vector(time, served, features, blocks)))
        return self._drained() + tuple(out) if self.given_up else tuple(out)

    def _drained(self) -> tuple[Compared, ...]:
        given_up, self.given_up = self.given_up, ()
        return given_up

    def _enter(self, time: int, row: NDArray[np.float64]) -> NDArray[np.float64]:
        """Enter a time and the faults up to it into the panes; return the features of the readings."""
        due = 0
        while due < len(self._later) and self._later[due][0] <= time:
            at, code = self._later[due]
            if code in self._plan.asset_class.faults:
                self._faults.count(at, code, time)
            due += 1
        del self._later[:due]
        self._entered = time
        plan = self._plan.windows
        features = np.empty(plan.features)
        if plan.running is not None:
            known = plan.running(row.tolist())
            self._runs = self._runs if known is None else known
        if self._runs:
            self._panes.insert_newest(time, row, features)
        else:
            features[: plan.values] = row[: plan.values]
            self._panes.statistics(time, features[plan.values :])
        return features

    def _vector(
        self, time: int, served: bytes, features: NDArray[np.float64], blocks: Sequence[FeatureBlock]
    ) -> bytes:
        plan = self._plan
        if plan.only_readings:
            return features.tobytes()
        out = np.frombuffer(served).copy()
        out[plan.of_readings] = features
        for index, placed in plan.written:
            if placed.kind is FaultFeatures:
                placed.write(self._faults, time, out)
            elif placed.kind.recomputed:
                placed.write(blocks[index], time, out)
        return out.tobytes()

    def reset(self, time: int, rows: Mapping[int, NDArray[np.float64]]) -> None:
        """Drop the data up to an instant, as the serving windows do; earlier examples are given up.

        Args:
            time: microseconds.
            rows: readings by time that the serving windows still hold, all of them after that instant.
        """
        gone = bisect_left(self._times, time + 1)
        for at in self._times[:gone]:
            del self._rows[at]
        del self._times[:gone]
        self._later = [fault for fault in self._later if fault[0] > time]
        self._faults.reset(time)
        if self._entered is not None:
            held = {at: row for at, row in rows.items() if at <= self._entered}
            self._panes.drop_before(time, held, self._entered)
        split = bisect_left(self._examples, time + 1, key=_time)
        dropped, self._examples = self._examples[:split], self._examples[split:]
        self.given_up += tuple(Compared(at, None, "windows were reset") for at, _ in dropped)

    def give_up(self, why: str) -> tuple[Compared, ...]:
        """Give up every example that waits; return all that are given up."""
        dropped, self._examples = self._examples, []
        self.given_up += tuple(Compared(at, None, why) for at, _ in dropped)
        return self.given_up

    def carry(self, plan: ClassPlan) -> RecomputedWindows:
        """Move the contents to another layout of the class, as the serving windows do."""
        kept = self._plan.carried(plan)
        old_at, new_at = [old for old, _ in kept], [new for _, new in kept]
        refit = Refit(self._plan.asset_class.features, plan.asset_class.features)
        new = RecomputedWindows(plan, self._since)
        new._times, new._later, new._entered = self._times, self._later, self._entered
        for time, row in self._rows.items():
            new._rows[time] = np.full(len(plan.windows.sensors), np.nan)
            new._rows[time][new_at] = row[old_at]
        new._panes.copy_from(self._panes, old_at, new_at)
        carried = self._faults.carried(self._plan.asset_class, plan.asset_class)
        new._faults = FaultFeatures(plan.asset_class, carried)
        new._examples = [(time, refit(served)) for time, served in self._examples]
        if self._plan.asset_class.running == plan.asset_class.running:
            new._runs = self._runs
        return new

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "panes": self._panes.state(self._entered),
            "faults": self._faults.state(),
            "times": self._times,
            "rows": b"".join(self._rows[time].tobytes() for time in self._times),
            "later": self._later,
            "examples": self._examples,
            "entered": self._entered,
            "since": self._since,
            **({} if self._plan.windows.running is None else {"runs": self._runs}),
        }
