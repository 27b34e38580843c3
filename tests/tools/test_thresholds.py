"""Choosing thresholds: what each would have done, by cost, by budget, and written into the fleet's file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.evaluation.outcomes import Outcome
from dataflows.evaluation.reading import RowError
from dataflows.fleet import load
from dataflows.instants import HOUR, parse_instant
from dataflows.tools.thresholds import (
    ThresholdsError,
    Wish,
    best_by_budget,
    best_by_cost,
    best_by_inspections,
    choose,
    priced,
    write,
)
from tests.evaluation.pumps import BLOCK, FLEET, LEAK, LONG, life, saved

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dataflows.fleet.fleet import Target


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A fleet.toml."""
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET)
    return path


def said(
    path: Path, rows: Sequence[dict[str, Any]], wish: Wish | Callable[[Target], Wish]
) -> tuple[dict[str, Outcome], str]:
    """What is chosen from rows, and what is printed."""
    console = Console(record=True, width=200)
    return choose(load(path, environ={}), saved(path.parent, rows), wish, console), console.export_text()


@pytest.mark.parametrize(
    ("rows", "wish", "why"),
    [
        (life("b", None), Wish(1.0, 9.0, None, 0), "No failure came after a score"),
        (
            life("a", 40),
            Wish(1.0, 9.0, None, 25 * HOUR),
            "Its horizon is 24h, so no warning",
        ),
        (life("a", 40)[17:], Wish(1.0, 9.0, None, 24 * HOUR), "No threshold warns of any"),
        (
            [*life("a", 40), *life("b", None)],
            Wish(1.0, 0.0, None, 0),
            "At these costs no warning is worth",
        ),
    ],
)
def test_where_nothing_can_be_chosen_the_reason_is_told(
    path: Path, rows: list[dict[str, Any]], wish: Wish, why: str
) -> None:
    """No threshold is chosen that warns of nothing."""
    for each in rows if why.startswith("At these") else ():
        wild = each["asset"] == "b" and parse_instant(each["time"]) // HOUR in {8, 30}
        each["scores"]["prior"] = 0.9 if wild else 0.5 if each["label"] == "positive" else 0.1
    found, words = said(path, rows, wish)
    assert found == {}, words
    assert f"{LEAK}: nothing is chosen. {why}" in words


def test_the_choice_is_told_in_words(path: Path) -> None:
    """Not by bold letters alone: what opens, what clears, what it warns of, and at what price."""
    found, words = said(path, [*life("a", 40), *life("b", None)], Wish(1.0, 9.0, None, 12 * HOUR))
    assert found[LEAK].threshold == 0.8
    assert "> 0.8000" in words
    assert (
        f"{LEAK}: chosen is open at 0.8000, clear below 0.6400. It warns of 1 of 1 failure at least 12h "
        "before, with 0 false alarms in 4 asset-days (0.00000 an asset and day)." in words
    )


def test_horizons_of_a_list_are_chosen_one_by_one(path: Path) -> None:
    """Each gets its own threshold, and where they differ its own entry; one that cannot is left alone."""
    path.write_text(
        FLEET.replace(
            'mode = ["leak", "block"]\nhorizon = "24h"', 'mode = "leak"\nhorizon = ["24h", "36h", "6h"]'
        )
    )
    other, short = "pump/leak/36h", "pump/leak/6h"
    rows = [row for name in (LEAK, other, short) for row in (*life("a", 40, name), *life("b", None, name))]
    for each in rows:
        if each["target"] == other and each["scores"]["prior"] == 0.8:
            each["scores"]["prior"] = 0.7
    found, words = said(path, rows, Wish(1.0, 9.0, None, 12 * HOUR))
    assert {name: each.threshold for name, each in found.items()} == {LEAK: 0.8, other: 0.7}
    assert f"{short}: nothing is chosen. Its horizon is 6h" in words
    fleet = load(path, environ={})
    assert write(fleet, found) == [
        "targets[0].alert: open = 0.8, clear = 0.64",
        "targets[1].alert: open = 0.7, clear = 0.56",
    ]
    after = load(path, environ={})
    assert list(after.targets) == list(fleet.targets)
    opens = {name: target.alert.open for name, target in after.targets.items() if target.alert is not None}
    assert opens == {LEAK: 0.8, other: 0.7, short: 0.9}


