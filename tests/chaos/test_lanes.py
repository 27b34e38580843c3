"""Two lanes in one or two processes, killed and resumed: what each lane says is what it says alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson
import pytest

from dataflows.outputs import OUTPUTS
from tests.chaos import lanes
from tests.chaos.account import replayed
from tests.chaos.harness import arguments, dataflows, eventually, outputs, rows
from tests.chaos.rig import Rig, messages, send
from tests.chaos.surroundings import with_weather
from tests.processes import PATIENCE, ROOT, environment

if TYPE_CHECKING:
    from tests.broker import Broker

pytestmark = pytest.mark.ci

RECORDS = 2_500


class Recorded(NamedTuple):
    """A recording, and what the stages make of each lane alone."""

    lines: list[bytes]
    expected: dict[str, bytes]


@pytest.fixture(scope="module")
def recorded(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Events late and too late, copies, shared weather and registry, trucks that fall silent."""
    seen = with_weather(lines)[:RECORDS]
    expected = lanes.expected(lanes.prepare(tmp_path_factory.mktemp("alone"), seen))
    for lane in range(lanes.LANES):
        assert len(rows(lanes.of_lane(expected["predictions"], lane))) > 1_000
    assert all(expected[name] for name in ("late", "rejects"))
    assert {row["why"] for row in rows(expected["evaluations"])} >= {"failure", "horizon passed", "silent"}
    return Recorded(seen, expected)


def begin(fleet: Path, processes: int = 2, batch: int = 20) -> subprocess.Popen[bytes]:
    """A run with epochs well below a second."""
    command = [sys.executable, "-m", "dataflows", *arguments(fleet, "--processes", str(processes))]
    env = environment(FLEET_BATCH=str(batch))
    with (fleet.parent / "run.log").open("ab") as log:
        return subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log)


def finish(fleet: Path, processes: int) -> dict[str, bytes]:
    """Run to the end."""
    process = begin(fleet, processes, batch=500)
    assert process.wait(PATIENCE) == 0, (fleet.parent / "run.log").read_text()[-2_000:]
    return outputs(fleet.parent / "out")


def assert_settled(fleet: Path, recorded: Recorded) -> None:
    """All is as expected but scores and the order of rows, and every record is counted once."""
    lanes.assert_same_but_scores(outputs(fleet.parent / "out"), recorded.expected)
    summary = orjson.loads((fleet.parent / "out" / "summary.json").read_bytes())
    assert summary["input"]["records"] == RECORDS + len(lanes.REGISTRY.splitlines())
    assert summary["input"]["assets"] == len({row["asset"] for row in rows(recorded.expected["predictions"])})


@pytest.mark.parametrize("processes", [1, 2])
def test_each_lane_says_what_it_says_alone(recorded: Recorded, tmp_path: Path, processes: int) -> None:
    """Ids, features, examples and labels of two lanes are those of each lane as a fleet of its own."""
    fleet = lanes.prepare(tmp_path, recorded.lines)
    finish(fleet, processes)
    assert_settled(fleet, recorded)
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    if processes == 1:
        assert {target["order_violations"] for target in summary["targets"].values()} == {0}


def helper_of(process: subprocess.Popen[bytes]) -> int:
    """The second process of a run."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    of_cluster = [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(of_cluster) == 1, found
    return int(of_cluster[0])


def written(fleet: Path, size: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until so many bytes of predictions are written."""
    predictions = fleet.parent / "out" / "predictions.jsonl"
    eventually(lambda: predictions.exists() and predictions.stat().st_size > size, process)


def test_a_killed_process_ends_the_run_which_resumes_as_if_it_was_never_killed(
    recorded: Recorded, tmp_path: Path
) -> None:
    """Kill -9 of one of two, twice, then one process for both lanes: nothing is lost or there twice."""
    fleet, size = lanes.prepare(tmp_path, recorded.lines), len(recorded.expected["predictions"])
    for share in (0.2, 0.5):
        process = begin(fleet)
        try:
            written(fleet, int(share * size), process)
            os.kill(helper_of(process), signal.SIGKILL)
            assert process.wait(PATIENCE) != 0
        finally:
            process.kill()
            process.wait()
    finish(fleet, 1)
    assert_settled(fleet, recorded)


