"""What a run says where nothing of its input could be used, or nothing in it was new."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import orjson
import pytest

from dataflows.status import Intake
from tests import processes
from tests.processes import environment
from tests.tables import PRIOR_ALONE, pumps

if TYPE_CHECKING:
    from pathlib import Path

FLEET = pumps(
    "prior",
    PRIOR_ALONE,
    sensors=("flow",),
    mode="seal",
    horizon="1h",
    source='batch = 100\n[assets]\nregistry = ["assets.jsonl"]',
)
REGISTRY = b'{"kind":"asset","asset":"p","class":"pump"}\n'


def telemetry(time: object, **more: object) -> bytes:
    row = {"kind": "telemetry", "asset": "p", "time": time, "readings": {"flow": 1.0}, **more}
    return orjson.dumps(row) + b"\n"


GOOD = b"".join(telemetry(f"2025-05-01T08:{minute:02}:00Z") for minute in range(3))
CSV = b"time,asset,flow\n" + b"2025-05-01T08:00:00,p,1.0\n" * 3
MILLISECONDS = b"".join(telemetry(1_746_079_200_000 + 60_000 * minute) for minute in range(3))
NAIVE = b"".join(telemetry(f"2025-05-01T08:{minute:02}:00") for minute in range(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fleet.toml").write_text(FLEET, encoding="utf-8")
    (tmp_path / "assets.jsonl").write_bytes(REGISTRY)
    return tmp_path


def run(folder: Path, *options: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a run on its store, at 78 columns."""
    env = environment(COLUMNS="78")
    done = processes.run("dataflows", "run", "fleet.toml", *options, env=env, cwd=folder)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def rows(folder: Path, output: str) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in (folder / "out" / f"{output}.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize(
    ("sent", "advice"),
    [
        (CSV, "python -m dataflows init FILE"),
        (MILLISECONDS, "by 1,000"),
        (NAIVE, "Give each time its offset"),
    ],
)
def test_an_input_of_which_nothing_can_be_used_fails_and_may_be_mended(
    folder: Path, sent: bytes, advice: str
) -> None:
    """The exit code, the commonest reason, what to do; the mended file under the same name is read whole."""
    (folder / "events.jsonl").write_bytes(sent)
    code, shown, said = run(folder)
    assert code == 1
    assert "No record of this input could be used" in said
    assert "malformed, the first in" in said
    assert advice in said
    assert "?." not in said
    assert "were worth" not in shown
    assert len(rows(folder, "rejects")) == len(sent.splitlines())
    (folder / "events.jsonl").write_bytes(GOOD)
    code, _, said = run(folder)
    assert (code, said) == (0, "")
    assert [row["sequence"] for row in rows(folder, "predictions")] == [2, 3, 4]
    assert rows(folder, "rejects") == []


def test_a_run_ends_when_its_first_thousand_records_are_of_no_use(folder: Path) -> None:
    """Not after a day of reading; and the mended input is read from its beginning."""
    (folder / "events.jsonl").write_bytes(NAIVE * 20_000)
    code, _, said = run(folder)
    assert code == 1
    assert "Give each time its offset" in said
    assert 1_000 <= len(rows(folder, "rejects")) < 10_000
    (folder / "events.jsonl").write_bytes(GOOD)
    assert run(folder)[0] == 0
    assert len(rows(folder, "predictions")) == 3


def test_one_usable_record_lets_a_run_go_on() -> None:
    """Only where none was ever used, by this run or one before it, is there no hope."""
    for intake, hopeless in ((Intake(), True), (Intake(used=1), False), (Intake(before=True), False)):
        for number in range(1_000):
            assert not intake.hopeless()
            intake.refuse("malformed", f"not JSON: byte {number}", ("a", number, 0))
        assert intake.hopeless() == hopeless
        assert [(kind.count, kind.position) for kind in intake.commonest(3)] == [(1_000, ("a", 0, 0))]


def test_a_run_with_nothing_new_says_so(folder: Path) -> None:
    """It prints no figures as if they were of this run, and tells what would be read."""
    (folder / "events.jsonl").write_bytes(GOOD)
    code, shown, _ = run(folder)
    assert code == 0
    assert "were worth" in shown
    code, shown, _ = run(folder)
    assert code == 0
    assert "No new records since record 4." in shown
    assert "--fresh" in shown
    assert "were worth" not in shown


def test_a_later_file_of_which_nothing_can_be_used_fails_and_its_mended_copy_is_read(folder: Path) -> None:
    """What was used before stays; the mended records come in a file of another name, as the message says."""
    (folder / "fleet.toml").write_text(FLEET.replace("events.jsonl", "e*.jsonl"), encoding="utf-8")
    (folder / "e1.jsonl").write_bytes(GOOD)
    assert run(folder)[0] == 0
    (folder / "e2.jsonl").write_bytes(CSV)
    code, _, said = run(folder)
    assert code == 1
    assert "a file of another name" in " ".join(said.split())
    (folder / "e3.jsonl").write_bytes(telemetry("2025-05-01T09:00:00Z"))
    assert run(folder)[0] == 0
    assert len(rows(folder, "predictions")) == 4


def test_a_run_fails_that_rejects_more_for_their_arrivals_than_it_uses(folder: Path) -> None:
    """One record without `arrived` at the head of a recording would otherwise empty it, with exit code 0."""
    arrived = b"".join(telemetry(f"2025-05-01T09:0{n}:00Z", arrived=f"2025-05-01T09:0{n}:00Z") for n in "123")
    (folder / "events.jsonl").write_bytes(telemetry("2025-05-01T08:00:00Z") + arrived)
    code, _, said = run(folder)
    assert code == 1
    assert "3 of 4 records were rejected" in said


def test_the_engines_own_command_fails_as_well(folder: Path) -> None:
    """With the same words and code 1, after the rows of the rejects were written."""
    (folder / "events.jsonl").write_bytes(CSV)
    command = [sys.executable, "-m", "bytewax.run", "dataflows.failure_prediction:flow('fleet.toml')"]
    done = subprocess.run(command, env=environment(), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Error: No record of this input could be used; 4 were rejected." in done.stderr
    assert len(rows(folder, "rejects")) == 4


def test_a_store_keeps_its_registry_files(folder: Path) -> None:
    """A glob is read file by file; one more file is refused with what to do instead."""
    fleet = folder / "fleet.toml"
    fleet.write_text(fleet.read_text().replace("assets.jsonl", "assets*.jsonl"), encoding="utf-8")
    (folder / "events.jsonl").write_bytes(GOOD)
    assert run(folder, "--recovery", "store")[0] == 0
    (folder / "assets-2.jsonl").write_bytes(REGISTRY)
    code, _, errors = run(folder, "--recovery", "store")
    assert code == 1
    assert "A store keeps its registry files: add the rows to one of them" in " ".join(errors.split())
