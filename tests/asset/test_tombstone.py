"""What is left of an asset that `asset_ttl` dropped: how many bytes, and that it goes on exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.asset import Asset
from dataflows.asset.asset import ClassPlan
from dataflows.events import Event, Failure, Maintenance, Registration, Telemetry
from dataflows.items import Expiry, Item, Observation, ResolvedEvent
from tests.asset.streams import HOUR, MINUTE
from tests.asset.worlds import Shape, fault, features_in, item_of, plans_of, reading, reason_in
from tests.observations import processed

#: Times as they are in 2024, where each takes nine bytes.
NOW = 1_704_067_200_000_000
SHAPE = Shape("pump", ((4, 1), (60, 10)), 9, ("failure",))
PLANS = plans_of(SHAPE, SHAPE._replace(name="fan", lateness=3))


def expiry(asset: Asset, what: str, due: int) -> list[Item]:
    expired = Expiry("a", due, what)  # type: ignore[arg-type]
    return processed(asset, Item(500, 0, due, due, ("", 0, 0), ResolvedEvent(expired, "pump")))


def attributes_row(asset_class: str = "pump", **attributes: float) -> Registration:
    return Registration("a", asset_class, None, {**attributes}, False, None)


def dropped(*events: Event, sealed: bytes | None = None) -> Asset:
    asset = Asset("a", PLANS, "pump", sealed)
    for number, event in enumerate(events):
        processed(asset, item_of(number, event))
    expiry(asset, "ttl", NOW + 10_000)
    return asset


def test_a_dropped_asset_takes_100_bytes() -> None:
    """Watermark, last identities and the place of its last prediction, and nothing of its windows."""
    minutes = [Telemetry("a", NOW + at * MINUTE, {"speed": float(at)}, f"id {at}", None) for at in range(100)]
    shape = SHAPE._replace(lateness=30 * MINUTE)
    hourly = replace(shape.asset_class(), example_every=HOUR)
    plans = {"pump": ClassPlan(hourly, {shape.target().name: shape.target()})}
    asset = Asset("a", plans, "pump")
    for number, event in enumerate(minutes):
        processed(asset, item_of(number, event))
    awake = len(asset.to_bytes())
    expiry(asset, "ttl", NOW + 30 * HOUR)
    assert len(asset.to_bytes()) <= 100 < awake
    asset = Asset("a", plans, "pump", asset.to_bytes())
    assert len(asset.to_bytes()) <= 100
    copies = [reason_in(processed(asset, item_of(200 + at, minutes[at]))) for at in (96, 97, 98, 99)]
    assert copies == ["duplicate"] * 4


def test_attributes_are_all_that_a_dropped_asset_keeps_beside() -> None:
    """A registry row costs its own length more, whatever else came."""
    bare = len(dropped(reading(NOW)).to_bytes())
    known = len(
        dropped(attributes_row(age=3), reading(NOW), Maintenance("a", NOW, "seal", None, None)).to_bytes()
    )
    assert known <= bare + len("age") + 2


_LIFE = st.lists(
    st.one_of(
        st.builds(reading, st.integers(NOW, NOW + 40), st.sampled_from([1.0, 2.0])),
        st.builds(fault, st.integers(NOW, NOW + 40)),
        st.builds(lambda time: Failure("a", time, "seal", None, None), st.integers(NOW, NOW + 40)),
        st.builds(lambda time: Maintenance("a", time, "belt", None, None), st.integers(NOW, NOW + 40)),
        st.builds(attributes_row, st.sampled_from(["pump", "fan"]), age=st.integers(0, 9)),
    ),
    max_size=8,
)


@given(_LIFE, _LIFE, st.booleans())
def test_a_tombstone_goes_on_as_the_asset_would(
    before: list[Event], after: list[Event], buried: bool
) -> None:
    """Written after each record and read again, it makes of what comes the very same items."""
    kept, written = dropped(*before), dropped(*before)
    if buried:
        expiry(kept, "buried", NOW + 20_000)
        expiry(written, "buried", NOW + 20_000)
    for number, event in enumerate(after, 100):
        written = Asset("a", PLANS, "pump", written.to_bytes())
        assert processed(written, item_of(number, event)) == processed(kept, item_of(number, event))
    assert written.to_bytes() == kept.to_bytes()


@given(_LIFE, _LIFE)
def test_tombstones_that_were_written_in_full_are_read(before: list[Event], after: list[Event]) -> None:
    """Stores hold dropped assets with all fields of the others; they go on alike."""
    small, full = dropped(*before), dropped(*before)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Asset, "_tombstone", lambda _: None)
        sealed = full.to_bytes()
    assert len(sealed) > len(small.to_bytes())
    full = Asset("a", PLANS, "pump", sealed)
    assert full.to_bytes() == small.to_bytes()
    for number, event in enumerate(after, 100):
        assert processed(full, item_of(number, event)) == processed(small, item_of(number, event))


def test_a_buried_asset_keeps_the_attributes_of_its_registry_row() -> None:
    """The row does not come again; all else is forgotten, and of an asset without attributes everything."""
    bare = dropped(reading(NOW))
    expiry(bare, "buried", NOW + 20_000)
    assert bare.finished
    asset = dropped(attributes_row(age=3), reading(NOW))
    expiry(asset, "buried", NOW + 20_000)
    assert not asset.finished
    assert len(asset.to_bytes()) < 50
    asset = Asset("a", PLANS, "pump", asset.to_bytes())
    out = processed(asset, item_of(1, reading(NOW - 1_000)))
    found = features_in(out)
    assert found is not None
    assert dict(zip(SHAPE.asset_class().features, found, strict=True))["age"] == 3
    scores = [each.body.score for each in out if isinstance(each.body, Observation)]
    assert [(each.time, each.revision) for each in scores if each is not None] == [(NOW - 1_000, 0)]
