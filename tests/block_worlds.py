"""Recordings of pumps for runs in blocks, with all that a record can do, and their fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import strategies as st

from dataflows.instants import format_instant
from dataflows.testing import failure, fault, maintenance, pump_fleet, registration, retraction, telemetry

if TYPE_CHECKING:
    from dataflows.fleet.fleet import Fleet

__all__ = ["KILLS", "MINUTE", "POISON", "RARE", "RECORDINGS", "SIZES", "UNLUCKY", "fleet", "lines"]

MINUTE = 60_000_000
#: A reading, and a minute of the hour, at which an asset of a poisoned fleet raises.
POISON, UNLUCKY = 13.0, 7
CLASS = {
    "sensors": ["pressure", "flow"],
    "expressions": {"over_air": "pressure - weather.air"},
    "faults": ["E1"],
    "maintenance": ["seal"],
    "attributes": ["age"],
    "weather": {"values": ["air"], "max_age": "6h"},
    "allowed_lateness": "1h",
    "example_every": "1h",
    "reset_windows_on": ["failure"],
    "idle_timeout": "3h",
    "asset_ttl": "40h",
    "compare": 0.7,
    "windows": [{"length": "6h", "hop": "1h", "statistics": ["mean", "std", "slope"]}],
}


def fleet(*, agree: bool = False, **changes: object) -> Fleet:
    """Pumps with weather, faults, resets and silence; two horizons, so that labels come at two times."""
    models = {"mine": {"pipeline": [{"estimator": "river.naive_bayes.GaussianNB"}]}}
    targets = [
        {"class": "pump", "mode": "leak", "component": "seal", "horizon": horizon, "champion": "mine"}
        for horizon in ("4h", "12h")
    ]
    targets = [{**target, "agree": agree} for target in targets]
    return pump_fleet(models, classes={"pump": {**CLASS, **changes}}, targets=targets)


RARE = ["late", "fault", "failure", "maintenance", "retraction", "weather", "row"]
#: Minutes since the last record; asset; kind; reading; minutes back.
_STEPS = st.tuples(
    st.sampled_from([0, 1, 3, 10, 20, 20, 20, 45, 200]),
    st.sampled_from("aaabbc"),
    st.sampled_from(["telemetry"] * 14 + RARE),
    st.sampled_from([1.0, 2.5, -3.0, 7.25, POISON, None]),
    st.integers(0, 90),
)


def lines(steps: list[tuple[int, str, str, float | None, int]]) -> list[bytes]:
    """JSON records of steps, in the order of arrival."""
    now, made = 0, [registration(name, "pump", {"age": 3}, site="hall", arrived=0.0) for name in "abc"]
    for number, (gap, asset, kind, value, back) in enumerate(steps):
        now += gap * MINUTE
        time, past = format_instant(now), format_instant(max(now - back * MINUTE, 0))
        more: dict[str, Any] = {"arrived": time}
        if kind == "telemetry":
            made.append(telemetry(asset, time, {"pressure": value, "flow": back / 10}, **more))
        elif kind == "late":
            made.append(telemetry(asset, past, {"pressure": value}, id=f"m{number}", **more))
        elif kind == "fault":
            made.append(fault(asset, past, "E1", **more))
        elif kind == "failure":
            made.append(failure(asset, past, "leak", id=f"f{back % 7}", **more))
        elif kind == "maintenance":
            made.append(maintenance(asset, past, "seal", id=f"s{back % 7}", **more))
        elif kind == "retraction":
            made.append(retraction(asset, f"f{back % 7}", **more))
        elif kind == "weather":
            row = {"kind": "weather", "site": "hall", "time": past, "values": {"air": value}, "arrived": time}
            made.append(orjson.dumps(row))
        else:
            made.append(registration(asset, "pump", {"age": back}, **more))
    return made


RECORDINGS = st.lists(_STEPS, min_size=20, max_size=50).map(lines)
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=8)
KILLS = st.sets(st.integers(1, 12), max_size=4)
