"""What is published: the policies, and that alerts follow from published scores alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.fleet.fleet import Alert, Output
from dataflows.instants import HOUR
from dataflows.items import Item, Row
from dataflows.state.tables import BUCKETS
from dataflows.target import TargetStage
from dataflows.target.alerts import Publisher
from tests.observations import observation
from tests.target.fleets import fleet, model, target, vector
from tests.target.worlds import Echo

if TYPE_CHECKING:
    from collections.abc import Mapping

ALERT = Alert(open=0.5, clear=0.3, dwell=2, update_by=0.2)
Policy = Literal["all", "grid", "changed"]


def publisher(
    policy: Policy = "all",
    alert: Alert | None = ALERT,
    parts: Mapping[int, bytes] | None = None,
    by: float = 0.1,
) -> Publisher:
    output = Output(Path("out"), "examples", policy, by)
    return Publisher(target([model("prior")], alert=alert), output, parts or {})


class Store:
    """What the recovery store holds of a publisher."""

    def __init__(self) -> None:
        self.parts: dict[int, bytes] = {}

    def write(self, of: Publisher) -> list[int]:
        changed = of.changed()
        self.parts.update({bucket: of.part(bucket) for bucket in changed})
        return changed


@pytest.mark.parametrize("example", [True, False])
def test_all_publishes_all_and_grid_the_examples(example: bool) -> None:
    """Neither policy keeps anything of an asset."""
    for policy, expected in (("all", True), ("grid", example)):
        of = publisher(policy)
        assert of.publishes("a", 0.5, example=example) is expected
        assert of.changed() == []


scores = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1), st.booleans()), max_size=40)


@given(scores, st.sampled_from([0.0, 0.1, 0.5]))
def test_changed_publishes_what_moved_since_the_last_row(
    plan: list[tuple[str, float, bool]], by: float
) -> None:
    """Each asset's first score, then what differs enough from the last one written, through restarts."""
    of, store, last = publisher("changed", None, by=by), Store(), dict[str, float]()
    for asset, score, restart in plan:
        expected = asset not in last or abs(score - last[asset]) >= by
        assert of.publishes(asset, score, example=False) is expected
        if expected:
            last[asset] = score
        if restart:
            store.write(of)
            of = publisher("changed", None, store.parts, by=by)


served = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 1), st.floats(0, 1), st.booleans()), max_size=40
)


@given(served, st.sampled_from(["grid", "changed"]))
def test_a_revision_names_the_last_row_of_its_time(
    plan: list[tuple[str, int, float, bool]], policy: Policy
) -> None:
    """Whatever was not written in between is not named; a time of which nothing was written names none."""
    of, store = publisher(policy, None), Store()
    revisions: dict[tuple[str, int], int] = {}
    rows: dict[tuple[str, int], int] = {}
    now = 0
    for asset, gap, score, restart in plan:
        now += gap
        revision = revisions[asset, now] = revisions.get((asset, now), -1) + 1
        if of.publishes(asset, score, example=revision == 0, alerts=score > 0.8):
            assert of.written(asset, now, revision) == rows.get((asset, now))
            rows[asset, now] = revision
        if restart:
            store.write(of)
            of = publisher(policy, None, store.parts)


def test_where_all_are_written_a_revision_names_the_one_before() -> None:
    """Nothing is kept for it."""
    of = publisher("all")
    assert [of.written("a", 5, revision) for revision in (0, 1, 2)] == [None, 0, 1]
    assert of.changed() == []


def test_an_asset_that_was_dropped_is_published_anew() -> None:
    """Its last score is forgotten, in the store too."""
    of, store = publisher("changed"), Store()
    of.publishes("a", 0.4, example=False)
    store.write(of)
    of.forget("a")
    of.forget("never seen")
    assert len(store.write(of)) == 1
    for each in (of, publisher("changed", parts=store.parts)):
        assert each.publishes("a", 0.4, example=False)


