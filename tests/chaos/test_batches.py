"""The batch size of the source is a matter of speed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from tests.chaos.harness import FLEET, assert_same, finish, inline_outputs, prepare
from tests.chaos.surroundings import SILENT_AND_SEEN, with_weather

if TYPE_CHECKING:
    from pathlib import Path

#: Nine days: every target has learned by then.
RECORDS = 1_500
SENSORS = ("coolant_level", "engine_temperature", "fan_speed")
COMPLETE = FLEET.replace('example_every = "2h"', 'example_every = "2h"\nscore_on = "complete"')


@pytest.fixture(scope="module")
def expected(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    """The recording with weather, and what the stages make of it without the engine."""
    fleet = prepare(tmp_path_factory.mktemp("inline"), with_weather(lines)[:RECORDS], SILENT_AND_SEEN)
    return str(fleet.parent / "events.jsonl"), inline_outputs(fleet)


@pytest.mark.parametrize(
    "batch", [1, pytest.param(10, marks=pytest.mark.ci), 1_000, pytest.param(10_000, marks=pytest.mark.ci)]
)
def test_the_batch_size_changes_no_byte(
    expected: tuple[str, dict[str, bytes]], tmp_path: Path, batch: int
) -> None:
    """Disorder, weather and silence in batches of 1 to 10,000 give every byte that the stages alone give."""
    events, inline = expected
    fleet = prepare(tmp_path, [], SILENT_AND_SEEN)
    # Epochs that are shorter than their snapshots take would be one batch long each: 3,000 of one record.
    assert_same(finish(fleet, "--epoch", "1s", FLEET_BATCH=str(batch), FLEET_INPUT=events), inline)


def one_sensor_a_message(lines: list[bytes]) -> list[bytes]:
    """The same telemetry as a gateway sends it that knows one sensor at a time."""
    parts: list[bytes] = []
    for line in lines:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            event = {}
        readings = event.get("readings") or {}
        parts += [
            orjson.dumps({**event, "readings": {name: value}})
            for name, value in readings.items()
            if name in SENSORS
        ]
        if not readings:
            parts.append(line)
    return parts


def test_what_waits_for_its_sensors_waits_alike_in_batches_of_any_size(
    lines: list[bytes], tmp_path: Path
) -> None:
    """With score_on = "complete" and one sensor a message, in batches of 7, every byte is the stages' own."""
    parts = one_sensor_a_message(lines[: RECORDS // 2])
    fleet = prepare(tmp_path, parts, COMPLETE)
    inline = inline_outputs(fleet)
    assert_same(finish(fleet, "--epoch", "1s", FLEET_BATCH="7"), inline)
    predictions = [orjson.loads(row) for row in inline["predictions"].splitlines()]
    first = sum(row["revision"] == 0 for row in predictions)
    # Without waiting, each message beyond the first would be a revision.
    assert 0 < len(predictions) - first < first
