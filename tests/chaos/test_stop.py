"""Starting, stopping, starting over: what ``python -m dataflows run`` and Bytewax's command do and refuse."""

from __future__ import annotations

import gzip
import re
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import orjson
import pytest

from dataflows.outputs import OUTPUTS
from tests.chaos.harness import (
    arguments,
    assert_same,
    dataflows,
    eventually,
    finish,
    inline_outputs,
    outputs,
    prepare,
)
from tests.processes import PATIENCE, ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECORDS = 3_000


@pytest.fixture(scope="module")
def expected(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    """The recording, and what the stages make of it without the engine."""
    fleet = prepare(tmp_path_factory.mktemp("inline"), lines[:RECORDS])
    return str(fleet.parent / "events.jsonl"), inline_outputs(fleet)


@pytest.fixture
def begun(
    expected: tuple[str, dict[str, bytes]], lines: list[bytes], tmp_path: Path
) -> Callable[[], tuple[Path, subprocess.Popen[str]]]:
    """Starts a run that takes its time, a snapshot after every record; returns when it is at work."""

    def begin() -> tuple[Path, subprocess.Popen[str]]:
        fleet = prepare(tmp_path, lines[:RECORDS])
        env = environment(FLEET_INPUT=expected[0], FLEET_BATCH="1")
        command = [sys.executable, "-m", "dataflows", *arguments(fleet, "--epoch", "1ms")]
        process = subprocess.Popen(
            command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        predictions = tmp_path / "out" / "predictions.jsonl"
        eventually(lambda: predictions.exists() and predictions.stat().st_size > 20_000, process)
        return fleet, process

    return begin


def until(rows: bytes, record: int) -> bytes:
    """The rows that come of the records up to one."""
    lines = rows.splitlines(keepends=True)
    return b"".join(line for line in lines if orjson.loads(line)["sequence"] <= record)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.ci)])
def test_a_signal_ends_the_run_at_an_epoch_boundary(
    begun: Callable[[], tuple[Path, subprocess.Popen[str]]],
    expected: tuple[str, dict[str, bytes]],
    number: signal.Signals,
) -> None:
    """The run says its last record and its summary, exits 0 with exactly that committed, and can go on."""
    events, complete = expected
    fleet, process = begun()
    process.send_signal(number)
    printed = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, printed
    stopped = re.search(r"Stopped after record ([\d,]+)", printed)
    assert stopped, printed
    assert "as served" in printed
    record = int(stopped[1].replace(",", ""))
    assert record < RECORDS
    found = outputs(fleet.parent / "out")
    assert_same(found, {name: until(complete[name], record) for name in OUTPUTS})
    assert_same(finish(fleet, FLEET_INPUT=events), complete)


@pytest.mark.ci
def test_a_store_in_use_is_refused_and_left_alone(
    begun: Callable[[], tuple[Path, subprocess.Popen[str]]], expected: tuple[str, dict[str, bytes]]
) -> None:
    """A second run on the store of a first is refused, with --fresh too, and does not disturb it."""
    events, complete = expected
    fleet, process = begun()
    # Held still, so that it cannot come to its end before the others have tried.
    process.send_signal(signal.SIGSTOP)
    for more in ([], ["--fresh"]):
        second = dataflows(*arguments(fleet, *more), FLEET_INPUT=events)
        assert second.returncode == 1
        assert "in use by another run" in second.stderr
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    printed = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, printed
    assert_same(finish(fleet, FLEET_INPUT=events), complete)


def test_outputs_of_an_unknown_run_are_refused(lines: list[bytes], tmp_path: Path) -> None:
    """A new store beside outputs that hold rows is refused, and the rows stay."""
    fleet = prepare(tmp_path, lines[:10])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.jsonl").write_text("{}\n")
    for more in ([], ["--no-recovery"]):
        ran = dataflows(*arguments(fleet, *more))
        assert ran.returncode == 1
        assert "--fresh" in ran.stderr
    assert (tmp_path / "out" / "predictions.jsonl").read_text() == "{}\n"
    assert not (tmp_path / "store").exists()


def test_fresh_starts_over_and_deletes_nothing_else(lines: list[bytes], tmp_path: Path) -> None:
    """--fresh forgets store and outputs, so that the rows are there once; other files in the folders stay."""
    fleet = prepare(tmp_path, lines[:500])
    first = finish(fleet)
    strangers = [tmp_path / "store" / "notes.txt", tmp_path / "out" / "notes.txt"]
    for path in strangers:
        path.write_text("mine")
    assert_same(finish(fleet, "--fresh"), first)
    assert all(path.read_text() == "mine" for path in strangers)
    assert_same(finish(fleet), first)


def test_a_store_whose_making_was_killed_is_made_again(lines: list[bytes], tmp_path: Path) -> None:
    """Half of a new store's files, left by a kill, do not stand in the way of the next run."""
    fleet = prepare(tmp_path, lines[:500])
    store = tmp_path / "store"
    store.mkdir()
    (store / "unfinished").touch()
    (store / "part-0.sqlite3").write_bytes(b"")
    assert_same(finish(fleet), inline_outputs(fleet))
    assert not (store / "unfinished").exists()


