"""Wild arrivals: they lead neither the order of several files, nor ticks, nor a paced replay; pauses do."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.arrivals import MAX_JUMP, NEVER, Arrivals
from dataflows.connectors.kafka.partitions import PartitionBuffer
from dataflows.connectors.merge import Merge
from dataflows.instants import HOUR
from tests.connectors.worlds import kept, merged, raw, seen, telemetry

if TYPE_CHECKING:
    import random

DAY = 24 * HOUR
START = 1_700_000_000
YEARS = 10 * 365 * 24 * 3600


@dataclass
class Sent:
    """A record and its place in the order, seconds."""

    line: bytes
    order: int


#: Seconds to the next record (some after a pause of 40 days), and wild arrivals in front of it.
_steps = st.lists(
    st.tuples(
        st.integers(0, 3_600) | st.just(40 * 86_400),
        st.lists(st.integers(YEARS, 2 * YEARS), max_size=3),
    ),
    min_size=1,
    max_size=12,
)


def sent(steps: list[tuple[int, list[int]]], mark: int) -> list[Sent]:
    """Records of one file; a wild arrival has the place of the record before it."""
    now, found = START, [Sent(telemetry(START, mark), START)]
    for step, wild in steps:
        found += [Sent(telemetry(START + ahead, mark), now) for ahead in wild]
        now += step
        found.append(Sent(telemetry(now, mark), now))
    return found


@given(
    files=st.lists(_steps, min_size=2, max_size=4),
    shuffler=st.randoms(use_true_random=False),
)
def test_a_wild_arrival_leads_no_other_record(
    files: list[list[tuple[int, list[int]]]], shuffler: random.Random
) -> None:
    """Files with wild arrivals and pauses are merged as without; a resume between any two changes nothing."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        paths, expected = [], []
        for number, steps in enumerate(files):
            path = Path(folder) / f"{number}.jsonl"
            records = sent(steps, number)
            path.write_bytes(b"".join(record.line + b"\n" for record in records))
            paths.append(str(path))
            expected += [(each.order, number, line, each.line) for line, each in enumerate(records)]
        merge, found = opened.enter_context(closing(merged(paths))), []
        while items := seen(merge.read_batch(shuffler.randint(1, 5), len(found))[0]):
            found += items
            if shuffler.random() < 0.3:
                merge = opened.enter_context(closing(merged(paths, kept(merge))))
        assert [line for _, _, _, line in found] == [line for _, _, _, line in sorted(expected)]
        assert merge.latest is not None
        assert merge.latest <= max(order for order, *_ in expected) * 1_000_000


def test_the_first_arrival_of_a_file_may_be_wild(tmp_path: Path) -> None:
    """It comes first, and the rest of its file has the place that its own arrivals say."""
    wild, honest = tmp_path / "wild.jsonl", tmp_path / "honest.jsonl"
    wild.write_bytes(b"".join(telemetry(at, 1) + b"\n" for at in (START + YEARS, START + 10, START + 30)))
    honest.write_bytes(b"".join(telemetry(START + at, 2) + b"\n" for at in (0, 20, 40)))
    with closing(merged([str(wild), str(honest)])) as merge:
        lines = [item.body for item in merge.read_batch(10, 0)[0]]
        assert lines == [
            telemetry(START + YEARS, 1),
            *(telemetry(START + 10 * step, 2 - step % 2) for step in range(5)),
        ]
        assert merge.latest == (START + 40) * 1_000_000


