"""The study of drift: changes are found with their cause, and data that moves is not called drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from studies import adaptation
from studies.adaptation import Excess
from studies.drift import confusion, delays, plot
from studies.drift_world import CAUSES, MOVEMENTS, World, run
from tests.processes import ROOT
from tests.studies.tables import days, figures, percent, table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("sensor of all", 3.0),
        ("two sensors", 3.0),
        ("a site", 8.0),
        ("sensor of one asset", 30.0),
        ("other failures", 2.0),
        ("labels stop", 1.0),
    ],
)
def test_a_change_is_found_with_its_cause(kind: str, size: float) -> None:
    """Of three worlds that change much, at least two name the right cause last, and none alarms before."""
    right = 0
    for seed in range(3):
        world = World(kind, size, seed=seed)
        found = run(world)
        rows = [*found.alarms, *found.moved]
        assert all(row["time"] >= "1970-02-19" for row in rows)
        causes = [row["cause"] for row in found.alarms]
        stopped = any(row["measure"] == "labels" for row in found.moved)
        right += (causes[-1:] == [CAUSES[kind]]) or (kind == "labels stop" and stopped)
    assert right >= 2


@pytest.mark.ci
def test_causes_of_first_alarms_are_right() -> None:
    """Of 24 worlds that change, at least nine in ten of the first alarms name the right cause."""
    sizes = {"sensor of all": 2.0, "two sensors": 2.0, "a site": 4.0, "sensor of one asset": 15.0}
    sizes |= {"other failures": 2.0, "base rate": 8.0}
    rows = [delays(kind, size, range(700, 704), {}) for kind, size in sizes.items()]
    found = [(row["change"], cause, count) for row in rows for cause, count in row["causes"].items()]
    alarms = sum(count for *_, count in found)
    assert alarms >= 18
    assert sum(count for kind, cause, count in found if cause == CAUSES[kind]) >= 0.9 * alarms


@pytest.mark.parametrize("kind", MOVEMENTS)
def test_moved_data_is_reported_and_is_no_drift(kind: str) -> None:
    """Late, missing and wrongly stamped data is a row `movement`; no alarm has another cause."""
    for seed in range(2):
        found = run(World(kind, 1.0, seed=seed))
        assert found.moved
        assert {row["cause"] for row in found.alarms} <= {"data movement"}


def test_a_yearly_season_is_no_drift_when_compared_with_the_year_before() -> None:
    """Two years of a season raise alarms against a fixed reference, and none against a year before."""
    season = {"days": 800, "turn": 800, "seed": 1, "assets": 9, "daily": 1, "season": 2.0}
    assert run(World(**season)).alarms  # type: ignore[arg-type]
    assert not run(World(compare_with=365, **season)).alarms  # type: ignore[arg-type]


def test_examples_until_a_model_is_right_again_are_counted() -> None:
    """The last window above the bound decides; what both models lose on hard examples does not count."""
    hard = [[0.1 + 5.0 * (number % (7 + seed) == 0) for number in range(100)] for seed in range(3)]
    worse = [[loss + (number < 30) for number, loss in enumerate(each)] for each in hard]
    assert Excess.of(worse, hard, 10).adapted() == 40
    assert Excess.of(hard, hard, 10).adapted() == 10
    assert Excess.of([[loss + 1 for loss in each] for each in hard], hard, 10).adapted() is None


def test_an_excess_that_differs_between_recordings_is_not_sure() -> None:
    """Its mean may be within the bound where the upper end of its interval is not."""
    best = [[0.2] * 100] * 4
    differ = [[0.2 + off] * 100 for off in (-0.1, 0.1, -0.1, 0.1)]
    excess = Excess.of(differ, best, 10)
    assert excess.adapted() == 10
    assert excess.adapted(surely=True) is None
    assert excess.off[0] == pytest.approx(3.182 * 0.5 * (4 / 3) ** 0.5 / 2, rel=1e-3)


def test_one_command_prints_the_table_of_adaptation_and_draws_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each way has a row, with the examples until it is right again, and a line in the picture."""
    monkeypatch.setenv("COLUMNS", "200")
    picture = tmp_path / "adaptation.svg"
    few = ["--seeds", "2", "--pumps", "4", "--days", "16", "--turn", "8", "--window", "30"]
    adaptation.main([*few, "--picture", str(picture)])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert any("post-drift" in row and " 30 " in row for row in rows)
    assert picture.read_text(encoding="utf-8").count('stroke-width="2"') == 2


def test_the_table_and_the_picture_hold_every_change() -> None:
    """Causes are counted by change, and the picture has a line for each change with several sizes."""
    rows = [
        {"change": kind, "size": size, "found": 0.5, "causes": {cause: 4, "world": 1}}
        for kind, cause in CAUSES.items()
        for size in (1.0, 2.0)
    ]
    table = {row["change"]: row for row in confusion(rows)}
    assert table["a site"]["site"] == 8
    assert table["a site"]["right"] == pytest.approx(0.8)
    assert table["together"]["right"] == pytest.approx(38 / 46)
    assert plot(rows).count("<path") == 3 + 6


def test_the_docs_say_what_the_study_found() -> None:
    """The tables of docs/drift.md are the figures of the command, and so is its picture."""
    rows = figures("drift")
    found = [row for row in rows if "size" in row]
    assert table("drift.md", "change", "size") == [
        [
            row["change"],
            f"{row['size']:g}",
            f"{row['found']:.0%}".replace("%", " %"),
            days(row["median days"]),
            percent(row["ADWIN: found"]),
            days(row["ADWIN: days"]),
            percent(row["Page-Hinkley: found"]),
            days(row["Page-Hinkley: days"]),
        ]
        for row in found
    ]
    causes = {row["change"]: row for row in rows if "right" in row}
    *each, together = confusion(found)
    names = ("data movement", "labels", "asset", "site", "sensor", "world")
    assert table("drift.md", "change", "data movement") == [
        [row["change"], *(str(row[name]) for name in names), percent(row["right"])] for row in each
    ]
    assert causes["together"]["right"] == together["right"] >= 0.9
    nulls = [row for row in rows if "budget" in row]
    assert table("drift.md", "series", "false alarms") == [
        [row["series"], str(row["alarms"]), f"{row['upper 95 % bound']:.1f}"] for row in nulls
    ]
    assert all(row["upper 95 % bound"] <= row["budget"] for row in nulls)
    assert table("drift.md", "shift", "found") == [
        [f"{row['shift, sd of a day']:g}", percent(row["found in 60 days"]), days(row["median days"])]
        for row in rows
        if "found in 60 days" in row
    ]
    picture = (ROOT / "docs/pictures/drift.svg").read_text(encoding="utf-8")
    assert picture == plot(found)
