"""Several files as one sequence: by arrival, wherever reading begins, and repeatable if it was a choice."""

from __future__ import annotations

import gzip
import json
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.lines import InputError
from dataflows.connectors.merge import FilePosition, Merge
from tests.connectors.worlds import Seen, kept, merged, raw, seen, telemetry

if TYPE_CHECKING:
    import random

    from dataflows.connectors.order_journal import Run
    from dataflows.items import Item

#: Arrivals that run back, that are missing, that count for nothing since the record is malformed; blanks.
LINES = st.one_of(
    st.builds(telemetry, st.integers(0, 30), st.integers(0, 9)),
    st.builds(telemetry, st.integers(0, 30).map(lambda s: f"1970-01-01T00:00:{s:02}Z"), st.integers(0, 9)),
    st.sampled_from(
        [b"no JSON", b"", b"  ", b'{"kind":"telemetry","arrived":29}', telemetry(None), telemetry("x")]
    ),
    st.just(b'{"kind":"asset","asset":"b","class":"c"}'),
)


def arrival(line: bytes) -> int | None:
    """When a record says that it arrived, in microseconds; None where it is malformed or says nothing."""
    try:
        row = json.loads(line)
        if "asset" not in row or row.get("arrived") is None:
            return None
        given = row["arrived"]
        return (int(given[17:-1]) if isinstance(given, str) else given) * 1_000_000
    except ValueError:
        return None


def expected(files: dict[str, list[bytes]]) -> list[Seen]:
    """A stable sort by the running maximum of each file."""
    keyed = []
    for number, (path, lines) in enumerate(files.items()):
        latest = -1
        for line, content in enumerate(lines, start=1):
            if not content.strip():
                continue
            told = arrival(content)
            latest = latest if told is None else max(latest, told)
            keyed.append((latest, number, line, path, content))
    return [
        (sequence, path, line, content)
        for sequence, (_, _, line, path, content) in enumerate(sorted(keyed), start=1)
    ]


@given(
    files=st.lists(st.lists(LINES, max_size=8), min_size=2, max_size=4),
    packed=st.booleans(),
    shuffler=st.randoms(use_true_random=False),
)
def test_files_are_merged_by_arrival_wherever_a_run_begins(
    files: list[list[bytes]], packed: bool, shuffler: random.Random
) -> None:
    """The order is that of a stable sort; batches of any size and a resume between any two change nothing."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        written = {}
        for number, lines in enumerate(files):
            path = Path(folder) / f"{number}.jsonl"
            content = b"\n".join(lines)
            path.write_bytes(gzip.compress(content) if packed and number % 2 else content)
            written[str(path)] = content.split(b"\n")
        merge, found = opened.enter_context(closing(merged(list(written)))), []
        while items := seen(merge.read_batch(shuffler.randint(1, 5), len(found))[0]):
            found += items
            if shuffler.random() < 0.5:
                places = kept(merge)
                merge = opened.enter_context(closing(merged(list(written), places)))
        assert found == expected(written)


@dataclass
class Growing:
    """Files that are written bit by bit."""

    left: dict[str, bytes]

    def grow(self, shuffler: random.Random) -> None:
        path = shuffler.choice(list(self.left))
        size = shuffler.randint(0, 200)
        with Path(path).open("ab") as file:
            file.write(self.left[path][:size])
        self.left[path] = self.left[path][size:]


@given(
    files=st.lists(st.lists(st.builds(telemetry, st.integers(0, 30)), max_size=6), min_size=1, max_size=3),
    shuffler=st.randoms(use_true_random=False),
)
def test_what_was_chosen_live_is_repeated_from_its_runs(
    files: list[list[bytes]], shuffler: random.Random
) -> None:
    """However files grow, each record is taken once, in its file's order; the runs give the same again."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        paths = [str(Path(folder) / f"{number}.jsonl") for number in range(len(files))]
        for path in paths:
            Path(path).touch()
        growing = Growing(
            {path: b"".join(line + b"\n" for line in lines) for path, lines in zip(paths, files, strict=True)}
        )
        merge, found = opened.enter_context(closing(merged(paths, follow=True))), []
        chosen: list[tuple[Run, ...]] = []
        while True:
            items, runs = merge.read_batch(shuffler.randint(1, 4), len(found))
            found += seen(items)
            chosen += [tuple(runs)] if runs else []
            if not items and not any(growing.left.values()):
                break
            growing.grow(shuffler)
        for number, path in enumerate(paths):
            assert [content for _, file, _, content in found if file == path] == files[number]

        again, repeated = opened.enter_context(closing(merged(paths, follow=True))), []
        for runs in chosen:
            repeated += seen(again.repeat(runs, len(repeated)))
        assert repeated == found
        assert kept(again) == kept(merge)[: len(kept(again))]


