"""A hundred thousand events with late and missing weather: none sees what it could not know."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
import pytest

from dataflows.instants import HOUR
from dataflows.items import Item, Observation
from dataflows.pipeline import decoded
from tests.weather_world import START, Product, fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = 100_000
ASSETS, SITES, HOURS = 160, 12, 104
MINUTE = HOUR // 60
MAX_AGE = 3 * HOUR


class Row(NamedTuple):
    """A row of weather as it was sent."""

    sequence: int
    time: int
    issued: int | None
    temperature: float


def weather(chance: random.Random) -> Iterator[dict[str, Any]]:
    """Observations, late or never, some corrected; forecasts for some hours, twice a day."""
    for hour in range(-6, HOURS):
        time = START + hour * HOUR
        if chance.random() < 0.6:
            took = chance.randrange(5 * HOUR)
            issued = None if chance.random() < 0.3 else time + took // 2
            yield {"time": time, "issued": issued, "arrived": time + took}
            if chance.random() < 0.2:
                corrected = time + took + chance.randrange(1, 2 * HOUR)
                yield {"time": time, "issued": corrected, "arrived": corrected - 30 * MINUTE}
        if hour % 12 == 0:
            for ahead in range(1, 6):
                late = chance.randrange(3 * HOUR)
                yield {"time": time + ahead * HOUR, "issued": time + ahead, "arrived": time + late}


def drive(chance: random.Random, asset: str) -> Iterator[dict[str, Any]]:
    """Telemetry every ten minutes, late now and then; the site changes, told by event or by registry."""
    place = own = f"site {chance.randrange(SITES)}"
    begin = {"kind": "asset", "asset": asset, "class": "truck"}
    yield {**begin, "site": place, "arrived": START}
    for number in range(6 * HOURS):
        time = START + number * 10 * MINUTE + chance.randrange(9 * MINUTE)
        arrived = time + chance.randrange(MINUTE if chance.random() < 0.95 else 100 * MINUTE)
        if chance.random() < 0.02:
            own = f"site {chance.randrange(SITES)}"
            if chance.random() < 0.5:
                place = own
                yield {**begin, "site": place, "arrived": time}
        yield {
            "kind": "telemetry",
            "asset": asset,
            "time": time,
            "readings": {"coolant": 90.0},
            "site": None if own == place else own,
            "arrived": arrived,
        }


def stream(chance: random.Random) -> list[dict[str, Any]]:
    """Everything in order of arrival."""
    records = [record for number in range(ASSETS) for record in drive(chance, f"truck {number}")]
    for number in range(SITES):
        site = f"site {number}"
        for row in weather(chance):
            values = {"temp": chance.uniform(-20, 40)}
            records.append({"kind": "weather", "site": site, "values": values, **row})
    records.sort(key=lambda record: int(record["arrived"]))
    return records


class Truth:
    """What was sent so far: rows by site, and of each asset the latest event and where it was."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {}
        self.arrays: dict[str, Any] = {}
        self.registered: dict[str, str] = {}
        self.latest: dict[str, tuple[int, str]] = {}

    def note(self, sequence: int, record: dict[str, Any]) -> None:
        if record["kind"] == "weather":
            row = Row(sequence, record["time"], record["issued"], record["values"]["temp"])
            self.rows.setdefault(record["site"], []).append(row)
            self.arrays.pop(record["site"], None)
        elif record["kind"] == "asset":
            self.registered[record["asset"]] = record["site"]
        else:
            asset, time = record["asset"], record["time"]
            if time > self.latest.get(asset, (0, ""))[0]:
                self.latest[asset] = time, record["site"] or self.registered[asset]

    def best(self, item: Item, time: int, site: str) -> tuple[int, int, float] | None:
        """Of all rows sent, the one that an event gets by what was known when an item was made."""
        if site not in self.arrays:
            rows = self.rows.get(site, [])
            issued = [row.time if row.issued is None else row.issued for row in rows]
            known = [0 if row.issued is None else row.issued for row in rows]
            self.arrays[site] = (
                *(
                    np.array(column, dtype=np.int64)
                    for column in zip(*(row[:2] for row in rows), strict=True)
                ),
                np.array(issued),
                np.array(known),
                [row.temperature for row in rows],
            )
        sequences, times, issued, known, temperatures = self.arrays[site]
        fits = (sequences <= item.sequence) & (known <= item.known)
        fits &= (times <= time) & (times >= time - MAX_AGE)
        places = np.flatnonzero(fits)
        if not len(places):
            return None
        place = max(places, key=lambda each: (times[each], issued[each]))
        return int(times[place]), int(issued[place]), temperatures[place]


@pytest.fixture
def records() -> list[dict[str, Any]]:
    found = stream(random.Random(8))
    assert len(found) >= EVENTS
    return found


@pytest.mark.ci
def test_no_event_sees_weather_from_its_future_or_too_old(records: list[dict[str, Any]]) -> None:
    """First scores and revisions hold the weather that was valid, young enough and known; else none."""
    truth, product = Truth(), Product(fleet("7d"))
    names = product.fleet.classes["truck"].features
    temperature, age, forecast = (
        names.index(name) for name in ("weather:temp", "weather:age", "weather:forecast")
    )
    seen: Counter[str] = Counter()
    for sequence, record in enumerate(records, start=1):
        sent = {
            name: value / 1e6 if name in {"time", "issued", "arrived"} and value is not None else value
            for name, value in record.items()
        }
        item = Item(sequence, 0, None, 0, ("", 0, 0), orjson.dumps(sent))
        (event,) = decoded([item])
        assert not isinstance(event.body, bytes)
        items = product.take([event.body])
        # What became known before this record was made of those before it.
        before = [each for each in items if each.sequence < sequence]
        check(truth, before, (temperature, age, forecast), seen)
        truth.note(sequence, record)
        check(truth, items[len(before) :], (temperature, age, forecast), seen)
    assert seen["telemetry"] > 95_000
    for what in ("missing", "forecast", "observed", "revised", "moved on"):
        assert seen[what] > 1_000, seen


def check(truth: Truth, items: list[Item], at: tuple[int, int, int], seen: Counter[str]) -> None:
    """Hold each observation to the truth."""
    for item in items:
        body = item.body
        if not isinstance(body, Observation) or body.score is None:
            continue
        features = np.frombuffer(body.score.features)
        time, site = truth.latest[body.asset]
        assert body.score.time == time
        value, age, forecast = (float(features[place]) for place in at)
        best = truth.best(item, time, site)
        seen["telemetry" if body.score.revision == 0 else "revised"] += 1
        seen["moved on"] += site != truth.registered[body.asset]
        if best is None:
            seen["missing"] += 1
            assert np.isnan([value, age, forecast]).all()
            continue
        valid, issued, expected = best
        seen["forecast" if issued < valid else "observed"] += 1
        assert 0 <= age * HOUR <= MAX_AGE + 1
        assert value == expected
        assert age == (time - valid) / HOUR
        assert forecast == (issued < valid)
