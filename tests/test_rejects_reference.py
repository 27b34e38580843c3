"""The page of reject reasons: it names every code, and its examples are what the dataflow makes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

import pytest

from dataflows.asset.panes import WindowPlan
from dataflows.events import REASONS
from dataflows.fleet import load
from dataflows.items import Item, Row
from dataflows.outputs import LATE_REASONS
from dataflows.pipeline import Stages, decoded, run_lines
from tests.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "rejects.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^### |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def output_of(reason: str) -> str:
    return "late" if reason in LATE_REASONS else "rejects"


def test_the_table_holds_every_reason_in_its_order() -> None:
    """Code, output and meaning are those of the source, in the same order."""
    found = re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\) \| `(\w+)\.jsonl` \| (.*) \|$", PAGE, re.MULTILINE)
    assert found == [(reason, reason, output_of(reason), meaning) for reason, meaning in REASONS.items()]


def test_every_reason_has_a_section() -> None:
    """Each code is explained under its own heading, in the order of the table."""
    assert list(SECTIONS) == list(REASONS)


@pytest.mark.parametrize("reason", [reason for reason in REASONS if reason != "other_lane"])
def test_an_example_is_what_the_dataflow_makes(
    reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of an example become the one row that stands below them, and no other reject."""
    if reason == "internal_error":
        monkeypatch.setattr(WindowPlan, "read", _failing)
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(PAGE.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    lines, row = re.findall(r"```json\n(.*?)\n```", SECTIONS[reason], re.DOTALL)
    found = run_lines(load(fleet, environ={}), lines.encode().split(b"\n"), "events.jsonl")
    output = output_of(reason)
    assert f"in `{output}.jsonl`" in SECTIONS[reason]
    assert {name: found[name] for name in ("rejects", "late")} == {
        name: [row.encode()] if name == output else [] for name in ("rejects", "late")
    }


def test_a_record_in_another_lane_becomes_the_row_of_its_example(tmp_path: Path) -> None:
    """The first line of the example in the first of two lanes, the second in the other."""
    lines, row = re.findall(r"```json\n(.*?)\n```", SECTIONS["other_lane"], re.DOTALL)
    text = PAGE.split("```toml\n")[1].split("```")[0]
    (tmp_path / "fleet.toml").write_text(
        text.replace('files = ["events.jsonl"]', 'files = ["a.jsonl", "b.jsonl"]\nlanes = 2').replace(
            'unknown = "reject"', 'unknown = "adopt"\nadopt_as = "pump"'
        )
    )
    stages = Stages(load(tmp_path / "fleet.toml", environ={}), strict=False)
    first, second = lines.encode().split(b"\n")
    records = [
        Item(2, 0, None, 0, ("events.jsonl", 1, 0), first),
        Item(3, 0, None, 0, ("events.jsonl", 2, len(first) + 1), second),
    ]
    events = [
        event
        for record in decoded(records)
        for event in stages.lane(stages.lane_of(record), None, {}).process([record])
    ]
    made = stages.asset(events[0], None).process(events)
    rows = [item.body for item in made if isinstance(item.body, Row)]
    assert [each.data for each in rows if each.output == "rejects"] == [row.encode()]


def _failing(*_: object) -> NoReturn:
    msg = "division by zero"
    raise ZeroDivisionError(msg)