def test_scores_that_are_not_published_are_not_guessed(path: Path) -> None:
    """With publish = "grid" the predictions lack most scores, so nothing is chosen; without them neither."""
    source = saved(path.parent, [*life("a", 40), *life("b", None)])
    (path.parent / "predictions.jsonl").unlink()
    with pytest.raises(RowError, match="no predictions; alerts open on every score"):
        choose(load(path, environ={}), source, Wish(1.0, 1.0, None, 0), Console(quiet=True))
    path.write_text(FLEET.replace('folder = "out"', 'folder = "out"\npublish = "grid"'))
    with pytest.raises(ThresholdsError, match='publish = "all"'):
        choose(load(path, environ={}), source, Wish(1.0, 1.0, None, 0), Console(quiet=True))


counts = st.integers(0, 50)
found_outcomes = st.lists(
    st.builds(
        lambda at, false, missed: Outcome(at, false, false, 50, 50 - missed, 100.0),
        st.floats(0.01, 0.99),
        counts,
        counts,
    ),
    min_size=1,
    max_size=12,
)


@given(found_outcomes, st.floats(0, 100), st.floats(0, 100))
def test_the_cheapest_threshold_is_chosen(found: list[Outcome], false_alarm: float, missed: float) -> None:
    """No other costs less; of equal ones the highest."""
    best = best_by_cost(found, false_alarm, missed)
    cost = best.false * false_alarm + (best.failures - best.warned) * missed
    for other in found:
        assert other.cost(false_alarm, missed) >= cost
        assert other.cost(false_alarm, missed) > cost or other.threshold <= best.threshold


@given(found_outcomes, st.floats(0, 0.5))
def test_the_budget_is_kept(found: list[Outcome], budget: float) -> None:
    """Among those within the budget, the one that warns of most failures; None where none is."""
    within = [outcome for outcome in found if outcome.false <= budget * 100]
    best = best_by_budget(found, budget)
    assert (best is None) == (not within)
    assert best is None or (best in within and best.warned == max(each.warned for each in within))


@pytest.mark.parametrize(
    "told", [(None, None, None), (1.0, None, None), (None, 1.0, None), (1.0, 1.0, 1.0), (1.0, None, 1.0)]
)
def test_costs_or_a_budget_but_not_both(told: tuple[float | None, ...]) -> None:
    """A wish that is half told, or told twice, is refused with what was expected."""
    with pytest.raises(ValueError, match="--false-alarm-cost and --missed-cost, or else"):
        Wish(*told, 0)


def outcome(at: float) -> Outcome:
    return Outcome(at, 1, 0, 1, 1, 1.0)


def test_thresholds_are_written_and_all_else_stays(path: Path) -> None:
    """Entries of other horizons and comments are left alone."""
    fleet = load(path, environ={})
    lines = write(fleet, {LEAK: outcome(0.5), BLOCK: outcome(0.5)})
    assert lines == ["targets[0].alert: open = 0.5, clear = 0.4"]
    text = path.read_text().replace("0.4}", "0.4 }")
    assert text == FLEET.replace('open = 0.9, dwell = "0s"', 'open = 0.5, dwell = "0s", clear = 0.4')
    write(load(path, environ={}), {LONG: outcome(0.7)})
    after = load(path, environ={})
    alerts = {name: target.alert for name, target in after.targets.items()}
    assert [(alerts[name].open, alerts[name].clear) for name in (LEAK, BLOCK, LONG)] == [
        (0.5, 0.4),
        (0.5, 0.4),
        (0.7, 0.56),
    ]
    assert path.read_text().startswith('\nname = "pumps"    # of the north\n')


def test_evaluations_of_another_fleet_are_refused(path: Path, tmp_path: Path) -> None:
    """The message names both files."""
    source = saved(tmp_path, life("a", 40, "truck/leak/24h"))
    with pytest.raises(ValueError, match=r"evaluations\.jsonl: no scored example of a target .*fleet\.toml"):
        choose(load(path, environ={}), source, Wish(1.0, 1.0, None, 0), Console(quiet=True))


