"""Weather and silence through the engine: killed and resumed, the outputs are those of the stages alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.harness import Moment, assert_same, finish, inline_outputs, kill, prepare, rows
from tests.chaos.surroundings import SILENT_AND_SEEN, with_weather

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = 2_500


@pytest.mark.ci
def test_weather_and_silence_survive_kills_at_any_batch_size(lines: list[bytes], tmp_path: Path) -> None:
    """Killed three times and finished with another batch size, no byte differs from the stages alone."""
    recording = with_weather(lines[:RECORDS])
    fleet = prepare(tmp_path, recording, SILENT_AND_SEEN)
    expected = inline_outputs(fleet)
    killed = [kill(fleet, Moment(records=read), FLEET_BATCH="30") for read in (400, 1_100, 1_900)]
    assert killed[-1].resumed > 0
    assert killed[-1].records < len(recording)
    assert_same(finish(fleet, FLEET_BATCH="500"), expected)
    features = [row["features"] for row in rows(expected["predictions"])]
    assert sum(found["weather:air_temperature"] is not None for found in features) > 500
    assert sum(row["revision"] > 0 for row in rows(expected["predictions"])) > 200
    assert any(row["why"] == "silent" for row in rows(expected["evaluations"]))
    assert any(row["change"] == "asset_dropped" for row in rows(expected["changes"]))
