"""Weather and expressions in one asset: what is worked out when, and what revises."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dataflows.asset import Asset
from dataflows.asset.asset import ClassPlan
from dataflows.events import AssetEvent, Failure, Registration, Telemetry
from dataflows.fleet.fleet import AssetClass, Target, Weather, Window
from dataflows.instants import HOUR
from dataflows.items import Expiry, Item, Late, LateWeather, ResolvedEvent, Row, WeatherAsOf
from tests.observations import parts_of, processed

TARGET = Target("pump/leak/1h", "pump", "leak", "leak", HOUR, 0, HOUR, "together", 0.5, "m", ())
PUMP = AssetClass(
    name="pump",
    sensors=("heat", "load"),
    values=True,
    windows=(Window(2 * HOUR, HOUR, ("last",), (0, 2, 3)),),
    features=(
        *("heat", "load", "gap", "over", "heat:last:2h", "gap:last:2h", "over:last:2h"),
        *("age", "weather:air", "weather:rain", "weather:age", "weather:forecast"),
    ),
    allowed_lateness=HOUR,
    example_every=HOUR,
    targets=(TARGET.name,),
    attributes=("age",),
    expressions=(("gap", "heat - load"), ("over", "heat - weather.air")),
    weather=Weather(("air", "rain"), 2 * HOUR, 0),
)
FAN = replace(
    PUMP,
    name="fan",
    features=(*PUMP.features[:8], "weather:rain", "weather:snow", "weather:age", "weather:forecast"),
    expressions=(("gap", "heat - load"), ("over", "heat - weather.rain")),
    weather=Weather(("rain", "snow"), 2 * HOUR, 0),
)
PLAIN = AssetClass("plain", ("heat",), True, (), ("heat",), HOUR, HOUR, (TARGET.name,))
PLANS = {each.name: ClassPlan(each, {TARGET.name: TARGET}) for each in (PUMP, FAN, PLAIN)}
NAN = math.nan


def joined(
    hour: float | None, air: float = NAN, rain: float = NAN, *, issued: float | None = None
) -> WeatherAsOf:
    if hour is None:
        return WeatherAsOf("north", None, 0, (NAN, NAN))
    time = round(hour * HOUR)
    return WeatherAsOf("north", time, time if issued is None else round(issued * HOUR), (air, rain))


def take(
    asset: Asset,
    event: AssetEvent | Expiry | LateWeather,
    weather: WeatherAsOf | None = None,
    kind: str = "pump",
) -> list[Item]:
    return processed(asset, Item(1, 0, None, 0, ("", 0, 0), ResolvedEvent(event, kind, weather)))


def heat(
    asset: Asset,
    hour: float,
    weather: WeatherAsOf | None,
    *,
    identity: str | None = None,
    **readings: float | None,
) -> list[Item]:
    return take(asset, Telemetry("a", round(hour * HOUR), readings, identity, None), weather)


def features(items: list[Item], of: AssetClass = PUMP) -> dict[str, float]:
    (item,) = [item for item in items if not isinstance(item.body, Late)]
    features = parts_of(item.body).features
    assert features is not None
    found = dict(zip(of.features, np.frombuffer(features).tolist(), strict=True))
    return {name: value for name, value in found.items() if not math.isnan(value)}


def revision(items: list[Item]) -> int:
    (item,) = [item for item in items if not isinstance(item.body, Late)]
    return parts_of(item.body).revision


def fresh(kind: str = "pump") -> Asset:
    return Asset("a", PLANS, kind)


def test_late_weather_revises_the_event_and_not_its_windows() -> None:
    """Weather features and expressions of the event follow; windows hold what was joined then."""
    asset = fresh()
    first = features(heat(asset, 1, joined(None), heat=9.0, load=4.0))
    assert first == {"heat": 9.0, "load": 4.0, "gap": 5.0, "heat:last:2h": 9.0, "gap:last:2h": 5.0}
    second = take(asset, LateWeather("a", joined(0.5, air=2.0)))
    assert revision(second) == 1
    now = {"over": 7.0, "weather:air": 2.0, "weather:age": 0.5, "weather:forecast": 0.0}
    assert features(second) == first | now
    late = heat(asset, 0.5, joined(None), heat=1.0)
    assert revision(late) == 2
    assert features(late) == first | now
    restored = Asset("a", PLANS, "pump", asset.to_bytes())
    assert features(take(restored, LateWeather("a", joined(0.9, air=3.0, issued=0)))) == first | {
        "over": 6.0,
        "weather:air": 3.0,
        "weather:age": pytest.approx(0.1),
        "weather:forecast": 1.0,
    }


@pytest.mark.parametrize(
    ("late", "why"),
    [
        (joined(0.4, air=1.0), "older than what it has"),
        (joined(0.5, air=1.0, issued=0.4), "issued before what it has"),
        (joined(0.5, air=2.0), "what it has"),
        (joined(1.1, air=1.0), "after the event"),
        (WeatherAsOf("south", HOUR, HOUR, (1.0, 1.0)), "of another site"),
        (joined(None), "none at all"),
    ],
)
def test_weather_that_would_not_be_chosen_revises_nothing(late: WeatherAsOf, why: str) -> None:
    """The asset has the last word."""
    asset = fresh()
    heat(asset, 1, joined(0.5, air=2.0), heat=9.0)
    assert take(asset, LateWeather("a", late)) == [], why


def test_weather_too_old_for_the_event_revises_nothing() -> None:
    """An age of max_age is young enough, more is not."""
    asset = fresh()
    heat(asset, 3, joined(None), heat=9.0)
    assert take(asset, LateWeather("a", joined(0.9, air=1.0))) == []
    assert revision(take(asset, LateWeather("a", joined(1, air=1.0)))) == 1


def test_an_asset_without_an_event_or_without_a_site_hears_of_nothing() -> None:
    """Before any telemetry, after one of nowhere, after it was dropped, in a class without weather."""
    asset = fresh()
    late = LateWeather("a", joined(1, air=1.0))
    assert take(asset, late) == []
    heat(asset, 1, None, heat=9.0)
    assert take(asset, late) == []
    heat(asset, 1.1, joined(None), heat=9.0)
    take(asset, Expiry("a", 5 * HOUR, "ttl"))
    assert take(asset, late) == []
    plain = fresh("plain")
    take(plain, Telemetry("a", HOUR, {"heat": 1.0}, None, None), None, "plain")
    assert take(plain, late, None, "plain") == []


def test_messages_of_one_time_are_worked_out_together() -> None:
    """A gateway sends one sensor a message: the expression is there with the second, in windows too."""
    asset = fresh()
    assert "gap" not in features(heat(asset, 1, joined(None), heat=9.0))
    found = features(heat(asset, 1, joined(0.5, air=2.0), load=3.0))
    assert {name: found[name] for name in ("gap", "gap:last:2h", "over", "over:last:2h")} == {
        "gap": 6.0,
        "gap:last:2h": 6.0,
        "over": 7.0,
        "over:last:2h": 7.0,
    }


def test_fresher_weather_makes_no_other_event_of_the_same_content() -> None:
    """The same telemetry sent again is a duplicate, whatever it is joined with."""
    asset = fresh()
    heat(asset, 1, joined(None), heat=9.0)
    (again,) = heat(asset, 1, joined(0.5, air=2.0), heat=9.0)
    assert isinstance(again.body, Row)
    assert again.body.reason == "duplicate"
    heat(asset, 1, joined(None), load=1.0)
    for readings in ({"heat": 9.0}, {"load": 1.0}):
        (again,) = heat(asset, 1, joined(0.5, air=3.0), **readings)
        assert isinstance(again.body, Row)


def test_a_change_of_class_keeps_the_weather_it_shares() -> None:
    """Values are found by name; an expression of another text begins anew, an equal one goes on."""
    asset = fresh()
    heat(asset, 1, joined(0.5, air=2.0, rain=1.0), heat=9.0, load=4.0)
    take(asset, Registration("a", "fan", None, {"age": 3}, False, None), None, "fan")
    found = features(heat(asset, 0.9, joined(None), heat=7.0), FAN)
    assert found["weather:rain"] == 1.0
    assert "weather:snow" not in found
    assert found["gap:last:2h"] == 5.0
    assert "over:last:2h" not in found


def test_a_reset_leaves_the_weather() -> None:
    """Weather is of the event, not of the windows."""
    asset = Asset(
        "a", {"pump": ClassPlan(replace(PUMP, reset_windows_on=("failure",)), {TARGET.name: TARGET})}, "pump"
    )
    heat(asset, 1, joined(0.5, air=2.0), heat=9.0)
    take(asset, Failure("a", HOUR, "leak", None, None))
    found = features(take(asset, LateWeather("a", joined(0.6, air=3.0))))
    assert found["over"] == 6.0
    assert "over:last:2h" not in found
