"""Killed, and continued by more or fewer processes: what does not depend on the order of learning stays."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import orjson
import pytest

from tests.chaos.harness import (
    assert_same_but_scores,
    eventually,
    free_ports,
    inline_outputs,
    outputs,
    prepare,
    rows,
)
from tests.chaos.surroundings import SILENT_AND_SEEN, with_weather
from tests.processes import PATIENCE, environment, start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes import Process

pytestmark = pytest.mark.ci

RECORDS = 2_500


def begin(fleet: Path, processes: int, batch: int = 50) -> list[Process]:
    """Bytewax's own command, with an epoch for every batch."""
    flow = f"dataflows.failure_prediction:flow({str(fleet)!r})"
    command = ["bytewax.run", flow, "-r", str(fleet.parent / "store"), "-s", "0", "-b", "0"]
    if processes == 1:
        commands = [command]
    else:
        addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(processes))
        commands = [[*command, "-i", str(number), "-a", addresses] for number in range(processes)]
    env, log = environment(FLEET_BATCH=str(batch)), fleet.parent / "run.log"
    return [start(*each, env=env, out=log) for each in commands]


def kill_at(fleet: Path, processes: int, size: int) -> None:
    """Run until so many bytes of predictions are written, then kill every process with -9."""
    predictions = fleet.parent / "out" / "predictions.jsonl"
    running = begin(fleet, processes)
    try:
        eventually(lambda: predictions.exists() and predictions.stat().st_size > size, running[0])
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()


class Recorded(NamedTuple):
    """A recording with everything that time can do to it, and what the stages alone make of it."""

    lines: list[bytes]
    expected: dict[str, bytes]


@pytest.fixture(scope="module")
def recorded(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Events late and too late, copies, weather that comes late, trucks that fall silent and are dropped."""
    seen = with_weather(lines)[:RECORDS]
    expected = inline_outputs(prepare(tmp_path_factory.mktemp("inline"), seen, SILENT_AND_SEEN))
    assert sum(row["revision"] > 0 for row in rows(expected["predictions"])) > 1_000
    reasons = {row["why"] for row in rows(expected["evaluations"])}
    assert reasons >= {"failure", "horizon passed", "maintenance", "silent"}
    assert "asset_dropped" in {row["change"] for row in rows(expected["changes"])}
    assert all(expected[name] for name in ("late", "rejects"))
    return Recorded(seen, expected)


def set_up(folder: Path, recorded: Recorded) -> Path:
    """A fleet over the recording, and an empty store of four partitions, as Bytewax's command needs it."""
    (folder / "store").mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(folder / "store"), "4"], check=True)
    return prepare(folder, recorded.lines, SILENT_AND_SEEN)


def assert_settled(fleet: Path, recorded: Recorded) -> None:
    """All is the same but scores, and the order of rows."""
    assert_same_but_scores(outputs(fleet.parent / "out"), recorded.expected)
    summary = orjson.loads((fleet.parent / "out" / "summary.json").read_bytes())
    assert summary["input"]["records"] == RECORDS


def test_one_two_and_one_process_predict_and_label_the_same(recorded: Recorded, tmp_path: Path) -> None:
    """Ids, features, examples and labels of a run over 1, 2 and 1 processes are those of the stages alone."""
    fleet, size = set_up(tmp_path, recorded), len(recorded.expected["predictions"])
    kill_at(fleet, 1, size // 5)
    kill_at(fleet, 2, size // 2)
    (last,) = begin(fleet, 1)
    assert last.wait(PATIENCE) == 0, (tmp_path / "run.log").read_text()[-2000:]
    assert_settled(fleet, recorded)


def test_two_processes_predict_and_label_the_same(recorded: Recorded, tmp_path: Path) -> None:
    """So are those of 2 processes from beginning to end."""
    fleet = set_up(tmp_path, recorded)
    for process in begin(fleet, 2, batch=500):
        assert process.wait(PATIENCE) == 0, (tmp_path / "run.log").read_text()[-2000:]
    assert_settled(fleet, recorded)
