"""Pumps in a world that changes after forty-five days, for the tests of what notices it."""

from __future__ import annotations

import random
from typing import Any

from dataflows.instants import HOUR, format_instant
from dataflows.testing import failure, maintenance, pump_fleet, telemetry

DAY = 24 * HOUR
PUMPS, DAYS, TURN = 8, 60, 45
TARGET = {"class": "pump", "mode": "leak", "horizon": "12h", "champion": "bayes", "promotion": "off"}
MODELS = {"bayes": {"features": ["flow"], "pipeline": [{"estimator": "river.naive_bayes.GaussianNB"}]}}
ROOM = {"north": {"pump-0", "pump-1", "pump-2"}}


def fleet(drift: str = "log", **more: object) -> Any:  # noqa: ANN401
    """Pumps whose drift is watched, with windows left out, so that series are few."""
    classes = {"pump": {"sensors": ["flow", "pressure"], "allowed_lateness": "1h", "example_every": "3h"}}
    return pump_fleet(
        MODELS, classes=classes, targets=[{**TARGET, "drift": drift, **more}], metrics_every="10d"
    )


def _reading(change: str, name: str, chance: random.Random, *, high: bool) -> dict[str, float | None]:
    """Readings after the turn."""
    flow: float | None = chance.gauss(9 if high else 2, 1)
    pressure = chance.gauss(5, 1)
    if change == "flow":
        flow = (flow or 0.0) + 6
    elif change == "missing" and chance.random() < 0.6:
        flow = None
    elif change == "both":
        flow, pressure = (flow or 0.0) + 6, pressure + 6
    elif change in {"one", "maintained"} and name == "pump-3":
        pressure += 40
    elif change == "north" and name in ROOM["north"]:
        pressure += 12
    return {"flow": flow, "pressure": pressure}


def recording(change: str = "none", days: int = DAYS, arrivals: bool = False) -> list[bytes]:
    """Sixty days of pumps that leak after high flow; after forty-five days something changes."""
    rows: list[tuple[int, int, bytes]] = []
    for number in range(PUMPS):
        chance, name, high = random.Random(number), f"pump-{number}", 0
        site = "north" if name in ROOM["north"] else "south"
        for hour in range(0, days * 24, 3):
            if not high and chance.random() < 0.05:
                high = 4
            time, changed = hour * HOUR, hour >= TURN * 24
            if change == "gone" and changed and site == "north":
                continue
            readings = _reading(change if changed else "none", name, chance, high=bool(high))
            arrived = time + HOUR // 60
            if change == "backlog" and TURN * 24 <= hour < TURN * 24 + 30:
                arrived = (TURN * 24 + 30) * HOUR + hour * 1000
            more = {"arrived": format_instant(arrived)} if arrivals else {}
            rows.append((arrived, time, telemetry(name, format_instant(time), readings, site=site, **more)))
            leaks = chance.random() < (0.9 if high == 1 else 0.0)
            if leaks and not (changed and change == "silent"):
                at = time + HOUR
                more = {"arrived": format_instant(max(at, arrived))} if arrivals else {}
                rows.append((max(at, arrived), at, failure(name, format_instant(at), "leak", **more)))
            high = max(0, high - 1)
    if change == "maintained":
        at = TURN * 24 * HOUR
        rows.append((at, at - 1, maintenance("pump-3", format_instant(at), "sensor:pressure")))
    return [line for *_, line in sorted(rows, key=lambda row: row[:2])]
