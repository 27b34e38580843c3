"""A job for the fleet of `benchmarks.speed`, written on Bytewax and River alone.

It is written as a careful user writes it: no package of this program is imported. A window merges the
moments of its hops, and merges those that are over once a hop. Labels wait for the horizon, features and
scores of an example are those that were served. It does less than Highwater: a late event is left out, and
there are no corrections, alerts, figures, rejects or resumable labels of other kinds.

The job is the function `job`; what it must give is compared in `benchmarks.by_hand`.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import bytewax.operators as op
import orjson
from bytewax.connectors.files import FileSink, FileSource
from bytewax.dataflow import Dataflow
from river import compose, linear_model, preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["job"]

SENSORS = ("temperature", "pressure", "vibration", "current")
HOUR = 3_600
#: Windows by name: length and hop in seconds.
WINDOWS = {"1h": (HOUR, 300), "6h": (6 * HOUR, 1_800), "24h": (24 * HOUR, 7_200)}
EXAMPLE_EVERY, HORIZON = HOUR, 24 * HOUR

#: Features by name, and what flows between the steps.
Features = dict[str, float]
Event = dict[str, Any]


class Moments(NamedTuple):
    """Readings of one sensor in some seconds; sums of times are in hours since `Window.origin`."""

    count: int = 0
    missing: int = 0
    total: float = 0.0
    squares: float = 0.0
    least: float = math.inf
    largest: float = -math.inf
    times: float = 0.0
    times_squared: float = 0.0
    products: float = 0.0
    first: float = math.nan
    last: float = math.nan
    last_time: float = math.nan

    def with_reading(self, hours: float, value: float | None) -> Moments:
        """Return these moments with one later reading, or with one that is missing."""
        if value is None:
            return self._replace(missing=self.missing + 1)
        return Moments(
            self.count + 1,
            self.missing,
            self.total + value,
            self.squares + value * value,
            min(self.least, value),
            max(self.largest, value),
            self.times + hours,
            self.times_squared + hours * hours,
            self.products + hours * value,
            self.first if self.count else value,
            value,
            hours,
        )

    def then(self, later: Moments) -> Moments:
        """Return these moments and later ones together."""
        if not self.count or not later.count:
            some = self if self.count else later
            return some._replace(missing=self.missing + later.missing)
        return Moments(
            self.count + later.count,
            self.missing + later.missing,
            self.total + later.total,
            self.squares + later.squares,
            min(self.least, later.least),
            max(self.largest, later.largest),
            self.times + later.times,
            self.times_squared + later.times_squared,
            self.products + later.products,
            self.first,
            later.last,
            later.last_time,
        )


NOTHING = Moments()


class Window:
    """One sensor in one window of event time, in hops; at t it covers (floor(t / hop) * hop - length, t]."""

    def __init__(self, sensor: str, name: str) -> None:
        self.length, self.hop = WINDOWS[name]
        statistics = ["count", "missing", "mean", "std", "min", "max", "slope", "delta", "last", "age"]
        self.names = [f"{sensor}:{statistic}:{name}" for statistic in statistics]
        self.origin: float | None = None
        #: Hops that are over and not older than the window, and all of them together.
        self.over: deque[tuple[int, Moments]] = deque()
        self.before = NOTHING
        self.pane: int | None = None
        self.now = NOTHING

    def add(self, time: float, value: float | None) -> None:
        """Add a reading that is newer than all before it."""
        if self.origin is None:
            self.origin = time
        pane = math.ceil(time / self.hop) - 1
        if pane != self.pane:
            if self.pane is not None:
                self.over.append((self.pane, self.now))
            self.pane, self.now = pane, NOTHING
        oldest = int(time // self.hop) - self.length // self.hop
        if not self.over:
            self.before = NOTHING
        elif self.now is NOTHING or self.over[0][0] < oldest:
            while self.over and self.over[0][0] < oldest:
                self.over.popleft()
            self.before = NOTHING
            for _, moments in self.over:
                self.before = self.before.then(moments)
        self.now = self.now.with_reading((time - self.origin) / HOUR, value)

    def write(self, time: float, features: Features) -> None:
        """Add the statistics to the features; one that needs more readings is left out."""
        found = self.before.then(self.now)
        n = found.count
        count, missing, mean, std, least, largest, slope, delta, last, age = self.names
        features[count] = float(n)
        features[missing] = float(found.missing)
        if not n:
            return
        average = found.total / n
        features[mean] = average
        features[least] = found.least
        features[largest] = found.largest
        features[delta] = found.last - found.first
        features[last] = found.last
        features[age] = (time - (self.origin or 0.0)) / HOUR - found.last_time
        if n > 1:
            features[std] = math.sqrt(max(found.squares / n - average * average, 0.0))
            middle = found.times / n
            spread = found.times_squared - found.times * middle
            if spread > 0:
                features[slope] = (found.products - found.total * middle) / spread


class Machine:
    """Windows of one asset, and its examples that wait for a label."""

    def __init__(self) -> None:
        self.newest = -math.inf
        self.cell = -1
        self.windows = [(sensor, Window(sensor, name)) for sensor in SENSORS for name in WINDOWS]
        self.waiting: deque[tuple[float, Features]] = deque()

    def failed(self, time: float) -> Iterable[Event]:
        """Return the labels that a failure decides: positive up to a horizon before it, then older ones."""
        before = [each for each in self.waiting if each[0] < time]
        self.waiting = deque(each for each in self.waiting if each[0] >= time)
        for since, features in before:
            if since + HORIZON >= time:
                yield {"example": since, "features": features, "label": True}
        for since, features in before:
            if since + HORIZON < time:
                yield {"example": since, "features": features, "label": False}

    def passed(self, time: float) -> Iterable[Event]:
        """Return the labels that time decides: negative, a horizon later without a failure."""
        while self.waiting and self.waiting[0][0] + HORIZON < time:
            since, features = self.waiting.popleft()
            yield {"example": since, "features": features, "label": False}

    def sent(self, time: float, readings: dict[str, float | None]) -> Iterable[Event]:
        """Return the labels that are known now, then the features to score."""
        if time <= self.newest:
            return
        self.newest = time
        yield from self.passed(time)
        features: Features = {}
        for sensor in SENSORS:
            value = readings.get(sensor)
            if value is not None:
                features[sensor] = value
        for sensor, window in self.windows:
            window.add(time, readings.get(sensor))
            window.write(time, features)
        cell = int(time // EXAMPLE_EVERY)
        is_example = cell != self.cell
        if is_example:
            self.cell = cell
            self.waiting.append((time, features))
        yield {"features": features, "time": time, "is_example": is_example}


class Model:
    """A logistic regression that learns each example once its label is known."""

    def __init__(self) -> None:
        self.pipeline = compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
        self.learned = {True: 0, False: 0}
        #: Scores of examples, as they were served.
        self.served: dict[tuple[str, float], float] = {}

    def score(self, features: Features) -> float:
        """Return the probability of a failure: the share of positives until both labels were seen."""
        if all(self.learned.values()):
            return self.pipeline.predict_proba_one(features)[True]
        return (self.learned[True] + 0.5) / (sum(self.learned.values()) + 1)

    def process(self, event: Event) -> tuple[str, Event]:
        """Learn a label, or score features; return the output and its row."""
        asset = event["asset"]
        if "label" in event:
            label, since = event["label"], event["example"]
            self.pipeline.learn_one(event["features"], label)
            self.learned[label] += 1
            score = self.served.pop((asset, since))
            row = {"asset": asset, "time": since, "label": label, "score": score}
            return "evaluations", row | {"features": event["features"]}
        score = self.score(event["features"])
        if event["is_example"]:
            self.served[asset, event["time"]] = score
        return "predictions", {"asset": asset, "time": event["time"], "score": score}


def decode(line: str) -> tuple[str, Event]:
    """Return the asset of a record, and the record with its time in seconds."""
    event = orjson.loads(line)
    event["time"] = datetime.fromisoformat(event["time"]).timestamp()
    return event["asset"], event


def watch(machine: Machine | None, event: Event) -> tuple[Machine, list[Event]]:
    """Step by asset: windows, labels, features."""
    machine = machine or Machine()
    if event["kind"] == "failure":
        return machine, list(machine.failed(event["time"]))
    return machine, list(machine.sent(event["time"], event["readings"]))


def judge(model: Model | None, event: Event) -> tuple[Model, tuple[str, Event]]:
    """Step of the one model."""
    model = model or Model()
    return model, model.process(event)


def for_the_model(keyed: tuple[str, Event]) -> tuple[str, Event]:
    """Key an event by the one model, and keep the asset in it."""
    asset, event = keyed
    event["asset"] = asset
    return "model", event


def job(source: FileSource, out: Path) -> Dataflow:
    """Return the dataflow from a recording to ``predictions.jsonl`` and ``evaluations.jsonl`` in a folder."""
    flow = Dataflow("by_hand")
    events = op.map("decode", op.input("recording", flow, source), decode)
    seen = op.stateful_flat_map("machine", events, watch)
    rows = op.stateful_map("model", op.map("for_the_model", seen, for_the_model), judge)
    branches = op.branch("outputs", rows, lambda keyed: keyed[1][0] == "predictions")
    for name, stream in (("predictions", branches.trues), ("evaluations", branches.falses)):
        lines = op.map(f"encode_{name}", stream, lambda keyed: (keyed[0], orjson.dumps(keyed[1][1]).decode()))
        op.output(name, lines, FileSink(out / f"{name}.jsonl"))
    return flow
