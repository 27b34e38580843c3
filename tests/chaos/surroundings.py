"""Sites and weather for the messy recording, and a fleet that sees them and knows silence."""

from __future__ import annotations

import random

import orjson

from dataflows.instants import HOUR, format_instant, parse_instant
from tests.chaos.harness import FLEET

SEEN = """
[classes.truck.weather]
values = ["air_temperature", "rain"]
max_age = "6h"

[classes.truck.expressions]
over_air = "engine_temperature - weather.air_temperature"

"""

#: Weather, and a silence that decides labels and drops trucks which stand in a workshop for long.
SILENT_AND_SEEN = FLEET.replace("[[classes.truck.windows]]", SEEN + "[[classes.truck.windows]]", 1).replace(
    'example_every = "2h"', 'example_every = "2h"\nidle_timeout = "20h"\nasset_ttl = "62h"'
)


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
