"""Leads as a mechanic means them: from the opening of the alert to the failure."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.fleet.fleet import Alert, Fleet, Output
from dataflows.instants import HOUR
from dataflows.items import Item, Row
from dataflows.pipeline import run_lines
from dataflows.state.snapshots import seal
from dataflows.target import TargetStage
from dataflows.target.figures import Leads
from tests.observations import observation
from tests.target.fleets import PartStore, fleet, model, target, vector
from tests.target.learners import Ready
from tests.target.worlds import Echo, raised

#: Opens at 0.5 without a dwell, as the threshold of the target without alerts.
ALERT = Alert(0.5, 0.5, 0, 1.0)


class Served:
    """A group that is fed scores and what ends them, and may be stopped and resumed between."""

    def __init__(self, alert: Alert | None) -> None:
        of = target([model("echo", Echo)], alert=alert, threshold=0.5)
        output = Output(Path("out"), "none", "all", 0.1)
        self.fleet: Fleet = fleet(of, output=output, metrics_every=1_000 * HOUR, figures_from=None)
        (self.key,) = self.fleet.targets
        self.store = PartStore()
        self.number = 0
        self.open()
        # A model that has seen one label only answers with the prior.
        self.group._models.learn("z", 0, vector(0.1), 0, {})
        self.group._models.learn("z", HOUR, vector(0.9), 1, {})

    def open(self) -> None:
        main, parts = self.store.crash()
        self.group = TargetStage(self.fleet, self.key, strict=True, on_error=raised, main=main, parts=parts)

    def restart(self) -> None:
        self.store.after_batch(self.group)
        self.store.end_epoch(self.group)
        self.open()

    def _observe(self, hour: float, **what: Any) -> None:  # noqa: ANN401 - fields of an observation
        self.number += 1
        seen = observation("a", self.key, None, None, **what)
        self.group.process([Item(self.number, 0, None, round(hour * HOUR), ("", 0, 0), seen)])

    def score(self, hour: float, score: float) -> None:
        self._observe(hour, time=round(hour * HOUR), features=vector(score))

    def end(self, hour: float, why: str) -> None:
        self._observe(hour, cleared=why, cleared_at=round(hour * HOUR))

    def withdraw(self, hour: float) -> None:
        self._observe(hour, withdrawn=round(hour * HOUR))

    def lead(self) -> dict[str, Any]:
        (item,) = self.group.finish()
        assert isinstance(item.body, Row)
        found: dict[str, Any] = orjson.loads(item.body.data)["targets"][self.key]["lead"]
        return found


@pytest.mark.parametrize("alert", [ALERT, None])
@pytest.mark.parametrize("restart", [False, True])
def test_the_lead_is_from_the_opening_to_the_failure(alert: Alert | None, restart: bool) -> None:
    """It may be longer than the horizon, ends at the failure's own time, and goes on after a resume."""
    served = Served(alert)
    for hour, score in ((1, 0.9), (2, 0.1), (3, 0.7), (4, 0.8), (20, 0.9)):
        served.score(hour, score)
    if restart:
        served.restart()
    served.end(30, "failure")
    assert served.lead() == {"warned": 1, "median": pytest.approx(27, rel=0.01)}
    if restart:
        served.restart()
    served.end(31, "failure")
    assert served.lead()["warned"] == 1, "no alert was open at the second failure"


@pytest.mark.parametrize("alert", [ALERT, None])
@pytest.mark.parametrize("why", ["maintenance", "silent", "retired", "class changed"])
def test_only_a_failure_gives_a_lead(alert: Alert | None, why: str) -> None:
    """What else clears an alert gives none, and the failure after it has no alert before it."""
    served = Served(alert)
    served.score(1, 0.9)
    served.end(5, why)
    served.end(6, "failure")
    assert served.lead() == {"warned": 0, "median": None}


