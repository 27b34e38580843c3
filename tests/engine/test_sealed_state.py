"""A stage as the state of `stateful_map`: bytes in the store, an object at work."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import TYPE_CHECKING

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main

from dataflows.engine.operators import as_state, keyed
from tests.engine.flows import AssetRecords, Fan, item, key_of, snapshots

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.items import Item


def build(each: Item, sealed: bytes | None) -> Fan:  # noqa: ARG001
    return Fan(sealed, 1)


def test_the_first_item_after_a_resume_thaws_the_stage() -> None:
    """Bytes become the stage they were written from; from then on the object stays."""
    mapper = as_state(build)
    state, out = mapper(b"41", [item(42, "a")])
    assert isinstance(state, Fan)
    assert copy.deepcopy(state) == b"42"
    assert [each.sequence for each in out] == [42]
    again, _ = mapper(state, [item(43, "a")])
    assert again is state
    with pytest.raises(AssertionError, match="after 43"):
        mapper(state, [item(43, "a")])


def test_of_a_dormant_stage_only_the_bytes_are_kept() -> None:
    """A million dropped assets take the memory of their tombstones; the next item thaws one."""
    mapper = as_state(build)
    state, _ = mapper(None, [item(1, "a")])
    state.dormant = True
    state, out = mapper(state, [item(2, "a")])
    assert state == b"2"
    assert [each.sequence for each in out] == [2]
    state, _ = mapper(state, [item(3, "a")])
    assert isinstance(state, Fan)


def test_the_store_holds_plain_bytes_and_a_resume_goes_on_from_them(tmp_path: Path) -> None:
    """No class of this program is in the store, and what was seen before a crash is known after it."""
    init_db_dir(tmp_path, 1)
    places = [(1, "a"), (2, "b"), (3, "a"), (4, "a"), (3, "b"), (4, "a")]
    source = AssetRecords([item(*place) for place in places], 1, set(), ends={3, 5})

    def run(out: list[Item]) -> None:
        dataflow = Dataflow("flow")
        by_key = keyed("key", op.input("source", dataflow, source), key_of, list)
        op.output(
            "out", op.key_rm("bare", op.stateful_map("asset", by_key, as_state(build))), TestingSink(out)
        )
        config = RecoveryConfig(tmp_path, timedelta(days=1))
        run_main(dataflow, epoch_interval=timedelta(0), recovery_config=config)

    out: list[Item] = []
    run(out)
    stored = [pickle.loads(data) for _, data in snapshots(tmp_path, "asset") if data]  # noqa: S301
    assert stored
    assert {type(state) for state in stored} == {bytes}
    assert stored[-1] in {b"2", b"3"}
    run(out)
    assert [each.sequence for (each,) in out] == [1, 2, 3, 4, 3]
    with pytest.raises(BytewaxRuntimeError, match="error calling"):
        run(out)
