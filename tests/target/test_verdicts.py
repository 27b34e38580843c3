"""Verdicts through the whole path: labels of examples, what models learn of them, and the summary."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dataflows.state.snapshots import seal
from dataflows.target.figures import FIGURES
from dataflows.target.verdicts import Sums, corrected
from dataflows.testing import maintenance, pump_fleet, run_inline, telemetry, verdict
from tests.block_runs import check

TARGET = "pump/leak/12h"
HOUR = 3600


def target(**keys: object) -> dict[str, Any]:
    return {"class": "pump", "mode": "leak", "horizon": "12h", "champion": "prior", **keys}


def stream(*judged: bytes) -> list[bytes]:
    """Forty hours of a pump that is repaired at 20 h; what was found is said after 21 h."""
    hours = [telemetry("p", number * HOUR, {"pressure": 4.0}) for number in range(1, 41)]
    return [*hours[:20], maintenance("p", 20 * HOUR, "leak"), *hours[20:21], *judged, *hours[21:]]


def run(*judged: bytes, **keys: object) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Evaluations, and the target's section of the summary."""
    rows = run_inline(pump_fleet(targets=[target(**keys)]), stream(*judged))
    (summary,) = (row["targets"][TARGET] for row in rows["summary"] if TARGET in row.get("targets", {}))
    return rows["evaluations"], summary


def whys(evaluations: list[dict[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in evaluations:
        found[row["why"]] = found.get(row["why"], 0) + 1
    return found


def test_an_example_censored_by_a_repair_has_the_label_of_a_verdict() -> None:
    """Confirmed ones have no lead: nobody knows when it would have failed."""
    plain, _ = run()
    found, summary = run(verdict("p", 20 * HOUR, TARGET, "confirmed", since=15 * HOUR))
    assert whys(plain)["maintenance"] == 12
    assert (whys(found)["maintenance"], whys(found)["confirmed"]) == (7, 5)
    confirmed = [row for row in found if row["why"] == "confirmed"]
    assert {(row["label"], row["lead"], row["learned"]) for row in confirmed} == {("positive", None, True)}
    assert summary["verdicts"] == {
        "confirmed": 1,
        "healthy": 0,
        "unclear": 0,
        "precision": 1.0,
        "examples": {"confirmed": 5, "healthy": 0},
        "corrected": {"precision": None, "recall": None, "log_loss": None, "weight": None},
    }


@pytest.mark.parametrize("weight", [0, 1, 3])
def test_models_learn_an_example_of_a_verdict_as_often_as_configured(weight: int) -> None:
    """A weight of 0 leaves it in the figures alone."""
    _, plain = run()
    found, summary = run(verdict("p", 20 * HOUR, TARGET, "healthy"), verdict_weight=weight)
    assert whys(found)["healthy"] == 12
    assert summary["learned"] == plain["learned"] + 12 * weight
    assert summary["first_labels"]["prior"]["examples"] == plain["first_labels"]["prior"]["examples"] + 12


def test_a_verdict_that_names_no_target_or_no_example_is_rejected() -> None:
    """With what was expected; and so is the same one again."""
    said = verdict("p", 20 * HOUR, TARGET, "healthy")
    rows = run_inline(
        pump_fleet(),
        stream(
            verdict("p", 20 * HOUR, "pump/leak/24h", "healthy"),
            said,
            said,
            said.replace(b"healthy", b"ill"),
            verdict("p", 20 * HOUR, TARGET, "healthy", fails=30 * HOUR),
            verdict("p", 20 * HOUR, TARGET, "confirmed", fails=20 * HOUR),
        ),
    )
    fails = "fails: expected a time after `time`, in a confirmed verdict; leave it out where nobody knows"
    assert [(row["reason"], row["detail"]) for row in rows["rejects"]] == [
        ("unknown_target", "no target 'pump/leak/24h'; did you mean 'pump/leak/12h'?"),
        ("duplicate", "this verdict was seen before"),
        ("malformed", "verdict: expected one of confirmed, healthy, unclear, got 'ill'"),
        ("malformed", fails),
        ("malformed", fails),
    ]


def test_a_summary_without_verdicts_has_no_section_of_them() -> None:
    """Nobody looked."""
    assert "verdicts" not in run()[1]


def test_a_verdict_that_says_when_labels_the_whole_horizon() -> None:
    """Of a repair at 20 h, and a failure that it prevented at 26 h: those from 14 h on would have failed."""
    found, summary = run(verdict("p", 20 * HOUR, TARGET, "confirmed", since=18 * HOUR, fails=26 * HOUR))
    labels = {row["time"][11:13]: row["label"] for row in found if row["why"] == "confirmed"}
    assert labels == {f"{hour:02}": "negative" if hour < 14 else "positive" for hour in range(8, 20)}
    assert "maintenance" not in whys(found)
    assert summary["verdicts"]["corrected"]["weight"] == 1.0
    assert summary["verdicts"]["corrected"]["recall"] == summary["first_labels"]["prior"]["recall"]
    assert summary["verdicts"]["corrected"]["log_loss"] == pytest.approx(
        summary["first_labels"]["prior"]["log_loss"]
    )


def test_corrected_figures_are_those_of_all_examples_on_average() -> None:
    """A fifth of the examples is hidden, those that warned and fail above all; a third of them is judged."""
    draw = random.Random(3)
    everything = []
    for _ in range(3_000):
        fails = draw.random() < 0.2
        warned = draw.random() < (0.7 if fails else 0.1)
        repaired = draw.random() < (0.1 if not warned else 0.9 if fails else 0.5)
        everything.append((warned, fails, repaired, draw.uniform(0.0, 1.0)))
    precision = sum(w and f for w, f, *_ in everything) / sum(w for w, *_ in everything)
    recall = sum(w and f for w, f, *_ in everything) / sum(f for _, f, *_ in everything)
    loss = sum(each[3] for each in everything) / len(everything)
    found = []
    for _ in range(200):
        sums = {kind: {False: Sums(), True: Sums()} for kind in ("seen", "judged", "hidden")}
        for warned, fails, repaired, cost in everything:
            kind = "seen" if not repaired else "judged" if draw.random() < 1 / 3 else "hidden"
            one = Sums(1.0) if kind == "hidden" else Sums(1.0, fails, cost)
            sums[kind][warned] = sums[kind][warned].plus(one)
        found.append(corrected(sums))
    for name, true in (("precision", precision), ("recall", recall), ("log_loss", loss)):
        assert sum(each[name] or 0.0 for each in found) / len(found) == pytest.approx(true, rel=0.005)
    assert found[0]["weight"] == pytest.approx(3.0, rel=0.1)
    seen = [fails for warned, fails, repaired, _ in everything if warned and not repaired]
    assert sum(seen) / len(seen) < precision / 2


def test_kills_change_no_corrected_figure() -> None:
    """The sums are stored, and so is when a machine would have failed."""
    lines = stream(verdict("p", 20 * HOUR, TARGET, "confirmed", since=18 * HOUR, fails=26 * HOUR))
    counts = check(pump_fleet(targets=[target()]), lines, [5, 1, 9], {2, 3, 5})
    assert counts["evaluations"] > 20


def test_corrected_figures_of_a_store_of_a_former_release_begin_at_the_resume() -> None:
    """It counted verdicts alone."""
    kept = {"found": {"healthy": 2}, "examples": {"healthy": 7}}
    read = FIGURES.unseal(seal("figures", 7, {"verdicts": kept, "leads": None}))
    assert read == {"verdicts": {**kept, "sums": {}}, "leads": None}
    assert FIGURES.unseal(seal("figures", 7, {"verdicts": None}))["verdicts"] is None
