"""Following files: what comes is read once, time passes in silence, and what cannot come is refused."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from dataflows.connectors import clocks
from dataflows.connectors.files import FileSource
from dataflows.connectors.lines import InputError
from dataflows.connectors.order_journal import JournalError
from dataflows.events import Reject
from dataflows.fleet.fleet import Input
from dataflows.instants import MICROSECONDS
from dataflows.items import Tick
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dataflows.items import Item

SECOND = MICROSECONDS["s"]


class Clock:
    """The monotonic clock, by hand; ``pause`` is what happens when it is looked at next."""

    def __init__(self) -> None:
        self.time = 1_000 * SECOND
        self.pause: Callable[[], None] = lambda: None

    def now(self) -> int:
        time, pause, self.pause = self.time, self.pause, lambda: None
        pause()
        return time

    def wait(self, seconds: float) -> None:
        self.time += int(seconds * SECOND)


class Live:
    """A file that a gateway writes, and the partition that follows it, through kills."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self.clock = clock
        self.path = folder / "live.jsonl"
        self.path.touch()
        self.status = RunStatus()
        self.part: Any = None

    def start(self, resume: bytes | None = None, *, journal: bool = True, **more: Any) -> None:  # noqa: ANN401
        self.kill()
        given = Input(
            (str(self.folder / "*.jsonl"),), 3, follow=True, tick_every=SECOND, tick_slack=5 * SECOND
        )
        folder = self.folder / "journal" if journal else None
        source = FileSource(given, self.status, ticks=True, journal=folder, **more)
        self.part = source.build_part("source", "lane-0", resume)

    def kill(self) -> None:
        if self.part is not None:
            self.part.close()

    def write(self, *arrivals: float, end: bytes = b"\n") -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(record(arrival) + b"\n" for arrival in arrivals).removesuffix(b"\n") + end)

    def read(self) -> list[tuple[int, int, float]]:
        """Sequence, part and arrival in seconds of what the next look gives."""
        return [shown(item) for item in self.part.next_batch()]


def record(arrival: float) -> bytes:
    row = {"kind": "telemetry", "asset": "a", "time": 0, "readings": {"x": 1.0}, "arrived": arrival}
    return json.dumps(row).encode()


def shown(item: Item) -> tuple[int, int, float]:
    body: Any = item.body
    return item.sequence, item.part, (body.arrival if isinstance(body, Tick) else body.arrived) / SECOND


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    clock = Clock()
    monkeypatch.setattr(clocks, "now", clock.now)
    monkeypatch.setattr("dataflows.connectors.source.now", clock.now)
    found = Live(tmp_path, clock)
    yield found
    found.kill()


def test_records_are_read_when_their_line_has_ended(live: Live) -> None:
    """Half a line waits for its other half; an idle source looks again within a tenth of a second."""
    live.start()
    assert (live.read(), live.part.next_awake() is None) == ([], False)
    live.write(1, 2, end=b"")
    assert live.read() == [(1, 0, 1)]
    assert live.part.next_awake() is None
    assert live.read() == []
    with live.path.open("ab") as file:
        file.write(b"\n")
    assert live.read() == [(2, 0, 2)]


def test_time_passes_in_silence_by_the_monotonic_clock_less_the_slack(live: Live) -> None:
    """The first tick comes a step beyond the slack; then one a step; a record begins all that anew."""
    live.start()
    live.clock.wait(100)
    assert live.read() == []
    live.write(50)
    assert live.read() == [(1, 0, 50)]
    live.clock.wait(5.9)
    assert live.read() == []
    live.clock.wait(0.1)
    assert live.read() == [(1, 1, 51)]
    live.clock.wait(0.9)
    assert live.read() == []
    live.clock.wait(1.5)
    assert live.read() == [(1, 2, 53.4)]
    live.write(52)
    assert live.read() == [(2, 0, 52)]
    live.clock.wait(6)
    assert live.read() == []
    live.clock.wait(1.4)
    assert live.read() == [(2, 1, 54.4)]


def test_a_record_that_is_there_is_read_before_any_tick(live: Live) -> None:
    """A process that was stopped for long, and finds records when it goes on, takes no time for silence."""
    live.start()
    live.write(10)
    live.read()
    live.clock.wait(30)
    live.write(12)
    assert live.read() == [(2, 0, 12)]

    def stopped_between_the_clock_and_the_look() -> None:
        live.clock.wait(30)
        live.write(13)

    live.clock.pause = stopped_between_the_clock_and_the_look
    assert live.read() == [(3, 0, 13)]
    live.clock.pause = lambda: live.clock.wait(30)
    assert live.read() == []


def test_no_tick_before_the_first_new_record_of_a_process(live: Live) -> None:
    """However long a restart took: what happened meanwhile is not known."""
    live.start()
    live.write(10)
    live.read()
    resume = live.part.snapshot()
    live.start(resume)
    live.clock.wait(3_600)
    assert live.read() == []
    live.write(11)
    assert live.read() == [(2, 0, 11)]
    live.clock.wait(6)
    assert live.read() == [(2, 1, 12)]


