"""`tradeoff`: one recording, served in several ways, on equal terms."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import orjson
import pytest
from typer.testing import CliRunner

from dataflows.__main__ import app
from dataflows.evaluation.tradeoff import Option, Outcome, Served, judge, recommend, waiting
from dataflows.fleet.fleet import Costs
from dataflows.instants import HOUR, format_instant, parse_instant
from dataflows.testing import failure, telemetry
from dataflows.tools.tradeoff import TradeoffError, compare, only, options, prices
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
    found = options(chosen, lines, (0, HOUR, 2 * HOUR, 3 * HOUR), (), ())
    return compare(chosen, lines, found, COSTS, HOUR)


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

    def outcome(serve: str, lateness: int, cost: float) -> Outcome:
        option = Option(serve, lateness, HOUR, 0)  # type: ignore[arg-type]
        return Outcome(option, 1.0, 0.0, (0, 0), 10, 0.1, 0, 1, None, 0, cost)

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
    assert {0, HOUR // 2, 6 * HOUR} <= found


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
