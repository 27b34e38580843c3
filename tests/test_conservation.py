"""Conservation: whatever comes in, the totals of the summary account for every record."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.fleet import load
from dataflows.tools.inline import run_lines

if TYPE_CHECKING:
    from pathlib import Path

FLEET = """
name = "odd"
[input]
files = ["events.jsonl"]
[assets]
clock = { tolerance = "10m", quarantine = true }
[classes.pump]
sensors = ["flow"]
idle_timeout = "2h"
allowed_lateness = "1h"
[[targets]]
class = "pump"
mode = "seal"
horizon = "1h"
champion = "prior"
[models.prior]
pipeline = [{ estimator = "dataflows.group.estimators.Prior" }]
"""
HOUR, START = 3_600, 1_746_057_600
#: Refused before they are counted by kind; what only its asset refuses is counted.
OF_THE_LANE = {"malformed", "wrong_arrival", "future", "wrong_clock", "unknown_asset", "unknown_class"}


def odd_record(chance: random.Random, now: int) -> dict[str, Any]:
    """A record that is often wrong: types, ids that come again, wild times, renamed assets."""
    record: dict[str, Any] = {
        "kind": chance.choice(["telemetry"] * 6 + ["failure", "maintenance", "fault", "asset", "retraction"]),
        "asset": chance.choice(["p", "q", "P", "p "]),
        "time": now + chance.choice([0] * 8 + [-60, -2 * HOUR, 365 * 24 * HOUR, -now]),
        "arrived": now + chance.choice([0] * 20 + [10 * 365 * 24 * HOUR]),
        "readings": {chance.choice(["flow", "flow", "Flow"]): chance.choice([1, 2.5, None, "text", 1e300])},
        "mode": chance.choice(["seal", "Seal"]),
        "code": "E1",
        "class": chance.choice(["pump", "pumps"]),
    }
    if chance.random() < 0.3:
        record["id"] = chance.choice(["1", "2", "3"])
    if chance.random() < 0.05:
        record[chance.choice(list(record))] = chance.choice([None, [], {}, "x", True])
        record.setdefault("arrived", now)
        record["arrived"] = record["arrived"] if isinstance(record["arrived"], int) else now
    return record


@pytest.mark.parametrize("seed", range(5))
def test_totals_account_for_every_record(tmp_path: Path, seed: int) -> None:
    """Each is counted by kind or refused with a reason and its place, and no asset is locked out."""
    chance = random.Random(seed)
    lines = [orjson.dumps(odd_record(chance, START + 60 * number)) for number in range(300)]
    end = START + 60 * 300
    last = {"kind": "telemetry", "asset": "z", "time": end, "arrived": end, "readings": {"flow": 1}}
    lines.append(orjson.dumps(last))
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET, encoding="utf-8")
    found = run_lines(load(path, environ={}), lines, "events.jsonl")
    counted = {}
    for row in found["summary"]:
        counted.update(orjson.loads(row).get("input", {}))
    refused = [orjson.loads(row) for name in ("rejects", "late") for row in found[name]]
    before = [row for row in refused if row["reason"] in OF_THE_LANE]
    assert counted["records"] == len(lines)
    assert sum(counted["by_kind"].values()) + len(before) == len(lines)
    assert len({row["sequence"] for row in refused}) == len(refused)
    assert all(row["detail"] and row["line"] == row["sequence"] for row in refused)
    scored = [orjson.loads(row) for row in found["predictions"]]
    assert scored[-1]["asset"] == "z"
