"""Weather through the engine: killed and resumed, the outputs are those of the stages alone."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import orjson

from dataflows.instants import HOUR, format_instant, parse_instant
from tests.chaos.harness import FLEET, Moment, assert_same, finish, inline_outputs, kill, prepare, rows

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = 2_500
SEEN = """
[classes.truck.weather]
values = ["air_temperature", "rain"]
max_age = "6h"

[classes.truck.expressions]
over_air = "engine_temperature - weather.air_temperature"

"""


def with_weather(lines: list[bytes]) -> list[bytes]:
    """The recording with trucks that move, and weather: late, re-issued, ahead of its issue."""
    chance = random.Random(5)
    out = []
    for line in lines:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            event = {}
        if event.get("kind") == "telemetry" and "arrived" in event:
            out.append(orjson.dumps({**event, "site": f"depot {chance.randrange(3)}"}))
        else:
            out.append(line)
        if "arrived" in event and chance.random() < 0.3:
            arrived = parse_instant(event["arrived"])
            time = arrived - chance.randrange(-6, 12) * HOUR // 2
            row = {
                "kind": "weather",
                "site": f"depot {chance.randrange(3)}",
                "time": format_instant(time),
                "values": {"air_temperature": chance.uniform(-10, 30), "rain": chance.choice([None, 0, 1.5])},
                "arrived": event["arrived"],
            }
            if chance.random() < 0.7:
                row["issued"] = format_instant(min(time, arrived) + chance.randrange(-20, 50) * HOUR // 60)
            out.append(orjson.dumps(row))
    return out


def test_weather_survives_kills_at_any_batch_size(lines: list[bytes], tmp_path: Path) -> None:
    """Killed three times and finished with another batch size, no byte differs from the stages alone."""
    recording = with_weather(lines[:RECORDS])
    seen = FLEET.replace("[[classes.truck.windows]]", SEEN + "[[classes.truck.windows]]", 1)
    fleet = prepare(tmp_path, recording, seen)
    expected = inline_outputs(fleet)
    killed = [kill(fleet, Moment(records=read), FLEET_BATCH="30") for read in (400, 1_100, 1_900)]
    assert killed[-1].resumed > 0
    assert killed[-1].records < len(recording)
    assert_same(finish(fleet, FLEET_BATCH="500"), expected)
    features = [row["features"] for row in rows(expected["predictions"])]
    assert sum(found["weather:air_temperature"] is not None for found in features) > 500
    assert sum(row["revision"] > 0 for row in rows(expected["predictions"])) > 200
