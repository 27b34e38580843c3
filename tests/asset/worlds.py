"""Classes in short form, their plans, events and items, for the tests of the asset."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from dataflows.asset.asset import ClassPlan
from dataflows.events import (
    Event,
    Fault,
    Telemetry,
)
from dataflows.fleet.fleet import AssetClass, AssetPolicy, Fleet, Input, Output, Target, Window
from dataflows.instants import HOUR
from dataflows.items import Item, Observation, ResolvedEvent, Row
from tests.asset.oracle import TargetShape
from tests.asset.streams import target_of

CODES = ("E1", "E2")
COMPONENTS = ("belt", "seal")
COLOURS = ("red", "blue")
#: The longest horizon there is: nothing drawn is ever unmatched.
LONG = TargetShape("pump/seal", "seal", "seal", 10_000, 0, 10_000)


class Shape(NamedTuple):
    """A class: (length, hop) of its windows, each over its sensors and faults; times are small numbers."""

    name: str
    windows: tuple[tuple[int, int], ...]
    lateness: int
    resets: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ("speed",)
    mode: str = "seal"

    def asset_class(self) -> AssetClass:
        statistics, fault_statistics = ("count", "missing", "last"), ("count", "age")
        names = list(self.sensors)
        for number in range(len(self.windows)):
            names += [f"{name}:{found}:{number}" for name in self.sensors for found in statistics]
            names += [f"{code}:{found}:{number}" for code in CODES for found in fault_statistics]
        names += [f"{name}:{found}" for name in COMPONENTS for found in ("hours", "count")]
        names += ["age", *(f"colour={colour}" for colour in COLOURS)]
        return AssetClass(
            self.name,
            self.sensors,
            True,
            tuple(
                Window(length, hop, statistics, tuple(range(len(self.sensors))), (0, 1), fault_statistics)
                for length, hop in self.windows
            ),
            tuple(names),
            self.lateness,
            1,
            (self.target().name,),
            faults=CODES,
            maintenance=COMPONENTS,
            attributes=("age",),
            categories=(("colour", COLOURS),),
            reset_windows_on=self.resets,
        )

    def target(self) -> Target:
        return target_of(LONG._replace(name=f"{self.name}/{self.mode}", mode=self.mode, component=self.mode))


def plans_of(*shapes: Shape) -> dict[str, ClassPlan]:
    targets = {shape.target().name: shape.target() for shape in shapes}
    return {shape.name: ClassPlan(shape.asset_class(), targets) for shape in shapes}


def item_of(number: int, event: Event, asset_class: str = "pump") -> Item:
    return Item(number, 0, None, number, ("feed", number, number), ResolvedEvent(event, asset_class))


def features_in(items: list[Item]) -> list[float] | None:
    for item in items:
        if isinstance(item.body, Observation) and item.body.score is not None:
            return list(np.frombuffer(item.body.score.features))
    return None


def reason_in(items: list[Item]) -> str | None:
    rows = [orjson.loads(item.body.data) for item in items if isinstance(item.body, Row)]
    return rows[0]["reason"] if rows else None


def reading(time: int, value: float = 1.0) -> Telemetry:
    return Telemetry("a", time, {"speed": value}, None, None)


def fault(time: int, code: str = "E1", identity: str | None = None) -> Fault:
    return Fault("a", time, code, identity, None)


#: Far beyond any drawn time.
MAX_FUTURE = 1_000


class Rules(NamedTuple):
    """One class: when it is silent, how late its telemetry may be, and its targets."""

    idle: int
    ttl: int | None
    lateness: int
    targets: tuple[TargetShape, ...]

    def fleet(self) -> Fleet:
        pump = AssetClass(
            "pump",
            ("x",),
            True,
            (),
            ("x",),
            self.lateness,
            1,
            tuple(target.name for target in self.targets),
            idle_timeout=self.idle,
            asset_ttl=self.ttl,
        )
        return Fleet(
            name="pumps",
            path=Path("fleet.toml"),
            figures_from=None,
            metrics_every=HOUR,
            input=Input(("-",), 1),
            output=Output(Path("out"), "none"),
            assets=AssetPolicy("adopt", "pump", 10, max_future=MAX_FUTURE),
            classes={"pump": pump},
            targets={target.name: target_of(target) for target in self.targets},
        )
