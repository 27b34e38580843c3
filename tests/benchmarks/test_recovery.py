"""How the benchmarks of recovery and growth judge, and the latter in half a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from benchmarks import growth, recovery
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from pathlib import Path


def test_a_pause_is_the_longest_gap_around_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """From what the source gave last to when it is asked again; gaps within an epoch are none."""
    now = [0.0]
    monkeypatch.setattr("benchmarks.recovery.time.perf_counter", lambda: now[0])
    status = RunStatus()
    pauses = recovery.Pauses(status, epochs=2, most=250)

    def read(after: float, records: int) -> None:
        now[0] += after
        pauses.asked()
        now[0] += 9.0  # the source's own time is no pause
        status.records += records
        pauses.answered()

    read(0.0, 100)
    read(5.0, 100)
    pauses.snapped()
    read(2.0, 100)
    assert (pauses.seconds, pauses.records, status.stop) == ([2.0], [300], False)
    read(0.5, 200)
    assert not pauses.full()
    read(0.5, 100)
    assert pauses.full()
    pauses.snapped()
    read(1.0, 0)
    assert (pauses.seconds, status.stop, pauses.full()) == ([2.0, 1.0], True, False)


def test_assets_send_in_turn_and_go_on(tmp_path: Path) -> None:
    """A recording that is appended to goes on with the next asset, an hour after its last event."""
    path = tmp_path / "recording.jsonl"
    recovery.record(path, 3, 4)
    recovery.record(path, 3, 3)
    events = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [event["asset"][-1] for event in events] == list("0120120")
    assert [event["time"][11:13] for event in events] == ["00", "00", "00", "01", "01", "01", "02"]


def samples(**last: float) -> list[growth.Sample]:
    """Of a run in which all is as documented, but for what its second half is given."""
    found = []
    for number in range(1, 25):
        fields = {
            "seconds": number * 10.0,
            "events": number * 5_000,
            "rows": 1.5,
            "state": 600_000,
            "store": 2_000_000,
            "logs": 66_000_000,
            "journal": number * 10_000,
            "outputs": number * 1_800_000,
            "log": 20_000,
            "memory": 340_000_000,
        }
        found.append(growth.Sample(**(fields | (last if number > 12 else {}))))
    return found


def test_what_is_as_documented_is_not_wrong() -> None:
    """Outputs and journal grow evenly, all else stays."""
    assert growth.check(samples()) == []


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"state": 900_000}, "snapshots grew"),
        ({"rows": 9.0, "state": 3_600_000}, "not compacted"),
        ({"store": 20_000_000}, "files are larger than 3 times"),
        ({"logs": 900_000_000}, "logs are larger"),
        ({"memory": 400_000_000}, "memory grew"),
        ({"journal": 9_000_000}, "journal holds more"),
        ({"outputs": 22_000_000}, "outputs grew"),
    ],
)
def test_what_grows_otherwise_is_told(last: dict[str, float], said: str) -> None:
    """One sentence for each, and only for that."""
    (wrong,) = growth.check(samples(**last))
    assert said in wrong


@pytest.mark.full
def test_half_a_minute_of_load_grows_as_documented() -> None:
    """The benchmark asserts it: store, order journal, outputs and memory."""
    growth.main(["--minutes", "0.5"])
