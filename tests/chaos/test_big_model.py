"""A model of 4 MB is written when it is new, and not again as long as it learned little or nothing."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import TYPE_CHECKING

import orjson

from dataflows.instants import HOUR, MICROSECONDS, format_instant, parse_instant
from dataflows.target.models import MODEL_PARTS
from tests.chaos.harness import Moment, assert_same, finish, inline_outputs, kill, prepare
from tests.tables import pumps

if TYPE_CHECKING:
    from pathlib import Path

FLEET = pumps(
    "table",
    '{ estimator = "tests.chaos.models.Table" }',
    name="big",
    mode="seal",
    horizon="6h",
    adopt=True,
    source="batch = 60",
    pump='example_every = "1h"',
)
BIG = 4_000_000
START = parse_instant("2025-01-01T00:00:00Z")
PUMPS = 5
HOURS, SECONDS = 60, 2_400


def recording() -> list[bytes]:
    """60 hours from which the model learns, then 40 minutes in which no label becomes known."""
    learning = [(START + hour * HOUR, pump) for hour in range(HOURS) for pump in range(PUMPS)]
    dense = [
        (START + HOURS * HOUR + second * MICROSECONDS["s"], second % PUMPS)
        for second in range(1, SECONDS + 1)
    ]
    lines = []
    for number, (time, pump) in enumerate([*learning, *dense]):
        event = {"asset": f"pump-{pump}", "time": format_instant(time)}
        if number % 40 == 7 and number < len(learning):
            lines.append(orjson.dumps({"kind": "failure", "mode": "seal", **event}))
        lines.append(orjson.dumps({"kind": "telemetry", "readings": {"pressure": number % 97}, **event}))
    return lines


def written(store: Path) -> list[tuple[str, int, int]]:
    """Step, epoch and bytes of every snapshot in the store."""
    found = []
    for path in store.glob("part-*.sqlite3"):
        connection = sqlite3.connect(path)
        query = "SELECT step_id, snap_epoch, length(ser_change) FROM snaps WHERE ser_change IS NOT NULL"
        found += connection.execute(query).fetchall()
        connection.close()
    return found


def test_a_big_model_that_learned_nothing_is_not_written_again(tmp_path: Path) -> None:
    """Over two kills the store holds the 4 MB once, and epochs without learning cost a few kilobytes."""
    fleet = prepare(tmp_path, recording(), FLEET)
    expected = inline_outputs(fleet)
    for epochs in (12, 6):
        killed = kill(fleet, Moment(epochs=epochs, snapshots=3), pause=0.03, CHAOS_KEEP="1")
        assert PUMPS * HOURS + 200 < killed.records < PUMPS * HOURS + SECONDS, killed

    snapshots = written(tmp_path / "store")
    models = [(step, epoch) for step, epoch, size in snapshots if size > BIG]
    assert len(models) == 1, f"written {len(models)} times: {models}"
    # The log of what was learned says which epochs learned.
    log = {
        epoch for step, epoch, _ in snapshots if f"part_{MODEL_PARTS:02}." in f"{step}." and "group" in step
    }
    assert log, {step for step, _, _ in snapshots}
    cost: Counter[int] = Counter()
    for _, epoch, size in snapshots:
        cost[epoch] += size
    idle = {epoch: size for epoch, size in cost.items() if epoch > max(log)}
    assert len(idle) >= 8, f"epochs {sorted(cost)}, learned in {sorted(log)}"
    assert max(idle.values()) < 100_000, idle

    # Its scores after two resumes are the very floats of a model that was never restored.
    assert_same(finish(fleet), expected)
    assert len({row["score"] for row in map(orjson.loads, expected["predictions"].splitlines())}) > 100
