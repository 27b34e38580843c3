"""Write a recording as the tables that a company would export: readings and work orders, as CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflows.simulator.recording import Simulated

__all__ = ["Tables", "write_tables"]


@dataclass(frozen=True, slots=True)
class Tables:
    """Files written by `write_tables`.

    Attributes:
        readings: one line a message: machine, time, time of receipt, and a column a sensor.
        orders: one line a failure or work done: machine, time, time of receipt, type and part.
    """

    readings: Path
    orders: Path

    def __iter__(self) -> Iterator[Path]:
        return iter((self.readings, self.orders))


def write_tables(simulated: Simulated, folder: Path) -> Tables:
    """Write the readings, failures and maintenance of a recording into two CSV files.

    Weather, fault codes, the registry and retractions are left out.

    Args:
        simulated: the recording.
        folder: created if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = tuple(sensor.name for sensor in simulated.sensors)
    tables = Tables(folder / "readings.csv", folder / "orders.csv")
    with tables.readings.open("w", newline="") as readings, tables.orders.open("w", newline="") as orders:
        messages, work = csv.writer(readings), csv.writer(orders)
        messages.writerow(("machine", "time", "received", *names))
        work.writerow(("machine", "time", "received", "type", "part"))
        for event in simulated.events():
            head = event.get("asset"), event.get("time"), event.get("arrived")
            if event["kind"] == "telemetry":
                messages.writerow((*head, *(event["readings"].get(name) for name in names)))
            elif event["kind"] in {"failure", "maintenance"}:
                work.writerow((*head, event["kind"], event.get("mode") or event.get("component")))
    return tables