@pytest.mark.parametrize("made", [False, True], ids=["no store yet", "a new store"])
def test_a_fresh_start_that_was_killed_is_made_up_for(lines: list[bytes], tmp_path: Path, made: bool) -> None:
    """Killed before the former outputs were gone, the next run deletes them, asked to or not."""
    fleet = prepare(tmp_path, lines[:1_500])
    assert finish(fleet)["evaluations"]
    store = tmp_path / "store"
    for path in () if made else store.glob("part-*"):
        path.unlink()
    if made:
        shutil.rmtree(store)
        finish(prepare(tmp_path / "other", lines[:1]))
        shutil.copytree(tmp_path / "other" / "store", store)
    (store / "unfinished").write_bytes(b"fresh\n")
    few = {"FLEET_INPUT": str(tmp_path / "few.jsonl")}
    (tmp_path / "few.jsonl").write_bytes(b"\n".join([*lines[:20], b""]))
    found = finish(fleet, **few)
    assert not found["evaluations"], "no label is known yet"
    assert found["predictions"].count(b"\n") <= 40, "two targets"
    assert not (store / "unfinished").exists()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_file_that_was_written_anew_is_refused(lines: list[bytes], tmp_path: Path, packed: bool) -> None:
    """Under the same name it is not taken for what was read, be it as long as that or longer."""
    fleet = prepare(tmp_path, lines[:200])
    events = tmp_path / "events.jsonl"
    given = {"FLEET_INPUT": str(tmp_path / "given")}

    def give(text: bytes) -> None:
        (tmp_path / "given").write_bytes(gzip.compress(text, mtime=0) if packed else text)

    text = events.read_bytes()
    give(text)
    first = finish(fleet, **given)
    assert finish(fleet, **given) == first, "the same file goes on"
    for anew in (text.replace(b"truck-0", b"lorry-0"), text.replace(b"truck-0", b"lorry-0") + text):
        give(anew)
        ran = dataflows(*arguments(fleet), **given)
        assert ran.returncode == 1, ran.stdout
        said = " ".join(ran.stderr.split())
        assert "it was written again under the same name" in said
        assert "--fresh" in said
        assert outputs(tmp_path / "out") == first


def test_standard_input_is_refused_with_recovery_and_read_without(lines: list[bytes], tmp_path: Path) -> None:
    """What cannot be read again cannot be resumed; without recovery it is a recording like any other."""
    fleet = prepare(tmp_path, [line for line in lines[:500] if line.startswith(b'{"kind":"telemetry","')])
    refused = dataflows(*arguments(fleet), FLEET_INPUT="-")
    assert refused.returncode == 1
    assert "--no-recovery" in refused.stderr
    assert not (tmp_path / "store").exists()

    with (tmp_path / "events.jsonl").open("rb") as events:
        command = [sys.executable, "-m", "dataflows", "run", str(fleet), "--no-recovery"]
        env = environment(FLEET_INPUT="-")
        subprocess.run(command, env=env, stdin=events, capture_output=True, timeout=PATIENCE, check=True)
    expected = inline_outputs(fleet)
    found = outputs(tmp_path / "out")
    for name in ("predictions", "evaluations", "metrics", "changes"):
        assert found[name] == expected[name]


@pytest.mark.parametrize("named", ["argument", pytest.param("environment", marks=pytest.mark.ci)])
def test_bytewax_itself_runs_the_flow(lines: list[bytes], tmp_path: Path, named: str) -> None:
    """`python -m bytewax.run` takes the fleet as an argument of ``flow``, or from FLEET_CONFIG."""
    fleet = prepare(tmp_path, lines[:500])
    flow = "dataflows.failure_prediction"
    config = {"FLEET_CONFIG": str(fleet)} if named == "environment" else {}
    if named == "argument":
        flow += f":flow({str(fleet)!r})"
    command = [sys.executable, "-m", "bytewax.run", flow]
    subprocess.run(
        command, env=environment(**config), cwd=ROOT, capture_output=True, timeout=PATIENCE, check=True
    )
    assert_same(outputs(tmp_path / "out"), inline_outputs(fleet))


@pytest.mark.ci
def test_a_source_that_refuses_ends_the_run_with_its_message_alone(
    lines: list[bytes], tmp_path: Path
) -> None:
    """Without the engine's note of a panic; the run goes on where it was once the file is whole."""
    fleet = prepare(tmp_path / "one", lines[:9_000])
    path = tmp_path / "events.jsonl.gz"
    whole = gzip.compress(b"\n".join(lines[:9_000]) + b"\n", compresslevel=0)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    words = [sys.executable, "-m", "dataflows", *arguments(fleet, "--epoch", "1ms")]
    env = environment(FLEET_INPUT=str(path), FLEET_BATCH="100")
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"Error: .*events.jsonl.gz is damaged somewhere after byte .*\n", done.stderr)
    assert (tmp_path / "one" / "out" / "predictions.jsonl").stat().st_size > 100_000
    path.write_bytes(gzip.compress(b"another\n" + b"\n".join(lines[:9_000]) + b"\n"))
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"Error: .*events.jsonl.gz is not the file whose first .*\n", done.stderr)
    path.write_bytes(whole)
    expected = finish(prepare(tmp_path / "other", []), FLEET_INPUT=str(path))
    assert_same(finish(fleet, FLEET_INPUT=str(path)), expected)
