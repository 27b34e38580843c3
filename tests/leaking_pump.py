"""A pump that leaks every two days, after half a day of falling pressure: its fleet and recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows import testing

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HOUR", "leaking_pump"]

#: In seconds, as the records have it.
HOUR = 3600
_FLEET = """
name = "pumps"
{head}
[input]
files = ["events.jsonl"]
[classes.pump]
sensors = ["pressure"]
[[classes.pump.windows]]
length = "6h"
[[targets]]
class = "pump"
mode = "leak"
horizon = "12h"
champion = "linear"
{target}
[models.linear]
pipeline = [
  {{ estimator = "river.preprocessing.StandardScaler" }},
  {{ estimator = "dataflows.estimators.BayesianLogistic" }},
]
{models}
"""


def leaking_pump(
    folder: Path,
    hours: int,
    *,
    head: str = "",
    target: str = "",
    models: str = "",
    reported: int | None = None,
    spoilt: int = 0,
) -> Path:
    """Write the fleet and a recording.

    Args:
        folder: of both.
        hours: length of the recording, a reading an hour.
        head: more keys of the fleet.
        target: more keys of its target.
        models: more models.
        reported: hour from which on leaks are no longer reported; None: all are.
        spoilt: every so many hours a record cannot be used; 0: never.

    Returns:
        Path of the fleet.toml.
    """
    path = folder / "fleet.toml"
    path.write_text(_FLEET.format(head=head, target=target, models=models), encoding="utf-8")
    lines = []
    for hour in range(1, hours):
        left = 48 - hour % 48
        pressure = 4.0 - max(0, 12 - left) / 4
        lines.append(testing.telemetry("pump-1", hour * HOUR, {"pressure": pressure}))
        if left == 1 and (reported is None or hour < reported):
            lines.append(testing.failure("pump-1", hour * HOUR + HOUR // 2, "leak"))
        lines += [b"{}"] * (hour % spoilt == 0 if spoilt else 0)
    (folder / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return path
