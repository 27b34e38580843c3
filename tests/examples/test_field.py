"""The fleet of the field scenario, as it is published, on a small recording of that scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.fleet import load
from dataflows.instants import HOUR, parse_instant
from dataflows.pipeline import run_inline
from dataflows.simulator import load_scenario, write

pytestmark = pytest.mark.ci

FLEET = Path(__file__).parents[2] / "examples" / "field" / "fleet.toml"
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A recording of some trucks, many of which send one sensor a message."""
    scenario = load_scenario("field", trucks=10, days=24, seed=3)
    delivery = scenario.delivery.model_copy(update={"by_sensor": 0.4})
    scenario = scenario.model_copy(update={"delivery": delivery})
    return write(scenario, tmp_path_factory.mktemp("field")).events.read_bytes().splitlines()


@pytest.fixture(scope="module")
def outputs(lines: list[bytes]) -> Rows:
    """Decoded rows by output."""
    return run_inline(load(FLEET, environ={}), lines)


def refused(events: list[dict[str, Any]]) -> dict[int, str]:
    """Lines of telemetry and faults that cannot be used, and why, by the rules of the contract alone."""
    arrival, found = 0, {}
    newest: dict[str, int] = {}
    repaired: dict[str, int] = {}
    seen: dict[tuple[str, int], list[Any]] = {}
    for line, event in enumerate(events, start=1):
        arrival = max(arrival, parse_instant(event["arrived"]))
        asset, kind = event.get("asset"), event["kind"]
        if kind == "failure":
            repaired[asset] = max(repaired.get(asset, 0), parse_instant(event["time"]))
        if kind not in {"telemetry", "fault"}:
            continue
        time, content = parse_instant(event["time"]), event.get("code") or event["readings"]
        known = seen.setdefault((asset, time), [])
        if time > arrival + HOUR:
            found[line] = "future"
        elif time <= repaired.get(asset, 0) or time < newest.get(asset, 0) - HOUR:
            found[line] = "too_late"
        elif content in known:
            found[line] = "duplicate"
        else:
            known.append(content)
            newest[asset] = max(newest.get(asset, 0), time)
    return found


def test_every_refused_line_is_refused_by_the_rules(lines: list[bytes], outputs: Rows) -> None:
    """Duplicates, wrong clocks and what is too late, line by line; nothing else is refused."""
    rows = [row for name in ("rejects", "late") for row in outputs[name]]
    expected = refused([orjson.loads(line) for line in lines])
    assert {row["line"]: row["reason"] for row in rows} == expected
    assert set(expected.values()) == {"duplicate", "future", "too_late"}


def test_every_example_has_weather(outputs: Rows) -> None:
    """Observations and forecasts cover the recording, and the expression is there wherever its sensor is."""
    # One row a time, for all targets.
    found = [row["features"] for row in outputs["examples"]]
    assert len(found) > 700
    assert {row["weather:forecast"] for row in found} == {0.0, 1.0}
    assert all(0 <= row["weather:age"] <= 3 for row in found)
    assert all(row["air:max:2d"] >= row["weather:temperature"] for row in found)
    for row in found:
        assert (row["over_air:mean:6h"] is None) == (row["engine_temperature:mean:6h"] is None)
    (told,) = [row["input"] for row in outputs["summary"] if "assets" in row.get("input", {})]
    assert told["without_weather"] == 0


def test_each_way_to_fail_has_its_examples(outputs: Rows) -> None:
    """Three targets mature the same grid of examples; a leak is among them."""
    labels: dict[str, set[str]] = {}
    for row in outputs["evaluations"]:
        labels.setdefault(row["target"], set()).add(row["label"])
    assert set(labels) == {"truck/coolant_leak/2d", "truck/bearing_wear/7d", "truck/battery_ageing/7d"}
    assert all("negative" in found for found in labels.values())
    assert "positive" in labels["truck/coolant_leak/2d"]
