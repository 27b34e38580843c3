"""`tradeoff`: one recording, served in several ways, on equal terms."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.evaluation.moving import Movement, moved
from dataflows.evaluation.tradeoff import (
    ROUND,
    Option,
    Outcome,
    Served,
    candidates,
    covered,
    judge,
    next_option,
    recommend,
    waiting,
)
from dataflows.fleet.fleet import Costs
from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.testing import failure, telemetry
from dataflows.tools.tradeoff import Comparison, TradeoffError, only, options, prices
from tests.report.pumps import START, pumps

if TYPE_CHECKING:
    from dataflows.fleet.fleet import Fleet

COSTS = Costs(missed=5000, false_alarm=300, repair=800)
MINUTE = HOUR // 60


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return pumps(tmp_path_factory.mktemp("pumps"), ["pump-1", "pump-2", "pump-3"], days=14)


@pytest.fixture(scope="module")
def lines(fleet: Fleet) -> list[bytes]:
    return (fleet.path.parent / "events.jsonl").read_bytes().splitlines()


@pytest.fixture(scope="module")
def outcomes(fleet: Fleet, lines: list[bytes]) -> list[Outcome]:
    chosen = only(fleet, None)
    return compared(chosen, lines, options(chosen, lines, (0, HOUR, 2 * HOUR, 3 * HOUR), (), ())).outcomes()


def compared(fleet: Fleet, lines: list[bytes], found: list[Option]) -> Comparison:
    """Run each option."""
    comparison = Comparison(fleet, lines, COSTS, HOUR, max(option.lateness for option in found))
    for option in found:
        comparison.run(option)
    return comparison


def test_waiting_puts_each_asset_in_order_of_event_time() -> None:
    """And loses nothing that the lateness allows: each message comes, or is too late, or is held."""
    draw = random.Random(3)
    recorded, arrival = [], START
    for number in range(400):
        arrival += draw.randint(0, 20) * MINUTE
        time = arrival - draw.choice([0, 0, 0, 30, 90, 200]) * MINUTE
        asset = draw.choice("ab")
        recorded.append(
            telemetry(asset, format_instant(time), {"n": float(number)}, arrived=format_instant(arrival))
        )
    for lateness in (0, HOUR, 4 * HOUR):
        out, added, lost = waiting(recorded, lateness, HOUR)
        rows = [orjson.loads(line) for line in out]
        arrivals = [parse_instant(row["arrived"]) for row in rows]
        assert arrivals == sorted(arrivals)
        for asset in "ab":
            times = [parse_instant(row["time"]) for row in rows if row["asset"] == asset]
            assert times == sorted(times)
        held = 400 - len(out) - lost
        assert held >= 0
        assert len(added) == len(out)
        assert min(added) >= 0
        if lateness == 4 * HOUR:
            assert lost == 0
        if lateness == 0:
            assert held == 0
            assert set(added) == {0}


def test_reports_of_failures_wait_for_nothing() -> None:
    """People do not wait for a watermark."""
    given = [
        telemetry("a", format_instant(START), {"n": 1.0}, arrived=format_instant(START)),
        failure("a", format_instant(START), "leak", arrived=format_instant(START + 1)),
        telemetry(
            "a", format_instant(START + 2 * HOUR), {"n": 1.0}, arrived=format_instant(START + 2 * HOUR)
        ),
    ]
    out, added, _ = waiting(given, HOUR, HOUR)
    assert [orjson.loads(line)["kind"] for line in out] == ["failure", "telemetry"]
    assert added == [2 * HOUR]


def test_options_are_judged_on_the_same_examples(outcomes: list[Outcome]) -> None:
    """An example that an option has not decided counts for none."""
    assert len({outcome.examples for outcome in outcomes}) == 1
    assert outcomes[0].examples > 300


def test_a_longer_lateness_uses_more_and_waiting_comes_later(outcomes: list[Outcome]) -> None:
    """Messages of the pumps are late by two hours: an allowed lateness of two uses all of them."""
    arrival = {each.option.lateness: each for each in outcomes if each.option.serve == "arrival"}
    wait = {each.option.lateness: each for each in outcomes if each.option.serve == "wait"}
    assert arrival[0].used < arrival[2 * HOUR].used == 1
    assert arrival[0].revisions < arrival[2 * HOUR].revisions
    assert arrival[2 * HOUR].added == (0, 0)
    assert wait[HOUR].added[0] == HOUR
    assert wait[2 * HOUR].added[0] < wait[3 * HOUR].added[0]
    assert wait[2 * HOUR].revisions == 0
    assert 0 not in wait


def test_waiting_takes_its_time_from_the_lead(outcomes: list[Outcome]) -> None:
    """An alert that is known an hour later leaves an hour less."""
    best = {
        serve: next(each for each in outcomes if each.option == Option(serve, 3 * HOUR, 2 * HOUR, 0))  # type: ignore[arg-type]
        for serve in ("arrival", "wait")
    }
    assert best["wait"].lead is not None
    assert best["arrival"].lead is not None
    assert 1 <= best["arrival"].lead - best["wait"].lead <= 5
    assert best["wait"].cost >= best["arrival"].cost


def test_the_cheapest_is_recommended_and_the_simplest_of_those_alike() -> None:
    """Within half a per cent on arrival comes before waiting, and a short lateness before a long one."""
    found = [outcome("wait", 1, 100.0), outcome("arrival", 5, 100.4), outcome("arrival", 2, 100.3)]
    assert recommend(found) is found[2]
    assert recommend([*found, outcome("wait", 9, 90.0)]).option.lateness == 9


def test_prices_come_in_pairs() -> None:
    """A failure alone cannot be weighed against anything."""
    assert prices(None, None, 0) is None
    for missed, false in ((1.0, None), (None, 1.0), (0.0, 1.0)):
        with pytest.raises(TradeoffError, match="--missed-cost and --false-alarm-cost"):
            prices(missed, false, 0)


def test_a_recording_without_arrivals_cannot_be_weighed(fleet: Fleet) -> None:
    """Nobody knows when its telemetry was known."""
    plain = [telemetry("a", format_instant(START), {"pressure": 1.0})]
    with pytest.raises(TradeoffError, match="with `arrived`"):
        options(only(fleet, None), plain, (), (), ())


def test_candidates_fit_the_recording(fleet: Fleet, lines: list[bytes]) -> None:
    """The pumps' messages come up to two hours behind: zero, the configured two, and what covers them."""
    found = {option.lateness for option in options(only(fleet, None), lines, (), (), ())}
    assert found <= {0, HOUR, 2 * HOUR, 3 * HOUR}
    assert {0, 2 * HOUR} <= found


