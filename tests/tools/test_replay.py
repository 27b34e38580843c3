"""``replay``: a recording through the dataflow as `run` would, or into a file as it came."""

from __future__ import annotations

import io
import math
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest
import structlog
from rich.console import Console

from dataflows.connectors import clocks
from dataflows.connectors.lines import InputError
from dataflows.events import decode
from dataflows.tools import replay as module
from dataflows.tools.replay import play, replay, speed_of
from tests.chaos.harness import assert_same, inline_outputs, outputs, prepare, recording

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    """A run logs into its own folder; what follows must not."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return recording(days=6)


class Clock:
    """A monotonic clock that only sleeping moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> int:
        return round(self.time * 1e6)

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.mark.parametrize(("text", "speed"), [("max", None), ("100", 100.0), ("0.5", 0.5), ("1e3", 1000.0)])
def test_a_speed_is_a_multiple_of_real_time_or_max(text: str, speed: float | None) -> None:
    """Any number above 0."""
    assert speed_of(text) == speed


@pytest.mark.parametrize("text", ["0", "-1", "fast", "", "inf", "nan", "100x"])
def test_what_is_no_speed_is_refused(text: str) -> None:
    """With what was expected."""
    with pytest.raises(ValueError, match="expected a number above 0, or max"):
        speed_of(text)


def test_a_replay_is_a_run_without_a_store(lines: list[bytes], tmp_path: Path, console: Console) -> None:
    """Its outputs are those of the stages; they go where it is told, and never over others."""
    fleet = prepare(tmp_path, lines)
    expected = inline_outputs(fleet)
    replay(fleet, [], console, out=tmp_path / "one")
    assert_same(outputs(tmp_path / "one"), expected)
    with pytest.raises(RuntimeError, match="holds outputs of an earlier run"):
        replay(fleet, [], console, out=tmp_path / "one")
    assert not (tmp_path / "out").exists()


def test_several_recordings_are_replayed_as_the_one_they_were(
    lines: list[bytes], tmp_path: Path, console: Console
) -> None:
    """Split by kind, and merged by arrival again: all rows that name no position are the same."""
    is_telemetry = [line.startswith(b'{"kind":"telemetry","') for line in lines]
    keyed = []
    fleet = prepare(tmp_path / "split", [])
    for number, name in enumerate(("telemetry.jsonl", "rest.jsonl")):
        part = [
            line for line, telemetry in zip(lines, is_telemetry, strict=True) if telemetry == (number == 0)
        ]
        (fleet.parent / name).write_bytes(b"\n".join(part))
        arrivals = accumulate((getattr(decode(line), "arrived", 0) for line in part), max)
        keyed += [
            (arrival, number, at, line) for at, (arrival, line) in enumerate(zip(arrivals, part, strict=True))
        ]
    whole = prepare(tmp_path / "whole", [line for *_, line in sorted(keyed)])
    expected = inline_outputs(whole)
    replay(fleet, [str(fleet.parent / "telemetry.jsonl"), str(fleet.parent / "rest.jsonl")], console)
    found = outputs(fleet.parent / "out")
    for name in ("predictions", "evaluations", "metrics", "changes"):
        assert found[name] == expected[name]
    assert len(found["rejects"].splitlines()) == len(expected["rejects"].splitlines())


def test_a_recording_is_played_into_a_file_as_it_was(
    lines: list[bytes], tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte by byte, in the time that it took, divided by the speed."""
    clock = Clock()
    monkeypatch.setattr(clocks, "now", clock.now)
    monkeypatch.setattr(module.time, "sleep", clock.sleep)
    events = prepare(tmp_path, lines).parent / "events.jsonl"
    for speed in (None, 10_000.0):
        into = tmp_path / f"{speed}.jsonl"
        play([str(events)], into, speed, console)
        assert into.read_bytes() == events.read_bytes()
    assert math.isclose(clock.time, 6 * 86_400 / 10_000, rel_tol=0.1)


def test_a_file_that_holds_something_is_not_played_into(
    lines: list[bytes], tmp_path: Path, console: Console
) -> None:
    """Half of one recording and half of another are none."""
    events = prepare(tmp_path, lines[:3]).parent / "events.jsonl"
    with pytest.raises(InputError, match="bytes already; delete it"):
        play([str(events)], events, None, console)


def test_a_journal_has_no_speed(lines: list[bytes], tmp_path: Path, console: Console) -> None:
    """It says in which order records came, not when."""
    fleet = prepare(tmp_path, lines[:3])
    with pytest.raises(InputError, match="leave out --speed, or --journal"):
        replay(fleet, [], console, speed=2.0, journal=tmp_path)