def test_what_was_chosen_after_the_snapshot_is_repeated(live: Live) -> None:
    """The same batches and ticks, though more has come and the files would now give another order."""
    (live.folder / "other.jsonl").touch()
    live.start()
    live.write(10)
    live.read()
    resume = live.part.snapshot()
    live.write(20, 30)
    chosen = [live.read()]
    live.clock.wait(7)
    chosen.append(live.read())
    (live.folder / "other.jsonl").write_bytes(record(15) + b"\n")
    chosen.append(live.read())
    assert chosen == [[(2, 0, 20), (3, 0, 30)], [(3, 1, 32)], [(4, 0, 15)]]
    live.write(16, 17, 40)
    for again in (resume, None):
        live.start(again)
        if again is None:
            assert live.read() == [(1, 0, 10)]
        assert [live.read() for _ in chosen] == chosen
    assert live.read() == [(5, 0, 16), (6, 0, 17), (7, 0, 40)]


def test_a_replay_repeats_the_journal_and_ends_with_it(live: Live) -> None:
    """Without following, without a clock, and without a trace."""
    live.start()
    live.write(10, 20)
    chosen = [live.read()]
    live.clock.wait(7)
    chosen.append(live.read())
    live.write(30)
    before = {path: path.read_bytes() for path in (live.folder / "journal").iterdir()}
    live.start(journal=False, replayed=live.folder / "journal")
    assert [live.read() for _ in chosen] == chosen
    with pytest.raises(StopIteration):
        live.read()
    assert {path: path.read_bytes() for path in (live.folder / "journal").iterdir()} == before


def test_a_stop_ends_it_and_the_next_process_goes_on(live: Live) -> None:
    """Following ends only so."""
    live.start()
    live.write(10)
    live.read()
    live.status.stop = True
    with pytest.raises(StopIteration):
        live.read()
    resume = live.part.snapshot()
    live.status.stop = False
    live.write(11)
    live.start(resume)
    assert live.read() == [(2, 0, 11)]


def test_a_store_that_was_followed_can_be_read_to_its_end(live: Live) -> None:
    """Without `follow` what is there is read, the journal goes on, and the run ends."""
    live.start()
    live.write(10)
    live.read()
    resume = live.part.snapshot()
    live.write(20, 30)
    chosen = live.read()
    live.write(40)
    live.kill()
    source = FileSource(Input((str(live.path),), 3), live.status, journal=live.folder / "journal")
    live.part = source.build_part("source", "lane-0", resume)
    assert live.read() == chosen
    assert live.read() == [(4, 0, 40)]
    with pytest.raises(StopIteration):
        live.read()
    end = live.part.snapshot()
    live.write(50)
    live.start(end)
    assert live.read() == [(5, 0, 50)]


@pytest.mark.parametrize("what", ["cut", "replaced", "removed"])
def test_a_file_that_will_not_go_on_ends_the_run(live: Live, what: str) -> None:
    """Waiting for it would be waiting for ever; the error says what happened to which file."""
    live.start()
    live.write(1, 2)
    live.read()
    if what == "cut":
        live.path.write_bytes(b"")
    elif what == "replaced":
        live.write(3)
        live.path.rename(live.folder / "old")
        live.path.write_bytes(record(9) + b"\n")
        assert live.read() == [(3, 0, 3)]
    else:
        live.path.unlink()
    with pytest.raises(InputError, match=f"live.jsonl was {what}"):
        live.read()


def test_followed_records_need_their_arrival(live: Live) -> None:
    """One without is rejected and ends nothing; registry rows may do without, no host's clock stands in."""
    live.start()
    live.path.write_bytes(b'no JSON\n{"kind":"asset","asset":"a","class":"c"}\n')
    assert len(live.part.next_batch()) == 2
    with live.path.open("ab") as file:
        file.write(b'{"kind":"fault","asset":"a","time":0,"code":"E1"}\n')
        file.write(record(10) + b"\n")
    without, after = live.part.next_batch()
    assert isinstance(without.body, Reject)
    assert (without.body.reason, without.position[1]) == ("mixed_arrivals", 3)
    assert shown(after) == (4, 0, 10)
    resume = live.part.snapshot()
    live.start(resume)
    live.write(20)
    assert live.read() == [(5, 0, 20)]


@pytest.mark.parametrize("name", ["-", "a.jsonl.gz"])
def test_only_plain_files_can_be_followed(tmp_path: Path, name: str) -> None:
    """Neither standard input nor gzip, and it is said before anything runs."""
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b""))
    path = name if name == "-" else str(tmp_path / name)
    with pytest.raises(InputError, match="cannot be followed"):
        FileSource(Input((path,), 1, follow=True), RunStatus())


def test_a_journal_of_another_store_is_refused(live: Live) -> None:
    """One that is behind the store is not gone on with."""
    live.start()
    live.write(10, 20)
    live.read()
    resume = live.part.snapshot()
    live.kill()
    for path in (live.folder / "journal").iterdir():
        path.unlink()
    live.start(resume)
    with pytest.raises(JournalError, match="the recovery store has read up to 1"):
        live.read()