def test_candidates_lie_between_the_short_and_the_long_delays(fleet: Fleet) -> None:
    """Half of the late messages are 20 minutes behind, half five hours: both are covered; so is zero."""
    lines = []
    for number in range(200):
        now = START + number * HOUR
        behind = 0 if number % 2 else (HOUR // 3 if number % 4 else 5 * HOUR)
        arrived = format_instant(now)
        lines += [
            telemetry("a", format_instant(time), {"n": 1.0}, arrived=arrived) for time in (now, now - behind)
        ]
    found = {option.lateness for option in options(only(fleet, None), lines, (), (), ())}
    assert {0, HOUR // 3, 5 * HOUR} == found - {2 * HOUR}


def test_a_lateness_that_covers_no_further_message_is_no_candidate(fleet: Fleet) -> None:
    """All late messages are 20 minutes behind: zero, 20 minutes and the configured two hours are tried."""
    lines = []
    for number in range(100):
        now = START + number * HOUR
        arrived = format_instant(now)
        lines += [
            telemetry("a", format_instant(time), {"n": 1.0}, arrived=arrived)
            for time in (now, now - HOUR // 3)
        ]
    found = {option.lateness for option in options(only(fleet, None), lines, (), (), ())}
    assert found == {0, HOUR // 3, 2 * HOUR}


def test_latenesses_that_lose_nothing_cost_the_same(outcomes: list[Outcome]) -> None:
    """Two hours cover all late messages, as three do, and neither puts off what a model learns."""
    arrival = {each.option.lateness: each for each in outcomes if each.option.serve == "arrival"}
    assert arrival[2 * HOUR].cost == arrival[3 * HOUR].cost
    assert arrival[2 * HOUR].log_loss == pytest.approx(arrival[3 * HOUR].log_loss, rel=1e-3)


def outcome(serve: str, lateness: int, cost: float) -> Outcome:
    """An outcome of which only pattern, lateness and cost matter."""
    option = Option(serve, lateness, HOUR, 0)  # type: ignore[arg-type]
    return Outcome(option, 1.0, 0.0, (0, 0), 10, 0.1, 0, 1, None, 0, cost)


@pytest.mark.parametrize("seed", range(20))
def test_the_recommended_lateness_is_within_two_per_cent_of_the_best(seed: int) -> None:
    """Cost falls with the messages that are covered, and rises with the time that windows are held."""
    draw = np.random.default_rng(seed)
    behind = np.sort(draw.lognormal(draw.uniform(1, 5), 1.2, 3000) * MINUTE).astype(np.int64)
    worth, price = draw.uniform(0, 60), draw.uniform(0, 2)

    def cost(lateness: int) -> float:
        return float(100 - worth * covered(behind, lateness) / len(behind) + price * lateness / HOUR)

    tried = [outcome("arrival", lateness, cost(lateness)) for lateness in candidates(behind, 0)]
    while (option := next_option(tried, behind)) is not None:
        tried.append(outcome("arrival", option.lateness, cost(option.lateness)))
    assert len(tried) <= 8 + 8
    fine = [0, *range(MINUTE, 8 * HOUR, MINUTE), *ROUND]
    assert recommend(tried).cost <= 1.02 * min(map(cost, fine))


def test_latenesses_beside_the_best_are_run(fleet: Fleet, lines: list[bytes]) -> None:
    """A third of the messages is late by an hour on average: between 0 and 12 hours one hour halves them."""
    late = moved(lines, Movement(1 / 3, HOUR, seed=1))
    comparison = compared(
        only(fleet, None), late, [Option("arrival", each, 2 * HOUR, 0) for each in (0, 12 * HOUR)]
    )
    comparison.refine(tries=1)
    assert [each.option.lateness for each in comparison.outcomes()] == [0, HOUR, 12 * HOUR]


def test_examples_before_figures_from_do_not_count() -> None:
    """As in every figure of a run."""
    keys = [("a", START + hour * HOUR) for hour in range(4)]
    run = Served({key: [(key[1], 0.5)] for key in keys}, dict.fromkeys(keys, (0, None)), {}, [], 4, 0, 0, [])
    [found] = judge({Option("arrival", 0, HOUR, 0): run}, COSTS, 0, START + 2 * HOUR)
    assert found.examples == 2
    assert found.cost == 100 * COSTS.false_alarm


def test_the_command_recommends_with_a_reason_and_a_picture(fleet: Fleet) -> None:
    """A table, sentences, and an SVG file that stands alone."""
    picture = fleet.path.parent / "costs.svg"
    said = CliRunner().invoke(
        app, ["tradeoff", str(fleet.path), "--lateness", "0s,2h", "--lead", "1h", "--plot", str(picture)]
    )
    assert "Recommended: " in said.output
    assert "The best of the other pattern" in " ".join(said.output.split())
    assert picture.read_text().startswith("<svg xmlns=")
