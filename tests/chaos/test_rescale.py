"""Killed, and continued by more or fewer processes: what does not depend on the order of learning stays."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import orjson

from tests.chaos.harness import (
    PATIENCE,
    ROOT,
    environment,
    eventually,
    free_ports,
    inline_outputs,
    outputs,
    prepare,
    rows,
)

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = 3_000
#: What the order in which models learned may change.
OPEN = {"score", "scores", "link"}


def start(fleet: Path, processes: int) -> list[subprocess.Popen[bytes]]:
    """Bytewax's own command, with an epoch for every batch."""
    flow = f"dataflows.failure_prediction:flow({str(fleet)!r})"
    command = [
        sys.executable,
        "-m",
        "bytewax.run",
        flow,
        "-r",
        str(fleet.parent / "store"),
        "-s",
        "0",
        "-b",
        "0",
    ]
    if processes == 1:
        commands = [command]
    else:
        addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(processes))
        commands = [[*command, "-i", str(number), "-a", addresses] for number in range(processes)]
    with (fleet.parent / "run.log").open("ab") as log:
        return [
            subprocess.Popen(each, env=environment(FLEET_BATCH="50"), cwd=ROOT, stdout=log, stderr=log)
            for each in commands
        ]


def kill_at(fleet: Path, processes: int, size: int) -> None:
    """Run until so many bytes of predictions are written, then kill every process with -9."""
    predictions = fleet.parent / "out" / "predictions.jsonl"
    running = start(fleet, processes)
    try:
        eventually(lambda: predictions.exists() and predictions.stat().st_size > size, running[0])
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()


def settled(data: bytes, *key: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows by key, without what may differ; a key that comes twice is an error."""
    found = rows(data)
    by_key = {
        tuple(row[each] for each in key): {k: v for k, v in row.items() if k not in OPEN} for row in found
    }
    assert len(by_key) == len(found), f"{len(found) - len(by_key)} rows came twice"
    return by_key


def test_one_two_and_one_process_predict_and_label_the_same(lines: list[bytes], tmp_path: Path) -> None:
    """Ids, features, examples and labels of a run over 1, 2 and 1 processes are those of the stages alone."""
    fleet = prepare(tmp_path, lines[:RECORDS])
    expected = inline_outputs(fleet)
    size = len(expected["predictions"])
    (tmp_path / "store").mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(tmp_path / "store"), "4"], check=True)

    kill_at(fleet, 1, size // 5)
    kill_at(fleet, 2, size // 2)
    (last,) = start(fleet, 1)
    assert last.wait(PATIENCE) == 0, (tmp_path / "run.log").read_text()[-2000:]

    found = outputs(tmp_path / "out")
    assert settled(found["predictions"], "id") == settled(expected["predictions"], "id")
    examples = ("id", "correction")
    assert settled(found["evaluations"], *examples) == settled(expected["evaluations"], *examples)
    assert sorted(found["late"].splitlines()) == sorted(expected["late"].splitlines())
    assert sorted(found["rejects"].splitlines()) == sorted(expected["rejects"].splitlines())
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["input"]["records"] == RECORDS
