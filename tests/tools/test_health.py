"""``status`` says whether a run is well, by what the run wrote."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import orjson
import pytest
from rich.console import Console

import highwater as hw
from dataflows.tools.health import Finding, findings, status
from tests.leaking_pump import leaking_pump

if TYPE_CHECKING:
    from pathlib import Path


def _run(folder: Path, *, reported: int | None = None, spoilt: int = 0) -> hw.Fleet:
    """A pump that leaks; leaks are reported up to an hour, and records are spoilt."""
    head = 'metrics_every = "2d"'
    fleet = hw.load(leaking_pump(folder, 1000, head=head, reported=reported, spoilt=spoilt))
    hw.run(fleet, fresh=True)
    return fleet


def _about(found: list[Finding], about: str) -> list[Finding]:
    return [each for each in found if each.about == about]


@pytest.mark.usefixtures("roomy_disk")
def test_a_run_that_is_well_says_so_and_ends_with_0(tmp_path: Path) -> None:
    """Its model is worth more than the base rate, nothing is refused, the disk has room."""
    fleet = _run(tmp_path)
    found = findings(fleet, tmp_path / "store", (tmp_path / "out" / "predictions.jsonl").stat().st_mtime)
    assert {each.level for each in found} == {"ok"}
    assert {each.about for each in found} == {"run", "disk", "rejects", "pump/leak/12h"}
    printed = io.StringIO()
    assert status(fleet, tmp_path / "store", Console(file=printed, width=78)) == 0
    assert "of the base rate" in " ".join(printed.getvalue().split())


def test_labels_that_stop_are_named(tmp_path: Path) -> None:
    """A fleet whose failures nobody reports any more looks like a healthy one."""
    found = _about(findings(_run(tmp_path, reported=500), tmp_path, 0.0), "pump/leak/12h")
    [stopped] = [each for each in found if "no failure labelled" in each.what]
    assert stopped.level == "warning"
    assert "still reported" in stopped.todo


def test_a_share_of_refused_records_is_a_finding_with_its_reason(tmp_path: Path) -> None:
    """A few per cent are a warning, a third is a failure."""
    [few] = _about(findings(_run(tmp_path, spoilt=20), tmp_path, 0.0), "rejects")
    assert few.level == "warning"
    assert "malformed" in few.what
    [many] = _about(findings(_run(tmp_path, spoilt=2), tmp_path, 0.0), "rejects")
    assert many.level == "failure"


def test_a_live_run_that_stands_still_is_a_failure(tmp_path: Path) -> None:
    """Where the input is followed, nothing committed for ten minutes means that something is wrong."""
    fleet = _run(tmp_path)
    live = hw.load(tmp_path / "fleet.toml", {"input": {"follow": True}})
    later = (tmp_path / "out" / "predictions.jsonl").stat().st_mtime + 3000
    [still] = _about(findings(live, tmp_path, later), "run")
    assert (still.level, still.what) == ("failure", "nothing was committed for 50 minutes")
    assert _about(findings(fleet, tmp_path, later), "run")[0].level == "ok"


def test_without_outputs_it_says_what_to_do_first(tmp_path: Path) -> None:
    """One JSON object a finding, and the exit code of a failure."""
    printed = io.StringIO()
    fleet = hw.load(leaking_pump(tmp_path, 2))
    assert status(fleet, tmp_path, Console(file=printed, width=78), as_json=True) == 2
    row = orjson.loads(printed.getvalue())
    assert row["level"] == "failure"
    assert "run it first" in row["todo"]
