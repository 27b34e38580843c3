"""The recordings on which the recommendation of `tradeoff` is studied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.testing import failure, maintenance, registration, telemetry
from studies.tradeoff import of_azure

if TYPE_CHECKING:
    from pathlib import Path


def test_azures_machines_are_moved_within_the_days_that_are_asked_for(tmp_path: Path) -> None:
    """Maintenance of the year before stays; of 5 days 2 are kept; messages are late or held up."""
    start = parse_instant("2015-01-01T06:00:00Z")
    lines = [registration("m", "machine", {"age": 1.0}), maintenance("m", "2014-06-01T06:00:00Z", "comp1")]
    lines += [telemetry("m", format_instant(start + hour * HOUR), {"volt": 170.0}) for hour in range(5 * 24)]
    lines.append(failure("m", format_instant(start + 30 * HOUR), "comp2"))
    path = tmp_path / "machines.jsonl"
    path.write_bytes(b"\n".join(lines))
    fleet, moved, lead = of_azure(4, path, "machine/comp2/24h", 2)
    rows = [orjson.loads(line) for line in moved]
    kinds = [row["kind"] for row in rows]
    assert (kinds.count("telemetry"), kinds.count("maintenance"), kinds.count("asset")) == (48, 1, 1)
    waits = [parse_instant(row["arrived"]) - parse_instant(row["time"]) for row in rows if "time" in row]
    late = [
        wait for wait, kind in zip(waits, [kind for kind in kinds if kind != "asset"], strict=True) if wait
    ]
    assert len(late) > 10
    assert [*fleet.targets] == ["machine/comp2/24h"]
    assert fleet.targets["machine/comp2/24h"].costs is not None
    assert lead == 6 * HOUR
