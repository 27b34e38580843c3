"""Trucks, lorries and vans that see weather: their fleet, and lane and assets without engine and models."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dataflows.asset import Asset
from dataflows.asset.asset import ClassPlan
from dataflows.fleet import Fleet, load
from dataflows.items import Item, ResolvedEvent
from dataflows.lane import Lane
from tests.observations import processed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataflows.events import Event

FLEET = """
name = "moving"
input.files = ["-"]

[assets]
adopt_as = "truck"
max_future = "1h"

[classes.truck]
sensors = ["coolant"]
allowed_lateness = "2h"
weather = { values = ["temp", "rain"], max_age = "3h", memory = "MEMORY" }

[classes.truck.expressions]
over_air = "coolant - weather.temp"
air = "weather.temp"

[[classes.truck.windows]]
length = "2h"
hop = "1h"
sensors = ["air"]
statistics = ["count", "mean", "last"]

# One sensor a message: a time without coolant waits for it.
[classes.lorry]
sensors = ["coolant"]
score_on = "complete"
allowed_lateness = "2h"
weather = { values = ["temp", "rain"], max_age = "3h", memory = "MEMORY" }

[classes.lorry.expressions]
over_air = "coolant - weather.temp"
air = "weather.temp"

[[classes.lorry.windows]]
length = "2h"
hop = "1h"
sensors = ["air"]
statistics = ["count", "mean", "last"]

[classes.van]
sensors = ["coolant"]
weather = { values = ["rain"], max_age = "1h", memory = "0s" }

[[targets]]
class = "truck"
mode = "leak"
horizon = "24h"
champion = "prior"

[[targets]]
class = "lorry"
mode = "leak"
horizon = "24h"
champion = "prior"

[[targets]]
class = "van"
mode = "leak"
horizon = "24h"
champion = "prior"

[models.prior]
pipeline = [{ estimator = "dataflows.group.estimators.Prior" }]
"""
CLASSES = {"a": "truck", "b": "truck", "c": "van", "d": "lorry"}
#: 2020-01-01T00:00:00Z.
START = 1_577_836_800_000_000


@functools.cache
def fleet(memory: str) -> Fleet:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.toml"
        path.write_text(FLEET.replace("MEMORY", memory), encoding="utf-8")
        return load(path)


class Product:
    """Lane and assets, without engine and models."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.plans = {name: ClassPlan(table, fleet.targets) for name, table in fleet.classes.items()}
        self.lane = Lane(fleet, None, {})
        self.parts: dict[int, bytes] = {}
        self.assets: dict[str, Asset] = {}
        self.sequence = 0
        self.known = -(2**63)

    def take(self, events: Iterable[Event]) -> list[Item]:
        """Observations of some records that come together."""
        items = []
        for event in events:
            self.sequence += 1
            items.append(Item(self.sequence, 0, None, 0, ("", 0, 0), event))
        out = []
        for item in self.lane.process(items):
            assert item.known >= self.known or item.arrival is None, "knowledge never runs back"
            assert item.arrival in {None, item.known}
            self.known = item.known
            if isinstance(item.body, ResolvedEvent):
                name, kind = item.body.event.asset, item.body.asset_class
                if name not in self.assets:
                    self.assets[name] = Asset(name, self.plans, kind)
                out += processed(self.assets[name], item)
        self.parts |= {part: self.lane.part_snapshot(part) for part in self.lane.changed()}
        return out

    def resume(self) -> None:
        """Go on from snapshots."""
        self.lane = Lane(self.fleet, self.lane.main_snapshot(), self.parts)
        self.assets = {
            name: Asset(name, self.plans, CLASSES.get(name, "truck"), asset.to_bytes())
            for name, asset in self.assets.items()
        }
