"""Runs of pumps in a folder, for the tests of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.fleet import load
from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.outputs import OUTPUTS
from dataflows.pipeline import run_lines
from dataflows.testing import failure, telemetry
from tests import tables
from tests.tables import LINEAR_ALONE, PRIOR_ALONE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataflows.fleet.fleet import Fleet

__all__ = ["FLEET", "START", "pumps", "recorded", "run_into"]

START = parse_instant("2025-01-01T00:00:00Z")
FLEET = tables.pumps(
    "linear",
    LINEAR_ALONE,
    sensors=("pressure", "flow"),
    adopt=True,
    pump="""limits = { pressure = { range = [-100, 100], unit = "bar" } }
allowed_lateness = "2h"
example_every = "2h"
windows = [{ length = "6h", hop = "1h", statistics = ["mean", "slope"] }]""",
    target="""threshold = 0.3
alert = { open = 0.3 }
advice = "the seal"
drift = "log"
costs = { missed = 5000, false_alarm = 300, repair = 800 }""",
    more=tables.model("prior", PRIOR_ALONE),
)


def recorded(names: Sequence[str], days: int = 20) -> list[bytes]:
    """Make hourly telemetry; the pressure falls before a leak, every four days; some comes late."""
    found: list[tuple[int, bytes]] = []
    for number, name in enumerate(names):
        for hour in range(days * 24):
            time, phase = START + hour * HOUR, (hour + 9 * number + 94) % 96
            arrived = time + 60_000_000 + (2 * HOUR if hour % 37 == 5 else 0)
            readings = {"pressure": 10.0 - max(0, phase - 84) + 0.1 * (hour % 7), "flow": float(hour % 5)}
            given = {"arrived": format_instant(arrived)}
            found.append((arrived, telemetry(name, format_instant(time), readings, **given)))
            if phase == 95 and hour > 90:
                at = time + HOUR // 2
                line = failure(name, format_instant(at), "leak", arrived=format_instant(at + HOUR))
                found.append((at + HOUR, line))
    return [line for _, line in sorted(found, key=lambda each: each[0])]


def run_into(fleet: Fleet, lines: Sequence[bytes]) -> None:
    """Run lines in memory, and write the outputs into the fleet's folder."""
    fleet.output.folder.mkdir(parents=True, exist_ok=True)
    for output, rows in run_lines(fleet, lines).items():
        if output in OUTPUTS:
            path = fleet.output.folder / f"{output}.jsonl"
            path.write_bytes(b"".join(row + b"\n" for row in rows))


def pumps(
    folder: Path, names: Sequence[str] = ("pump-1", "pump-2", "pump-3", "pump-4"), days: int = 20
) -> Fleet:
    """Write the fleet, its recording and the outputs of a run into a folder; return the fleet."""
    (folder / "fleet.toml").write_text(FLEET)
    lines = recorded(names, days)
    (folder / "events.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    fleet = load(folder / "fleet.toml")
    run_into(fleet, lines)
    return fleet
