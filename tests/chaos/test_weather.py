"""Weather and silence through the engine: killed and resumed, the outputs are those of the stages alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dataflows.lane.lane import LANE_PARTS
from dataflows.lane.weather_join import WEATHER_PARTS
from dataflows.recovery.store import stored_parts
from dataflows.steps import LANE
from tests.chaos.harness import Moment, assert_same, finish, inline_outputs, kill, prepare, rows
from tests.chaos.surroundings import SEEN, SILENT_AND_SEEN, with_weather

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = 2_500
UNSEEN = SILENT_AND_SEEN.replace(SEEN, "")


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


def test_weather_that_comes_goes_and_comes_back_survives_kills(lines: list[bytes], tmp_path: Path) -> None:
    """Without weather, with it, without, with it: killed each time, no byte differs from runs to the end.

    The flow has steps for parts of weather only while the fleet sees weather, or the store holds some.
    """
    recording = with_weather(lines[:RECORDS])
    texts = [UNSEEN, SILENT_AND_SEEN, UNSEEN, SILENT_AND_SEEN]
    share = len(recording) // len(texts)
    found, stored = {}, {}
    for name in ("killed", "whole"):
        fleet = prepare(tmp_path / name, [], UNSEEN)
        stored[name] = []
        for number, text in enumerate(texts, start=1):
            prepare(fleet.parent, recording[: number * share], text)
            consent = ("--migrate", "truck") if number > 1 else ()
            if name == "killed":
                half = Moment(records=number * share - share // 2)
                killed = kill(fleet, half, *consent, FLEET_BATCH="20")
                assert killed.records < number * share
            found[name] = finish(fleet, *consent, FLEET_BATCH="100")
            parts = stored_parts(fleet.parent / "store", LANE)
            stored[name].append({part >= LANE_PARTS - WEATHER_PARTS for part in parts})
    paths = (str(tmp_path / "killed").encode(), str(tmp_path / "whole").encode())
    assert_same({name: data.replace(*paths) for name, data in found["killed"].items()}, found["whole"])
    assert stored["killed"] == stored["whole"] == [{False}, {False, True}, {False, True}, {False, True}]
    seen = [row["features"].get("weather:air_temperature") for row in rows(found["whole"]["predictions"])]
    quarter = len(seen) // len(texts)
    assert sum(value is not None for value in seen[quarter : 2 * quarter]) > quarter // 4
    assert sum(value is not None for value in seen[-quarter:]) > quarter // 4
