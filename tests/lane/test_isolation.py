"""A throw anywhere in the lane: the record is rejected, time goes on, and the run does too."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from types import FunctionType
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows import events as inputs
from dataflows.events import Event, Failure, Fault, Registration, Weather
from dataflows.fleet.fleet import ClockPolicy
from dataflows.instants import HOUR
from dataflows.items import Expiry, Item, LateWeather, ResolvedEvent, Row, by_order, lane_part
from dataflows.lane import Lane
from dataflows.lane.clock_health import ClockHealth
from dataflows.lane.lane import Counts
from dataflows.lane.registry import Registry
from dataflows.lane.silence import Silence
from dataflows.lane.weather_join import AssetSites, WeatherJoin, WeatherRows
from dataflows.pipeline import InternalErrors, TooManyErrors, decoded
from dataflows.state.tables import Buckets
from tests.lane.worlds import START, WEATHER_PUMP, at_site, rain, records, weather_fleet
from tests.target.fleets import PartStore

if TYPE_CHECKING:
    from collections.abc import Callable

OWNERS = (Registry, Silence, ClockHealth, Counts, WeatherJoin, WeatherRows, AssetSites, Buckets)
FLEET = replace(
    weather_fleet(replace(WEATHER_PUMP, asset_ttl=6 * HOUR)),
    assets=replace(weather_fleet(WEATHER_PUMP).assets, clock=ClockPolicy(600_000_000), max_tombstones=2),
    metrics_every=5 * HOUR,
)


class UnluckyError(ArithmeticError):
    """What is thrown."""


def stream() -> list[Event]:
    """Two days of six pumps at two sites, silent now and then, with weather, some of it late."""
    chance = random.Random(5)
    events: list[Event] = []
    now = 0.0
    for number in range(240):
        now += chance.choice((0.05, 0.1, 0.4))
        name, site = f"pump {chance.randrange(6)}", chance.choice(("north", "south"))
        kind = chance.choice(["telemetry"] * 6 + ["weather", "late weather", "fault", "failure", "row"])
        at = START + round(now * HOUR)
        if kind == "telemetry":
            ahead = chance.choice((0.0, 0.0, 0.0, 0.5))
            events.append(at_site(name, now + ahead, site, arrived=now))
        elif kind == "weather":
            events.append(rain(now, float(number), arrived=now, site=site, wind=1.0))
        elif kind == "late weather":
            events.append(rain(now - 1, float(number), arrived=now, site=site, wind=2.0))
        elif kind == "fault":
            events.append(Fault(name, at, "e1", None, at))
        elif kind == "failure":
            events.append(Failure(name, at, "leak", None, at))
        else:
            events.append(Registration(name, "pump", site, {}, False, at))
    return events


class Run:
    """A lane that took in the whole stream, and perhaps raised at one call."""

    def __init__(self, throw: tuple[str, int] | None = None) -> None:
        self.calls: Counter[str] = Counter()
        self.throw, self.armed = throw, False
        self.items: list[Item] = []
        with pytest.MonkeyPatch.context() as patch:
            for owner in OWNERS:
                for name, found in list(vars(owner).items()):
                    if isinstance(found, FunctionType) and not name.startswith("__"):
                        patch.setattr(owner, name, self._wrapped(f"{owner.__name__}.{name}", found))
            self.lane, store = Lane(FLEET, None, {}, on_error=InternalErrors(5).reject), PartStore()
            for record in records(*stream()):
                self.armed = True
                self.items += self.lane.process([record])
                self.armed = False
                store.after_batch(self.lane)
            store.end_epoch(self.lane)
        self.resumed = Lane(FLEET, *store.crash())

    def _wrapped(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:  # noqa: ANN401
            if self.armed:
                self.calls[name] += 1
                if (name, self.calls[name]) == self.throw:
                    raise UnluckyError(name)
            return original(*args, **more)

        return call

    def rejects(self) -> list[Item]:
        return [item for item in self.items if isinstance(item.body, Row) and item.body.reason is not None]

    def known(self) -> set[int]:
        """Sequences of the records that were handed on."""
        bodies = [(item.sequence, item.body) for item in self.items if item.part == lane_part(0)]
        return {sequence for sequence, body in bodies if isinstance(body, ResolvedEvent)}

    def expiries(self) -> list[Expiry]:
        bodies = [item.body.event for item in self.items if isinstance(item.body, ResolvedEvent)]
        return [event for event in bodies if isinstance(event, Expiry)]


@pytest.mark.ci
def test_a_throw_at_any_internal_call_costs_one_record() -> None:
    """It is rejected with its event; no other record is lost, and what follows stands in its order."""
    whole = Run()
    assert not whole.rejects()
    assert len(whole.calls) > 30
    assert any(
        isinstance(item.body, ResolvedEvent) and isinstance(item.body.event, LateWeather)
        for item in whole.items
    )
    assert {expiry.what for expiry in whole.expiries()} >= {"silent", "ttl"}
    weather = {number for number, event in enumerate(stream(), start=1) if isinstance(event, Weather)}
    for name, count in whole.calls.items():
        run = Run((name, (count + 1) // 2))
        try:
            (rejected,) = run.rejects()
            assert isinstance(rejected.body, Row)
            assert rejected.body.reason == "internal_error"
            assert run.known() == whole.known() - {rejected.sequence}
            assert rejected.sequence in whole.known() | weather
            places = [by_order(item) for item in run.items]
            assert len({*places}) == len(places)
            assert run.resumed.finish() == run.lane.finish()
        except (AssertionError, ValueError) as error:
            msg = f"after a throw in {name}: {error}"
            raise AssertionError(msg) from error


def test_a_record_on_which_decoding_throws_is_rejected_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place and its bytes are in the rejects, the next record is taken, and too many end the run."""
    read = inputs._READERS["telemetry"]

    def throws(document: dict[str, Any], raw: bytes) -> Event:
        if document["asset"] == "b":
            msg = "out of luck"
            raise UnluckyError(msg)
        return read(document, raw)

    monkeypatch.setitem(inputs._READERS, "telemetry", throws)
    lane = Lane(FLEET, None, {}, on_error=InternalErrors(1).reject)
    lines = [
        b'{"kind":"telemetry","asset":"%s","time":"2025-06-01T00:00:00Z","readings":{"x":1.0}}' % name
        for name in (b"a", b"b", b"c")
    ]

    def process(number: int) -> list[Item]:
        item = Item(number, 0, None, 0, ("feed.jsonl", number, 0), lines[number - 1])
        return lane.process(decoded([item]))

    assert [type(item.body) for number in (1, 3) for item in process(number)] == [
        ResolvedEvent,
        ResolvedEvent,
    ]
    (item,) = process(2)
    assert isinstance(item.body, Row)
    rejected = orjson.loads(item.body.data)
    assert (rejected["reason"], rejected["detail"]) == ("internal_error", "UnluckyError: out of luck")
    assert (rejected["source"], rejected["line"]) == ("feed.jsonl", 2)
    assert rejected["raw"] == lines[1].decode()
    with pytest.raises(TooManyErrors):
        process(2)
