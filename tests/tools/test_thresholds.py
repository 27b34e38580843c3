"""Choosing thresholds: what each would have done, by cost, by budget, and written into the fleet's file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.evaluation.outcomes import Labels, Outcome, Scored, outcomes, read_labels, read_scores
from dataflows.evaluation.reading import RowError
from dataflows.fleet import load
from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.tools.thresholds import ThresholdsError, Wish, best_by_budget, best_by_cost, choose, write
from tests.tables import PRIOR

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataflows.fleet.plan import Fleet, Target

FLEET = (
    """
name = "pumps"    # of the north

[input]
files = ["events.jsonl"]

[output]
folder = "out"

[assets]
unknown = "adopt"
adopt_as = "pump"

[classes.pump]
sensors = ["pressure"]
example_every = "1h"

[[targets]]
class = "pump"
mode = ["leak", "block"]
horizon = "24h"
champion = "prior"
alert = { open = 0.9, dwell = "0s" }    # as last year

[[targets]]
class = "pump"
mode = "leak"
horizon = "48h"
champion = "prior"
"""
    + PRIOR
)
LEAK, BLOCK, LONG = "pump/leak/24h", "pump/block/24h", "pump/leak/2d"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A fleet.toml."""
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET)
    return path


@pytest.fixture
def leak(path: Path) -> Target:
    """Its first target."""
    return load(path, environ={}).targets[LEAK]


def row(time: int, score: float | None, label: str, **changes: object) -> dict[str, Any]:
    """One evaluation row, ``time`` and lead in hours."""
    asset, target = changes.get("asset", "a"), changes.get("target", LEAK)
    return {
        "id": f"{asset}{target}{time}",
        "asset": asset,
        "target": target,
        "time": format_instant(time * HOUR),
        "label": label,
        "matured": format_instant(time * HOUR),
        "known": format_instant(time * HOUR),
        "lead": changes.get("lead"),
        "champion": "prior",
        "scores": {"prior": score, "other": 0.5},
        "correction": changes.get("correction", 0),
    }


def life(asset: str, failure: int | None, target: str = LEAK) -> list[dict[str, Any]]:
    """Examples of 48 hours; with a failure the score is 0.8 in the 20 hours before it, else 0.1 or 0.4."""
    rows = []
    for time in range(48):
        near = failure is not None and failure - 24 <= time < failure
        score = 0.8 if failure is not None and failure - 20 <= time < failure else 0.4 if time == 5 else 0.1
        lead = failure - time if near and failure is not None else None
        rows.append(
            row(time, score, "positive" if near else "negative", asset=asset, target=target, lead=lead)
        )
    return rows


def saved(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path = folder / "evaluations.jsonl"
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in rows))
    served = [
        prediction(each, each["scores"][each["champion"]])
        for each in rows
        if "scores" in each and not each["correction"]
    ]
    write_predictions(folder, served)
    return path


def prediction(of: dict[str, Any], score: float, minutes: int = 0, revision: int = 0) -> dict[str, Any]:
    """A prediction some minutes after an example."""
    time = format_instant(parse_instant(of["time"]) + minutes * HOUR // 60)
    told = {"asset": of["asset"], "target": of["target"], "time": time, "link": "class"}
    return {**told, "score": score, "revision": revision}


def write_predictions(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    (folder / "predictions.jsonl").write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in rows))


def said(path: Path, rows: Sequence[dict[str, Any]], wish: Wish) -> tuple[dict[str, Outcome], str]:
    """What is chosen from rows, and what is printed."""
    console = Console(record=True, width=200)
    return choose(load(path, environ={}), saved(path.parent, rows), wish, console), console.export_text()


def test_alerts_between_the_examples_are_counted(path: Path) -> None:
    """The examples are calm and a message in between is not: alerts open on it, so it is a false alarm."""
    rows = [*life("a", 40), *life("b", None)]
    source = saved(path.parent, rows)
    served = [prediction(each, each["scores"]["prior"]) for each in rows]
    served += [prediction(each, 0.85, minutes=30) for each in rows if each["asset"] == "b"][::4]
    served.sort(key=lambda each: each["time"])
    write_predictions(path.parent, served)
    found = choose(load(path, environ={}), source, Wish(1.0, 1.0, None, 0), Console(quiet=True))
    fleet = load(path, environ={})
    scored = read_scores(path.parent / "predictions.jsonl", fleet, read_labels(source, fleet))[LEAK]
    by_threshold = {each.threshold: each for each in outcomes(fleet.targets[LEAK], scored, 0)}
    assert by_threshold[0.8].false == 12
    assert by_threshold[0.8].false == sum(
        each["score"] == 0.85 and each["asset"] == "b" for each in served
    ), "the dwell is 0 s: each clears before the next"
    assert found[LEAK].false == 0 or found[LEAK].warned == 1


