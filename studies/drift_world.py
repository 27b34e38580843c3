"""A small world for the study of drift: assets whose features, scores and labels are known.

Twelve to thirty assets at three sites send a message a few times a day, with five sensors; two of them tell
failures. Days depend on each other and on those of other assets. After ``turn`` days one thing changes. The
messages are given to the very monitor of the product, `dataflows.target.drift.Drift`, in the order in which
they arrive.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataflows.fleet.fleet import DriftPolicy, Target
from dataflows.instants import HOUR
from dataflows.items import Item, Row
from dataflows.target.drift import Drift
from dataflows.target.examples import Example
from dataflows.target.monitors import Context, Served

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dataflows.target.detectors import Alarm

    Floats = NDArray[np.float64]

_Add = Callable[[int, "Floats", "Floats"], "list[Alarm]"]

__all__ = ["CAUSES", "MOVEMENTS", "SENSORS", "Run", "World", "run"]

DAY = 24 * HOUR
SENSORS = ("load", "heat", "vibration", "pressure", "speed")
FEATURES = tuple(f"{sensor}{suffix}" for sensor in SENSORS for suffix in ("", ":mean:24h"))
WEIGHTS = np.array([1.2, 0.8, 0.0, 0.0, 0.0])
#: What a change of each kind should be called.
CAUSES = {
    "sensor of all": "sensor",
    "sensor of one asset": "asset",
    "a site": "site",
    "two sensors": "world",
    "other failures": "world",
    "base rate": "world",
    "labels stop": "labels",
}
MOVEMENTS = ("late burst", "backlog of 6 h", "outage of a gateway", "wrong clocks", "missing values")


@dataclass(frozen=True)
class World:
    """One world.

    Attributes:
        kind: of the change; see `CAUSES` and `MOVEMENTS`; empty for none.
        size: of the change, in standard deviations of an asset's day; of a base rate, a factor.
        days: in all.
        turn: days before the change.
        seed: of all chance.
        assets: number of them, a third at each site.
        daily: messages of an asset a day.
        compare_with: days, as the key; None compares with the reference.
        season: amplitude of a yearly season of the first sensor.
    """

    kind: str = ""
    size: float = 0.0
    days: int = 85
    turn: int = 50
    seed: int = 0
    assets: int = 18
    daily: int = 3
    compare_with: int | None = None
    season: float = 0.0


@dataclass
class Run:
    """What the monitor wrote.

    Attributes:
        alarms: rows ``drift``.
        moved: rows ``movement``.
        values: (blocks, series) that the detectors were given: of labels, then of scores and features.
        cpu: microseconds of processor an example.
    """

    alarms: list[dict[str, Any]]
    moved: list[dict[str, Any]]
    values: Floats
    names: tuple[str, ...]


def _autoregressive(rng: np.random.Generator, days: int, columns: tuple[int, ...], rho: float) -> Floats:
    noise = rng.standard_normal((days, *columns))
    values = np.empty_like(noise)
    values[0] = noise[0]
    for day in range(1, days):
        values[day] = rho * values[day - 1] + math.sqrt(1 - rho * rho) * noise[day]
    return values


def _logistic(values: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-values))
    return found


def _readings(world: World, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Readings (days, assets, messages, sensors) before and after what only devices do to them."""
    size = (world.days, world.assets, world.daily, len(SENSORS))
    days = 0.3 * _autoregressive(rng, world.days, (1, len(SENSORS)), 0.5)
    own = 0.8 * _autoregressive(rng, world.days, (world.assets, len(SENSORS)), 0.6)
    true = (days + own)[:, :, None, :] + 0.5 * rng.standard_normal(size)
    if world.season:
        true[..., 0] += world.season * np.sin(2 * np.pi * np.arange(world.days) / 365)[:, None, None]
    shown = true + rng.normal(0, 2, (world.assets, len(SENSORS)))[:, None, :] * 0.2
    after = slice(world.turn, None)
    where: dict[str, tuple[Any, ...]] = {
        "sensor of all": (after, slice(None), slice(None), 0),
        "sensor of one asset": (after, 4, slice(None), 0),
        "a site": (after, slice(0, world.assets, 3), slice(None), 0),
        "two sensors": (after, slice(None), slice(None), slice(0, 2)),
    }
    if world.kind in where:
        shown[where[world.kind]] += world.size
    return true, shown


