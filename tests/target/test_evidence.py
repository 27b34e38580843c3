"""Evidence for a challenger: an e-process of the average, and a confidence sequence of the mean."""

from __future__ import annotations

import doctest
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.target import evidence
from dataflows.target.evidence import (
    STAKES,
    MeanInterval,
    Wealth,
    best_rho,
    log_empirical_bernstein,
    log_wealth,
    loss_difference,
)

#: E-values of `comparecast.eprocess.eprocess_expm` 1.0.0, computed once with it from these differences,
#: after 1 to 120 of them. It is no dependency: it needs confseq, which does not build everywhere.
REFERENCE = json.loads((Path(__file__).parent / "comparecast.json").read_text())

worsts = st.floats(-1.0, -1e-6)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[float, float]:
    """A block: its difference, and the worst that it could have been."""
    worst = draw(worsts)
    return draw(st.floats(worst, 1.0)), worst


def test_the_examples_of_the_module_hold() -> None:
    """Every example in the docstrings gives what it says."""
    found = doctest.testmod(evidence)
    assert found.attempted >= 6
    assert not found.failed


@pytest.mark.parametrize("case", REFERENCE["cases"])
def test_the_empirical_bernstein_process_agrees_with_its_authors(case: dict[str, object]) -> None:
    """The e-values agree with those of the authors' package to 1e-9."""
    x = np.array(REFERENCE["differences"])
    sums = np.cumsum(x)
    predicted = np.concatenate([[0.0], sums[:-1] / np.arange(1, len(x))])
    variances = np.cumsum((x - predicted) ** 2)
    rho = best_rho(case["v_opt"], case["alpha_opt"])
    e = np.exp(log_empirical_bernstein(sums, variances, case["c"], rho))
    for number, expected in case["e"].items():
        assert e[int(number) - 1] == pytest.approx(expected, rel=1e-9)


@given(st.lists(blocks(), min_size=1, max_size=60))
def test_the_vectorised_test_equals_the_one_block_by_block(given_blocks: list[tuple[float, float]]) -> None:
    """Both forms give the same e-values to 1e-12, also through a snapshot in the middle."""
    differences, worst = np.array(given_blocks).T
    expected = log_wealth(differences, worst)
    wealth = Wealth()
    for number, (difference, least) in enumerate(given_blocks):
        if number == len(given_blocks) // 2:
            wealth = Wealth(json.loads(json.dumps(wealth.state()).replace("-Infinity", "-1e999")))
        wealth.add(difference, least)
        assert wealth.log_e == pytest.approx(expected[number], rel=1e-12, abs=1e-12)
    assert wealth.peak == pytest.approx(max(0.0, expected.max()), rel=1e-12, abs=1e-12)


@given(worsts, st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.sampled_from(STAKES.tolist()))
def test_no_stake_gains_more_than_the_exponential_of_the_mean(
    worst: float, high: float, share: float, stake: float
) -> None:
    """The expected factor is at most exp(stake x mean) for any two points, hence for any distribution."""
    values = np.array([worst, high])
    probabilities = np.array([1.0 - share, share])
    logs = [log_wealth(np.array([value]), np.array([worst]), np.array([stake]))[0] for value in values]
    factors = np.exp(logs)
    mean = float(values @ probabilities)
    assert float(factors @ probabilities) <= math.exp(stake * mean) * (1.0 + 1e-9)


@given(st.lists(blocks(), min_size=1, max_size=60))
def test_there_is_no_evidence_while_the_mean_is_against_the_challenger(
    given_blocks: list[tuple[float, float]],
) -> None:
    """The e-value is at most 1 wherever the sum of the differences is at most 0."""
    differences, worst = np.array(given_blocks).T
    against = np.cumsum(differences) <= 0.0
    assert (log_wealth(differences, worst)[against] <= 1e-9).all()