def test_without_arrivals_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    """As if they were one file."""
    for name in "ab":
        (tmp_path / name).write_bytes(b"\n".join(telemetry(None, mark) for mark in range(3)))
    items, _ = merged([str(tmp_path / name) for name in "ab"]).read_batch(10, 0)
    assert [(Path(item.position[0]).name, item.position[1]) for item in items] == [
        (name, line) for name in "ab" for line in (1, 2, 3)
    ]


def test_many_files_are_not_open_at_once(tmp_path: Path) -> None:
    """Of files that follow each other in time, one is open; two for a moment."""
    for number in range(300):
        (tmp_path / f"{number:03}").write_bytes(telemetry(number) + b"\n" + telemetry(number))
    paths = sorted(map(str, tmp_path.iterdir()))
    merge, most, count = merged(paths), 0, 0
    while items := merge.read_batch(1, count)[0]:
        count += len(items)
        open_now = {str(path.resolve()) for path in Path("/proc/self/fd").iterdir() if path.exists()}
        most = max(most, len(open_now & set(paths)))
    assert (count, most) == (600, 1)


def test_rows_of_the_registry_come_before_what_arrived_earlier(tmp_path: Path) -> None:
    """A group is read to its end before the next begins; what it gets later is read first by the next run."""
    row = b'{"kind":"asset","asset":"b","class":"c","arrived":%d}\n'
    registry, events = tmp_path / "registry", tmp_path / "events"
    registry.write_bytes(row % 50)
    events.write_bytes(telemetry(1) + b"\n")
    groups = [[str(registry)], [str(events)]]
    merge = Merge(groups, body=raw)
    items, _ = merge.read_batch(10, 0)
    assert [Path(item.position[0]).name for item in items] == ["registry", "events"]
    with registry.open("ab") as file:
        file.write(row % 60)
    with events.open("ab") as file:
        file.write(telemetry(2) + b"\n")
    items, _ = Merge(groups, kept(merge), body=raw).read_batch(10, 2)
    assert [(path, line) for _, path, line, _ in seen(items)] == [(str(registry), 2), (str(events), 2)]


@pytest.mark.parametrize("merging", [False, True])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_last_line_without_line_end_is_a_record_that_must_not_go_on(
    tmp_path: Path, merging: bool, name: str
) -> None:
    """Its line end may come later; anything else was torn, and is refused instead of read as a new record."""
    path, other = tmp_path / name, tmp_path / "b.jsonl"

    def write(content: bytes) -> None:
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    def read(places: list[FilePosition], sequence: int) -> tuple[list[Item], list[FilePosition]]:
        paths = [str(path), str(other)] if merging else [str(path)]
        with closing(Merge([paths], places, plain=not merging)) as merge:
            return merge.read_batch(10, sequence)[0], kept(merge)

    write(telemetry(1) + b"\n" + telemetry(2))
    other.write_bytes(telemetry(0))
    items, end = read([], 0)
    count = len(items)
    assert read(end, count)[0] == []
    write(telemetry(1) + b"\n" + telemetry(2) + b"\n")
    assert read(end, count)[0] == []
    write(telemetry(1) + b"\n" + telemetry(2) + b"\n" + telemetry(3))
    (item,) = read(end, count)[0]
    assert (item.sequence, item.position[1]) == (count + 1, 3)
    write(telemetry(1) + b"\n" + telemetry(2) + b"34")
    with pytest.raises(InputError, match=r"had no line end.*went on"):
        read(end, count)


def test_runs_that_the_files_do_not_hold_are_refused(tmp_path: Path) -> None:
    """A journal beside a file that was changed is not repeated by halves."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(telemetry(1) + b"\n" + telemetry(2) + b"\n")
    with closing(merged([str(path)], follow=True)) as merge:
        runs = merge.read_batch(10, 0)[1]
    path.write_bytes(telemetry(1) + b"\n")
    with (
        closing(merged([str(path)], follow=True)) as merge,
        pytest.raises(InputError, match="which the file does not hold"),
    ):
        merge.repeat(runs, 0)


def test_a_journal_of_a_registry_that_was_exported_again_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Its rows of that time are gone; a replay by arrival reads the file as it is now."""
    path, events = tmp_path / "assets.jsonl", tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind":"asset","asset":"a","class":"c"}\n')
    events.write_bytes(telemetry(1) + b"\n")
    groups = [[str(path)], [str(events)]]
    with closing(Merge(groups, plain=False, body=raw, registry=1)) as merge:
        _, runs = merge.read_batch(10, 0)
    path.write_bytes(b'{"kind":"asset","asset":"another","class":"c"}\n')
    with (
        closing(Merge(groups, plain=False, body=raw, registry=1)) as merge,
        pytest.raises(InputError, match=r"exported again\. Put the file of that time in its place"),
    ):
        merge.repeat(runs, 0)
