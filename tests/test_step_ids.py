"""The names of the steps are frozen: the store finds state by them, and a renamed step starts empty."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from bytewax.visualize import to_rendered

from dataflows.engine.runtime import Runtime
from dataflows.failure_prediction import build, flow
from dataflows.fleet import load
from dataflows.lane.lane import LANE_PARTS
from dataflows.lane.weather_join import WEATHER_PARTS
from dataflows.steps import part_of
from dataflows.target.target import TARGET_PARTS
from tests.tables import PRIOR_ALONE, pumps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bytewax.visualize import RenderedOperator

GOLDEN = Path(__file__).with_name("step_ids.txt")
#: The engine's operators that keep state; all others are made of them or keep none.
STATEFUL = {"input", "stateful_batch", "output"}

UNSEEN = pumps("prior", PRIOR_ALONE, mode="seal", horizon="24h", adopt=True)
FLEET = UNSEEN + '\n[classes.pump.weather]\nvalues = ["rain"]\nmax_age = "6h"\n'


@pytest.fixture
def ids(tmp_path: Path) -> Iterator[Callable[[str], list[str]]]:
    """Returns the ids of the steps with state of a fleet, without a store, as the engine knows them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    (tmp_path / "events.jsonl").touch()
    path = tmp_path / "fleet.toml"

    def found(text: str) -> list[str]:
        path.write_text(text, encoding="utf-8")
        steps = unfolded(to_rendered(flow(path)).substeps)
        return sorted(step.step_id for step in steps if step.op_type in STATEFUL)

    yield found
    structlog.reset_defaults()


def unfolded(steps: list[RenderedOperator]) -> Iterator[RenderedOperator]:
    for step in steps:
        yield step
        yield from unfolded(step.substeps)


def test_the_ids_of_steps_with_state_are_those_of_every_release(ids: Callable[[str], list[str]]) -> None:
    """Each stateful step has the id it always had; new ones are added to step_ids.txt, none changes."""
    assert ids(FLEET) == GOLDEN.read_text(encoding="utf-8").splitlines()


def test_a_fleet_that_sees_no_weather_has_no_steps_for_it(ids: Callable[[str], list[str]]) -> None:
    """At a resume each step with state gets every snapshot, so the 32 of weather are left out: no other."""
    unseen = {part_of(step) for step in GOLDEN.read_text(encoding="utf-8").splitlines()} - {
        part_of(step) for step in ids(UNSEEN)
    }
    assert unseen == {("lane", part) for part in range(LANE_PARTS - WEATHER_PARTS, LANE_PARTS)}


def test_several_workers_have_one_more_step_that_keeps_nothing(tmp_path: Path) -> None:
    """Through it each gets what is for its targets; a store passes from one worker to several and back."""
    (tmp_path / "events.jsonl").touch()
    (tmp_path / "fleet.toml").write_text(FLEET, encoding="utf-8")
    dataflow = build(load(tmp_path / "fleet.toml"), Runtime(workers=2))
    found = [step.step_id for step in unfolded(to_rendered(dataflow).substeps) if step.op_type in STATEFUL]
    assert {*found} == {*GOLDEN.read_text(encoding="utf-8").splitlines(), "highwater.fan_out.arrived"}


def test_lane_and_group_have_a_step_for_each_part() -> None:
    """The list names as many parts of the lane and of the group as the stages have."""
    frozen = GOLDEN.read_text(encoding="utf-8").splitlines()
    for stage, parts in (("lane", LANE_PARTS), ("group", TARGET_PARTS)):
        expected = [f"highwater.{stage}.part_{part:02}" for part in range(parts)]
        assert [step for step in frozen if f".{stage}.part_" in step] == expected