@pytest.mark.parametrize("alert", [ALERT, None])
def test_a_failure_before_the_opening_gives_no_lead(alert: Alert | None) -> None:
    """An alert that opened after the failure, of which the report came late, warned of nothing."""
    served = Served(alert)
    served.score(10, 0.9)
    served.end(9, "failure")
    assert served.lead() == {"warned": 0, "median": None}


@pytest.mark.parametrize("alert", [ALERT, None])
@pytest.mark.parametrize("restart", [False, True])
def test_a_failure_that_is_withdrawn_takes_its_lead_back(alert: Alert | None, restart: bool) -> None:
    """The other failures of the asset stand, and one that was not counted takes nothing."""
    served = Served(alert)
    for opened, failure in ((1, 11), (20, 40)):
        served.score(opened, 0.9)
        served.end(failure, "failure")
        served.score(failure + 1, 0.1)
    if restart:
        served.restart()
    served.withdraw(12)
    assert served.lead() == {"warned": 2, "median": pytest.approx(10, rel=0.01)}
    served.withdraw(11)
    served.withdraw(11)
    if restart:
        served.restart()
    assert served.lead() == {"warned": 1, "median": pytest.approx(20, rel=0.01)}
    served.withdraw(40)
    assert served.lead() == {"warned": 0, "median": None}


@pytest.mark.parametrize(
    ("last", "warned", "median"),
    [
        ({"kind": "failure", "time": 30 * HOUR, "mode": "leak", "id": "W1"}, 1, 30),
        ({"kind": "failure", "time": 20 * HOUR, "mode": "leak", "id": "W1"}, 1, 20),
        ({"kind": "retraction", "id": "W1"}, 0, None),
    ],
)
@pytest.mark.parametrize("alert", [ALERT, None])
def test_the_lead_is_that_of_the_record_that_stands(
    last: dict[str, Any], warned: int, median: float | None, alert: Alert | None
) -> None:
    """A failure that comes again with another time, or is retracted, has the lead of the last word."""
    of = fleet(target([model("ready", Ready)], alert=alert), figures_from=None, metrics_every=1_000 * HOUR)
    records: list[dict[str, Any]] = [
        {"kind": "telemetry", "time": hour * HOUR / 1e6, "readings": {"x": 0.5, "y": 0.0}}
        for hour in range(30)
    ]
    records += [{"kind": "failure", "time": 30 * HOUR / 1e6, "mode": "leak", "id": "W1"}]
    if "time" in last:
        last = last | {"time": last["time"] / 1e6}
    lines = [orjson.dumps({"asset": "a", **each}) for each in [*records, last]]
    sections = [orjson.loads(row).get("targets", {}) for row in run_lines(of, lines)["summary"]]
    (found,) = [each["lead"] for section in sections for each in section.values()]
    assert found == {"warned": warned, "median": median and pytest.approx(median, rel=0.01)}


leads = st.lists(st.integers(1, 10**13), max_size=30)


@given(leads, st.integers(0, 30))
def test_the_median_is_exact_to_a_hundredth(found: list[int], cut: int) -> None:
    """In however many steps, and also over a snapshot."""
    counted = Leads(None)
    for index, lead in enumerate(found):
        if index == cut:
            counted = Leads(None, counted.state())
        counted.count(7, 7 + lead)
    row = counted.row()
    assert row["warned"] == len(found)
    if found:
        assert row["median"] == pytest.approx(statistics.median_low(found) / HOUR, rel=0.01)


def test_leads_take_bounded_space() -> None:
    """Of a hundred thousand different leads up to a century, no more than a few thousand steps remain."""
    counted = Leads(None)
    for number in range(1, 100_001):
        counted.count(0, number * number * 315_000)
    assert len(seal("leads", 1, counted.state())) < 40_000


def test_warnings_before_figures_from_are_not_counted() -> None:
    """As examples before it are not."""
    counted = Leads(100)
    counted.count(99, 500)
    counted.count(100, 500)
    assert counted.row()["warned"] == 1
