"""Lives of an asset, and what its oracle expects of them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from dataflows.asset import Asset
from dataflows.events import Failure, Maintenance, Telemetry
from dataflows.items import Item, ResolvedEvent, lane_part
from tests.asset.oracle import (
    AssetOracle,
    CompleteOracle,
    Decision,
    ExpectedObservation,
    LabelOracle,
    RunningOracle,
    TargetShape,
)
from tests.asset.streams import (
    ClassLayout,
    Event,
    class_plan,
)
from tests.observations import parts_of


class Setting(NamedTuple):
    """A class and its targets."""

    layout: ClassLayout
    targets: tuple[TargetShape, ...]
    example_every: int

    def asset(self, sealed: bytes | None = None) -> Asset:
        plan = class_plan(self.layout, self.targets, self.example_every)
        return Asset("pump 1", {"pump": plan}, "pump", sealed)

    def oracle(self) -> AssetOracle:
        parts = self.layout.oracle(), LabelOracle(self.targets), self.example_every
        required = self.layout.required
        if self.layout.running is not None:
            return RunningOracle(*parts, required or ())
        return AssetOracle(*parts) if required is None else CompleteOracle(*parts, required)


class Record(NamedTuple):
    """A failure or a maintenance record."""

    kind: str
    time: int
    what: str | None
    id: str | None


def item_of(number: int, happened: Event | Record) -> Item:
    """What the lane sends to the asset."""
    if isinstance(happened, Event):
        event = Telemetry("pump 1", happened.time, happened.readings, happened.id, 5)
    elif happened.kind == "failure":
        event = Failure("pump 1", happened.time, happened.what or "", happened.id, 5)
    else:
        event = Maintenance("pump 1", happened.time, happened.what, happened.id, 5)
    place = (number, lane_part(number % 3), 1_000_000 * number, 7 * number)
    return Item(*place, ("feed.jsonl", number, 100 * number), ResolvedEvent(event, "pump"))


def expected_of(oracle: AssetOracle, happened: Event | Record) -> str | list[ExpectedObservation]:
    if isinstance(happened, Event):
        return oracle.telemetry(*happened)
    return oracle.record(*happened)


def check_observed(observation: object, want: ExpectedObservation) -> None:
    got = parts_of(observation)
    assert got.asset == "pump 1"
    fields = ("target", "clock", "watermark", "time", "example", *(() if got.time is None else ("revision",)))
    assert {name: getattr(got, name) for name in fields} == {name: getattr(want, name) for name in fields}
    assert [Decision(*msgspec.structs.astuple(matured)[:6]) for matured in got.matured] == want.matured
    assert list(got.released) == want.released
    at_once = None if got.at_once is None else Decision(*msgspec.structs.astuple(got.at_once)[:6])
    assert at_once == want.at_once
    assert (got.features is None) == (want.features is None)
    if got.features is not None and want.features is not None:
        features = memoryview(got.features).cast("d").tolist()
        wrong = [pair for pair in zip(want.features, features, strict=True) if not pair[0].agrees(pair[1])]
        assert wrong == []
