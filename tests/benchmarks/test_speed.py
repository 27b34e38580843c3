"""The arithmetic of the speed benchmark, and that what it measures still exists."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

import orjson
import pytest

from benchmarks import speed
from benchmarks.stopwatch import Stopwatch
from dataflows.fleet import load

if TYPE_CHECKING:
    from pathlib import Path


def measured(seconds: float) -> dict[str, float]:
    return {"events": 1_000, "seconds": seconds, "processor": seconds / 2, "learned": 7}


def test_the_ratio_is_the_median_of_the_ratios_of_pairs() -> None:
    """A pair that was disturbed moves nothing."""
    pairs = [(measured(1.0), measured(5.0)), (measured(2.0), measured(14.0)), (measured(1.0), measured(90.0))]
    summary = speed.summary(pairs)
    assert summary["ratios"] == pytest.approx([5.0, 7.0, 90.0])
    assert summary["ratio"] == pytest.approx(7.0)
    assert summary["processor_ratio"] == pytest.approx(7.0)
    assert summary["floor"] == pytest.approx(1_000)


@pytest.mark.parametrize("place", [place for places in speed.STEPS.values() for place in places])
def test_every_step_of_the_profile_exists(place: str) -> None:
    """The functions that the profile measures by name are there, and callable."""
    module, _, path = place.partition(":")
    assert callable(functools.reduce(getattr, path.split("."), importlib.import_module(module)))


def test_the_recording_is_the_one_that_is_described(tmp_path: Path) -> None:
    """In the timed part each asset sends once a minute; the warm-up reaches back over the longest horizon."""
    path = tmp_path / "recording.jsonl"
    warm = speed.record(path, hours=1, assets=400)
    events = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    telemetry = [event for event in events[warm:] if event["kind"] == "telemetry"]
    assert len(telemetry) == 60 * 400
    assert len({(event["asset"], event["time"]) for event in telemetry}) == 60 * 400
    assert events[0]["time"].startswith("2025-01-01T00:00")
    assert telemetry[0]["time"].startswith("2025-01-02T06:00")
    assert any(event["kind"] == "failure" for event in events[warm:])
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)


def test_the_fleet_is_the_one_that_is_described(tmp_path: Path) -> None:
    """Four sensors in three windows of ten statistics, and three models."""
    path = tmp_path / "fleet.toml"
    path.write_text(speed.FLEET)
    fleet = load(path)
    assert len(fleet.classes["machine"].features) == 4 + 4 * 3 * 10
    assert [model.name for model in fleet.targets["machine/wear/24h"].models] == ["linear", "bayes", "prior"]


@pytest.mark.parametrize("targets", [1, 3, 20, 100])
def test_a_fleet_has_as_many_targets_as_asked_for(targets: int, tmp_path: Path) -> None:
    """Of up to ten modes and ten horizons, each with a champion and two challengers."""
    path = tmp_path / "fleet.toml"
    path.write_text(speed.fleet_of(targets))
    found = load(path).targets.values()
    assert len(found) == targets
    assert {each.mode for each in found} == {*speed.modes_of(targets)}
    assert {len(each.models) for each in found} == {3}


def test_a_stopwatch_counts_each_functions_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an inner measured function takes is not counted to the outer one."""
    now = [0.0]
    monkeypatch.setattr("benchmarks.stopwatch.time.perf_counter", lambda: now[0])
    watch = Stopwatch()

    def inner() -> None:
        now[0] += 2.0

    watched = watch.around("inner", inner)

    def outer() -> None:
        now[0] += 1.0
        watched()
        watched()
        now[0] += 4.0

    watch.around("outer", outer)()
    assert watch.seconds == {"inner": 4.0, "outer": 5.0}
    assert watch.calls == {"inner": 2, "outer": 1}
    watch.reset()
    assert watch.seconds == {"inner": 0.0, "outer": 0.0}


def test_a_stopwatch_on_nothing_is_an_error() -> None:
    """A renamed function is noticed, not skipped."""
    with pytest.raises(AttributeError):
        Stopwatch().put_on("lane", "dataflows.lane.lane:Lane.gone")