def test_only_the_bucket_of_an_asset_that_changed_is_written() -> None:
    """A score that changes nothing of an asset writes nothing; one that does writes one bucket."""
    of, store = publisher(), Store()
    assets = [f"pump-{number}" for number in range(200)]
    for asset in assets:
        of.score(asset, 0, 0.9)
    assert store.write(of) == list(range(BUCKETS))
    of.score("quiet", 1, 0.1)
    of.score(assets[0], 1, 0.95)
    assert store.write(of) == []
    assert [move.state for move in of.score(assets[0], 2, 0.9)] == ["opened"]
    assert len(store.write(of)) == 1
    resumed = publisher(parts=store.parts)
    assert resumed.open_alerts() == of.open_alerts() == 1
    assert resumed.score(assets[1], 5, 0.9) == of.score(assets[1], 5, 0.9) != []
    assert resumed.clear(assets[0], 6, "failure") == of.clear(assets[0], 6, "failure") != []
    assert resumed.clear("quiet", 6, "failure") == []
    for asset in assets:
        of.clear(asset, 7, "failure")
    store.write(of)
    assert publisher(parts=store.parts).open_alerts() == 0
    assert len(set(store.parts.values())) == 1, "nothing is left of cleared alerts"


def test_a_target_without_alerts_raises_none() -> None:
    """Scores and records move nothing."""
    of = publisher(alert=None)
    assert of.score("a", 0, 1.0) == of.score("a", 9, 1.0) == of.clear("a", 10, "failure") == []
    assert of.open_alerts() == 0
    assert of.changed() == []


def run(
    policy: Policy, served: list[tuple[int, float, bool]], *, taught: bool = True
) -> dict[str, list[Row]]:
    """Rows of a group whose champion repeats the reading, for (time, score, on the grid).

    What comes again for a time revises it.
    """
    of = target([model("echo", Echo)], alert=Alert(0.5, 0.3, 0, 0.2))
    pump = fleet(of, output=Output(Path("out"), "none", policy, 0.1), metrics_every=1_000 * HOUR)
    group = TargetStage(pump, of.name, strict=True, on_error=_raised, main=None, parts={})
    if taught:
        # A model that has seen one label only answers with the prior.
        group._models.learn("z", 0, vector(0.1), 0, {})
        group._models.learn("z", HOUR, vector(0.9), 1, {})
    rows: dict[str, list[Row]] = {}
    times = [time for time, _, _ in served]
    for number, (time, score, example) in enumerate(served, start=1):
        seen = observation(
            "a",
            of.name,
            time,
            time,
            time=time,
            features=vector(score),
            revision=times[: number - 1].count(time),
            example=example,
        )
        for item in group.process([Item(number, 0, None, time, ("pumps", number, 0), seen)]):
            assert isinstance(item.body, Row)
            rows.setdefault(item.body.output, []).append(item.body)
    return rows


def _raised(item: Item, error: Exception, stage: str) -> Item:  # noqa: ARG001 - as the stages call it
    raise error


@pytest.mark.parametrize(("policy", "published"), [("all", 4), ("grid", 3), ("changed", 3)])
def test_what_moves_an_alert_is_published(policy: Policy, published: int) -> None:
    """Every score reaches the alert, whatever is published; the one that clears it is no example."""
    served = [(HOUR, 0.1, True), (2 * HOUR, 0.15, False), (3 * HOUR, 0.9, True), (4 * HOUR, 0.1, False)]
    rows = run(policy, served)
    assert len(rows["predictions"]) == published
    assert len(rows["alerts"]) == 2


def test_a_revision_that_was_not_written_is_revised_by_none() -> None:
    """Of three rows of one time the second is too near the first to be written: the third names the first."""
    rows = run("changed", [(HOUR, 0.1, True), (HOUR, 0.15, False), (HOUR, 0.3, False), (2 * HOUR, 0.9, True)])
    first, third, other = (orjson.loads(row.data) for row in rows["predictions"])
    assert [row["revision"] for row in (first, third, other)] == [0, 2, 0]
    assert [row["revises"] for row in (first, third, other)] == [None, first["id"], None]


def test_the_prior_warns_of_no_asset() -> None:
    """A score that is the same for every asset, since the model learned nothing yet, opens nothing."""
    rows = run("all", [(HOUR, 0.9, True)], taught=False)
    assert len(rows["predictions"]) == 1
    assert "alerts" not in rows
