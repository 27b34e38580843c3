"""Layouts of windows and streams of telemetry to try them with, as Hypothesis draws them."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from dataflows.asset.asset import ClassPlan
from dataflows.asset.windows import WindowPlan
from dataflows.fleet.fleet import AssetClass, Target, Window
from dataflows.window_statistics import STATISTICS
from tests.asset.oracle import TargetShape, WindowOracle, WindowShape

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
SENSORS = ("speed", "heat", "load")
LIMIT = 1e15
#: 1969-12-31T23:00Z, 1970-01-01T00:00Z, 1900, 2020 and 2199, where floats of microseconds are coarsest.
STARTS = (-HOUR, 0, -2_208_988_800 * SECOND, 1_577_836_800 * SECOND, 7_250_000_000 * SECOND)
#: Readings are offset + step * k: near zero, nearly constant and huge, or of both signs and huge.
SCALES = ((0.0, 1.0), (20.0, 1e-3), (LIMIT, 0.125), (-LIMIT, 0.125), (1e12, 1e-4), (0.0, 1e13), (5.0, 0.0))


class Event(NamedTuple):
    """One telemetry event."""

    time: int
    readings: dict[str, float | None]
    id: str | None


class ClassLayout(NamedTuple):
    """Sensors, windows and lateness of a class, the sensors that a time waits for, and when it runs."""

    sensors: tuple[str, ...]
    windows: tuple[WindowShape, ...]
    lateness: int
    values: bool
    required: tuple[str, ...] | None = None
    running: tuple[str, float] | None = None

    def asset_class(self, example_every: int = HOUR, targets: tuple[str, ...] = ()) -> AssetClass:
        windows = tuple(
            Window(w.length, w.hop, w.statistics, tuple(self.sensors.index(name) for name in w.sensors))
            for w in self.windows
        )
        values = self.sensors if self.values else ()
        statistics = (
            f"{name}:{statistic}:{index}"
            for index, window in enumerate(self.windows)
            for name in window.sensors
            for statistic in window.statistics
        )
        return AssetClass(
            name="pump",
            sensors=self.sensors,
            values=self.values,
            windows=windows,
            features=(*values, *statistics),
            allowed_lateness=self.lateness,
            example_every=example_every,
            targets=targets,
            required=None if self.required is None else tuple(map(self.sensors.index, self.required)),
            running=None if self.running is None else "{} > {}".format(*self.running),
        )

    def plan(self) -> WindowPlan:
        return WindowPlan(self.asset_class())

    def oracle(self) -> WindowOracle:
        return WindowOracle(self.sensors, self.windows, self.lateness, self.values, running=self.running)


def class_plan(layout: ClassLayout, targets: tuple[TargetShape, ...], example_every: int) -> ClassPlan:
    names = tuple(target.name for target in targets)
    return ClassPlan(layout.asset_class(example_every, names), {t.name: target_of(t) for t in targets})


def target_of(shape: TargetShape) -> Target:
    return Target(
        name=shape.name,
        asset_class="pump",
        mode=shape.mode,
        component=shape.component,
        horizon=shape.horizon,
        label_delay=shape.delay,
        label_memory=shape.memory,
        learn_positives="together",
        threshold=0.5,
        champion="prior",
        models=(),
        downtime=shape.downtime,
    )


@st.composite
def layouts(draw: st.DrawFn) -> ClassLayout:
    sensors = SENSORS[: draw(st.integers(1, 3))]
    windows = []
    for _ in range(draw(st.sampled_from([0, 1, 2, 2, 3]))):
        hop = draw(st.sampled_from([MINUTE, 5 * MINUTE, 7 * MINUTE, HOUR, 1_500_001]))
        chosen = draw(st.sets(st.sampled_from(STATISTICS), min_size=1) | st.just(set(STATISTICS)))
        seen = draw(st.sets(st.sampled_from(sensors), min_size=1) | st.just(set(sensors)))
        windows.append(
            WindowShape(
                hop * draw(st.integers(1, 9)),
                hop,
                tuple(statistic for statistic in STATISTICS if statistic in chosen),
                tuple(name for name in sensors if name in seen),
            )
        )
    lateness = draw(st.sampled_from([0, 1, 90 * SECOND, 30 * MINUTE, 3 * HOUR]))
    # A class has at least one feature.
    return ClassLayout(sensors, tuple(windows), lateness, draw(st.booleans()) or not windows)


_NUDGES = st.sampled_from([0, 0, 0, -1, 1])
_STEPS = st.one_of(
    st.tuples(st.just("ahead"), st.integers(0, 40), _NUDGES),
    st.tuples(st.just("border"), st.integers(0, 3), _NUDGES),
    st.tuples(st.just("behind"), st.integers(0, 17), _NUDGES),
    # Another value for a time that is known already, often the newest one.
    st.tuples(st.just("again"), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("again"), st.just(0), st.just(0)),
    st.tuples(st.sampled_from(["copy", "gap"]), st.integers(0, 3), st.just(0)),
)
_READING = st.one_of(
    st.just("absent"),
    st.none(),
    st.integers(-50, 50),
    st.integers(-50, 50),
    # Squares of readings below 1e-150 underflow; no sensor measures them.
    st.floats(-LIMIT, LIMIT).map(lambda value: value if abs(value) > 1e-150 else 0.0),
)
_IDS = st.sampled_from([None, None, None, None, "a", "b"])
STEPS = st.tuples(_STEPS, st.tuples(*[_READING] * len(SENSORS)), _IDS)
STARTING = st.tuples(st.sampled_from(STARTS), st.tuples(*[st.sampled_from(SCALES)] * len(SENSORS)))


def readings_of(
    codes: tuple[object, ...], scales: tuple[tuple[float, float], ...]
) -> dict[str, float | None]:
    """Integers are scaled; now and then a sensor that the class does not know comes along."""
    odd = isinstance(codes[0], int) and codes[0] % 2 == 1
    readings: dict[str, float | None] = {"unheard_of": 1.0} if odd else {}
    for name, code, (offset, step) in zip(SENSORS, codes, scales, strict=True):
        if isinstance(code, int):
            readings[name] = max(-LIMIT, min(LIMIT, offset + step * code)) + 0.0
        elif code != "absent":
            readings[name] = code
    return readings


def next_event(
    layout: ClassLayout, start: int, scales: tuple[tuple[float, float], ...], step: tuple, before: list[Event]
) -> Event:
    """The event that a drawn step means after others: ahead, at a border, late, at a time known already."""
    (kind, amount, nudge), codes, identity = step
    readings = readings_of(codes, scales)
    if not before:
        return Event(start + nudge, readings, identity)
    largest = max(event.time for event in before)
    earlier = before[-1 - amount % len(before)]
    if kind == "copy":
        return earlier
    hop = layout.windows[amount % len(layout.windows)].hop if layout.windows else MINUTE
    time = {
        "ahead": largest + amount * MINUTE // 4,
        "border": (largest // hop + 1 + amount // 2) * hop,
        "behind": largest - layout.lateness * amount // 16,
        "again": earlier.time,
        "gap": largest + (amount + 1) * 4 * HOUR,
    }[kind]
    return Event(time + nudge, readings, identity)


def sequences(step: st.SearchStrategy, most: int = 25) -> st.SearchStrategy[list]:
    """Lists of all lengths alike; `lists` alone would seldom draw more than ten."""
    return st.integers(1, most).flatmap(lambda length: st.lists(step, min_size=length, max_size=length))


@st.composite
def streams(draw: st.DrawFn) -> tuple[ClassLayout, list[Event]]:
    """A layout, and telemetry with gaps, nulls, duplicates, conflicts, late and too late events."""
    layout = draw(layouts())
    start, scales = draw(STARTING)
    events: list[Event] = []
    for step in draw(sequences(STEPS)):
        events.append(next_event(layout, start, scales, step, events))
    return layout, events