class Followed:
    """Two growing files, read as far as they go."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / "a.jsonl", folder / "b.jsonl"]
        for path in self.paths:
            path.touch()
        self.merge = Merge([[str(path) for path in self.paths]], plain=False, body=raw, follow=True)
        self.read = 0

    def write(self, number: int, *seconds: int) -> None:
        with self.paths[number].open("ab") as file:
            file.writelines(telemetry(START + at, number) + b"\n" for at in seconds)

    def lines(self, batch: int = 100) -> list[bytes | object]:
        items, _ = self.merge.read_batch(batch, self.read)
        self.read += len(items)
        return [item.body for item in items]


def test_a_wild_arrival_in_a_growing_file_holds_up_nothing(tmp_path: Path) -> None:
    """It waits while other files have records, until its own file contradicts it."""
    both = Followed(tmp_path)
    with closing(both.merge):
        both.write(0, 0, YEARS)
        both.write(1, 5, 10)
        assert both.lines(2) == [telemetry(START, 0), telemetry(START + 5, 1)]
        both.write(0, 8)
        assert both.lines() == [
            telemetry(START + YEARS, 0),
            telemetry(START + 8, 0),
            telemetry(START + 10, 1),
        ]
        assert both.merge.latest == (START + 10) * 1_000_000, "ticks go on from there"


def test_a_wild_arrival_that_nothing_contradicts_yet_moves_no_time(tmp_path: Path) -> None:
    """The last record of a growing file is read, and is only a claim until another one confirms it."""
    both = Followed(tmp_path)
    with closing(both.merge):
        both.write(0, 0, YEARS)
        assert len(both.lines()) == 2
        assert both.merge.latest == START * 1_000_000
        both.write(0, 7)
        both.write(1, 9)
        assert both.lines() == [telemetry(START + 7, 0), telemetry(START + 9, 1)]
        both.write(0, 40 * 86_400)
        assert len(both.lines()) == 1
        assert both.merge.latest == (START + 9) * 1_000_000
        both.write(0, 40 * 86_400 + 1)
        assert len(both.lines()) == 1
        assert both.merge.latest == (START + 40 * 86_400 + 1) * 1_000_000, (
            "a pause is confirmed by the next record"
        )


def test_a_replay_does_not_wait_for_a_wild_arrival(tmp_path: Path) -> None:
    """Its record plays at once, contradicted by the next or the last of all; a pause is waited for."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b"".join(telemetry(START + at) + b"\n" for at in (0, YEARS, 10, 40 * 86_400, 40 * 86_400 + 5, YEARS))
    )
    with closing(merged([str(path)])) as merge:
        dues = []
        while (due := merge.due()) is not None:
            dues.append(due // 1_000_000 - START)
            assert len(merge.read_batch(1, len(dues) - 1, until=due)[0]) == 1
    assert dues == [0, 0, 10, 40 * 86_400, 40 * 86_400 + 5, 40 * 86_400 + 5]


def test_a_replay_does_not_wait_for_a_wild_event_time(tmp_path: Path) -> None:
    """Of a recording without arrivals; a pause is waited for from its second record on."""
    path = tmp_path / "a.jsonl"
    times = (0, YEARS, 10, 40 * 86_400, 40 * 86_400 + 5)
    lines = [telemetry(None).replace(b'"time": 0', b'"time": %d' % (START + at)) for at in times]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    with closing(merged([str(path)])) as merge:
        dues = []
        for number in range(len(lines)):
            due = merge.due()
            dues.append(None if due is None else due // 1_000_000 - START)
            assert len(merge.read_batch(1, number, until=due)[0]) == 1
    assert dues == [None, 0, 10, 10, 40 * 86_400 + 5]


def test_the_first_of_all_arrivals_is_taken_back_when_it_was_wild() -> None:
    """Alone it is believed, so that ticks may follow it; the next one, far before it, replaces it."""
    arrivals = Arrivals(NEVER)
    arrivals.add(10 * MAX_JUMP, [])
    assert arrivals.latest == 10 * MAX_JUMP
    arrivals.add(3 * DAY, [])
    assert arrivals.latest == 3 * DAY
    arrivals.add(2 * DAY, [])
    assert arrivals.latest == 3 * DAY


def test_a_wild_timestamp_leads_no_other_message_of_a_topic() -> None:
    """A partition with one has its place by the timestamps around it; a pause has its own place."""
    part = PartitionBuffer(("events", 0), 0)
    for offset, second in enumerate((0, YEARS, 5, 40 * 86_400, 40 * 86_400 + 1)):
        part.buffer.append((offset, (START + second) * 1_000_000, b""))
    orders = []
    while part.buffer:
        orders.append(part.order(3)[0] // 1_000_000 - START)
        assert part.due() == part.order(3)[0]
        part.pop()
    assert orders == [0, 0, 5, 40 * 86_400, 40 * 86_400 + 1]
    assert part.arrivals.latest == (START + 40 * 86_400 + 1) * 1_000_000
