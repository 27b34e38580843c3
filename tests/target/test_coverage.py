"""Intervals of the hours to failure: compared with what came, and ended where they cover 80 %."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest

from dataflows.estimators.hazard import IntervalLevels, TimeLeft
from dataflows.pipeline import run_inline
from dataflows.testing import failure, maintenance, pump_fleet, telemetry
from tests.block_runs import check

if TYPE_CHECKING:
    from dataflows.fleet.fleet import Fleet

HOUR = 3600
ENDS = tuple(float(hours) for hours in range(0, 31, 3))


def fleet(**keys: object) -> Fleet:
    """Pumps with hours to failure within half a day."""
    hazard = {"pipeline": [{"estimator": "dataflows.estimators.Hazard", "horizon": 12.0}]}
    target = {"class": "pump", "mode": "leak", "horizon": "12h", "champion": "hazard", "hours": "hazard"}
    return pump_fleet({"hazard": hazard}, targets=[{**target, **keys}])


def stream(hours: int = 420) -> list[bytes]:
    """Pumps that fail every 40 hours, a little early or late; some are repaired before."""
    draw, lines, left = random.Random(5), [], [13.0, 26.0, 39.0]
    for number in range(1, hours):
        for pump in range(3):
            left[pump] -= 1.0
            readings = {"pressure": left[pump] + draw.gauss(0, 1.5), "flow": 1.0}
            lines.append(telemetry(f"p-{pump}", number * HOUR, readings))
            if left[pump] < 4.0 and draw.random() < 0.04:
                lines.append(maintenance(f"p-{pump}", number * HOUR + 600, "leak"))
                left[pump] = 40.0
            if left[pump] < 1.0:
                lines.append(failure(f"p-{pump}", number * HOUR + 1800, "leak"))
                left[pump] = 40.0 + draw.uniform(-6, 6)
    return lines


def test_the_summary_counts_the_intervals_that_were_served() -> None:
    """Against the rows: intervals with both ends of examples that were learned, and the leads that came."""
    rows = run_inline(fleet(), stream())
    (targets,) = [row["targets"] for row in rows["summary"] if "targets" in row]
    counted: dict[str, Any] = targets["pump/leak/12h"]["hours"]
    served = {row["id"]: row["hours"] for row in rows["predictions"] if row["hours"] is not None}
    closed = covered = before = 0
    learned = [row for row in rows["evaluations"] if row["learned"] and row["id"] in served]
    pending = 3 * 13  # the target clock has not passed the horizon of the last examples: they may be missing
    for row in learned:
        low, high, lead = served[row["id"]]["low"], served[row["id"]]["high"], row["lead"] or math.inf
        if low is not None and high is not None:
            closed += 1
            covered += low < lead <= high
            before += lead <= low
    assert counted["intervals"] > 60
    assert closed - pending <= counted["intervals"] <= closed
    assert abs(counted["covered"] - covered) <= closed - counted["intervals"]
    assert abs(counted["before"] - before) <= closed - counted["intervals"]
    assert counted["coverage"] == counted["covered"] / counted["intervals"]


def test_kills_change_no_interval() -> None:
    """What waits for its label and where intervals end are stored."""
    counts = check(fleet(within=["6h"]), stream(200), [5, 1, 40, 17], {2, 3, 7, 9, 12})
    assert counts["predictions"] == 3 * 199


@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
def test_intervals_of_a_model_that_is_too_sure_or_too_vague_come_to_cover_80_percent(width: float) -> None:
    """Each label comes after 30 later examples; without levels they cover 50 %, 80 % and 100 %."""
    draw, levels, waiting = random.Random(1), IntervalLevels(), []
    inside = alone = 0
    for number in range(4_000):
        true = draw.uniform(9, 21)
        centre = true + draw.gauss(0, 3)
        shares = tuple(0.5 + 0.5 * math.erf((end - centre) / (3 * width * math.sqrt(2))) for end in ENDS)
        left = TimeLeft(ENDS, (0.0, *shares[1:-1], 1.0))
        waiting.append((left, true))
        low, _, high = levels.interval(left, 1.0)
        fixed_low, _, fixed_high = left.interval(1.0)
        assert low is not None
        assert high is not None
        assert fixed_low is not None
        assert fixed_high is not None
        if number >= 1_000:
            inside += low < true <= high
            alone += fixed_low < true <= fixed_high
        if len(waiting) > 30:
            past, came = waiting.pop(0)
            levels.add(past.reached(came, 1.0))
    assert inside / 3_000 == pytest.approx(0.8, abs=0.03)
    assert abs(alone / 3_000 - 0.8) > 0.1 or width == 1.0


def test_ends_are_served_where_they_were_found() -> None:
    """Of scores from 0.6 on; a vague model has its upper level at 0.8, which scores below 0.9 would reach."""
    draw, levels, waiting = random.Random(2), IntervalLevels(), []
    inside, everywhere = [], []
    for number in range(8_000):
        score = draw.uniform(0.6, 1.0)
        true = draw.uniform(9, 21)
        centre = true + draw.gauss(0, 3)
        shares = tuple(0.5 + 0.5 * math.erf((end - centre) / (6 * math.sqrt(2))) for end in ENDS)
        left = TimeLeft(ENDS, (0.0, *shares[1:-1], 1.0))
        came = true if draw.random() < score else None
        low, _, high = levels.interval(left, score)
        assert high is None or score >= levels.SURE
        if number >= 1_000:
            for ends, found in (
                (levels.interval(left, score), inside),
                (left.interval(score, levels.ends), everywhere),
            ):
                if ends[0] is not None and ends[2] is not None:
                    found.append(came is not None and ends[0] < came <= ends[2])
        waiting.append((left, came, score))
        if len(waiting) > 30:
            past, when, scored = waiting.pop(0)
            if scored >= levels.SURE:
                levels.add(past.reached(when, scored))
    assert sum(inside) / len(inside) == pytest.approx(0.8, abs=0.03)
    assert sum(everywhere) / len(everywhere) < 0.76
    assert low is not None


@pytest.mark.parametrize("added", [0, 5, 9, 17, 80])
def test_at_most_a_tenth_of_what_came_and_of_the_next_lies_beyond_either_end(added: int) -> None:
    """Of the values known, with those assumed at first, and one more."""
    draw = random.Random(added)
    levels = IntervalLevels(draw.uniform(0.1, 0.9) for _ in range(added))
    known = [*levels.reached, *((number + 0.5) / 20 for number in range(20))]
    low, high = levels.ends
    most = (len(known) + 1) / 10
    assert most - 1 < sum(each <= low for each in known) <= most
    assert most - 1 < sum(each >= high for each in known) <= most


def test_levels_forget_and_stay_apart() -> None:
    """The latest thousand count; where no failure comes, the upper end goes as far as it may."""
    levels = IntervalLevels()
    for _ in range(1_500):
        levels.add(math.inf)
    assert levels.ends == (0.45, 0.995)
    assert len(levels.reached) == 1_000
    for number in range(1_000):
        levels.add(number / 1_000)
    low, high = levels.ends
    assert (low, high) == (pytest.approx(0.1, abs=0.01), pytest.approx(0.9, abs=0.01))
    assert IntervalLevels(levels.reached).ends == levels.ends
