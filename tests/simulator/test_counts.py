"""What the dataflow should count follows from a recording and its truth, and is what it counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.fleet import load
from dataflows.instants import HOUR, MICROSECONDS, parse_instant
from dataflows.pipeline import run_inline
from dataflows.simulator import load_scenario, write

if TYPE_CHECKING:
    from pathlib import Path

LATENESS = 10 * MICROSECONDS["m"]
FLEET = """
name = "field"
[input]
files = ["events.jsonl"]
[assets]
max_future = "1h"
[classes.truck]
sensors = [{sensors}]
faults = ["low_coolant", "overheating", "vibration_alarm", "undervoltage"]
allowed_lateness = "10m"
label_delay = "4d"
example_every = "12h"
[[classes.truck.windows]]
length = "6h"
hop = "1h"
statistics = ["mean"]
"""
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rows, Rows]:
    """A folder with a recording of everything but weather; its lines; what was done to each."""
    folder = tmp_path_factory.mktemp("field")
    scenario = load_scenario("field", trucks=12, days=30, every="30m")
    files = write(scenario.model_copy(update={"weather": None}), folder)
    events, deliveries = (
        [orjson.loads(line) for line in path.read_bytes().splitlines()]
        for path in (files.events, files.deliveries)
    )
    return folder, events, deliveries[: len(events)]


def counted(events: Rows) -> dict[int, str]:
    """Lines of telemetry and faults that cannot be used, and why, by the rules of the contract alone."""
    arrival, newest, reasons = 0, {}, {}
    seen: dict[tuple[str, int], list[Any]] = {}
    for line, event in enumerate(events, start=1):
        arrival = max(arrival, parse_instant(event["arrived"]))
        if event["kind"] not in {"telemetry", "fault"}:
            continue
        asset, time = event["asset"], parse_instant(event["time"])
        if time > arrival + HOUR:
            reasons[line] = "future"
        elif time < newest.get(asset, 0) - LATENESS:
            reasons[line] = "too_late"
        else:
            content = event.get("code") or event["readings"]
            known = seen.setdefault((asset, time), [])
            if content in known:
                reasons[line] = "duplicate"
            known.append(content)
            newest[asset] = max(newest.get(asset, 0), time)
    return reasons


def test_the_dataflow_rejects_what_the_rules_say(recorded: tuple[Path, Rows, Rows]) -> None:
    """Future, too late and duplicate, line by line, among all that devices do to messages."""
    folder, events, _ = recorded
    sensors = {name for event in events for name in event.get("readings", ())}
    path = folder / "fleet.toml"
    path.write_text(FLEET.format(sensors=", ".join(f'"{name}"' for name in sorted(sensors))))
    out = run_inline(load(path, environ={}), [orjson.dumps(event) for event in events])
    rejected = {row["line"]: row["reason"] for name in ("rejects", "late") for row in out[name]}
    kinds = {line: events[line - 1]["kind"] for line in rejected}
    found = {line: why for line, why in rejected.items() if kinds[line] in {"telemetry", "fault"}}
    expected = counted(events)
    assert found == expected
    assert set(expected.values()) == {"future", "too_late", "duplicate"}


def test_what_the_rules_reject_has_its_reason_in_the_truth(recorded: tuple[Path, Rows, Rows]) -> None:
    """No message of a device that nothing was done to is future, and none is too late but for its clock."""
    _, events, deliveries = recorded
    clocks = {"clock_offset", "clock_jump", "future"}
    jumped = {
        events[row["line"] - 1]["asset"] for row in deliveries if {"clock_jump", "future"} & set(row["done"])
    }
    for line, why in counted(events).items():
        done = set(deliveries[line - 1]["done"])
        if why == "future":
            assert clocks & done
        elif why == "too_late":
            # Late itself, or its truck's clock was once ahead without being refused.
            assert {"late", "stored", "duplicate", "clock_jump"} & done or events[line - 1]["asset"] in jumped


def test_copies_of_usable_messages_are_duplicates_or_too_late(recorded: tuple[Path, Rows, Rows]) -> None:
    """Every copy that the truth tells of is refused, and copies are most of the duplicates."""
    _, events, deliveries = recorded
    reasons = counted(events)
    copies = [row["line"] for row in deliveries if "duplicate" in row["done"]]
    assert len(copies) > 50
    assert all(line in reasons for line in copies)
    duplicates = [line for line, why in reasons.items() if why == "duplicate"]
    assert sum(line in set(copies) for line in duplicates) > 0.8 * len(duplicates)
    assert Counter(reasons[line] for line in copies)["duplicate"] > 20
