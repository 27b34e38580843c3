"""A stage that throws: the record is rejected, its asset starts anew, and the rest of the fleet goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from dataflows.asset import Asset
from dataflows.asset.asset import ClassPlan, Made
from dataflows.events import Event, Failure, Registration, Telemetry
from dataflows.fleet.fleet import AssetClass, Target
from dataflows.instants import HOUR
from dataflows.items import (
    Expiry,
    Item,
    Observation,
    ResolvedEvent,
    Row,
    Scores,
    by_order,
    lane_part,
    observations_of,
)
from dataflows.pipeline import InternalErrors, IsolatedAsset, TooManyErrors
from tests.observations import parts_of, processed

if TYPE_CHECKING:
    from collections.abc import Callable


def plan_of(name: str) -> tuple[AssetClass, Target]:
    target = Target(f"{name}/leak/1h", name, "leak", "leak", HOUR, 0, HOUR, "together", 0.5, "prior", ())
    return AssetClass(name, ("x",), True, (), ("x",), 0, HOUR, (target.name,)), target


_CLASSES = [plan_of(name) for name in ("pump", "fan")]
_TARGETS = {target.name: target for _, target in _CLASSES}
PLANS = {found.name: ClassPlan(found, _TARGETS) for found, _ in _CLASSES}


def guarded(errors: InternalErrors, name: str = "a", sealed: bytes | None = None) -> IsolatedAsset:
    return IsolatedAsset(name, PLANS, "pump", sealed, errors)


def item_of(number: int, event: Event | Expiry, asset_class: str = "pump") -> Item:
    return Item(
        number, lane_part(2), 9, 9, ("feed.jsonl", number, 10 * number), ResolvedEvent(event, asset_class)
    )


def reading(time: int, value: float = 1.0, asset: str = "a") -> Telemetry:
    return Telemetry(asset, time, {"x": value}, None, None)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on every asset throws on a reading of 13."""
    for name in ("_emit", "_row"):
        monkeypatch.setattr(Asset, name, throwing(getattr(Asset, name)))


