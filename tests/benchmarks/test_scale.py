"""The recordings of the benchmark of growth, how it judges, and its picture."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from benchmarks import scale, speed
from dataflows.asset.windows import WindowPlan, Windows
from dataflows.fleet import load
from dataflows.instants import HOUR, parse_instant
from tests.chaos.rig import consumed

if TYPE_CHECKING:
    from tests.broker import Broker


@pytest.mark.parametrize("assets", [7, 400])
def test_timed_events_lie_in_one_hour_with_labels_before_it(assets: int, tmp_path: Path) -> None:
    """All assets sent before, some failed a day before; no timed event begins a cell of the example grid."""
    path = tmp_path / "recording.jsonl"
    warm = scale.record(path, assets, 500, modes=("wear", "leak"))
    events = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert len(events) == warm + 500
    assert {event["asset"] for event in events[:warm]} == {event["asset"] for event in events}
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    cells = {parse_instant(event["time"]) // HOUR for event in events[warm:]}
    assert len(cells) == 1
    sent = [event for event in events[:warm] if event["kind"] == "telemetry"]
    assert cells < {parse_instant(event["time"]) // HOUR for event in sent}
    failed = [event for event in events if event["kind"] == "failure"]
    assert 0 < len(failed) == min(assets // 5, 20)
    assert {event["mode"] for event in failed} <= {"wear", "leak"}


def test_examples_that_are_learned_before_the_timed_part_have_every_feature(tmp_path: Path) -> None:
    """A model that never saw a feature of the timed rows would be asked for each of them one by one."""
    (tmp_path / "recording.jsonl").touch()
    (tmp_path / "fleet.toml").write_text(speed.FLEET)
    fleet = load(tmp_path / "fleet.toml", environ={})
    machine, horizon = fleet.classes["machine"], fleet.targets["machine/wear/24h"].horizon
    warm = scale.record(tmp_path / "recording.jsonl", 1, 60)
    lines = (tmp_path / "recording.jsonl").read_bytes().splitlines()
    sent = [event for event in map(orjson.loads, lines[:warm]) if event["kind"] == "telemetry"]
    windows, learned = Windows(WindowPlan(machine)), []
    for event in sent:
        time = parse_instant(event["time"])
        windows.add(time, event["readings"], None)
        if time + horizon < parse_instant(orjson.loads(lines[warm])["time"]):
            learned.append(windows.features())
    assert len(learned) == 2
    assert not np.isnan(np.array(learned)).all(axis=0).any()


def test_a_recording_is_divided_among_lanes_by_asset(tmp_path: Path) -> None:
    """Each asset is in one lane, and no record is left out."""
    scale.record(tmp_path / "recording.jsonl", 40, 200, modes=("wear", "leak"))
    scale.write_fleet(tmp_path, 2)
    fleet = load(tmp_path / "fleet.toml", environ={})
    assert fleet.input.lanes == len(fleet.input.files) == 2
    lanes = [Path(file).read_bytes().splitlines() for file in fleet.input.files]
    assets = [{orjson.loads(line)["asset"] for line in lane} for lane in lanes]
    assert [len(each) for each in assets] == [20, 20]
    assert not assets[0] & assets[1]
    assert sorted(lanes[0] + lanes[1]) == sorted((tmp_path / "recording.jsonl").read_bytes().splitlines())


@pytest.mark.ci
def test_a_recording_is_divided_among_partitions_by_asset(broker: Broker, tmp_path: Path) -> None:
    """A topic has the records of each asset in one partition, in order, and their times as timestamps."""
    scale.record(tmp_path / "recording.jsonl", 40, 200, modes=("wear", "leak"))
    scale.write_topic(tmp_path, 2, broker)
    fleet = load(tmp_path / "fleet.toml", environ={})
    assert fleet.input.lanes == 2
    (topic,) = fleet.input.kafka.topics
    lines = (tmp_path / "recording.jsonl").read_bytes().splitlines()
    read = consumed(broker.bootstrap, topic)
    for partition in range(scale.PARTITIONS):
        own = [line for line in lines if int(orjson.loads(line)["asset"][-6:]) % 2 == partition]
        assert own == [each.value() for each in read if each.partition() == partition]
    for each in read:
        assert each.timestamp()[1] * 1_000 == parse_instant(orjson.loads(each.value())["time"])


def test_the_processor_of_a_process_is_counted() -> None:
    """That of this process grows while it works; there is none without a broker of our own."""
    before = scale.used_by(os.getpid())
    while scale.used_by(os.getpid()) == before:
        pass
    assert scale.used_by(None) == 0.0


def found(large: float = 40.0, resume: float = 7.0, pause: float = 0.2) -> dict[str, list[dict[str, Any]]]:
    """What was measured, with all bars kept unless given otherwise."""
    return {
        "assets": [{"assets": n, "time": t} for n, t in ((50, 20.0), (1_000, 30.0), (100_000, large))],
        "targets": [{"targets": n, "time": 30.0 * n, "each": 30.0} for n in (1, 10)],
        "store": [{"assets": 100_000, "resume": resume, "pause": pause, "processor": 6.0}],
    }


def test_what_is_within_the_bars_is_not_missed() -> None:
    """An event of 100,000 assets may take 1.6 times one of 1,000."""
    assert scale.missed(found()) == []
    assert scale.missed({}) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"large": 49.0}, "1.63 times"), ({"resume": 8.1}, "a resume takes 8.1 s"), ({"pause": 0.31}, "0.31 s")],
    ids=["assets", "resume", "pause"],
)
def test_what_is_beyond_a_bar_is_a_sentence(wrong: dict[str, float], said: str) -> None:
    """One for each, and only for that."""
    (sentence,) = scale.missed(found(**wrong))
    assert said in sentence


def test_the_picture_shows_every_figure_in_proportion() -> None:
    """A panel for each part that has one, a bar for each figure, the highest for the largest."""
    picture = scale.plot(found())
    bars = [float(height) for height in re.findall(r'height="([\d.]+)" fill="#0072b2"', picture)]
    assert len(bars) == 5
    assert bars[:3] == pytest.approx([bars[2] / 2, bars[2] * 0.75, bars[2]], abs=0.1)
    texts = set(re.findall(r">([^<>]+)</text>", picture))
    assert {"20.0", "40.0", "100,000", "µs an event, by assets"} <= texts