def test_a_run_resumes_though_a_lane_has_been_quiet(recorded: Recorded, tmp_path: Path) -> None:
    """Kill -9 long after the first lane has ended: the files of the store are still of one moment."""
    fleet = lanes.prepare(tmp_path, recorded.lines)
    first = fleet.parent / "first.jsonl"
    first.write_bytes(b"".join(first.read_bytes().splitlines(keepends=True)[:40]))
    (fleet.parent / "weather.jsonl").write_bytes(b"")
    size = len(finish(fleet, 1)["predictions"])
    expected = outputs(tmp_path / "out")
    again = lanes.prepare(tmp_path / "again", recorded.lines)
    for name in ("first.jsonl", "weather.jsonl"):
        (again.parent / name).write_bytes((fleet.parent / name).read_bytes())
    process = begin(again, 1)
    try:
        written(again, size // 2, process)
    finally:
        process.kill()
        process.wait()
    finish(again, 1)
    lanes.assert_same_but_scores(outputs(again.parent / "out"), expected)


def test_a_signal_stops_the_lanes_of_all_processes(recorded: Recorded, tmp_path: Path) -> None:
    """SIGTERM to the first process ends both lanes at an epoch boundary, exit 0, and the run can go on."""
    fleet, size = lanes.prepare(tmp_path, recorded.lines), len(recorded.expected["predictions"])
    process = begin(fleet)
    try:
        written(fleet, size // 5, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, (tmp_path / "run.log").read_text()[-2000:]
    finally:
        process.kill()
        process.wait()
    assert len(outputs(tmp_path / "out")["predictions"]) < size
    finish(fleet, 2)
    assert_settled(fleet, recorded)


def test_a_store_keeps_its_number_of_lanes(recorded: Recorded, tmp_path: Path) -> None:
    """Another number of lanes is refused with both numbers and the remedy; nothing is written."""
    fleet = lanes.prepare(tmp_path, recorded.lines[:300])
    before = finish(fleet, 1)
    fleet.write_text(lanes.FLEET.replace("lanes = 2", "lanes = 1"))
    ran = dataflows(*arguments(fleet))
    assert ran.returncode == 1
    said = " ".join((ran.stdout + ran.stderr).split())
    assert "the recovery store has 2 lanes, `lanes` under [input] is 1" in said
    assert "--fresh" in said
    assert outputs(tmp_path / "out") == before


def divided(rig: Rig) -> None:
    """Give the fleet of a rig two lanes; its weather is read by both."""
    text, weather = rig.fleet.read_text(), rig.topic("weather")
    own = [topic for topic in rig.topics if topic != weather]
    rig.fleet.write_text(
        text.replace("[input]\n", f"[input]\nlanes = {lanes.LANES}\n", 1).replace(
            f"topics = {rig.topics}", f'topics = {own}\nshared = ["{weather}"]', 1
        )
    )


def topic_outputs(rig: Rig) -> dict[str, bytes]:
    """What lies in the topics, as the contents of files."""
    return {name: b"".join(row + b"\n" for _, row, _ in rig.written(name)) for name in OUTPUTS}


def test_lanes_of_topics_go_on_after_kills_of_one_of_two_processes(broker: Broker, tmp_path: Path) -> None:
    """From two partitions of each topic to topics: every id once, as in one process that was never killed."""
    broker.need("abort")
    rig = Rig(tmp_path, broker.bootstrap, f"lanes-{time.time_ns()}", 2, "many", follow=False)
    rig.make()
    divided(rig)
    found = messages(tmp_path, 150, 5, "many")
    send(rig, found)
    wanted = replayed(rig, "unbroken")
    size = len(wanted["predictions"].splitlines())
    for share, victim in [(0.2, 1), (0.4, 0)]:
        with rig.cluster(2, batch=20) as running:
            eventually(lambda share=share: rig.ends("predictions") > share * size, running[0])
            running[victim].kill()
            assert running[1 - victim].wait(PATIENCE) != 0
    with rig.cluster(2) as running:
        assert [process.wait(PATIENCE) for process in running] == [0, 0], rig.log()[-2_000:]
    lanes.assert_same_but_scores(topic_outputs(rig), wanted)
    for lane in range(lanes.LANES):
        assert lanes.of_lane(wanted["predictions"], lane)
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["input"]["records"] == len(found)
