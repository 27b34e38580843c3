"""The judge: blocks of one asset and horizon, two chains, gates, and levels that are spent once."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace

import numpy as np
import pytest

from dataflows.target import judge
from dataflows.target.evidence import log_wealth, loss_difference
from dataflows.target.judge import Judge, Rule, level_of

HORIZON, DELAY = 24, 6
RULE = Rule(HORIZON, HORIZON + DELAY, threshold=0.5, level=0.05, least_positives=5)
ASSETS = tuple(f"asset-{number:02}" for number in range(12))


def stream(
    seed: int, cells: int, *, wrong: float, assets: tuple[str, ...] = ASSETS
) -> dict[tuple[int, str], tuple[int, float, float]]:
    """Label, score of the champion and of the challenger, by (time, asset); the challenger is exact.

    Every asset draws a probability for each cell, and a label for each cell as a whole.
    """
    rng = np.random.default_rng(seed)
    examples = {}
    for cell in range(cells):
        for asset in assets:
            p = float(rng.beta(1, 4))
            label = int(rng.random() < p)
            off = min(max(p + float(rng.choice([-wrong, wrong])), 0.0), 1.0)
            for time in range(cell * HORIZON, (cell + 1) * HORIZON, 4):
                examples[time, asset] = label, off, p
    return dict(sorted(examples.items()))


def run(
    examples: dict[tuple[int, str], tuple[int, float, float]],
    rule: Rule = RULE,
    kill_every: int | None = None,
) -> tuple[Judge, list[tuple[int, str, judge.Verdict | None]]]:
    """Serve and settle examples in the order of time; return the judge, and when which verdict changed."""
    found = Judge(rule)
    found.begin("old", {"old": 1, "new": 1}, None)
    moved = []
    waiting = list(examples.items())
    for number, (time, asset) in enumerate(examples):
        found.served(asset, time)
        if kill_every is not None and number % kill_every == 0:
            entries = {asset: entry for asset in ASSETS if (entry := found.entry(asset)) is not None}
            found = Judge(rule, *json.loads(json.dumps([found.state(), entries])))
        while waiting and waiting[0][0][0] + rule.wait < time:
            (at, of), (label, old, new) = waiting.pop(0)
            found.settled(of, at, label, {"old": old, "new": new}, 0.5)
        moved += [(time, each.challenger, each.verdict) for each in found.look(time)]
    return found, moved


def test_the_examples_of_the_module_hold() -> None:
    """Every example in the docstrings gives what it says."""
    found = doctest.testmod(judge)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("loss", ["brier", "log"])
def test_the_chains_hold_the_blocks_of_even_and_of_odd_cells(loss: str) -> None:
    """Each chain has the e-value of the vectorised test over the mean of each asset's cells, to 1e-12."""
    examples = stream(1, 20, wrong=0.1)
    rule = replace(RULE, loss=loss)
    found, _ = run(examples, rule)
    (comparison,) = found.comparisons.values()
    for parity, chain in enumerate(comparison.chains):
        cells = range(parity, parity + 2 * (chain.blocks // len(ASSETS)), 2)
        means = []
        for cell in cells:
            for asset in ASSETS:
                rows = [examples[time, asset] for time in range(cell * HORIZON, (cell + 1) * HORIZON, 4)]
                labels, old, new = np.array(rows).T
                difference, worst = loss_difference(old, new, labels, rule.loss)
                means.append((difference.mean(), worst.mean()))
        expected = log_wealth(*np.array(means).T)
        assert chain.blocks == len(expected) >= 8 * len(ASSETS)
        assert chain.log_e == pytest.approx(expected[-1], rel=1e-12, abs=1e-12)


def test_a_better_challenger_is_found_and_an_equal_one_is_not() -> None:
    """A challenger that is exact passes; one that errs as much as the champion has no evidence."""
    _, moved = run(stream(2, 40, wrong=0.3))
    assert [(name, verdict) for _, name, verdict in moved] == [("new", "better")]
    found, moved = run({place: (y, q, q) for place, (y, q, _) in stream(2, 40, wrong=0.3).items()})
    assert not moved
    assert found.comparisons["new"].log_e == 0.0


def test_a_judge_goes_on_from_its_snapshot() -> None:
    """A judge that was killed after every 7 examples ends with the same state."""
    examples = stream(3, 12, wrong=0.2)
    whole, moved = run(examples)
    resumed, same = run(examples, kill_every=7)
    assert json.dumps(resumed.state()) == json.dumps(whole.state())
    assert [resumed.entry(asset) for asset in ASSETS] == [whole.entry(asset) for asset in ASSETS]
    assert same == moved


def test_calendar_blocks_are_one_a_cell() -> None:
    """With calendar blocks the whole fleet gives one block a cell: the mean over its assets."""
    found, _ = run(stream(4, 20, wrong=0.2), replace(RULE, blocks="calendar"))
    assets, _ = run(stream(4, 20, wrong=0.2))
    calendar, each = found.comparisons["new"], assets.comparisons["new"]
    assert calendar.blocks * len(ASSETS) == each.blocks
    assert calendar.difference == pytest.approx(each.difference)
    assert calendar.log_e < each.log_e


def test_a_block_waits_for_all_its_labels() -> None:
    """A block with an example that is not settled does not count; once that is censored, it does."""
    found = Judge(RULE)
    found.begin("old", {"new": 1}, None)
    for time in (0, 4):
        found.served("a", time)
    found.settled("a", 0, 0, {"old": 0.5, "new": 0.1}, 0.5)
    found.look(10 * HORIZON)
    assert found.comparisons["new"].blocks == 0
    found.dropped("a", 4)
    found.look(11 * HORIZON)
    assert found.comparisons["new"].blocks == 1


def test_an_asset_that_is_forgotten_holds_no_block_back() -> None:
    """What was settled of a dropped asset counts."""
    found = Judge(RULE)
    found.begin("old", {"new": 1}, None)
    for time in (0, 4):
        found.served("a", time)
    found.settled("a", 0, 0, {"old": 0.5, "new": 0.1}, 0.5)
    found.forgotten("a")
    found.look(10 * HORIZON)
    assert found.comparisons["new"].blocks == 1


def test_a_model_without_a_score_counts_as_the_prior() -> None:
    """A missing score is compared as the prior, which is published in its place."""
    found = Judge(RULE)
    found.begin("old", {"new": 1}, None)
    found.served("a", 0)
    found.settled("a", 0, 0, {"old": None, "new": 0.1}, 0.3)
    found.look(10 * HORIZON)
    assert found.comparisons["new"].difference == pytest.approx(0.3**2 - 0.1**2)


def test_too_few_positives_hold_a_challenger_back() -> None:
    """Evidence without enough positives is held back, and says how many there are."""
    examples = stream(2, 40, wrong=0.3)
    found, moved = run(examples, replace(RULE, least_positives=10_000))
    assert {verdict for _, _, verdict in moved if verdict} == {"positives"}
    assert found.comparisons["new"].reason().endswith("of 10000 positives were compared")


def test_a_difference_below_the_margin_holds_a_challenger_back() -> None:
    """A challenger that is better by less than the margin is held back."""
    _, moved = run(stream(2, 40, wrong=0.3), replace(RULE, margin=0.5))
    assert {verdict for _, _, verdict in moved if verdict} == {"margin"}


def test_worse_recall_at_equal_alerts_holds_a_challenger_back() -> None:
    """A challenger with a smaller loss that ranks the positives worse is held back."""
    examples = {}
    rng = np.random.default_rng(5)
    for time, asset in stream(5, 80, wrong=0.0):
        cell = time // HORIZON
        sick = (cell + int(asset[-2:])) % 6 == 0
        # The champion cries wolf at twice the true rate; the challenger knows the rate, and no asset.
        examples[time, asset] = int(sick and rng.random() < 0.2), 0.6 if sick else 0.2, 1 / 30
    _, moved = run(examples)
    assert {verdict for _, _, verdict in moved if verdict} == {"recall"}


def test_worse_calibration_holds_a_challenger_back() -> None:
    """A challenger with a smaller loss whose scores are too high on average is held back."""
    examples = {}
    rng = np.random.default_rng(6)
    for time, asset in stream(6, 60, wrong=0.0):
        p = 0.1 if (time // HORIZON + int(asset[-2:])) % 2 else 0.6
        examples[time, asset] = int(rng.random() < p), 0.35, p + 0.1
    _, moved = run(examples)
    assert {verdict for _, _, verdict in moved if verdict} == {"calibration"}


def test_a_new_champion_rests_for_the_cool_down() -> None:
    """After a change of champion no verdict is given before the cool-down has passed."""
    examples = stream(2, 40, wrong=0.3)
    (_, first), *_ = [(time, verdict) for time, _, verdict in run(examples)[1]]
    assert first == "better"
    found = Judge(replace(RULE, cool_down=100 * HORIZON))
    found.begin("other", {"old": 1}, 0)
    found.begin("old", {"new": 1}, 0)
    for (time, asset), (label, old, new) in examples.items():
        found.served(asset, time)
        found.settled(asset, time, label, {"old": old, "new": new}, 0.5)
    (held,) = found.look(40 * HORIZON)
    assert held.verdict == "cool_down"
    (free,) = found.look(200 * HORIZON)
    assert free.verdict == "better"


def test_a_champion_that_turns_worse_is_found_out_by_a_later_comparison() -> None:
    """By one that began 16 horizons in, well before that since the beginning; levels add up to one."""
    good, turn = stream(3, 16, wrong=0.5), 16
    worse = stream(4, 24, wrong=0.5).items()
    bad = {(time + turn * HORIZON, of): (y, p, q) for (time, of), (y, q, p) in worse}
    found = Judge(RULE)
    found.begin("former", {"now": 1}, None)
    found.begin("now", {"former": 1}, 0)
    moved: list[tuple[int, int, str | None]] = []
    for (time, asset), (label, off, exact) in {**good, **bad}.items():
        found.served(asset, time)
        found.settled(asset, time, label, {"former": off, "now": exact}, 0.5)
        looked = found.look(time + RULE.wait)
        moved += [(time // HORIZON, each.since, each.verdict) for each in looked]
    (soon, *later), (late, *first) = moved
    assert (later, first) == ([17, "better"], [1, "better"])
    assert turn < soon < late - 5
    assert found.verdict("former") == "better"
    levels = [found.comparisons["former"].level, *(each.level for each in found.later)]
    assert sum(levels) == pytest.approx(level_of(0.05, 2, 1))
    again = Judge(RULE, json.loads(json.dumps(found.state())))
    assert again.state() == found.state()


def test_only_the_former_champion_is_compared_since_later_cells() -> None:
    """Other challengers, and those before any change, have one comparison; it ends with the champion."""
    found = Judge(RULE)
    found.begin("old", {"new": 1, "other": 1}, None)
    assert not found.later
    found.begin("new", {"old": 1, "other": 1}, 5 * HORIZON)
    assert {each.challenger for each in found.later} == {"old"}
    found.restart("old", 9 * HORIZON)
    assert not found.later


def test_comparisons_with_a_new_champion_begin_with_the_next_cell() -> None:
    """Examples that were served before a change of champion count in no comparison with the new one."""
    found = Judge(RULE)
    found.begin("old", {"new": 1}, None)
    found.served("a", 2 * HORIZON)
    found.begin("new", {"old": 1}, 2 * HORIZON)
    found.settled("a", 2 * HORIZON, 0, {"old": 0.5, "new": 0.1}, 0.5)
    assert found.comparisons["old"].since == 3
    found.served("a", 3 * HORIZON)
    found.settled("a", 3 * HORIZON, 0, {"old": 0.5, "new": 0.1}, 0.5)
    found.look(20 * HORIZON)
    assert found.comparisons["old"].blocks == 1


def test_a_challenger_that_is_added_begins_by_itself() -> None:
    """The others' evidence and level stay as they are when a challenger is added."""
    found = Judge(RULE)
    found.begin("old", {"new": 1}, None)
    level = found.comparisons["new"].level
    found.begin("old", {"new": 1, "newer": 1}, 5 * HORIZON)
    assert found.comparisons["new"].level == level
    assert found.comparisons["newer"].since == 6
    assert found.comparisons["newer"].level == level_of(0.05, 2, 1)


def test_a_challenger_of_another_version_begins_again() -> None:
    """Evidence for a model as it was configured before is none for what it is now."""
    found, _ = run(stream(2, 10, wrong=0.3))
    found.begin("old", {"new": 2}, 10 * HORIZON)
    assert found.comparisons["new"].blocks == 0
    assert found.comparisons["new"].since == 11


def test_evidence_by_another_loss_counts_for_nothing() -> None:
    """Where the loss or the unit is configured otherwise, all comparisons begin, in the next era."""
    found, _ = run(stream(2, 10, wrong=0.3))
    other = Judge(replace(RULE, loss="log"), json.loads(json.dumps(found.state())))
    other.begin("old", {"new": 1}, 10 * HORIZON)
    assert other.era == found.era + 1
    assert other.comparisons["new"].blocks == 0


def test_a_verdict_stands_until_nine_tenths_of_its_evidence_have_gone() -> None:
    """A challenger that turns worse stays better for a while, then is undecided: its verdict changes once."""
    good, cells = stream(2, 30, wrong=0.3), 30
    bad = {(time + cells * HORIZON, of): (y, p, q) for (time, of), (y, q, p) in good.items()}
    found, moved = run({**good, **bad})
    assert [verdict for _, _, verdict in moved] == ["better", None]
    assert moved[-1][0] > cells * HORIZON
    assert found.comparisons["new"].log_e < found.comparisons["new"].needed


def test_all_comparisons_of_a_target_spend_its_level_once() -> None:
    """However often champions change, the levels add up to at most that of the target."""
    found = Judge(RULE)
    spent = 0.0
    for era in range(200):
        champion, *others = ("a", "b", "c") if era % 2 else ("b", "a", "c")
        found.begin(champion, dict.fromkeys(others, 1), era * HORIZON)
        spent += sum(each.level for each in (*found.comparisons.values(), *found.later))
    assert 0.9 * RULE.level < spent <= RULE.level


def test_the_horizons_that_are_left_follow_from_the_growth_so_far() -> None:
    """The estimate falls as evidence grows, and is 0 once it suffices."""
    examples = stream(2, 40, wrong=0.3)
    part = {place: of for place, of in examples.items() if place[0] < 6 * HORIZON}
    early = run(part)[0].comparisons["new"].horizons_left()
    late = run(examples)[0].comparisons["new"].horizons_left()
    assert early is None or early > 0
    assert late == 0.0


def test_the_evidence_is_plain_and_complete() -> None:
    """What a row shows: e-values of both chains, what is needed, blocks, positives, mean and interval."""
    found, _ = run(stream(2, 40, wrong=0.3))
    shown = found.comparisons["new"].evidence()
    assert json.loads(json.dumps(shown)) == shown
    low, high = shown["interval"]
    assert low < shown["difference"] < high
    assert max(shown["e_values"]) >= shown["needed"] == 2 / (0.05 / 2)
    assert shown["positives"] > 100
    assert sum(shown["blocks"]) == found.comparisons["new"].blocks