def _labels(world: World, true: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels (days, assets): one failure or none a day."""
    weights = np.broadcast_to(WEIGHTS, (world.days, len(SENSORS))).copy()
    intercept = np.full(world.days, -2.5)
    if world.kind == "other failures":
        weights[world.turn :] = WEIGHTS[[2, 3, 0, 1, 4]] * world.size
    if world.kind == "base rate":
        intercept[world.turn :] += math.log(world.size)
    risk = _logistic((true.mean(axis=2) * weights[:, None, :]).sum(axis=2) + intercept[:, None])
    labels = (rng.random(risk.shape) < risk).astype(np.int64)
    if world.kind == "labels stop":
        labels[world.turn :] = 0
    return labels


@dataclass
class _Message:
    time: int
    arrived: int
    day: int
    asset: int
    number: int
    revises: bool = False


def _messages(world: World, rng: np.random.Generator) -> list[_Message]:
    """Messages in the order in which they arrive."""
    step = DAY // world.daily
    found = []
    for day in range(world.days):
        since = day - world.turn
        for number in range(world.daily):
            for asset in range(world.assets):
                time = day * DAY + number * step + asset * 1_000_000
                each = _Message(time, time + int(rng.exponential(60e6)), day, asset, number)
                found.append(_moved(world, each, since, rng))
    return sorted(found, key=lambda each: (each.arrived, each.asset))


def _moved(world: World, each: _Message, since: int, rng: np.random.Generator) -> _Message:
    """A message as what only moves data leaves it."""
    if world.kind == "late burst" and 0 <= since < 4 and rng.random() < 0.5:
        return replace(each, arrived=each.arrived + int(rng.uniform(2, 8) * HOUR), revises=True)
    if world.kind == "backlog of 6 h" and since == 0:
        return replace(each, arrived=max(each.arrived, (each.day * 24 + 6) * HOUR + each.arrived % HOUR))
    if world.kind == "outage of a gateway" and 0 <= since < 2 and each.asset % 3 == 0:
        return replace(each, arrived=(world.turn + 2) * DAY + each.number * 1_000_000 + each.day)
    if world.kind == "wrong clocks" and 0 <= since < 5 and each.asset % 3 == 1:
        return replace(each, time=each.time + 5 * HOUR)
    return each


def _vector(values: Floats, day: Floats) -> Floats:
    out = np.empty(len(FEATURES))
    out[::2], out[1::2] = values, day
    return out


def run(world: World) -> Run:
    """Give a world to the monitor."""
    rng = np.random.default_rng([world.seed, 7])
    true, shown = _readings(world, rng)
    labels = _labels(world, true, rng)
    messages = _messages(world, rng)
    lag = None if world.compare_with is None else world.compare_with * DAY
    target = Target(
        name="pump/leak/24h",
        asset_class="pump",
        mode="leak",
        component="leak",
        horizon=DAY,
        label_delay=0,
        label_memory=0,
        learn_positives="together",
        threshold=0.3,
        champion="champion",
        models=(),
        drift=DriftPolicy(1.0, compare_with=lag),
    )
    champion: Any = SimpleNamespace(ask=lambda features: _score(np.frombuffer(features)))
    unused: Any = None
    none: Any = []
    context = Context(
        target,
        FEATURES,
        None,
        compares=False,
        models=unused,
        champion=champion,
        unsettled=[],
        examples=none,
        sensors=SENSORS,
    )
    monitor = Drift(context, None, target.drift or DriftPolicy(1.0))
    given = _tapped(monitor)
    return Run(*_watched(world, monitor, messages, shown, labels), *_matrix(given))


def _score(features: Floats) -> float:
    return float(_logistic(np.array((features[1::2] * WEIGHTS).sum() - 2.5)))


def _tapped(monitor: Drift) -> dict[str, list[tuple[int, Floats]]]:
    """Note what the detectors of both boards are given."""
    given: dict[str, list[tuple[int, Floats]]] = {}
    for key, board in (("settled", monitor._settled), ("served", monitor._served)):  # noqa: SLF001
        given[key] = []
        add = board.add

        def tapped(
            cell: int, values: Floats, level: Floats, *, add: _Add = add, key: str = key
        ) -> list[Alarm]:
            given[key].append((cell, values.copy()))
            return add(cell, values, level)

        board.add = tapped  # type: ignore[method-assign]
    return given


def _matrix(given: dict[str, list[tuple[int, Floats]]]) -> tuple[Floats, tuple[str, ...]]:
    last = 1 + max(cell for values in given.values() for cell, _ in values)
    columns = []
    for values in given.values():
        table = np.full((last, len(values[0][1])), np.nan)
        for cell, row in values:
            table[cell] = row
        columns.append(table)
    return np.hstack(columns), ("loss", "positives", "gap", "score", "alerts", "missing", *FEATURES)


def _watched(
    world: World, monitor: Drift, messages: list[_Message], shown: Floats, labels: NDArray[np.int64]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rng = np.random.default_rng([world.seed, 8])
    means = shown.mean(axis=2)
    rows: list[Row] = []
    waiting: list[Example] = []
    settled, known = 0, 0
    for number, each in enumerate(messages, 1):
        known = max(known, each.arrived)
        item = Item(number, 0, known, known, ("", number, 0), b"")
        name = f"pump-{each.asset}"
        while settled < len(waiting) and waiting[settled].time + DAY < known - HOUR:
            rows += monitor.settled(item, waiting[settled])
            settled += 1
        features = _vector(shown[each.day, each.asset, each.number], means[each.day, each.asset])
        missing = world.kind == "missing values" and 0 <= each.day - world.turn < 7
        score = _score(features)
        if missing and rng.random() < 0.6:
            features[:2] = np.nan
            score = _score(np.nan_to_num(features))
        sealed = features.tobytes()
        example = None
        if not each.revises:
            example = Example(name, each.time, sealed, {"champion": score}, "champion")
            example.label = int(labels[each.day, each.asset])
            waiting.append(example)
        if number <= world.assets:
            monitor.located(item, name, f"site-{each.asset % 3}")
        seen = Served(name, each.time, int(each.revises), sealed, score, "class", "champion", example)
        rows += monitor.served(item, seen)
    found = [orjson.loads(row.data) for row in rows]
    return [row for row in found if row["change"] == "drift"], [
        row for row in found if row["change"] == "movement"
    ]
