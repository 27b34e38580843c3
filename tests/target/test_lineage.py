"""Lineage: what versions of models are made of, and what they had learned."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.fleet.fleet import Model
from dataflows.target import TargetStage
from dataflows.target.lineage import Lineage, libraries_of
from tests.target.fleets import BUILDS, PartStore, fleet, model, target
from tests.target.streams import observed, recordings
from tests.target.worlds import KEY, decoded, opened, pumps, raised, scored, stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.items import Item


def lineages(rows: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [row for row in rows.get("changes", []) if row["change"] == "lineage"]


def of_spec(**parameters: object) -> Model:
    """A model that is configured as in a fleet.toml."""
    step = {"estimator": "river.linear_model.LogisticRegression", **parameters}
    return Model("linear", {"pipeline": [step]}, (0, 1), BUILDS["linear"])


def test_a_new_target_says_once_what_each_model_is_made_of() -> None:
    """The first record that it scores writes a row a version; neither later ones nor a restart do."""
    group = opened(fleet(target([of_spec(l2=0.5), model("prior")])))
    linear, prior = lineages(decoded(group.process([scored(1, 1)])))
    assert (linear["model"], linear["version"], prior["model"]) == ("linear", 1, "prior")
    assert linear["estimator"] == "river.linear_model.LogisticRegression"
    assert linear["pipeline"] == [{"estimator": linear["estimator"], "l2": 0.5}]
    assert linear["features"] == list(group._features[:2])
    assert linear["libraries"]["river"] == version("river")
    assert (linear["learned"], linear["last_time"]) == (0, None)
    assert not lineages(decoded(group.process([scored(2, 2)])))
    store = stored(target([of_spec(l2=0.5), model("prior")]))
    again = opened(fleet(target([of_spec(l2=0.5), model("prior")])), main=store.main, parts=store.parts)
    assert not lineages(decoded(again.process([scored(3, 3)])))


def test_a_new_version_has_its_row_and_the_former_one_keeps_its_own() -> None:
    """A changed parameter is another digest; the version that goes on as champion is not written again."""
    store = stored(target([of_spec(), model("prior")]))
    now = fleet(target([of_spec(l2=0.1), model("prior")]))
    rows = decoded(opened(now, main=store.main, parts=store.parts).process([scored(9, 9)]))
    (row,) = lineages(rows)
    assert (row["model"], row["version"], row["pipeline"][0]["l2"]) == ("linear", 2, 0.1)


class Upgraded(Lineage):
    """After an upgrade of River."""

    @staticmethod
    def libraries(spec: Mapping[str, Any]) -> dict[str, str]:
        found = libraries_of(spec)
        return found | {"river": "99.0"} if "river" in found else found


def test_an_upgrade_of_a_library_is_written() -> None:
    """Only for the models that are made of it; what they had learned by then stands in the row."""
    of, store = target([of_spec(), model("prior")]), PartStore()
    group = opened(fleet(of))
    group.process([scored(1, 1)])
    group._models.learn("a", 1, b"\0" * 8 * len(group._features), 1, {})
    store.after_batch(group)
    store.end_epoch(group)
    now = TargetStage(
        fleet(of), KEY, strict=True, on_error=raised, main=store.main, parts=store.parts, monitors=[Upgraded]
    )
    (row,) = lineages(decoded(now.process([scored(2, 2)])))
    assert (row["model"], row["version"], row["learned"]) == ("linear", 1, 1)
    assert row["libraries"]["river"] == "99.0"


@pytest.mark.ci
@given(recordings(60), st.sets(st.integers(1, 60)))
def test_every_prediction_has_a_lineage_through_every_crash(lines: list[bytes], stops: set[int]) -> None:
    """The version of each prediction has a row at its record or before; rows do not depend on crashes."""
    whole = decoded(opened(pumps("together")).process(observed(pumps("together"), lines)))
    store, group = PartStore(), opened(pumps("together"))
    out: list[Item] = []
    for number, item in enumerate(observed(pumps("together"), lines)):
        out += group.process([item])
        store.after_batch(group)
        store.end_epoch(group)
        if number in stops:
            main, parts = store.crash()
            group = opened(pumps("together"), main=main, parts=parts)
    rows = decoded(out)
    assert lineages(rows) == lineages(whole)
    began: dict[tuple[str, int], int] = {}
    for row in lineages(rows):
        began.setdefault((row["model"], row["version"]), row["sequence"])
    for row in rows.get("predictions", []):
        assert began[row["model"], row["version"]] <= row["sequence"]
    for row in rows.get("metrics", []):
        if row["kind"] == "learned":
            assert all(learned <= row["examples"] for learned in row["models"].values())
