"""What windows, labels and assets should say, by brute force.

Everything is kept and everything is computed anew from it, with plain lists and exact integer times. Nothing
of the product is imported, so that a mistake there cannot be made here too.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import NamedTuple

HOUR = 3_600_000_000
POSITIVE, NEGATIVE, CENSORED = 1, 0, -1
#: Bound on a mean and a spread, in units of the largest absolute reading of the window.
PRECISION = 1e-9
#: Times this much closer together than the window is long make a slope that rounding decides.
ILL_CONDITIONED = 1_000


class Expected(NamedTuple):
    """A number, NaN where it is missing, and how far another may lie from it."""

    value: float
    tolerance: float = 0.0

    def agrees(self, got: float) -> bool:
        if math.isnan(self.value) or math.isnan(got):
            return math.isnan(self.value) and math.isnan(got)
        return abs(got - self.value) <= self.tolerance


MISSING = Expected(math.nan)


class WindowShape(NamedTuple):
    length: int
    hop: int
    statistics: tuple[str, ...]
    sensors: tuple[str, ...]

    def start(self, time: int) -> int:
        return time // self.hop * self.hop - self.length


@dataclass
class WindowOracle:
    """All accepted telemetry of one asset, the times of its faults, and the last reset."""

    sensors: tuple[str, ...]
    windows: tuple[WindowShape, ...]
    lateness: int
    values: bool
    accepted: list[tuple[int, dict[str, float | None], str | None]] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    since: int | None = None
    #: The watermark is never below this: what it was under another configuration.
    floor: int | None = None
    #: The machine runs where this sensor reads more than this; None: always.
    running: tuple[str, float] | None = None

    def runs(self, time: int) -> bool:
        """Whether it runs at a time: what the latest reading of the sensor up to it says."""
        if self.running is None:
            return True
        name, least = self.running
        known = [(at, row[name]) for at, row in self.merged().items() if at <= time and name in row]
        return max(known)[1] > least if known else True

    def running_rows(self, now: int) -> dict[int, bool]:
        """Whether it runs at each time up to one that telemetry is of."""
        return {time: self.runs(time) for time in self.merged() if time <= now}

    @property
    def largest(self) -> int | None:
        return max((time for time, _, _ in self.accepted), default=None)

    @property
    def watermark(self) -> int | None:
        times = [*self.faults, *(time for time, _, _ in self.accepted)]
        if not times:
            return None
        mark = max(times) - self.lateness
        return mark if self.floor is None else max(mark, self.floor)

    def fault(self, time: int) -> str:
        """Faults move the watermark, and nothing else of telemetry."""
        before = self.watermark
        if self.since is not None and time <= self.since:
            return "too_late"
        if before is not None and time < before:
            return "too_late"
        self.faults.append(time)
        if before is None or time > before + self.lateness:
            return "on_time"
        return "merged" if time == before + self.lateness else "late"

    def reset(self, time: int) -> None:
        self.since = time if self.since is None else max(self.since, time)

    def add(self, time: int, readings: dict[str, float | None], identity: str | None) -> str:
        largest, watermark = self.largest, self.watermark
        content = dict(readings)
        for then, before, known in self.accepted:
            if then < min(watermark, largest):
                continue
            same = (then, before) == (time, content) and identity in {None, known}
            if same:
                return "duplicate"
        if self.since is not None and time <= self.since:
            return "too_late"
        if largest is not None and time < min(watermark, largest):
            return "too_late"
        self.accepted.append((time, content, identity))
        if largest is None or time > largest:
            return "on_time"
        return "merged" if time == largest else "late"

    def covers(self, time: int, now: int | None = None) -> bool:
        now = self.largest if now is None else now
        return time <= now and any(time > window.start(now) for window in self.windows)

    def merged(self) -> dict[int, dict[str, float]]:
        merged: dict[int, dict[str, float]] = {}
        for time, content, _ in self.accepted:
            found = {name: float(content[name]) for name in self.sensors if content.get(name) is not None}
            merged.setdefault(time, {}).update(found)
        return merged

    def features(self, now: int | None = None) -> list[Expected]:
        now = self.largest if now is None else now
        rows = sorted(row for row in self.merged().items() if row[0] <= now)
        expected = []
        if self.values:
            newest = rows[-1][1]
            expected += [Expected(newest.get(name, math.nan)) for name in self.sensors]
        rows = [row for row in rows if self.since is None or row[0] > self.since]
        rows = [row for row in rows if self.runs(row[0])]
        times = [time for time, _ in rows]
        for window in self.windows:
            inside = rows[bisect_right(times, window.start(now)) :]
            for name in window.sensors:
                points = [(time, row[name]) for time, row in inside if name in row]
                described = _describe(points, len(inside), now, window.length)
                expected += [described[statistic] for statistic in window.statistics]
        return expected


def _describe(points: list[tuple[int, float]], rows: int, now: int, length: int) -> dict[str, Expected]:
    """Statistics of the points (time, value) of one sensor in a window that holds so many rows."""
    count = len(points)
    described = dict.fromkeys(("mean", "std", "min", "max", "slope", "delta", "last", "age"), MISSING)
    described["count"] = Expected(count)
    described["missing"] = Expected(rows - count)
    if count == 0:
        return described
    values = [value for _, value in points]
    tolerance = PRECISION * max(abs(value) for value in values)
    mean = math.fsum(values) / count
    described["mean"] = Expected(mean, tolerance)
    described["min"] = Expected(min(values))
    described["max"] = Expected(max(values))
    described["delta"] = Expected(values[-1] - values[0])
    described["last"] = Expected(values[-1])
    described["age"] = Expected((now - points[-1][0]) / HOUR)
    if count > 1:
        deviations = [value - mean for value in values]
        spread = math.sqrt(math.fsum(deviation**2 for deviation in deviations) / count)
        described["std"] = Expected(spread, tolerance)
        described["slope"] = _slope([time for time, _ in points], deviations, tolerance, length)
    return described


def _slope(times: list[int], deviations: list[float], tolerance: float, length: int) -> Expected:
    """Least squares per hour; times stay integers, in units of microseconds / count."""
    count, total = len(times), sum(times)
    offsets = [count * time - total for time in times]
    squares = sum(offset * offset for offset in offsets)
    products = math.fsum(offset * value for offset, value in zip(offsets, deviations, strict=True))
    spread = math.sqrt(squares / count) / count
    # No arithmetic of doubles can hold the bound where times lie so close together; it grows with the square.
    worse = max(1.0, (length / spread / ILL_CONDITIONED) ** 2)
    return Expected(products * count / squares * HOUR, tolerance / (length / HOUR) * worse)


class TargetShape(NamedTuple):
    name: str
    mode: str
    component: str
    horizon: int
    delay: int
    memory: int
    downtime: int = 0

    @property
    def wait(self) -> int:
        return self.horizon + self.delay


class Decision(NamedTuple):
    time: int
    label: int | None
    why: str
    lead: int | None
    clock: int
    correction: int


@dataclass
class Waiting:
    time: int
    label: int | None = None
    lead: int | None = None
    decisions: int = 0


@dataclass
class Record:
    """A failure or maintenance record that stands. ``known``: its identity still tells copies of it."""

    kind: str
    time: int
    what: str | None
    id: str | None
    known: bool = True


class LabelOracle:
    """All records of one asset, and its examples until they are released."""

    def __init__(self, targets: tuple[TargetShape, ...]) -> None:
        self.targets = targets
        self.clock: int | None = None
        self.records: list[Record] = []
        self.corrections = 0
        self.largest: int | None = None
        self.examples: dict[str, list[Waiting]] = {target.name: [] for target in targets}
        self.memory = max((target.wait + target.memory for target in targets), default=0)
        self.downtime = max((target.downtime for target in targets), default=0)

    def remembers(self, time: int, largest: int | None) -> bool:
        if self.clock is None or largest is None:
            return True
        return time > min(self.clock, largest) - self.memory

    def advance(self, clock: int) -> dict[str, list[Decision]]:
        self.clock = clock if self.clock is None else max(self.clock, clock)
        return self._settle()

    def record(
        self, kind: str, time: int, what: str | None, identity: str | None
    ) -> dict[str, list[Decision]] | None:
        alike = [r for r in self.records if r.known and (r.kind, r.what, r.id) == (kind, what, identity)]
        if any(record.time == time for record in alike):
            return None
        clock = time if self.clock is None else max(time, self.clock)
        for record in alike:
            if identity is not None and record.time >= clock - self.memory:
                self.records.remove(record)
                self.corrections += 1
            elif identity is not None:
                record.known = False
        self.records.append(Record(kind, time, what, identity))
        return self.advance(time)

    def retract(self, identity: str) -> dict[str, list[Decision]] | None:
        withdrawn = [record for record in self.records if record.known and record.id == identity]
        self.records = [record for record in self.records if record not in withdrawn]
        return self._settle() if withdrawn else None

    def add(self, time: int) -> dict[str, Decision]:
        at_once = {}
        for target in self.targets:
            example = Waiting(time)
            self.examples[target.name].append(example)
            decision = self._decide(target, example)
            if decision is not None:
                at_once[target.name] = decision
        return at_once

    def release(self, largest: int | None) -> dict[str, list[int]]:
        if self.clock is None:
            return {}
        released = {}
        for target in self.targets:
            examples = self.examples[target.name]
            gone = [e.time for e in examples if self.clock > e.time + target.wait + target.memory]
            if gone:
                released[target.name] = gone
                self.examples[target.name] = [e for e in examples if e.time not in gone]
        if largest is not None:
            oldest = min(self.clock, largest) - self.memory
            for record in self.records:
                record.known &= record.time >= oldest - self.downtime
        return released

    def pending(self) -> int:
        return sum(e.label is None for examples in self.examples.values() for e in examples)

    def _settle(self) -> dict[str, list[Decision]]:
        settled = {
            target.name: [
                decision
                for example in self.examples[target.name]
                if (decision := self._decide(target, example)) is not None
            ]
            for target in self.targets
        }
        return {name: decisions for name, decisions in settled.items() if decisions}

    def _decide(self, target: TargetShape, example: Waiting) -> Decision | None:
        label, why, lead = self._truth(target, example.time)
        if (label, lead) == (example.label, example.lead):
            return None
        example.label, example.lead = label, lead
        example.decisions += 1
        return Decision(example.time, label, why, lead, self.clock, example.decisions - 1)

    def _truth(self, target: TargetShape, time: int) -> tuple[int | None, str, int | None]:
        until = time + target.horizon
        failures = sorted(r.time for r in self.records if (r.kind, r.what) == ("failure", target.mode))
        # Of reports of one mode that follow each other within the downtime, the first one is the failure.
        first = [
            at
            for index, at in enumerate(failures)
            if not (target.downtime and index and at - failures[index - 1] <= target.downtime)
        ]
        ahead = [at for at in first if time < at <= until]
        if ahead:
            return POSITIVE, "failure", ahead[0] - time
        if self.clock is None or not self.clock > until + target.delay:
            return None, "withdrawn", None
        down = (r.kind == "failure" and 0 <= time - r.time <= target.downtime for r in self.records)
        if target.downtime and any(down):
            return CENSORED, "down", None
        components = (None, target.component)
        work = [r.time for r in self.records if r.kind == "maintenance" and r.what in components]
        if any(time < at <= until for at in work):
            return CENSORED, "maintenance", None
        return NEGATIVE, "horizon passed", None


class ExpectedObservation(NamedTuple):
    target: str
    clock: int
    watermark: int | None
    matured: list[Decision]
    released: list[int]
    time: int | None
    features: list[Expected] | None
    revision: int
    example: bool
    at_once: Decision | None


class AssetOracle:
    """What an asset says of each record: observations, or the reason why it cannot be used."""

    def __init__(self, windows: WindowOracle, labels: LabelOracle, example_every: int) -> None:
        self.windows = windows
        self.labels = labels
        self.example_every = example_every
        self.cells: set[int] = set()
        self.revision = 0
        #: The time that was scored last.
        self.scored: int | None = None
        #: How many events came late and were merged.
        self.late = 0

    @property
    def corrections(self) -> int:
        """How many records took the place of one with the same id."""
        return self.labels.corrections

    def telemetry(
        self, time: int, readings: dict[str, float | None], identity: str | None
    ) -> str | list[ExpectedObservation]:
        placed = self.windows.add(time, readings, identity)
        if placed in {"duplicate", "too_late"}:
            return placed
        self.late += placed == "late"
        matured = self.labels.advance(self.windows.watermark)
        if placed == "on_time":
            return self._score(time, matured)
        if placed == "late" and not self.windows.covers(time):
            return []
        self.revision += 1
        return self._observations(matured, {}, scored=True, example=False)

    def _score(self, time: int, matured: dict[str, list[Decision]]) -> list[ExpectedObservation]:
        """The first prediction of a time."""
        self.scored, self.revision = time, 0
        cell = time // self.example_every
        example = cell not in self.cells
        self.cells.add(cell)
        at_once = self.labels.add(time) if example else {}
        return self._observations(matured, at_once, scored=True, example=example)

    def record(
        self, kind: str, time: int, what: str | None, identity: str | None
    ) -> str | list[ExpectedObservation]:
        if not self.labels.remembers(time, self.scored):
            return "unmatched"
        matured = self.labels.record(kind, time, what, identity)
        if matured is None:
            return "duplicate"
        return self._observations(matured, {}, scored=False, example=False)

    def _observations(
        self,
        matured: dict[str, list[Decision]],
        at_once: dict[str, Decision],
        *,
        scored: bool,
        example: bool,
    ) -> list[ExpectedObservation]:
        released = self.labels.release(self.scored)
        return [
            ExpectedObservation(
                target.name,
                self.labels.clock,
                self.windows.watermark,
                matured.get(target.name, []),
                released.get(target.name, []),
                self.scored if scored else None,
                self.windows.features(self.scored) if scored else None,
                self.revision,
                example,
                at_once.get(target.name),
            )
            for target in self.labels.targets
        ]


class CompleteOracle(AssetOracle):
    """As `AssetOracle`, of a class that scores a time when each required sensor has come, or a newer time."""

    def __init__(
        self, windows: WindowOracle, labels: LabelOracle, example_every: int, required: tuple[str, ...]
    ) -> None:
        super().__init__(windows, labels, example_every)
        self.required = required

    def telemetry(
        self, time: int, readings: dict[str, float | None], identity: str | None
    ) -> str | list[ExpectedObservation]:
        windows, before = self.windows, self.windows.largest
        held = before if before != self.scored else None
        others = WindowOracle(
            windows.sensors, windows.windows, windows.lateness, windows.values, [*windows.accepted]
        )
        placed = others.add(time, readings, identity)
        if placed in {"duplicate", "too_late"}:
            return placed
        self.late += placed == "late"
        closed = self._score(held, {}) if held is not None and placed == "on_time" else []
        windows.add(time, readings, identity)
        matured = self.labels.advance(windows.watermark)
        if placed == "on_time" or time == held:
            if set(self.required) <= set(windows.merged()[time]):
                return closed + self._score(time, matured)
            return closed + self._observations(matured, {}, scored=False, example=False)
        if self.scored is None or (placed == "late" and not windows.covers(time, self.scored)):
            return []
        self.revision += 1
        return self._observations(matured, {}, scored=True, example=False)


class RunningOracle(AssetOracle):
    """As `AssetOracle`, of a class whose windows hold, and scores are of, times at which the machine runs.

    Args:
        required: sensors that a time waits for until it is scored.
    """

    def __init__(
        self, windows: WindowOracle, labels: LabelOracle, example_every: int, required: tuple[str, ...] = ()
    ) -> None:
        super().__init__(windows, labels, example_every)
        self.required = required
        self.held: int | None = None

    def telemetry(
        self, time: int, readings: dict[str, float | None], identity: str | None
    ) -> str | list[ExpectedObservation]:
        windows, latest = self.windows, self.windows.largest
        placed = replace(windows, accepted=[*windows.accepted]).add(time, readings, identity)
        if placed in {"duplicate", "too_late"}:
            return placed
        self.late += placed == "late"
        closed: list[ExpectedObservation] = []
        if placed == "on_time" and self.held is not None:
            closed = self._score(self.held, {}) if windows.runs(self.held) else []
            self.held = None
        before = windows.running_rows(time if self.scored is None else self.scored)
        windows.add(time, readings, identity)
        matured = self.labels.advance(windows.watermark)
        if placed == "on_time" or (time == latest and time != self.scored):
            whole = set(self.required) <= set(windows.merged()[time])
            self.held = None if whole else time
            if whole and windows.runs(time):
                return closed + self._score(time, matured)
            return closed + self._observations(matured, {}, scored=False, example=False)
        if self.scored is None or (placed == "late" and not self._alters(time, before)):
            return []
        self.revision += 1
        return self._observations(matured, {}, scored=True, example=False)

    def _alters(self, time: int, before: dict[int, bool]) -> bool:
        """Whether windows count late telemetry of this time, or another time otherwise than before."""
        after = self.windows.running_rows(self.scored or 0)
        changed = [at for at, runs in after.items() if (at == time and runs) or before.get(at, runs) != runs]
        return any(self.windows.covers(at, self.scored) for at in changed)
