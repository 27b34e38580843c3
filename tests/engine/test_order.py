"""The order of effect is restored at every group and every output, however the engine cuts its work."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from dataflows.items import by_order
from tests.chaos.harness import free_ports
from tests.engine.flows import ASSETS, AssetRecords, ordered, records
from tests.processes import PATIENCE, environment, start

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.items import Item

EPOCH = timedelta(milliseconds=2)
BATCHES = [1, 7, 100, 1_000, 5_000]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("count", "width"), [(6_000, 1), (600, 40)])
def test_groups_and_outputs_see_the_global_order(batch: int, count: int, width: int) -> None:
    """Each group's items are in order over all its activations (it checks), and so are the rows of all."""
    out: list[Item] = []
    run_main(ordered(AssetRecords(records(count), batch, set(), set()), out, width=width))
    places = [by_order(item) for item in out]
    assert len(places) == count * width
    assert places == sorted(places)
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("count", "width"), [(3_000, 1), (300, 40)])
def test_items_that_leave_early_keep_the_global_order(batch: int, count: int, width: int) -> None:
    """Items of lane and assets that pass the groups by arrive in one activation with those that did not."""
    out: list[Item] = []
    source = AssetRecords(records(count), batch, set(), set())
    run_main(ordered(source, out, width=width, early=True))
    places = [by_order(item) for item in out]
    assert places == sorted(places)
    assert len(set(places)) == len(places)
    at_lane = [number for number in range(1, count + 1) if number % 7 == 0]
    at_asset = [number for number in range(1, count + 1) if number % 7 and number % 5 == 0]
    periods = sum(n % 3 == 0 for n in at_lane) + width * sum(n % 3 == 0 for n in at_asset)
    assert len(places) == len(at_lane) + width * (count - len(at_lane)) + periods


@pytest.mark.parametrize(("batch", "count"), [(1, 210), (7, 700), (100, 1_400)])
@pytest.mark.parametrize("width", [1, 40])
def test_the_order_survives_crashes_with_epochs_of_milliseconds(
    batch: int, count: int, width: int, tmp_path: Path
) -> None:
    """Lane, assets and groups that refuse whatever is out of order go through six crashes and resumes."""
    init_db_dir(tmp_path, 2)
    source = AssetRecords(
        records(count), batch, crashes=set(range(count // 7, count, count // 7)), ends=set()
    )
    out: list[Item] = []
    begins = []
    config = RecoveryConfig(tmp_path)
    for _ in range(7):
        begins.append(len(out))
        run_main(ordered(source, out, width=width, early=True), epoch_interval=EPOCH, recovery_config=config)
    for begin, end in zip(begins, [*begins[1:], len(out)], strict=True):
        places = [by_order(item) for item in out[begin:end]]
        assert places == sorted(places)
    firsts = [out[begin].sequence for begin in begins]
    assert sum(first > 1 for first in firsts) >= 3, f"the runs must have resumed: {firsts}"
    unbroken: list[Item] = []
    source = AssetRecords(records(count), batch, set(), set())
    run_main(ordered(source, unbroken, width=width, early=True))
    assert {by_order(item) for item in out} == {by_order(item) for item in unbroken}


def test_two_processes_keep_the_order_of_each_asset(tmp_path: Path) -> None:
    """From the lane to assets on two processes nothing is lost, and no asset sees a record out of order."""
    count = 20_000
    addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(2))
    folder, log = tmp_path / "counts", tmp_path / "log"
    folder.mkdir()
    processes = [
        start(
            *("tests.engine.flows", str(number), addresses, str(folder), str(count)),
            env=environment(),
            out=log,
        )
        for number in range(2)
    ]
    assert [process.wait(PATIENCE) for process in processes] == [0, 0], log.read_text()
    counts = {path.name: int(path.read_text()) for path in folder.iterdir()}
    assert sorted(counts) == ["worker-0-of-2", "worker-1-of-2"]
    assert sum(counts.values()) == 2 * count
    assert ASSETS > 100, "assets enough that both processes have some"
