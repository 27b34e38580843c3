"""Verdicts through the whole path: labels of examples, what models learn of them, and the summary."""

from __future__ import annotations

from typing import Any

import pytest

from dataflows.testing import maintenance, pump_fleet, run_inline, telemetry, verdict

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
            verdict("p", 20 * HOUR, "pump/leak/24h", "healthy"), said, said, said.replace(b"healthy", b"ill")
        ),
    )
    assert [(row["reason"], row["detail"]) for row in rows["rejects"]] == [
        ("unknown_target", "no target 'pump/leak/24h'; did you mean 'pump/leak/12h'?"),
        ("duplicate", "this verdict was seen before"),
        ("malformed", "verdict: expected one of confirmed, healthy, unclear, got 'ill'"),
    ]


def test_a_summary_without_verdicts_has_no_section_of_them() -> None:
    """Nobody looked."""
    assert "verdicts" not in run()[1]