def throwing(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method of an asset, which throws after it worked on a reading of 13 or an expiry."""

    def throws(asset: Asset, item: Item, *arguments: object, **named: object) -> object:
        out = method(asset, item, *arguments, **named)
        event = item.body.event if isinstance(item.body, ResolvedEvent) else None
        if (isinstance(event, Telemetry) and event.readings["x"] == 13.0) or isinstance(event, Expiry):
            msg = "out of luck"
            raise ArithmeticError(msg)
        return out

    return throws


def rows(items: list[Item]) -> dict[str, dict[str, Any]]:
    return {item.body.output: orjson.loads(item.body.data) for item in items if isinstance(item.body, Row)}


@pytest.mark.usefixtures("poisoned")
def test_the_record_is_rejected_with_its_place_and_the_reset_is_told() -> None:
    """The rejects hold the event as it came, the changes the asset and why, each group to forget it."""
    asset = guarded(InternalErrors(5))
    processed(asset, item_of(1, reading(10)))
    items = processed(asset, item_of(2, reading(20, 13.0)))
    found = rows(items)
    rejected = found["rejects"]
    assert (rejected["reason"], rejected["detail"]) == ("internal_error", "ArithmeticError: out of luck")
    assert (rejected["source"], rejected["line"], rejected["offset"]) == ("feed.jsonl", 2, 20)
    assert rejected["event"]["readings"] == {"x": 13.0}
    assert found["changes"] == {
        "change": "asset_reset",
        "asset": "a",
        "why": "internal error: ArithmeticError: out of luck",
        "sequence": 2,
    }
    told = [parts_of(item.body) for item in items if isinstance(item.body, Observation)]
    assert [(body.target, body.forgotten) for body in told] == [("pump/leak/1h", True)]
    assert len({by_order(item) for item in items}) == len(items)
    assert [by_order(item) for item in items] == sorted(by_order(item) for item in items)


@pytest.mark.usefixtures("poisoned")
def test_the_asset_starts_anew() -> None:
    """Nothing of what it knew is left but what was last, and what follows is as of a new asset."""
    asset, new = guarded(InternalErrors(5)), guarded(InternalErrors(5))
    processed(asset, item_of(1, reading(10)))
    processed(asset, item_of(2, Failure("a", 12, "leak", None, None)))
    processed(asset, item_of(3, reading(20, 13.0)))
    assert processed(asset, item_of(4, reading(21))) == processed(new, item_of(4, reading(21)))


@pytest.mark.usefixtures("poisoned")
def test_no_prediction_has_an_id_again() -> None:
    """At the time at which it threw the revisions are counted on, and what is older comes too late."""
    asset = guarded(InternalErrors(5))
    published = []
    for number, event in enumerate(
        [reading(10), reading(20), reading(20, 2.0), reading(20, 13.0), reading(20, 3.0), reading(10, 4.0)], 1
    ):
        bodies = [item.body for item in processed(asset, item_of(number, event))]
        seen = [body.score for body in bodies if isinstance(body, Observation) and body.score is not None]
        published += [(body.time, body.revision) for body in seen]
    assert published == [(10, 0), (20, 0), (20, 1), (20, 2)], "the rejected record published none"


@pytest.mark.usefixtures("poisoned")
def test_a_revision_after_an_error_is_no_example() -> None:
    """The next time is one: an evaluation names the features and the first prediction of a time."""
    asset = guarded(InternalErrors(5))
    chosen = []
    events = [reading(20), reading(20, 13.0), reading(20, 3.0), reading(30)]
    for number, event in enumerate(events, 1):
        bodies = [item.body for item in processed(asset, item_of(number, event))]
        seen = [body.score for body in bodies if isinstance(body, Observation) and body.score is not None]
        chosen += [(score.time, score.revision) for score in seen if score.example]
    assert chosen == [(20, 0), (30, 0)]


def test_assets_that_work_together_make_one_block_for_each_target() -> None:
    """Its rows are in the order of effect, and mean what each asset alone makes of its records."""
    records = {
        name: [item_of(number, reading(10 * number, asset=name)) for number in numbers]
        for name, numbers in {"b": (2, 3), "a": (1, 4)}.items()
    }
    made = Made()
    for name, items in records.items():
        guarded(InternalErrors(0), name).process_into(items, made)
    (block,) = made.items()
    assert isinstance(block.body, Scores)
    assert block.body.table.assets == ["a", "b", "b", "a"]
    assert [row[0] for row in block.body.table.rows] == [1, 2, 3, 4]
    alone = [
        each
        for name, items in records.items()
        for each in processed(guarded(InternalErrors(0), name), *items)
    ]
    assert observations_of(block) == sorted(alone, key=by_order)


@pytest.mark.usefixtures("poisoned")
def test_an_error_takes_back_nothing_of_another_asset() -> None:
    """Assets that work together are told apart where one throws."""
    made = Made()
    for name, value in (("b", 1.0), ("a", 13.0), ("c", 1.0)):
        item = item_of("bac".index(name) + 1, reading(10, value, name))
        guarded(InternalErrors(5), name).process_into([item], made)
    made_items = made.items()
    assert [item.body.table.assets for item in made_items if isinstance(item.body, Scores)] == [["b", "c"]]
    assert rows(made_items).keys() == {"rejects", "changes"}


@pytest.mark.usefixtures("poisoned")
def test_other_assets_go_on() -> None:
    """An error of one changes nothing of another, and a sound record of the same one is taken."""
    errors = InternalErrors(5)
    asset, other = guarded(errors), guarded(errors, "b")
    processed(other, item_of(1, reading(10, asset="b")))
    before = other.to_bytes()
    processed(asset, item_of(2, reading(20, 13.0)))
    assert other.to_bytes() == before
    assert rows(processed(asset, item_of(3, reading(21)))) == {}
    assert errors.count == 1


@pytest.mark.usefixtures("poisoned")
def test_an_expiry_on_which_an_asset_throws_is_rejected_without_an_event() -> None:
    """Time that passed came in no record; the row tells the asset all the same."""
    found = rows(processed(guarded(InternalErrors(5)), item_of(1, Expiry("a", 9, "silent"))))
    assert found["rejects"]["asset"] == "a"
    assert "event" not in found["rejects"]
    assert found["changes"]["asset"] == "a"


@pytest.mark.usefixtures("poisoned")
def test_too_many_errors_end_the_run() -> None:
    """As many as are borne are rejected, over all assets; the next ends the run and names the cause."""
    errors = InternalErrors(2)
    for name in "ab":
        processed(guarded(errors, name), item_of(1, reading(10, 13.0, name)))
    with pytest.raises(
        TooManyErrors, match=r"max_internal_errors = 2.*ArithmeticError: out of luck"
    ) as caught:
        processed(guarded(errors, "c"), item_of(3, reading(10, 13.0, "c")))
    assert isinstance(caught.value.__cause__, ArithmeticError)


@pytest.mark.usefixtures("poisoned")
def test_groups_of_a_former_class_forget_the_asset_too() -> None:
    """Examples of the class that an asset had before wait there; nothing will ever decide them."""
    asset = guarded(InternalErrors(5))
    processed(asset, item_of(1, reading(10)))
    processed(asset, item_of(2, Registration("a", "fan", None, {}, False, None), "fan"))
    items = processed(asset, item_of(3, reading(20, 13.0), "fan"))
    told = [parts_of(item.body) for item in items if isinstance(item.body, Observation)]
    assert sorted(body.target for body in told if body.forgotten) == ["fan/leak/1h", "pump/leak/1h"]


def test_a_guard_without_an_error_changes_nothing() -> None:
    """What goes in and comes out, and the snapshot, are those of the asset itself."""
    asset, bare = guarded(InternalErrors(0)), Asset("a", PLANS, "pump")
    for number, event in enumerate([reading(10), Failure("a", 20, "leak", None, None), reading(15)]):
        assert processed(asset, item_of(number, event)) == processed(bare, item_of(number, event))
    assert asset.to_bytes() == bare.to_bytes()
    assert guarded(InternalErrors(0), sealed=bare.to_bytes()).to_bytes() == bare.to_bytes()
