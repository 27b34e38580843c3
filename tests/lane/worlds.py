"""Small fleets, records and lanes for the tests of the lane."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from dataflows.events import Event, Reject, Telemetry, Weather
from dataflows.fleet.fleet import AssetClass, AssetPolicy, Fleet, Input, Output
from dataflows.fleet.fleet import Weather as Seen
from dataflows.instants import HOUR, MICROSECONDS
from dataflows.items import Item, Row, by_order
from dataflows.lane import Lane
from tests.target.fleets import model, target

#: 2020-01-01T00:00:00Z; times and arrivals lie within microseconds of it.
DAY = MICROSECONDS["d"]
START = 1_577_836_800_000_000
PUMP = AssetClass("pump", ("x",), True, (), ("x",), 0, HOUR, ())
FLEET = Fleet(
    name="pumps",
    path=Path("fleet.toml"),
    figures_from=None,
    metrics_every=7 * DAY,
    input=Input(("-",), 1),
    output=Output(Path("out"), "none"),
    assets=AssetPolicy("adopt", "pump", 4),
    classes={"pump": PUMP},
    targets={},
)


def telemetry(asset: str = "a", time: int = 0, arrived: int | None = None) -> Telemetry:
    when = None if arrived is None else START + arrived
    return Telemetry(asset, START + time, {"x": 1.0}, None, when)


def records(*bodies: Event | Reject, first: int = 1) -> list[Item]:
    """Fresh records, numbered from the first on."""
    return [
        Item(number, 0, None, 0, ("pumps", number, 10 * number), body)
        for number, body in enumerate(bodies, start=first)
    ]


def opened(fleet: Fleet = FLEET, main: bytes | None = None, parts: dict[int, bytes] | None = None) -> Lane:
    return Lane(fleet, main, parts or {})


def row(item: Item) -> dict[str, Any]:
    assert isinstance(item.body, Row)
    found: dict[str, Any] = orjson.loads(item.body.data)
    return {"output": item.body.output, **found}


def counts(lane: Lane) -> dict[str, Any]:
    """The lane's section of the summary."""
    (item,) = lane.finish()
    section: dict[str, Any] = row(item)["input"]
    return section


def visible(items: list[Item]) -> list[tuple[Any, ...]]:
    return [(*by_order(item), item.arrival, item.known, item.position, item.body) for item in items]


def rain(
    hours: float,
    value: float | None = 1.0,
    *,
    issued: float | None = None,
    arrived: float | None = None,
    site: str = "north",
    **more: float,
) -> Weather:
    given = None if issued is None else START + round(issued * HOUR)
    came = None if arrived is None else START + round(arrived * HOUR)
    return Weather(site, START + round(hours * HOUR), given, {"rain": value, **more}, came)


def at_site(
    asset: str, hours: float, site: str | None = "north", *, arrived: float | None = None
) -> Telemetry:
    came = None if arrived is None else START + round(arrived * HOUR)
    return Telemetry(asset, START + round(hours * HOUR), {"x": 1.0}, None, came, site)


#: Its examples can be corrected for long, so that silent assets do not rest.
TARGET = target([model("prior")], label_memory=9 * DAY)
WEATHER_PUMP = AssetClass(
    "pump",
    ("x",),
    True,
    (),
    ("x",),
    HOUR,
    HOUR,
    (TARGET.name,),
    idle_timeout=HOUR,
    asset_ttl=30 * DAY,
    weather=Seen(("rain", "wind"), 2 * HOUR, DAY),
)


def weather_fleet(pump: AssetClass) -> Fleet:
    return replace(
        FLEET,
        classes={"pump": pump},
        targets={TARGET.name: TARGET},
        assets=replace(FLEET.assets, max_assets=99),
    )
