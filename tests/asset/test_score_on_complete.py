"""Times that wait for their sensors: what ends the wait, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from dataflows.asset import Asset
from dataflows.asset.asset import ClassPlan
from dataflows.events import Event, Failure, Fault, Registration, Telemetry
from dataflows.fleet.fleet import AssetClass, Window
from dataflows.items import Expiry, Item, Late, Observation, ResolvedEvent, lane_part
from tests.asset.oracle import TargetShape
from tests.asset.streams import target_of
from tests.observations import parts_of, processed

SENSORS = ("speed", "heat", "load")
TARGET = target_of(TargetShape("pump/seal", "seal", "seal", 1_000, 0, 10_000))
#: A window of 100 in hops of 10; speed and heat are required, load is not.
PUMP = AssetClass(
    "pump",
    SENSORS,
    values=True,
    windows=(Window(100, 10, ("count",), (0, 1, 2), (0,), ("count",)),),
    features=(*SENSORS, *(f"{name}:count" for name in SENSORS), "E1:count"),
    allowed_lateness=50,
    example_every=100,
    targets=("pump/seal",),
    faults=("E1",),
    reset_windows_on=("failure",),
    required=(0, 1),
)
FAN = replace(PUMP, name="fan", required=None, targets=())


class Scored(NamedTuple):
    """One prediction: time, revision, whether it is an example, and its features."""

    time: int
    revision: int
    example: bool
    features: list[float]


def opened(sealed: bytes | None = None) -> Asset:
    plans = {found.name: ClassPlan(found, {"pump/seal": TARGET}) for found in (PUMP, FAN)}
    return Asset("p", plans, "pump", sealed)


def sent(asset: Asset, event: Event | Expiry, asset_class: str = "pump") -> list[Scored]:
    """The predictions that an event makes."""
    items = processed(asset, Item(1, lane_part(0), 7, 7, ("feed", 1, 0), ResolvedEvent(event, asset_class)))
    assert [item.part for item in items] == [lane_part(0) + index * 2**20 for index in range(len(items))]
    bodies = [item.body for item in items]
    assert all(isinstance(body, Observation | Late) for body in bodies)
    return [
        Scored(score.time, score.revision, score.example, np.frombuffer(score.features).tolist())
        for body in bodies
        if isinstance(body, Observation) and (score := body.score) is not None
    ]


def message(time: int, identity: str | None = None, **readings: float | None) -> Telemetry:
    return Telemetry("p", time, readings, identity, None)


def short(scored: list[Scored]) -> list[tuple[int, int, bool]]:
    return [found[:3] for found in scored]


def test_a_time_is_scored_with_the_last_of_its_required_sensors() -> None:
    """Not before, once, as revision 0; what comes after that revises it."""
    asset = opened()
    assert sent(asset, message(10, speed=1.0)) == []
    assert sent(asset, message(10, load=3.0)) == []
    (scored,) = sent(asset, message(10, heat=2.0))
    assert scored == Scored(10, 0, True, [1.0, 2.0, 3.0, 1.0, 1.0, 1.0, 0.0])
    assert short(sent(asset, message(10, heat=2.5))) == [(10, 1, False)]


def test_a_null_is_no_reading() -> None:
    """A required sensor that says nothing is waited for."""
    asset = opened()
    assert sent(asset, message(10, speed=1.0, heat=None)) == []
    assert short(sent(asset, message(10, heat=1.0))) == [(10, 0, True)]


def test_a_newer_time_scores_the_one_that_waits_as_it_is() -> None:
    """First the old one, without the newer readings; then, if it is complete at once, the newer."""
    asset = opened()
    sent(asset, message(10, speed=1.0))
    old, new = sent(asset, message(20, speed=2.0, heat=2.0))
    assert short([old, new]) == [(10, 0, True), (20, 0, False)]
    assert old.features[3:6] == [1.0, 0.0, 0.0]
    assert new.features[3:6] == [2.0, 1.0, 0.0]


def test_what_comes_for_a_time_that_waited_in_vain_revises_it() -> None:
    """As long as no newer one is scored; after that it revises the newer."""
    asset = opened()
    sent(asset, message(10, speed=1.0))
    assert short(sent(asset, message(20, speed=2.0))) == [(10, 0, True)]
    (revised,) = sent(asset, message(10, heat=5.0))
    assert revised[:3] == (10, 1, False)
    assert revised.features[:2] == [1.0, 5.0]
    assert short(sent(asset, message(20, heat=2.0))) == [(20, 0, False)]
    assert short(sent(asset, message(10, load=5.0))) == [(20, 1, False)]


def test_a_copy_of_what_waits_ends_no_wait() -> None:
    """The same id with the same time and content is a duplicate, and no sign of a newer time."""
    asset = opened()
    sent(asset, message(10, "a", speed=1.0))
    (item,) = processed(
        asset, Item(1, 0, 7, 7, ("feed", 1, 0), ResolvedEvent(message(10, "a", speed=1.0), "pump"))
    )
    assert not isinstance(item.body, Observation)
    assert short(sent(asset, message(10, "b", heat=1.0))) == [(10, 0, True)]


def test_a_fault_ends_the_wait_once_the_watermark_has_passed_it() -> None:
    """A code may overtake messages of the time that is held; it counts only from its own time on."""
    asset = opened()
    sent(asset, message(10, speed=1.0))
    assert sent(asset, Fault("p", 10, "E1", None, None)) == []
    assert sent(asset, Fault("p", 60, "E1", None, None)) == []
    (scored,) = sent(asset, Fault("p", 61, "E1", None, None))
    assert scored[:3] == (10, 0, True)
    assert scored.features[-1] == 1.0
    assert short(sent(asset, message(10, heat=1.0))) == [(10, 1, False)]


@pytest.mark.parametrize("what", ["silent", "ttl"])
def test_silence_scores_what_waits(what: str) -> None:
    """The last time of an asset is scored too, though nothing newer ever comes."""
    asset = opened()
    sent(asset, message(10, speed=1.0))
    asset = opened(asset.to_bytes())
    items = processed(
        asset, Item(1, lane_part(1), 90, 90, ("", 0, 0), ResolvedEvent(Expiry("p", 90, what), "pump"))
    )
    first, *others = [parts_of(item.body) for item in items if isinstance(item.body, Observation)]
    assert (first.time, first.revision, first.example, first.cleared) == (10, 0, True, None)
    assert [(body.time, body.cleared) for body in others] == [(None, "silent")]
    (copy,) = processed(
        asset, Item(2, 0, 91, 91, ("feed", 2, 0), ResolvedEvent(message(10, speed=1.0), "pump"))
    )
    assert not isinstance(copy.body, Observation)


def test_retirement_scores_what_waits() -> None:
    """For the target that then censors it: what was measured goes without no prediction."""
    asset = opened()
    sent(asset, message(10, speed=1.0))
    assert short(sent(asset, Registration("p", "pump", None, {}, retired=True, arrived=None))) == [
        (10, 0, True)
    ]


def test_a_reset_scores_what_waits_before_it_drops_it() -> None:
    """Nothing that was measured goes without a prediction."""
    asset = opened()
    sent(asset, message(10, speed=1.0))
    assert short(sent(asset, Failure("p", 10, "seal", None, None))) == [(10, 0, True)]
    (scored,) = sent(asset, message(20, speed=2.0, heat=2.0))
    assert scored.features[3:5] == [1.0, 1.0]


def test_a_failure_before_what_waits_ends_no_wait() -> None:
    """It resets what lies before it; the time after it goes on waiting, through a restart too."""
    asset = opened()
    sent(asset, message(10, speed=1.0))
    assert sent(asset, Failure("p", 5, "seal", None, None)) == []
    assert short(sent(opened(asset.to_bytes()), message(10, heat=1.0))) == [(10, 0, True)]


def test_a_change_of_class_scores_what_waits() -> None:
    """For the targets of the class that it was measured under; the new class waits for nothing."""
    asset = opened()
    sent(asset, message(10, speed=1.0))
    change = Registration("p", "fan", None, {}, retired=False, arrived=None)
    assert short(sent(asset, change, "fan")) == [(10, 0, True)]
    back = Registration("p", "pump", None, {}, retired=False, arrived=None)
    sent(asset, message(20, speed=1.0), "fan")
    assert sent(asset, back) == []
    assert sent(asset, message(30, speed=1.0)) == []
    assert short(sent(asset, message(30, heat=1.0))) == [(30, 0, False)]


@pytest.mark.parametrize("restart", [False, True])
def test_an_asset_that_is_dropped_waits_for_nothing(restart: bool) -> None:
    """What waited is scored and dropped with the rest; its time is remembered, so that no copy is scored."""
    asset = opened()
    sent(asset, message(10, speed=1.0))
    processed(asset, Item(1, 0, 7, 7, ("", 0, 0), ResolvedEvent(Expiry("p", 99, "ttl"), "pump")))
    asset = opened(asset.to_bytes()) if restart else asset
    assert sent(asset, message(20, heat=1.0)) == []
    assert short(sent(asset, message(20, speed=1.0))) == [(20, 0, False)]
