"""Much disorder: a fifth of all events delayed, copies, wild stamps; every count is what the rules say."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.fleet import load
from dataflows.instants import HOUR, MICROSECONDS, parse_instant
from dataflows.pipeline import run_lines
from dataflows.simulator import write
from studies.disorder import REASONS, judged, scenario

if TYPE_CHECKING:
    from pathlib import Path

DAY = MICROSECONDS["d"]
LATENESS = HOUR // 2
FLEET = """
name = "disorder"
metrics_every = "1d"
[input]
files = ["events.jsonl"]
[assets]
max_future = "1h"
clock = { tolerance = "10m" }
[classes.truck]
sensors = ["coolant_level", "engine_temperature", "ambient_temperature", "fan_speed", "load"]
faults = ["low_coolant", "overheating", "vibration_alarm", "undervoltage"]
allowed_lateness = "30m"
label_delay = "4d"
example_every = "12h"
[[classes.truck.windows]]
length = "6h"
hop = "1h"
statistics = ["mean"]
[[targets]]
class = "truck"
mode = "coolant_leak"
horizon = "48h"
champion = "prior"
[models.prior]
pipeline = [{ estimator = "dataflows.group.estimators.Prior" }]
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Lines of 14 days of 24 trucks, and what was done to each."""
    files = write(scenario(24, 14, 5), tmp_path_factory.mktemp("disorder"))
    lines = files.events.read_bytes().splitlines()
    return lines, [orjson.loads(row) for row in files.deliveries.read_bytes().splitlines()[: len(lines)]]


@pytest.fixture(scope="module")
def outputs(
    recorded: tuple[list[bytes], list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, Any]]]:
    """Decoded rows by output."""
    path: Path = tmp_path_factory.mktemp("fleet") / "fleet.toml"
    path.write_text(FLEET, encoding="utf-8")
    out = run_lines(load(path, environ={}), recorded[0])
    return {name: [orjson.loads(row) for row in rows] for name, rows in out.items()}


def test_the_summary_counts_late_too_late_duplicate_and_future_exactly(
    recorded: tuple[list[bytes], list[dict[str, Any]]], outputs: dict[str, list[dict[str, Any]]]
) -> None:
    """Each is the brute force's number; wild stamps and copies are also the simulator's own number."""
    lines, deliveries = recorded
    verdicts = Counter(found.verdict for found in judged(lines, LATENESS))
    (told,) = [row["input"] for row in outputs["summary"] if "late" in row["input"]]
    assert verdicts["late"] > 300
    assert min(verdicts[reason] for reason in ("too_late", "duplicate", "future")) > 10
    assert told["late"] == verdicts["late"]
    assert {reason: told["rejected"][reason] for reason in REASONS} == {
        reason: verdicts[reason] for reason in REASONS
    }
    wild = [row for row in deliveries if "future" in row["done"]]
    assert told["rejected"]["future"] == len(wild)
    copies = [row for row in deliveries if "duplicate" in row["done"] and "future" not in row["done"]]
    assert (
        told["rejected"]["duplicate"] <= len(copies) <= told["rejected"]["duplicate"] + verdicts["too_late"]
    )


def test_the_rows_of_the_lane_tell_the_same_by_day(
    recorded: tuple[list[bytes], list[dict[str, Any]]], outputs: dict[str, list[dict[str, Any]]]
) -> None:
    """Late, rejects by reason and accepted events by kind, of each period of the metrics."""
    found = judged(recorded[0], LATENESS)
    rows = [row for row in outputs["metrics"] if "lane" in row]
    assert len(rows) >= 13
    for row in rows:
        start, end = parse_instant(row["from"]), parse_instant(row["to"])
        assert end - start == DAY
        of_day = [each for each in found if start < each.arrival <= end]
        verdicts = Counter(each.verdict for each in of_day)
        assert row["late"] == verdicts["late"]
        for reason in REASONS:
            assert row["rejected"].get(reason, 0) == verdicts[reason]
        kinds = Counter(each.kind for each in of_day if each.verdict not in REASONS)
        assert {kind: row["by_kind"].get(kind, 0) for kind in ("telemetry", "fault")} == {
            kind: kinds[kind] for kind in ("telemetry", "fault")
        }
        assert row["clocks"] == {"wrong": 0, "ahead": 0, "behind": 0, "stopped": 0, "jumped": 0}


def test_no_watermark_is_poisoned(
    recorded: tuple[list[bytes], list[dict[str, Any]]], outputs: dict[str, list[dict[str, Any]]]
) -> None:
    """None lies above what honest clocks can have reached, and every event on time is scored as such."""
    first = Counter(row["asset"] for row in outputs["predictions"] if row["revision"] == 0)
    for row in outputs["predictions"]:
        assert parse_instant(row["watermark"]) + LATENESS <= parse_instant(row["arrival"])
    on_time = Counter(
        found.asset
        for found in judged(recorded[0], LATENESS)
        if (found.kind, found.verdict) == ("telemetry", "on_time")
    )
    assert first == on_time
    assert [row for row in outputs["changes"] if row["change"] == "clock"] == []
