"""Runs of an asset whose examples are computed again, and what became of each example."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from dataflows.asset.asset import Asset, ClassPlan
from dataflows.events import Telemetry
from dataflows.items import Item, Observation, ResolvedEvent, lane_part
from tests.asset.oracle import TargetShape
from tests.asset.streams import HOUR, target_of
from tests.observations import Parts, parts_of, processed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataflows.fleet.fleet import AssetClass

__all__ = ["TARGET", "Run", "asset_of", "plan_of", "run", "telemetry", "told"]

TARGET = TargetShape("pump/leak/4h", "leak", "seal", 4 * HOUR, HOUR, 100 * HOUR)


def plan_of(asset_class: AssetClass, share: float = 1.0) -> ClassPlan:
    compared = replace(asset_class, compare=share, targets=(TARGET.name,))
    return ClassPlan(compared, {TARGET.name: target_of(TARGET)})


def asset_of(plan: ClassPlan, sealed: bytes | None = None) -> Asset:
    return Asset("pump 1", {"pump": plan}, "pump", sealed)


def telemetry(time: int, readings: dict[str, float | None], identity: str | None = None) -> Telemetry:
    return Telemetry("pump 1", time, readings, identity, None)


def told(asset: Asset, events: Iterable[Any]) -> list[Parts]:
    """What an asset says of events."""
    observations = []
    for number, event in enumerate(events, start=1):
        known = ResolvedEvent(event, "pump")
        items = processed(asset, Item(number, lane_part(0), None, 0, ("pumps", number, 0), known))
        observations += [parts_of(item.body) for item in items if isinstance(item.body, Observation)]
    return observations


class Run(NamedTuple):
    """Features of examples by time, as served and from complete data; why others were given up."""

    served: dict[int, bytes]
    complete: dict[int, bytes]
    given_up: dict[int, str]


def run(plan: ClassPlan, events: Iterable[Any]) -> Run:
    observations = told(asset_of(plan), events)
    found = [compared for seen in observations for compared in seen.compared]
    times = [compared.time for compared in found]
    assert len(set(times)) == len(times), "no example is compared twice"
    return Run(
        {seen.time: seen.features for seen in observations if seen.example},
        {compared.time: compared.features for compared in found if compared.features is not None},
        {compared.time: compared.why for compared in found if compared.features is None},
    )
