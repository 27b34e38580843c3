"""Weather from lane to features: of the event's time, of what was known, at the place where the asset was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dataflows.events import Event, Fault, Registration, Telemetry, Weather
from dataflows.items import Item, Observation, by_order
from tests.weather_oracle import HOUR, Kind, Published, World
from tests.weather_world import CLASSES, START, Product, fleet

if TYPE_CHECKING:
    from collections.abc import Iterable

KINDS = {
    "a": Kind(("temp", "rain"), 3 * HOUR, 2 * HOUR, works_out=True),
    "b": Kind(("temp", "rain"), 3 * HOUR, 2 * HOUR, works_out=True),
    "c": Kind(("rain",), HOUR, 0, works_out=False),
    "d": Kind(("temp", "rain"), 3 * HOUR, 2 * HOUR, works_out=True, waits=True),
}
HALF = HOUR // 2


def published(items: Iterable[Item]) -> list[Published]:
    out = []
    for item in items:
        body = item.body
        if isinstance(body, Observation) and (score := body.score) is not None:
            features = tuple(np.frombuffer(score.features).tolist())
            out.append(Published(body.asset, score.time, score.revision, features))
    return out


def same(found: list[Published], expected: list[Published]) -> None:
    assert [each[:3] for each in found] == [each[:3] for each in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.features, other.features, rtol=1e-9, atol=1e-9)


_SITES = st.sampled_from(["north", "south"])
_TELEMETRY, _WEATHER, _FAULT, _MOVE = "telemetry", "weather", "fault", "move"
_STEP = st.tuples(
    st.sampled_from([_TELEMETRY] * 4 + [_WEATHER] * 5 + [_FAULT, _MOVE]),
    st.sampled_from("aabcddd"),
    st.sampled_from(["north", "north", "south", None]),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([None, None, -4, -2, -1, 0, 1, 2]),
    st.integers(-3, 3),
    st.integers(-3, 3),
    st.sampled_from([0, 0, 0, 1, 2]),
    st.sampled_from([False, False, True]),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, list[tuple[Event, bool]]]:
    """Records, each with whether everything is resumed after it; and for how long weather is kept."""
    with_arrivals = draw(st.booleans())
    # Half hours: close together, or further apart than weather is kept.
    span = draw(st.sampled_from([5, 12, 40]))
    arrived = START + draw(st.integers(0, 4)) * HALF
    first = arrived if with_arrivals else None
    out: list[tuple[Event, bool]] = [
        (Registration(asset, name, "north", {}, False, first), False) for asset, name in CLASSES.items()
    ]
    length = draw(st.integers(1, 60))
    for number, step in enumerate(draw(st.lists(_STEP, min_size=length, max_size=length))):
        what, asset, site, share, ago, one, other, waited, resumed = step
        arrived += waited * HALF
        at = arrived if with_arrivals else None
        time = START + int(share * span) * HALF
        if what == _WEATHER:
            issued = None if ago is None else time + ago * HALF
            # 3 is missing.
            values = {"temp": _given(one), "rain": _given(other), "fog": 1.0}
            event: Event = Weather(site or "south", time, issued, values, at)
        elif what == _TELEMETRY:
            event = Telemetry(asset, time, {"coolant": _given(one)}, str(number), at, site)
        elif what == _FAULT:
            event = Fault(asset, time, f"code {number}", None, at)
        else:
            event = Registration(asset, CLASSES[asset], site, {}, False, at)
        out.append((event, resumed))
    return draw(st.sampled_from(["0s", "2h", "7d"])), out


def _given(value: int) -> float | None:
    return None if value == 3 else float(value)


def asked(world: World, event: Event) -> list[Published]:
    """What the oracle says of a record."""
    match event:
        case Weather(site=site, time=time, issued=issued, values=values, arrived=arrived):
            seen = {name: values[name] for name in ("temp", "rain")}
            return world.weather_row(site, time, issued, seen, arrived)
        case Telemetry(asset=asset, time=time, readings=readings, site=site, arrived=arrived):
            return world.telemetry(asset, time, readings["coolant"], site, arrived)
        case Fault(asset=asset, time=time, arrived=arrived):
            return world.fault(asset, time, arrived)
        case Registration(asset=asset, site=site, arrived=arrived):
            return world.registration(asset, site, arrived)
    raise TypeError(event)


@given(streams())
def test_features_hold_the_weather_that_was_valid_and_known(
    stream: tuple[str, list[tuple[Event, bool]]],
) -> None:
    """Late, missing, re-issued weather, moving assets, any resumes: as the list of all rows has it."""
    memory, records = stream
    held = {"0s": 0, "2h": 2 * HOUR, "7d": 168 * HOUR}[memory]
    world = World(KINDS, (2 * HOUR, HOUR), kept=5 * HOUR + held + HOUR, max_future=HOUR)
    product = Product(fleet(memory))
    for event, resumed in records:
        same(published(product.take([event])), asked(world, event))
        if resumed:
            product.resume()


@given(streams(), st.lists(st.integers(1, 20), min_size=63, max_size=63))
def test_what_arrives_together_changes_nothing(
    stream: tuple[str, list[tuple[Event, bool]]], sizes: list[int]
) -> None:
    """In batches of any sizes items, places and contents are those of one record at a time."""
    memory, records = stream
    events = [event for event, _ in records]
    one, together = Product(fleet(memory)), Product(fleet(memory))
    expected = [item for event in events for item in one.take([event])]
    found: list[Item] = []
    while events:
        size = sizes.pop()
        found += together.take(events[:size])
        events = events[size:]
    assert [(*by_order(item), item.arrival, item.known, repr(item.body)) for item in found] == [
        (*by_order(item), item.arrival, item.known, repr(item.body)) for item in expected
    ]
