"""State in parts: only what changed is written, and what is read back belongs together."""

from __future__ import annotations

import random
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from dataflows.state.snapshots import SnapshotError
from tests.engine.flows import AssetRecords, item, snapshots, tally

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from dataflows.items import Item

EVERY_BATCH = timedelta(0)
DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A new store of two partitions."""
    init_db_dir(tmp_path, 2)
    return tmp_path


def run(
    store: Path, source: AssetRecords, *, epoch: timedelta = EVERY_BATCH, **options: int | Collection[int]
) -> dict[str, Any]:
    """One execution, with the snapshots of all epochs kept; what each key said at the end of the input."""
    out: list[Item] = []
    config = RecoveryConfig(store, DAY)
    run_main(tally(source, out, **options), epoch_interval=epoch, recovery_config=config)
    return {each.position[0]: orjson.loads(each.body) for each in out}


def touched(*parts: int, crash: int | None = None, ends: tuple[int, ...] = ()) -> AssetRecords:
    """Records of one key, that change one part each; with places of a crash and of ends of the input."""
    items = [item(number, "a", b"%d" % part) for number, part in enumerate(parts, start=1)]
    return AssetRecords(items, 1, set() if crash is None else {crash}, set(ends))


def refusal(store: Path, source: AssetRecords, **options: int | Collection[int]) -> str:
    """Why a run was refused."""
    with pytest.raises((BytewaxRuntimeError, SnapshotError)) as caught:
        run(store, source, **options)
    # The engine wraps what a step raises while it works, and not what one raises while it is built.
    error = caught.value if isinstance(caught.value, SnapshotError) else caught.value.__cause__
    assert isinstance(error, SnapshotError), f"no SnapshotError behind {caught.value}"
    return str(error)


def test_a_part_that_did_not_change_is_not_written(store: Path) -> None:
    """Each part has a snapshot for the epochs in which it changed, and for no other."""
    changes = [0, 0, 3, 0, 5, 5, 0, 3, 0, 0]
    run(store, touched(*changes, crash=len(changes)))
    written = {part: len(snapshots(store, f"step.part_{part:02}")) for part in range(8)}
    # The last epoch is cut off by the abort, so the last change may be missing.
    assert written[0] in {changes.count(0) - 1, changes.count(0)}
    assert {part: count for part, count in written.items() if part} == {
        1: 0,
        2: 0,
        3: 2,
        4: 0,
        5: 2,
        6: 0,
        7: 0,
    }
    assert len(snapshots(store, "step.main")) >= len(changes) - 1


def test_the_main_snapshot_stays_small(store: Path) -> None:
    """With parts of 100 KB, what is written for the key in every epoch has a few hundred bytes."""
    run(store, touched(*[0, 1, 2, 3] * 3, crash=12), size=100_000)
    main = [len(data or b"") for _, data in snapshots(store, "step.main")]
    parts = [len(data or b"") for _, data in snapshots(store, "step.part_01")]
    assert max(main) < 500
    assert min(parts) > 100_000


@pytest.mark.parametrize(("epoch", "batch"), [(EVERY_BATCH, 10), (timedelta(milliseconds=3), 1)])
def test_state_is_exact_after_crashes(store: Path, epoch: timedelta, batch: int) -> None:
    """After ten crashes, main and parts of every key are those of one uninterrupted run."""
    chance = random.Random(5)
    records = [item(n, f"key-{chance.randrange(12)}", b"%d" % chance.randrange(8)) for n in range(1, 600)]
    expected = {}
    for key in {record.position[0] for record in records}:
        parts = [int(record.body) for record in records if record.position[0] == key]
        expected[key] = [len(parts), [[part, parts.count(part)] for part in sorted(set(parts))]]
    source = AssetRecords(records, batch, crashes=set(range(50, 550, 50)), ends=set())
    for _ in range(10):
        assert run(store, source, epoch=epoch) == {}
    assert run(store, source, epoch=epoch) == expected


def test_a_key_that_stays_quiet_after_a_resume_still_has_its_state(store: Path) -> None:
    """The end of a resumed run finds keys as they were, also those that no record woke."""
    items = [
        item(n, key, b"%d" % part) for n, (key, part) in enumerate([("quiet", 1), ("quiet", 2), ("loud", 4)])
    ]
    source = AssetRecords(items, 1, set(), ends={2})
    quiet = [2, [[1, 1], [2, 1]]]
    assert run(store, source) == {"quiet": quiet}
    assert run(store, source) == {"quiet": quiet, "loud": [1, [[4, 1]]]}
    assert run(store, source) == {"quiet": quiet, "loud": [1, [[4, 1]]]}


@pytest.mark.parametrize("more", [[], [1]])
def test_parts_of_another_epoch_are_refused(store: Path, more: list[int]) -> None:
    """A part older than the main snapshot counts on is named, with what to do; nothing runs on it."""
    source = touched(0, 1, 0, 1, 1, 0, *more, ends=(6,))
    run(store, source)
    for path in store.glob("part-*.sqlite3"):
        connection = sqlite3.connect(path)
        query = (
            "DELETE FROM snaps WHERE step_id LIKE '%part_01%' AND snap_epoch > "
            "(SELECT min(snap_epoch) FROM snaps WHERE step_id LIKE '%part_01%')"
        )
        connection.execute(query)
        connection.commit()
        connection.close()
    said = refusal(store, source)
    assert "step 'flow.step', key 'a': parts [1] of the recovery store are not of the same epoch" in said
    assert "restore all recovery partitions from one backup" in said


def test_a_lost_part_is_refused(store: Path) -> None:
    """A part that is missing altogether is refused like one of another epoch."""
    source = touched(0, 1, 2)
    run(store, source)
    for path in store.glob("part-*.sqlite3"):
        connection = sqlite3.connect(path)
        connection.execute("DELETE FROM snaps WHERE step_id LIKE '%part_02%'")
        connection.commit()
        connection.close()
    assert "parts [2]" in refusal(store, source)


def test_the_number_of_parts_may_grow_and_not_shrink(store: Path) -> None:
    """A release with more parts reads the store of one with fewer; the other way round is refused."""
    source = touched(0, 1, 9, 1, ends=(2, 3))
    assert run(store, source, parts=8) == {"a": [2, [[0, 1], [1, 1]]]}
    assert run(store, source, parts=10) == {"a": [3, [[0, 1], [1, 1], [9, 1]]]}
    said = refusal(store, source, parts=8)
    assert "has state in 10 parts" in said


def test_a_part_gets_its_step_when_it_is_used(store: Path) -> None:
    """With steps for two parts, for all, then for those in the store, and crashes, state is exact."""
    parts = [0, 1, 0, 1, 5, 0, 5, 1, 0, 1, 5, 0]
    items = [item(number, "a", b"%d" % part) for number, part in enumerate(parts, start=1)]
    source = AssetRecords(items, 1, crashes={2, 6, 10}, ends={4, 8})
    flows: list[tuple[Collection[int], list[Any]]] = [
        ({0, 1}, [4, [[0, 2], [1, 2]]]),
        (range(8), [8, [[0, 3], [1, 3], [5, 2]]]),
        ({0, 1, 5}, [12, [[0, 5], [1, 4], [5, 3]]]),
    ]
    for used, expected in flows:
        assert run(store, source, used=used) == {}
        assert run(store, source, used=used) == {"a": expected}


def test_a_part_that_changes_without_a_step_ends_the_run_and_loses_nothing(store: Path) -> None:
    """A stage that changes a part which the flow said it cannot use is named; with the step it goes on."""
    source = touched(0, 0, 3, 0)
    with pytest.raises(BytewaxRuntimeError) as caught:
        run(store, source, used={0})
    assert "key 'a': part 3 changed, and has no step that writes it" in str(caught.value.__cause__)
    assert run(store, source) == {"a": [4, [[0, 3], [3, 1]]]}


def test_a_flow_without_the_step_of_a_stored_part_is_refused(store: Path) -> None:
    """Nothing runs on state that misses a part, and its snapshots stay for a flow with its step."""
    source = touched(0, 2, 0, 0, 2, ends=(3,))
    run(store, source)
    before = snapshots(store, "step.part_02")
    assert "parts [2]" in refusal(store, source, used={0})
    assert snapshots(store, "step.part_02") == before != []
    assert run(store, source) == {"a": [5, [[0, 3], [2, 2]]]}
