"""A stage of one key: bytes in the store, an object at work."""

from __future__ import annotations

import pickle
import random
from copy import deepcopy
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main

from dataflows.engine.operators import _as_state, _Awake, _Collected, keyed, stateful_sealed
from tests.engine.flows import AssetRecords, Fan, Listed, item, key_of, snapshots

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dataflows.items import Item


class Mortal(Fan):
    """A `Fan` that lies dormant after every tenth item, and is finished after every fiftieth."""

    @property
    def dormant(self) -> bool:
        return self.last % 10 == 0

    @property
    def finished(self) -> bool:
        return self.last % 50 == 0


def build(each: Item, sealed: bytes | None) -> Fan:  # noqa: ARG001
    return Fan(sealed, 1)


def mapper_of(
    build: Callable[[Item, bytes | None], Fan], collected: _Collected | None = None
) -> Callable[[Any, list[Item]], tuple[Any, None]]:
    return _as_state(_Awake(), build, key_of, collected or _Collected(Listed))


def test_the_first_item_after_a_resume_builds_the_stage_from_its_bytes() -> None:
    """Bytes become the stage they were written from; from then on the object stays."""
    collected = _Collected(Listed)
    mapper = mapper_of(build, collected)
    state, _ = mapper(b"41", [item(42, "a")])
    assert [each.sequence for each in collected.take()] == [42]
    assert deepcopy(state) == b"42"
    again, _ = mapper(state, [item(43, "a")])
    assert again is state
    with pytest.raises(AssertionError, match="after 43"):
        mapper(state, [item(43, "a")])


class Waiting(Listed):
    """Outputs in which stages finish their work when they are asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.work: list[tuple[Hasty, int]] = []

    def settle(self) -> None:
        for stage, last in self.work:
            stage.last = last


class Hasty(Fan):
    """A stage that leaves its work to the outputs."""

    def process_into(self, items: list[Item], made: Listed) -> None:
        assert isinstance(made, Waiting)
        made.work.append((self, items[-1].sequence))


def test_a_snapshot_holds_work_that_stages_finish_together() -> None:
    """Even where the engine asks for it before the next step takes their outputs."""
    collected = _Collected(Waiting)
    mapper = mapper_of(lambda _, sealed: Hasty(sealed, 1), collected)
    states = [mapper(None, [item(number, name)])[0] for number, name in ((41, "a"), (42, "b"))]
    assert [deepcopy(state) for state in states] == [b"41", b"42"]


def test_of_a_dormant_stage_only_the_bytes_are_kept() -> None:
    """A million dropped assets take the memory of their tombstones; the next item builds one again."""
    built: list[bytes | None] = []

    def noted(_: Item, sealed: bytes | None) -> Mortal:
        built.append(sealed)
        return Mortal(sealed, 1)

    mapper, state = mapper_of(noted), None
    for number in (9, 10, 11, 12, 50):
        state, _ = mapper(state, [item(number, "a")])
        assert (state is None) == (number == 50)
        assert (state == b"10") == (number == 10)
    assert built == [None, b"10"]


@pytest.mark.parametrize("epoch", [timedelta(0), timedelta(milliseconds=5), timedelta(days=1)])
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_a_stage_is_built_from_all_that_came_before(batch: int, epoch: timedelta, tmp_path: Path) -> None:
    """Whether items go to the step of their key or find their stage awake, over a crash and two ends."""
    init_db_dir(tmp_path, 1)
    chance = random.Random(5)
    items = [item(number, chance.choice("abc")) for number in range(1, 401)]
    source = AssetRecords(items, batch, crashes={200}, ends={100, 300})

    def built(each: Item, sealed: bytes | None) -> Mortal:
        before = [0, *(old.sequence for old in items[: each.sequence - 1] if key_of(old) == key_of(each))]
        assert int(sealed or 0) == (before[-1] if before[-1] % 50 else 0)
        return Mortal(sealed, 1)

    out: list[Item] = []
    for _ in range(4):
        dataflow = Dataflow("flow")
        by_worker = keyed("key", op.input("source", dataflow, source), lambda _: "worker", list)
        worked = stateful_sealed("asset", "together", by_worker, built, key_of, Listed)
        op.output("out", op.flatten("one_by_one", worked), TestingSink(out))
        run_main(dataflow, epoch_interval=epoch, recovery_config=RecoveryConfig(tmp_path))
    assert {each.sequence for each in out} == set(range(1, 401))


def test_the_store_holds_plain_bytes_and_a_resume_goes_on_from_them(tmp_path: Path) -> None:
    """No class of this program is in the store, and what was seen before a crash is known after it."""
    init_db_dir(tmp_path, 1)
    places = [(1, "a"), (2, "b"), (3, "a"), (4, "a"), (3, "b"), (4, "a")]
    source = AssetRecords([item(*place) for place in places], 1, set(), ends={3, 5})

    def run(out: list[Item]) -> None:
        dataflow = Dataflow("flow")
        by_worker = keyed("key", op.input("source", dataflow, source), lambda _: "worker", list)
        worked = stateful_sealed("asset", "together", by_worker, build, key_of, Listed)
        op.output("out", op.flatten("one_by_one", worked), TestingSink(out))
        config = RecoveryConfig(tmp_path, timedelta(days=1))
        run_main(dataflow, epoch_interval=timedelta(0), recovery_config=config)

    out: list[Item] = []
    run(out)
    stored = [pickle.loads(data) for _, data in snapshots(tmp_path, "asset") if data]  # noqa: S301
    assert stored
    assert {type(state) for state in stored} == {bytes}
    assert stored[-1] in {b"2", b"3"}
    run(out)
    assert [each.sequence for each in out] == [1, 2, 3, 4, 3]
    with pytest.raises(BytewaxRuntimeError, match="error calling"):
        run(out)
