"""The champion: which version serves, since when, which may follow it, and what a store keeps of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from dataflows.instants import HOUR, parse_instant
from dataflows.state.snapshots import contents, seal
from dataflows.target import TargetStage
from dataflows.target.champion import Champion, Term
from dataflows.target.monitors import Monitor
from dataflows.target.target import MONITORS
from tests.target.fleets import PartStore, fleet, model, target
from tests.target.worlds import KEY, decoded, of_models, raised, scored, stored

if TYPE_CHECKING:
    from dataflows.items import Item
    from dataflows.target.monitors import Context, Rows, Served

THREE = [model("prior"), model("linear"), model("bayes")]
PUMPS = fleet(target(THREE))


class Promoting(Monitor):
    """Promotes the models whose names it finds in ``PLAN``, at the telemetry of that hour."""

    name = "promoting"
    PLAN: dict[int, str] = {}  # noqa: RUF012 - each test sets its own

    def __init__(self, champion: Champion) -> None:
        self._champion = champion

    @classmethod
    @override
    def open(cls, context: Context, state: object) -> Promoting:
        return cls(context.champion)

    @override
    def served(self, item: Item, served: Served) -> Rows:
        name = self.PLAN.get(served.time // HOUR)
        if name is not None:
            self._champion.promote(name, f"hour {served.time // HOUR}")
        return ()


def opened(store: PartStore) -> TargetStage:
    main, parts = store.crash()
    monitors = (*MONITORS, Promoting)
    return TargetStage(PUMPS, KEY, strict=True, on_error=raised, main=main, parts=parts, monitors=monitors)


plans = st.dictionaries(st.integers(1, 12), st.sampled_from(["prior", "linear", "bayes"]), max_size=5)


@given(plans, st.sets(st.integers(1, 12)))
def test_the_history_says_which_version_served_each_prediction(plan: dict[int, str], stops: set[int]) -> None:
    """From the record after the promotion on, through every restart; each term has its row."""
    store = PartStore()
    group = opened(store)
    rows: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Promoting, "PLAN", plan)
        for hour in range(1, 13):
            found = decoded(group.process([scored(hour, hour * HOUR)]))
            rows += found["predictions"]
            changes += of_models(found)
            store.after_batch(group)
            store.end_epoch(group)
            if hour in stops:
                group = opened(store)
    served = group._champion
    for row in rows:
        term = served.at(parse_instant(row["time"]))
        assert term is not None
        assert (row["model"], row["version"]) == (term.model, term.version)
    assert [(row["model"], row["why"]) for row in changes] == [
        (each.model, each.why) for each in served.history
    ]
    assert [row["sequence"] for row in changes] == [each.sequence for each in served.history]
    assert served.at(0) is None


def test_a_promotion_is_refused_for_a_version_that_is_not_there() -> None:
    """The champion stays."""
    group = opened(PartStore())
    with pytest.raises(KeyError, match="nobody"):
        group._champion.promote("nobody", "a command")
    assert (group._champion.label, group._champion.at(HOUR)) == ("prior", None)


def test_a_store_without_a_history_begins_one() -> None:
    """The champion of a snapshot of version 4 serves since nobody knows when."""
    store = stored(target(THREE))
    assert store.main is not None
    kind, _, kept = contents(store.main)
    store.main = seal(kind, 4, {**kept, "champion": kept["champion"]["label"]})
    group = opened(store)
    assert "changes" not in decoded(group.process([scored(2, 2 * HOUR)]))
    why = "champion of a release that kept no history"
    assert group._champion.history == [Term("prior", "prior", 1, None, 0, 0, why)]
    assert group._champion.at(0) == group._champion.history[0]
