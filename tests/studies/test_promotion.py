"""Simulated comparisons: wrong promotions at the level, and better models promoted soon."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from studies.promotion import (
    ALPHA,
    KINDS,
    judged,
    main,
    null,
    passes,
    power,
    rollback,
    stream,
    upper_bound,
)
from tests.studies.tables import days, figures, percent, table

#: Kinds of streams as docs/promotion.md names them.
NAMED = {
    "equal": "equal in loss, different",
    "autocorrelated": "the same, autocorrelated scores",
    "delays": "the same, labels 0 to 3 horizons late",
    "worse, then better": "worse at first, then as much better",
    "reacting": "scores that change at each failure",
    "replaced": "equal, going on after each promotion, in each other's place",
    "promoted, then equal": "better and promoted, then equal, going on in the same way",
    "shocks, calendar": "shocks to the whole fleet, blocks of the calendar",
    "shocks, assets": "shocks to the whole fleet, blocks of assets",
}
#: The kind that breaks the assumption of the blocks it is judged by.
BROKEN = "shocks, assets"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != BROKEN])
def test_an_equal_challenger_is_promoted_no_more_often_than_the_level(kind: str) -> None:
    """In 60 streams of each kind there are no more wrong promotions than the level makes likely."""
    _, wrong = null(kind, 60, cells=30)
    assert stats.binom.sf(len(wrong) - 1, 60, ALPHA) > 0.01


def test_a_better_challenger_is_promoted_within_six_times_the_horizons_of_a_test_that_looks_once() -> None:
    """The judge takes at most six times as long as a t test that looks once, and less than Bernstein's."""
    found = power(0.08, 20, 60)
    assert found.share["fixed stakes (the judge)"] == 1.0
    assert found.median["fixed stakes (the judge)"] <= 6 * found.looked_once
    assert found.median["fixed stakes (the judge)"] < found.median["empirical Bernstein"]


def test_a_challenger_that_turns_worse_is_not_promoted_by_what_comes_after() -> None:
    """All promotions are made by blocks before the turn, and the former champion comes back later."""
    found = rollback(0.15, 10, 120)
    assert found.before == 10
    assert not found.after
    assert all(math.isfinite(horizons) for horizons in found.back)


def test_the_errors_of_equal_models_cancel_in_every_block() -> None:
    """The expected difference of an equal challenger is 0 in each block, and their scores differ."""
    blocks, _ = stream(np.random.default_rng(1), "equal", 10)
    assert np.abs(blocks.expected).max() < 1e-12
    assert np.abs(blocks.difference).mean() > 1e-3
    assert passes(blocks)[0] == math.inf


def test_the_upper_bound_is_that_of_clopper_and_pearson() -> None:
    """None of 1,000 is at most 0.3 %, and 38 of 1,000 are at most 5 %."""
    assert upper_bound(0, 1_000) == pytest.approx(0.002991, abs=1e-6)
    assert upper_bound(38, 1_000) < 0.05 < upper_bound(40, 1_000)


def test_the_docs_say_what_the_study_printed() -> None:
    """All tables of docs/promotion.md are the figures of the command, with the bounds that they imply."""
    rows = figures("promotion")
    nulls = [row for row in rows if "kind" in row]
    assert [row["kind"] for row in nulls] == [*KINDS]
    assert table("promotion.md", "stream") == [
        [
            NAMED[row["kind"]],
            f"{row['streams']:,}",
            str(row["promoted"]),
            str(row["wrong"]),
            percent(upper_bound(row["wrong"], row["streams"])),
        ]
        for row in nulls
    ]
    powers: dict[float, dict[str, dict[str, float]]] = {}
    for row in rows:
        if "test" in row:
            powers.setdefault(row["champion wrong by"], {})[row["test"]] = row
    names = ["fixed stakes (the judge)", "empirical Bernstein", "adaptive bets (stronger null)"]
    assert table("promotion.md", "champion wrong by") == [
        [
            f"{size:g}",
            *(days(found[name]["median horizons"]) for name in names),
            days(found[names[0]]["t test, one look"]),
            f"{found[names[0]]['ratio']:.2g}",
        ]
        for size, found in powers.items()
    ]
    assert all(found[names[0]]["ratio"] <= 6 for found in powers.values())
    assert table("promotion.md", "better, then worse by") == [
        [
            f"{row['better, then worse by']:g}",
            f"{row['streams']:,}",
            str(row["promoted before the turn"]),
            str(row["after it"]),
            percent(upper_bound(row["after it"], row["streams"])),
            days(row["back, median horizons"]),
        ]
        for row in rows
        if "after it" in row
    ]


@pytest.mark.parametrize("row", figures("promotion")[: len(KINDS)], ids=lambda row: row["kind"])
def test_streams_are_judged_as_when_they_were_counted(row: dict[str, Any]) -> None:
    """Of each kind, the first streams with a wrong promotion have it again, and those before them do not."""
    wrong = row["first wrong ones"]
    chosen = [*wrong[:3], *(number for number in range(3) if number not in wrong)]
    assert [number for number in chosen if judged(row["kind"], number)[1]] == wrong[:3]


def test_the_study_prints_its_tables(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """One command gives all tables, as JSON too."""
    main(["--streams", "2", "--power-streams", "2", "--power-cells", "40", "--sizes", "0.1", "--json"])
    lines = capsysbinary.readouterr().out.splitlines()
    assert len(lines) == len(KINDS) + 4 + 1
