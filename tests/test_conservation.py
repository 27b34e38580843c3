"""Conservation: whatever comes in, the totals of the summary account for every record."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.fleet import load
from dataflows.pipeline import run_lines
from tests.chaos.harness import arguments, dataflows, finish

if TYPE_CHECKING:
    from collections.abc import Callable
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


NAMES = [
    "p",
    "é",
    "日本",
    "\u0000",
    "\n",
    "a" * 5_000,
    "",
    " ",
    "💥",
    "\u202e",
    "p\u0301",
    "null",
    "../x",
    "{",
    "%s",
]
VALUES = ["NaN", "inf", 10**30, -0.0, True, [], {}, "1,5", 1e308, 1e15, 1.1e15, 5e-324, None, "", [[1]]]
ARRIVALS = [
    "2025-05-01",
    "",
    None,
    "2025-05-01T00:00:00+25:00",
    "9999-12-31T23:59:59Z",
    1.5e308,
    -1,
    True,
    [1],
]


def reading(number: int, **changes: object) -> dict[str, Any]:
    now = START + 60 * number
    return {
        "kind": "telemetry",
        "asset": "p",
        "time": now,
        "arrived": now,
        "readings": {"flow": 1.0},
        **changes,
    }


def odd_name(chance: random.Random, number: int) -> bytes:
    readings = {chance.choice(["flow", *NAMES]): 1.5}
    name, identity = chance.choice(NAMES), chance.choice(NAMES)
    return orjson.dumps(reading(number, asset=name, id=identity, readings=readings))


def odd_value(chance: random.Random, number: int) -> bytes:
    values = {"flow": chance.choice(VALUES), "other": chance.choice(VALUES)}
    return json.dumps(reading(number, readings=values)).encode()


def odd_arrival(chance: random.Random, number: int) -> bytes:
    jump = START + 60 * number + chance.choice([0, 0, 0, -3_600, -(10**7), 10**8, 10**12])
    return json.dumps(reading(number, arrived=chance.choice([jump, jump, chance.choice(ARRIVALS)]))).encode()


def torn(chance: random.Random, number: int) -> bytes:
    """A line that was cut, joined with the next, or damaged."""
    line = orjson.dumps(reading(number, asset="é日"))
    at = chance.randrange(1, len(line))
    return chance.choice(
        [
            line,
            line[:at],
            b"\xef\xbb\xbf" + line,
            line + line,
            b"[" * 5_000 + line,
            line[:at] + b"\x00\xff" + line[at:],
            line.replace(b'"asset"', b'"asset":"q","asset"'),
            chance.choice([b"null", b"[]", b"1", b"{}", b"\xff\xfe", bytes(50)]),
        ]
    )


def mixed(chance: random.Random, number: int) -> bytes:
    return orjson.dumps(odd_record(chance, START + 60 * number))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("made", [mixed, odd_name, odd_value, odd_arrival, torn])
def test_totals_account_for_every_record(
    tmp_path: Path, seed: int, made: Callable[[random.Random, int], bytes]
) -> None:
    """Each is counted by kind or refused with a reason and its place, and no asset is locked out."""
    chance = random.Random(seed)
    lines = [made(chance, number) for number in range(300)]
    end = START + 60 * 300
    last = {"kind": "telemetry", "asset": "z", "time": end, "arrived": end, "readings": {"flow": 1}}
    lines.append(orjson.dumps(last))
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET, encoding="utf-8")
    found = run_lines(load(path, environ={}), lines, "events.jsonl")
    rows = {name: [orjson.loads(row) for row in found[name]] for name in ("rejects", "late", "predictions")}
    counted: dict[str, Any] = {}
    for row in found["summary"]:
        # Several stages tell their share.
        for name, value in orjson.loads(row).get("input", {}).items():
            counted[name] = Counter(counted.get(name, {})) if isinstance(value, dict) else value
            if isinstance(value, dict):
                counted[name].update(value)
    assert counted["records"] == len(lines)
    assert_accounted(rows, counted)
    assert all(row["line"] == row["sequence"] for row in rows["rejects"] + rows["late"])
    assert rows["predictions"][-1]["asset"] == "z"


def assert_accounted(rows: dict[str, list[dict[str, Any]]], counted: dict[str, Any]) -> None:
    """Every record is counted as accepted or refused; every telemetry is scored, merged or refused."""
    refused = rows["rejects"] + rows["late"]
    assert sum(counted["by_kind"].values()) + len(refused) == counted["records"]
    assert len({row["sequence"] for row in refused}) == len(refused), "no record has two rows"
    assert all(row["detail"] and row["reason"] for row in refused)
    assert sum(counted["rejected"].values()) == len(refused)
    telemetry = {
        row["sequence"]
        for row in refused
        if row["reason"] not in OF_THE_LANE and row["event"]["kind"] == "telemetry"
    }
    scored = {row["sequence"] for row in rows["predictions"]}
    assert not scored & telemetry, "what is refused is not scored"
    # What came late and lies in no window of its asset's latest prediction has no row of its own.
    unseen = counted["by_kind"].get("telemetry", 0) - len(scored)
    assert 0 <= unseen <= counted["late"]


def registry(chance: random.Random) -> bytes:
    """A list of assets as an export writes it: in any order, some gone, some new, some that make no sense."""
    rows = [{"kind": "asset", "asset": name, "class": "pump", "site": chance.choice("ab")} for name in "pqrs"]
    rows = chance.sample(rows, chance.randrange(1, 5))
    rows.append({"kind": "asset", "asset": "t", "class": chance.choice(["pump", "pumps"])})
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.ci) for seed in (1, 2))])
def test_totals_account_for_every_record_of_files_that_are_written_anew(tmp_path: Path, seed: int) -> None:
    """Four runs on one store: the registry is rewritten each time, the events grow, and once are replaced."""
    chance = random.Random(seed)
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(
        FLEET.replace("[assets]", '[output]\nfolder = "out"\n[assets]\nregistry = ["assets.jsonl"]')
    )
    lines, events = [], tmp_path / "events.jsonl"
    for number in range(4):
        (tmp_path / "assets.jsonl").write_bytes(registry(chance))
        lines += [orjson.dumps(odd_record(chance, START + 60 * (100 * number + at))) for at in range(100)]
        events.write_bytes(b"\n".join([*lines, b""]))
        if number == 2:
            events.write_bytes(events.read_bytes()[::-1])
            assert dataflows(*arguments(fleet)).returncode == 1, "another file under the same name"
            events.write_bytes(b"\n".join([*lines, b""]))
        found = finish(fleet)
    counted = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())["input"]
    # Registry rows that were read again are records too.
    assert counted["records"] >= len(lines)
    assert_accounted(
        {name: [orjson.loads(row) for row in data.splitlines()] for name, data in found.items()}, counted
    )
