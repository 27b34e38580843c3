"""Assets that fall silent: rules of a class, drawn histories and the events that they mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from dataflows.events import Event, Failure, Fault, Maintenance, Registration, Telemetry
from dataflows.fleet.fleet import AssetClass, AssetPolicy, Fleet, Input, Output
from dataflows.instants import HOUR
from dataflows.items import Item, LanePeriod
from tests.asset.oracle import TargetShape
from tests.asset.streams import target_of

MAX_FUTURE = 6
HORIZON = 2
BASE = AssetClass("pump", ("x",), True, (), ("x",), 0, HOUR, ())


class Rule(NamedTuple):
    """When assets of a class are silent; None: never. ``memory``: how long its target remembers."""

    idle: int | None
    ttl: int | None
    memory: int = 1_000

    @property
    def reach(self) -> int:
        return MAX_FUTURE + HORIZON + self.memory


def fleet_of(rules: dict[str, Rule], most: int = 100, unknown: str | None = "pump") -> Fleet:
    return Fleet(
        name="pumps",
        path=Path("fleet.toml"),
        figures_from=None,
        metrics_every=HOUR,
        input=Input(("-",), 1),
        output=Output(Path("out"), "none"),
        assets=AssetPolicy(
            "adopt" if unknown else "reject",
            unknown,
            100,
            max_future=MAX_FUTURE,
            max_tombstones=most,
            max_arrival_jump=2**62,
        ),
        classes={
            name: replace(BASE, name=name, targets=(name,), idle_timeout=rule.idle, asset_ttl=rule.ttl)
            for name, rule in rules.items()
        },
        targets={
            name: target_of(TargetShape(name, "leak", "seal", HORIZON, 0, rule.memory))
            for name, rule in rules.items()
        },
    )


class Step(NamedTuple):
    """A record: how long after the last one it arrives, and its time relative to its arrival."""

    kind: str
    asset: str
    after: int
    offset: int = 0
    to: str = "pump"


def bodies_of(steps: list[Step]) -> list[Event]:
    """The records; an arrival may be smaller than its predecessor's."""
    bodies: list[Event] = []
    now = 0
    for kind, asset, after, offset, to in steps:
        now += after
        time = now + offset
        bodies.append(
            {
                "telemetry": Telemetry(asset, time, {"x": 1.0}, None, now),
                "fault": Fault(asset, time, "E1", None, now),
                "failure": Failure(asset, time, "leak", None, now),
                "maintenance": Maintenance(asset, time, None, None, now),
                "asset": Registration(asset, to, None, {}, False, now),
            }[kind]
        )
    return bodies


_KINDS = ["telemetry", "telemetry", "telemetry", "fault", "failure", "maintenance", "asset"]
_STEPS = st.builds(
    Step,
    st.sampled_from(_KINDS),
    st.sampled_from("abcd"),
    # An arrival that runs back counts as its predecessor's.
    st.sampled_from([0, 0, 1, 1, 2, 3, 5, 7, 12, 40, -3]),
    st.sampled_from([0, 0, -1, -50, MAX_FUTURE, MAX_FUTURE + 4]),
    st.sampled_from(["pump", "fan", "lamp"]),
)


_IDLE = st.integers(1, 12)


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, Rule], int, list[Step]]:
    """Rules of three classes, of which one may know no silence, a number of tombstones, and records."""
    rules = {}
    for name in ("pump", "fan", "lamp"):
        idle = draw(_IDLE if name == "pump" else _IDLE | st.none())
        ttl = None if idle is None else draw(st.none() | st.integers(idle + 1, 5 * idle + 3))
        rules[name] = Rule(idle, ttl, draw(st.sampled_from([0, 3, 20, 1_000])))
    return rules, draw(st.sampled_from([0, 1, 1, 2, 9])), draw(st.lists(_STEPS, min_size=1, max_size=20))


def without_periods(items: list[Item]) -> list[Item]:
    """All but what the lane counted in a period of the metrics."""
    return [item for item in items if not isinstance(item.body, LanePeriod)]
