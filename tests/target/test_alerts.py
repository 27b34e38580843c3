"""The alert book: equal to a brute-force reading of each asset's history, whatever the scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.fleet.fleet import Alert
from dataflows.target.alerts import AlertBook, AlertChange

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = "pump/leak/4h"
ALERT = Alert(open=0.5, clear=0.3, dwell=4, update_by=0.2)


def book(alert: Alert = ALERT, kept: dict[str, list[Any]] | None = None) -> AlertBook:
    return AlertBook(TARGET, alert, kept or {})


def written(of: AlertBook, assets: str) -> dict[str, list[Any]]:
    """What a snapshot holds, as it comes out of it."""
    entries = {asset: entry for asset in assets if (entry := of.entry(asset)) is not None}
    return msgspec.msgpack.decode(msgspec.msgpack.encode(entries), type=dict[str, list[Any]])


@dataclass
class Slow:
    """One asset, told by looking back over all scores since the last change."""

    alert: Alert
    since: list[tuple[int, float]] = field(default_factory=list)
    opened: int | None = None
    said: float = 0.0

    def score(self, time: int, score: float) -> tuple[str, int, float] | None:
        """State, when the alert opened, and score of the change, None where nothing changes."""
        self.since.append((time, score))
        run = self._run((lambda s: s < self.alert.clear) if self.opened is not None else self._high)
        stayed = bool(run) and time - run[0] >= self.alert.dwell
        if self.opened is None:
            if not stayed:
                return None
            self.since, self.opened, self.said = [], time, score
            return "opened", time, score
        opened = self.opened
        if stayed:
            self.since, self.opened = [], None
            return "cleared", opened, score
        if run or abs(score - self.said) < self.alert.update_by:
            return None
        self.said = score
        return "updated", opened, score

    def _high(self, score: float) -> bool:
        return score >= self.alert.open

    def _run(self, holds: Callable[[float], bool]) -> list[int]:
        """Times of the unbroken run of scores up to now for which something holds."""
        run: list[int] = []
        for time, score in reversed(self.since):
            if not holds(score):
                break
            run.insert(0, time)
        return run

    def end(self) -> tuple[str, int, float] | None:
        opened, self.since, self.opened = self.opened, [], None
        return None if opened is None else ("cleared", opened, self.said)


levels = st.sampled_from([0.0, 0.29, 0.3, 0.31, 0.49, 0.5, 0.51, 0.7, 0.71, 0.9, 1.0]) | st.floats(0, 1)
steps = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 3),
        st.tuples(st.just("score"), levels) | st.sampled_from([("failure", 0.0), ("restart", 0.0)]),
    ),
    max_size=40,
)
alerts = st.builds(
    lambda opens, share, dwell, by: Alert(opens, opens * share, dwell, by),
    st.sampled_from([0.3, 0.5, 0.7]),
    st.sampled_from([0.5, 0.6, 1.0]),
    st.integers(0, 6),
    st.sampled_from([0.05, 0.2, 1.0]),
)


@given(steps, alerts)
def test_the_life_of_alerts_equals_the_brute_force(
    plan: list[tuple[str, int, tuple[str, float]]], alert: Alert
) -> None:
    """Two thresholds, dwell, updates, records and restarts at any point: the same changes, in order."""
    found, slow, now, revision = book(alert), {asset: Slow(alert) for asset in "ab"}, 0, 0
    ids: dict[str, str] = {}
    seen: set[str] = set()
    for asset, gap, (what, score) in plan:
        now, revision = now + gap, 0 if gap else revision + 1
        if what == "restart":
            found = book(alert, written(found, "ab"))
            continue
        moves = found.score(asset, now, score, revision) if what == "score" else found.clear(asset, now, what)
        expected = slow[asset].score(now, score) if what == "score" else slow[asset].end()
        assert [(move.state, move.opened, move.score) for move in moves] == ([expected] if expected else [])
        for move in moves:
            assert move.time == now
            if move.state == "opened":
                assert move.id not in seen, "no id comes twice"
                assert asset not in ids, "one alert is open per asset"
                seen.add(move.id)
                ids[asset] = move.id
            assert move.id == ids[asset], "an alert keeps its id"
            if move.state == "cleared":
                del ids[asset]
        assert found.open_count() == len(ids)
        assert [found.is_open(each) for each in "ab"] == [each in ids for each in "ab"]


def test_an_alert_opens_after_its_dwell_and_tells_why() -> None:
    """The score has to stay at or above the threshold that opens for the whole dwell of event time."""
    of = book()
    assert of.score("a", 10, 0.5) == []
    assert of.score("a", 13, 0.9) == []
    (move,) = of.score("a", 14, 0.6)
    assert move == AlertChange("opened", move.id, "score", 14, 14, 0.6, 0.5)
    assert of.is_open("a")
    assert not of.is_open("b")


def test_one_score_below_begins_the_dwell_anew() -> None:
    """A dip between two high scores opens nothing."""
    of = book()
    for time, score in ((10, 0.9), (13, 0.49), (14, 0.9), (17, 0.9)):
        assert of.score("a", time, score) == []
    assert [move.state for move in of.score("a", 18, 0.9)] == ["opened"]


def test_a_score_between_the_thresholds_clears_nothing() -> None:
    """An alert clears only below the lower threshold, after the dwell, naming that threshold."""
    of = book(Alert(0.5, 0.3, 4, 1.0))
    of.score("a", 10, 0.5)
    (opened,) = of.score("a", 14, 0.5)
    for time, score in ((20, 0.3), (30, 0.49), (40, 0.29), (43, 0.3), (44, 0.1), (47, 0.1)):
        assert of.score("a", time, score) == []
    (move,) = of.score("a", 48, 0.2)
    assert move == AlertChange("cleared", opened.id, "score", 14, 48, 0.2, 0.3)
    assert of.entry("a") is None
    assert of.open_count() == 0


def test_an_update_says_where_the_score_went() -> None:
    """It is written when the score has moved by ``update_by`` since the last row, not the last score."""
    of = book(Alert(0.5, 0.3, 0, 0.2))
    of.score("a", 1, 0.5)
    assert of.score("a", 2, 0.65) == []
    assert [(move.state, move.why) for move in of.score("a", 3, 0.75)] == [("updated", "score rose")]
    assert of.score("a", 4, 0.6) == []
    assert [(move.state, move.why) for move in of.score("a", 5, 0.5)] == [("updated", "score fell")]


@pytest.mark.parametrize("why", ["failure", "maintenance", "retired", "silent"])
def test_a_record_clears_at_once_and_says_why(why: str) -> None:
    """No dwell is waited for; the row has the last score that was told, and no threshold was crossed."""
    of = book()
    of.score("a", 10, 0.5)
    (opened,) = of.score("a", 14, 0.8)
    assert of.clear("b", 15, why) == []
    assert of.clear("a", 15, why) == [AlertChange("cleared", opened.id, why, 14, 15, 0.8, None)]
    assert of.clear("a", 15, why) == []


def test_a_record_ends_the_dwell_of_an_alert_that_is_not_open_yet() -> None:
    """What the score was before a failure counts for nothing after it."""
    of = book()
    of.score("a", 10, 0.9)
    assert of.clear("a", 11, "failure") == []
    assert of.score("a", 14, 0.9) == []
    assert [move.state for move in of.score("a", 18, 0.9)] == ["opened"]


@pytest.mark.parametrize(("why", "at"), [("failure", 9), ("maintenance", 9), ("failure", 10)])
def test_a_report_from_before_a_dwell_leaves_it_as_it_is(why: str, at: int) -> None:
    """Only what happened at its beginning or after it can be what the score warns of."""
    of = book()
    of.score("a", 10, 0.9)
    assert of.clear("a", at, why) == []
    assert [move.state for move in of.score("a", 14, 0.9)] == (["opened"] if at < 10 else [])


def test_whatever_else_ends_an_asset_ends_its_dwell() -> None:
    """Retirement, silence and change of class are told by arrival, which can lie before the asset's time."""
    of = book()
    of.score("a", 10, 0.9)
    assert of.clear("a", 3, "retired") == []
    assert of.entry("a") is None


def test_an_alert_that_opens_again_is_another_one() -> None:
    """The id is of asset, target, opening and revision: the same in every run, one for each alert."""
    ids = []
    for target in ("one", "two"):
        of = AlertBook(target, Alert(0.5, 0.3, 0, 1.0), {})
        for time in (1, 2):
            for asset in "ab":
                (move,) = of.score(asset, time, 0.9)
                ids.append(move.id)
                of.clear(asset, time, "failure")
    assert len(set(ids)) == 8
    (again,) = AlertBook("one", Alert(0.5, 0.3, 0, 1.0), {}).score("a", 1, 0.7)
    assert again.id == ids[0]


def test_a_failure_from_just_before_an_alert_opened_clears_it() -> None:
    """The scores that opened it may have been about that failure; one from a horizon before is another."""
    of = AlertBook(TARGET, Alert(0.5, 0.3, 0, 0.2), {}, horizon=4)
    (opened,) = of.score("a", 10, 0.9)
    assert of.clear("a", 6, "failure") == []
    assert of.clear("a", 7, "failure") == [AlertChange("cleared", opened.id, "failure", 10, 10, 0.9, None)]