def test_a_revision_and_the_prior_count_as_in_the_stream(path: Path) -> None:
    """A revised score opens an alert too; what the prior answered opens none."""
    rows = life("b", None)
    source = saved(path.parent, rows)
    served = [prediction(each, 0.1) for each in rows]
    served[11:11] = [prediction(rows[10], 0.9, revision=1), prediction(rows[10], 0.9, revision=2)]
    served.insert(21, {**prediction(rows[19], 0.95), "link": "prior"})
    write_predictions(path.parent, served)
    fleet = load(path, environ={})
    scored = read_scores(path.parent / "predictions.jsonl", fleet, read_labels(source, fleet))[LEAK]
    assert [each.revision for each in scored if each.revision] == [1, 2]
    assert max(each.score for each in scored) == 0.9
    found = outcomes(fleet.targets[LEAK], scored, 0)[-1]
    assert found.threshold == 0.9
    assert (found.opened, found.false) == (1, 1)


def test_what_came_is_known_of_every_score_or_said_to_be_unknown() -> None:
    """By failures first, then by the example of the cell; after a failure in the cell, by the next."""
    labels = Labels(
        [
            ("a", 1 * HOUR, "negative", None),
            ("a", 2 * HOUR, "positive", 5 * HOUR // 2),
            ("a", 3 * HOUR, "negative", None),
            ("a", 4 * HOUR, "censored", None),
        ],
        HOUR,
    )
    half = HOUR // 2
    assert labels.of("a", HOUR, HOUR) == (None, True)
    assert labels.of("a", HOUR + half, HOUR) == (5 * half, True), "later than its example, and so before it"
    assert labels.of("a", 2 * HOUR, HOUR) == (5 * half, True)
    assert labels.of("a", 2 * HOUR + half, HOUR) == (None, True)
    assert labels.of("a", 4 * HOUR + half, HOUR) == (None, False)
    assert labels.of("a", 5 * HOUR, HOUR) == (None, False)
    assert labels.of("b", 2 * HOUR, HOUR) == (None, False)


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


def test_scores_are_read_with_what_came_of_them_under_final_labels(path: Path) -> None:
    """The largest correction counts wherever it stands; scores before ``figures_from`` do not."""
    rows = [
        row(9, 0.9, "negative"),
        row(9, 0.9, "positive", correction=2, lead=3.5),
        row(9, 0.9, "censored", correction=1),
        row(10, 0.8, "positive", asset="c", lead=2.5),
        row(10, 0.8, "censored", asset="c", correction=1),
        row(1, 0.1, "negative", asset="b"),
        row(8, 0.2, "negative", asset="b"),
        row(9, 0.3, "negative", target=BLOCK),
        row(9, 0.3, "negative", target="truck/leak/24h"),
    ]
    early = Scored("b", HOUR, 0.1, None)
    expected = {
        LEAK: [
            Scored("a", 9 * HOUR, 0.9, round(12.5 * HOUR)),
            Scored("c", 10 * HOUR, 0.8, None, known=False),
            Scored("b", 8 * HOUR, 0.2, None),
        ],
        BLOCK: [Scored("a", 9 * HOUR, 0.3, None)],
    }
    fleet = load(path, environ={})
    assert served(path, rows, replace(fleet, figures_from=2 * HOUR)) == expected
    expected[LEAK].insert(2, early)
    assert served(path, rows, fleet) == expected


def served(path: Path, rows: Sequence[dict[str, Any]], fleet: Fleet) -> dict[str, list[Scored]]:
    """Scores of the rows, as they are read."""
    labels = read_labels(saved(path.parent, rows), fleet)
    return read_scores(path.parent / "predictions.jsonl", fleet, labels)


def test_outcomes_tell_alerts_false_ones_and_failures_warned_in_time(path: Path, leak: Target) -> None:
    """A low threshold warns and cries wolf, a high one only warns; no score is high any earlier."""
    rows = [*life("a", 40), *life("b", None), *life("c", None)]
    examples = served(path, rows, load(path, environ={}))[LEAK]
    found = {outcome.threshold: outcome for outcome in outcomes(leak, examples, 12 * HOUR)}
    assert found[0.4] == Outcome(0.4, 4, 3, 1, 1, 6.0)
    assert found[0.8] == Outcome(0.8, 1, 0, 1, 1, 6.0)
    assert found[0.4].false_per_asset_day == 0.5
    assert {outcome.warned for outcome in outcomes(leak, examples, 20 * HOUR)} == {1}
    assert outcomes(leak, examples, 20 * HOUR + 1)[-1].warned == 0


def test_a_failure_ends_its_alert(leak: Target) -> None:
    """What is scored high after a repair is another alert, and it counts for the next failure."""
    examples = [
        Scored("a", HOUR, 0.9, 3 * HOUR),
        Scored("a", 2 * HOUR, 0.9, 3 * HOUR),
        Scored("a", 3 * HOUR, 0.9, 5 * HOUR),
        Scored("a", 4 * HOUR, 0.2, 5 * HOUR),
        Scored("b", 4 * HOUR, 0.1, None),
    ]
    found = next(outcome for outcome in outcomes(leak, examples, HOUR) if outcome.threshold == 0.9)
    assert (found.opened, found.false, found.failures, found.warned) == (2, 0, 2, 2)


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