@pytest.mark.parametrize("line", [b"not json\n", b"[1]\n", b'{"id": "a"}\n'])
def test_a_line_that_is_no_evaluation_is_refused(path: Path, tmp_path: Path, line: bytes) -> None:
    """File and line are named."""
    source = saved(tmp_path, life("a", 40))
    count = len(source.read_bytes().splitlines())
    with source.open("ab") as file:
        file.write(line)
    with pytest.raises(RowError, match=rf"evaluations\.jsonl, line {count + 1}: expected a row"):
        choose(load(path, environ={}), source, Wish(1.0, 1.0, None, 0), Console(quiet=True))


def test_a_budget_that_none_keeps_chooses_nothing(path: Path, tmp_path: Path) -> None:
    """The target is named, and its threshold left as it stands."""
    rows = [*life("a", 40), *life("b", None)]
    rows[-1]["scores"]["prior"] = 0.9
    console = Console(record=True, width=120)
    chosen = choose(load(path, environ={}), saved(tmp_path, rows), Wish(None, None, 0.0, 0), console)
    assert chosen == {}
    assert f"{LEAK}: nothing is chosen. No threshold is within 0 false alarms" in console.export_text()


@pytest.mark.parametrize(
    "options", [("--false-alarm-cost", "1", "--missed-cost", "9"), ("--false-alarms-per-asset-day", "0.1")]
)
def test_the_command_prints_and_writes_only_when_asked(
    path: Path, tmp_path: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By costs or by budget it marks the same threshold here; the file changes with ``--write`` alone."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("FLEET_OUTPUT", raising=False)
    rows = [each for target in (LEAK, LONG) for each in (*life("a", 40, target), *life("b", None, target))]
    (tmp_path / "out").mkdir()
    saved(tmp_path / "out", rows)
    command = ["thresholds", str(path), *options, "--lead", "6h"]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    assert f"{LEAK}: alerts by threshold" in shown.output
    assert "0.8000" in shown.output
    assert path.read_text() == FLEET
    shown = CliRunner().invoke(app, [*command, "--write"])
    assert "targets[0].alert: open = 0.8, clear = 0.64" in shown.output
    alert = load(path, environ={}).targets[LONG].alert
    assert alert is not None
    assert alert.open == 0.8


def test_the_command_explains_a_wish_that_is_half_told(path: Path) -> None:
    """One line, and exit code 1."""
    shown = CliRunner().invoke(app, ["thresholds", str(path), "--missed-cost", "9"])
    assert shown.exit_code == 1


@given(found_outcomes, st.floats(0, 20))
def test_inspections_are_kept(found: list[Outcome], per_week: float) -> None:
    """Among thresholds with so few alerts a week, the one that warns of most failures."""
    found = [replace(outcome, days=70.0) for outcome in found]
    within = [outcome for outcome in found if outcome.opened <= per_week * 10 + 1e-9]
    best = best_by_inspections(found, per_week)
    assert (best is None) == (not within)
    assert best is None or best.warned == max(each.warned for each in within)


def test_planned_repairs_count_among_the_costs() -> None:
    """A repair that costs nearly as much as the failure makes warnings worth less than their false alarms."""
    few, many = Outcome(0.5, 2, 0, 10, 2, 100.0), Outcome(0.1, 40, 31, 10, 9, 100.0)
    assert best_by_cost([few, many], 1.0, 10.0) is many
    assert best_by_cost([few, many], 1.0, 10.0, repair=9.0) is few


def test_the_break_even_precision_is_said(tmp_path: Path) -> None:
    """From the prices of the target, where the command gives none; without prices it says what to give."""
    path = tmp_path / "fleet.toml"
    priced_fleet = FLEET.replace(
        'mode = ["leak", "block"]',
        'mode = ["leak", "block"]\ncosts = { missed = 9, false_alarm = 1, repair = 0.5 }',
    ).replace('mode = "leak"', 'mode = "leak"\ncosts = { missed = 9, false_alarm = 1 }')
    path.write_text(priced_fleet)
    found, words = said(path, [*life("a", 40), *life("b", None)], partial(priced, lead=12 * HOUR))
    assert LEAK in found
    assert "acting pays from 10.5% on" in words
    assert "alerts a week" in words
    path.write_text(FLEET)
    with pytest.raises(ThresholdsError, match="has no `costs`"):
        said(path, [*life("a", 40), *life("b", None)], partial(priced, lead=12 * HOUR))
