"""A target that goes on under another layout is written whole: main snapshot and parts agree."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import structlog

from dataflows.fleet.fleet import Fleet, Model, Window
from dataflows.instants import HOUR
from dataflows.state.layouts import StateHistory, going_on
from dataflows.target import TargetStage
from tests.target.fleets import PartStore
from tests.target.streams import observed
from tests.target.worlds import KEY, encoded, pumps, raised, recording

if TYPE_CHECKING:
    from collections.abc import Iterator

CUT = 40


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def laid_out(sensors: tuple[str, ...], statistics: tuple[str, ...]) -> Fleet:
    """The pumps with these sensors and statistics; every model sees all features."""
    made = pumps("together")
    names = [f"{sensor}:{statistic}:3h" for sensor in sensors for statistic in statistics]
    features = (*sensors, *names)
    windows = (Window(3 * HOUR, HOUR, statistics, tuple(range(len(sensors)))),)
    pump = replace(made.classes["pump"], sensors=sensors, windows=windows, features=features)
    picks = tuple(range(len(features)))
    models = tuple(
        Model(found.name, found.spec, picks, found.build, found.scores) for found in made.targets[KEY].models
    )
    target = replace(made.targets[KEY], models=models)
    return replace(made, classes={"pump": pump}, targets={KEY: target})


BEFORE = laid_out(("x", "y"), ("mean", "max"))
AFTER = {
    "a removed sensor": laid_out(("x",), ("mean", "max")),
    "an added sensor": laid_out(("w", "x", "y"), ("mean", "max")),
    "an added statistic": laid_out(("x", "y"), ("mean", "std", "max")),
    "another order": laid_out(("y", "x"), ("mean", "max")),
}


@pytest.mark.parametrize("records", [0, 1])
@pytest.mark.parametrize("change", AFTER)
def test_a_resume_after_the_first_epoch_of_a_changed_layout_finds_what_was_at_work(
    change: str, records: int
) -> None:
    """Also where that epoch had no record: opened at the end of the input, a target is written whole."""
    after = AFTER[change]
    past = going_on(StateHistory(), BEFORE)[0]
    group, store = (
        TargetStage(BEFORE, KEY, strict=True, on_error=raised, main=None, parts={}, past=past),
        PartStore(),
    )
    group.process(observed(BEFORE, recording())[:CUT])
    store.after_batch(group)
    store.end_epoch(group)

    past = going_on(past, after)[0]

    def resumed() -> TargetStage:
        main, parts = store.crash()
        return TargetStage(after, KEY, strict=True, on_error=raised, main=main, parts=parts, past=past)

    group, items = resumed(), observed(after, recording())[CUT:]
    group.process(items[:records])
    group.finish()
    store.after_batch(group)
    store.end_epoch(group)
    again = resumed()
    assert again.finish() == group.finish()
    features = {example.key: example.features for example in again._examples}
    assert features == {example.key: example.features for example in group._examples}
    assert len(features) > 10
    later = [observed(after, recording())[CUT + records :] for _ in range(2)]
    assert encoded(again.process(later[0])) == encoded(group.process(later[1]))
    assert again.finish() == group.finish()