def skewed(rng: np.random.Generator, streams: int, count: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of rare and large losses, as of a model that is too sure of itself; their mean is ``shift``."""
    worst = -rng.choice([0.05, 0.1, 0.4], (streams, count))
    rare = rng.random((streams, count)) < 0.05
    differences = np.where(rare, worst, -worst * 0.05 / 0.95) + shift
    return differences, np.minimum(worst + shift, 0.0)


def test_a_challenger_that_is_no_better_passes_at_most_at_the_level() -> None:
    """Of 1,000 streams with a mean of 0, looked at after each block, at most 5 % pass (upper 95 % bound)."""
    differences, worst = skewed(np.random.default_rng(1), 1_000, 800, 0.0)
    passed = int((log_wealth(differences, worst).max(axis=1) >= math.log(20.0)).sum())
    assert (passed + 1.645 * math.sqrt(passed + 1)) / 1_000 <= 0.05


def test_a_challenger_first_better_and_then_as_much_worse_passes_only_while_it_is_better() -> None:
    """After the turn the evidence falls, and where the mean is 0 again there is none."""
    differences = np.concatenate([np.full(200, 0.02), np.full(200, -0.02)])
    log_e = log_wealth(differences, np.full(400, -0.1))
    assert log_e[199] > math.log(20.0)
    assert log_e[-1] <= 0.0
    assert (np.diff(log_e[200:]) < 0.0).all()


def test_a_better_challenger_passes_as_soon_where_all_losses_are_smaller() -> None:
    """Where all differences are a tenth as large, it takes about as many blocks to pass: within a fifth."""
    differences, worst = skewed(np.random.default_rng(2), 60, 3_000, 0.01)
    passed = [log_wealth(differences * size, worst * size) >= math.log(40.0) for size in (1.0, 0.1)]
    assert all(path.any(axis=1).all() for path in passed)
    needed = [float(np.median(path.argmax(axis=1))) for path in passed]
    assert needed[1] == pytest.approx(needed[0], rel=0.2)


def test_a_block_with_much_at_risk_ends_no_stake_for_good() -> None:
    """One large worst costs evidence, and the evidence grows on as fast as before."""
    differences, worst = np.full(400, 0.01), np.full(400, -0.02)
    calm = log_wealth(differences, worst)
    worst[200] = -0.5
    log_e = log_wealth(differences, worst)
    assert log_e[200] < calm[200]
    assert log_e[-1] - log_e[300] == pytest.approx(calm[-1] - calm[300], rel=0.2)


@pytest.mark.parametrize("shift", [-0.01, 0.0, 0.02])
def test_the_confidence_sequence_holds_the_mean_at_all_times(shift: float) -> None:
    """In 100 streams, looked at twice, at most 5 % of the intervals ever miss the mean; and they narrow."""
    rng = np.random.default_rng(3)
    differences, worst = skewed(rng, 100, 400, shift)
    missed, widths = 0, []
    for stream, least in zip(differences, worst, strict=True):
        interval, outside = MeanInterval(1.0), False
        for number, (difference, low) in enumerate(zip(stream.tolist(), least.tolist(), strict=True), 1):
            interval.add(difference, low, 0.4)
            if number % 200 == 0:
                lower, upper = interval.bounds(0.05)
                outside |= not lower <= shift <= upper
                widths.append((number, upper - lower))
        missed += outside
    assert missed <= 5
    narrow = [np.mean([width for at, width in widths if at == number]) for number in (200, 400)]
    assert narrow[1] < 0.75 * narrow[0] < 0.1


def test_the_interval_goes_on_from_its_snapshot() -> None:
    """An interval that was sealed and read again gives the same bounds."""
    whole, resumed = MeanInterval(1.0), MeanInterval(1.0)
    for number in range(50):
        for interval in (whole, resumed):
            interval.add(0.02 * (number % 3), -0.1, 0.2)
        resumed = MeanInterval(1.0, json.loads(json.dumps(resumed.state())))
    assert resumed.bounds(0.05) == whole.bounds(0.05)


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([0, 1]), st.sampled_from(["brier", "log"]))
def test_no_label_gives_less_than_the_worst(p: float, q: float, label: int, loss: evidence.Loss) -> None:
    """The worst difference is the smaller one of both labels, and lies in the range of the loss."""
    difference, worst = loss_difference(p, q, label, loss)
    other, same = loss_difference(p, q, 1 - label, loss)
    assert worst == same == min(difference, other)
    assert abs(difference) <= evidence.RANGES[loss] * (1 + 1e-12)
