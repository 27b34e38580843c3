"""Files in: every record once, wherever reading begins. Files out: exactly what is committed."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
import tracemalloc
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, run_main
from hypothesis import assume, given
from hypothesis import strategies as st

from dataflows.connectors.file_sink import length_of
from dataflows.connectors.files import FileSink, FileSource
from dataflows.connectors.lines import InputError, Lines, expand
from dataflows.connectors.merge import FilePosition, Merge
from dataflows.connectors.sink import SUMMARY
from dataflows.events import MAX_BYTES, Reject
from dataflows.fleet.fleet import Input
from dataflows.items import Item, Row
from dataflows.outputs import OUTPUTS
from dataflows.status import RunStatus

Seen = tuple[int, str, int, int, bytes]


def seen(item: Item) -> Seen:
    """Sequence, file, line, byte offset, record; one of several files is decoded, here in vain."""
    body = item.body.raw if isinstance(item.body, Reject) else item.body
    assert isinstance(body, bytes)
    return (item.sequence, *item.position, body)


def partition(*patterns: Path | str, batch: int = 3, resume: bytes | None = None) -> Any:  # noqa: ANN401
    source = FileSource(Input(tuple(map(str, patterns)), batch), RunStatus())
    return source.build_part("source", "lane-0", resume)


def read(*patterns: Path | str, batch: int = 3, resume: bytes | None = None) -> list[Seen]:
    """Everything from a snapshot on."""
    return [item for _, items in steps(*patterns, batch=batch, resume=resume) for item in items]


def steps(
    *patterns: Path | str, batch: int = 3, resume: bytes | None = None
) -> list[tuple[bytes, list[Seen]]]:
    """Every batch, with the snapshot that was taken before it; at last the one of the end."""
    part = partition(*patterns, batch=batch, resume=resume)
    found = []
    while True:
        before = part.snapshot()
        try:
            found.append((before, list(map(seen, part.next_batch()))))
        except StopIteration:
            found.append((part.snapshot(), []))
            part.close()
            return found


def as_read(content: bytes, path: Path, most: int = MAX_BYTES) -> list[Seen]:
    """What reading a file has to give: every line that is not blank, an oversized one cut."""
    found: list[Seen] = []
    offset = 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip() or len(line) > most:
            found.append((len(found) + 1, str(path), number, offset, line[: most + 1]))
        offset += len(line) + 1
    return found


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def row(output: str, data: bytes) -> Item:
    return Item(1, 0, None, 0, ("", 0, 0), Row(output, data))


def test_a_record_knows_its_line_and_its_first_byte(tmp_path: Path) -> None:
    """Lines count from 1 and include blank ones, which are no records; offsets are bytes."""
    path = written(tmp_path, "a.jsonl", "één\n\n  \ntwo\n\t\r\nthree".encode())
    assert read(path) == [
        (1, str(path), 1, 0, "één".encode()),
        (2, str(path), 4, 10, b"two"),
        (3, str(path), 6, 17, b"three"),
    ]


def test_line_ends_of_windows_stay_at_the_record(tmp_path: Path) -> None:
    """A carriage return is white space to JSON, and part of the record to the source."""
    path = written(tmp_path, "a.jsonl", b'{"a":1}\r\n{"b":2}\r\n\r\n')
    assert [(found[3], found[4]) for found in read(path)] == [(0, b'{"a":1}\r'), (9, b'{"b":2}\r')]


def test_files_and_globs_are_one_sequence(tmp_path: Path) -> None:
    """Patterns in their order, a glob's files by name; the last line of a file needs no line end."""
    later = written(tmp_path, "z.jsonl", b"1\n2")
    for name, content in (("b-2.jsonl", b"5"), ("b-1.jsonl.gz", b"3\n4"), ("b-0.jsonl", b"")):
        written(tmp_path, name, content)
    found = read(later, tmp_path / "b-*", batch=2)
    assert [(number, Path(file).name, body) for number, file, _, _, body in found] == [
        (1, "z.jsonl", b"1"),
        (2, "z.jsonl", b"2"),
        (3, "b-1.jsonl.gz", b"3"),
        (4, "b-1.jsonl.gz", b"4"),
        (5, "b-2.jsonl", b"5"),
    ]


def test_a_batch_is_full_even_where_files_are_small(tmp_path: Path) -> None:
    """A batch goes on in the next file; only the last may be smaller."""
    for number in range(5):
        written(tmp_path, f"{number}.jsonl", b"x\ny\n")
    assert [len(items) for _, items in steps(tmp_path / "*.jsonl", batch=4)] == [4, 4, 2, 0]


@given(
    content=st.lists(st.sampled_from([b"\n", b" ", b"\r", b"a", b"\xc3\xa9", b"0123456789"])).map(b"".join)
    | st.binary(),
    chunk=st.integers(1, 40),
    most=st.integers(1, 30),
    packed=st.booleans(),
)
def test_records_are_the_lines_wherever_chunks_end(
    content: bytes, chunk: int, most: int, packed: bool
) -> None:
    """Any bytes in chunks of any size: each line once, of an oversized one its start; from any record on."""
    assume(
        packed or not content.startswith(b"\x1f\x8b")
    )  # which says that it is gzip, and is no beginning of JSON
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "a.jsonl.gz" if packed else "a.jsonl", content)
        expected = as_read(content, path, most)

        def left(places: list[FilePosition], sequence: int) -> list[list[Seen]]:
            """The rest of the file, a record a batch, and the positions between them."""
            with closing(Merge([[str(path)]], places, lines=partial(Lines, chunk=chunk, most=most))) as merge:
                found = []
                while items := merge.read_batch(1, sequence + len(found))[0]:
                    found.append([*map(seen, items)])
                    between.append(merge.places())
                return found

        between: list[list[FilePosition]] = []
        assert [item for items in left([], 0) for item in items] == expected
        for number, places in enumerate([*between], start=1):
            assert [item for items in left(places, number) for item in items] == expected[number:]


def test_a_resume_from_any_record_of_several_files_gives_the_same_rest(tmp_path: Path) -> None:
    """Wherever a batch ended, the next run reads on with the same sequences, lines and offsets."""
    for number, name in enumerate(("a.jsonl", "b.jsonl.gz", "c.jsonl")):
        written(tmp_path, name, b"".join(b"%d-%d\n\n" % (number, line) for line in range(7)))
    everything = read(tmp_path / "*", batch=1)
    assert len(everything) == 21
    for batch in (1, 2, 5):
        done = 0
        for before, items in steps(tmp_path / "*", batch=batch):
            assert read(tmp_path / "*", batch=4, resume=before) == everything[done:]
            done += len(items)


def test_what_is_appended_after_the_end_is_read_by_the_next_run(tmp_path: Path) -> None:
    """New lines of the last file and new files follow, with the sequence going on; nothing is read twice."""
    path = written(tmp_path, "a.jsonl", b"1\n2\n")
    end = steps(path)[-1][0]
    assert read(path, resume=end) == []
    with path.open("ab") as file:
        file.write(b"3\n")
    second = written(tmp_path, "b.jsonl", b"4\n")
    assert read(path, second, resume=end) == [
        (3, str(path), 3, 4, b"3"),
        (4, str(second), 1, 0, b"4"),
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_an_oversized_line_costs_little_memory_and_leaves_the_next_intact(tmp_path: Path, name: str) -> None:
    """Of 40 MB in one line the first megabyte is kept, and a few more held at a time."""
    path = written(tmp_path, name, b"before\n" + b"x" * 40_000_000 + b"\nafter\n")
    part = partition(path, batch=1)
    tracemalloc.start()
    found = [seen(part.next_batch()[0]) for _ in range(3)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    part.close()
    assert [(*each[:4], len(each[4])) for each in found] == [
        (1, str(path), 1, 0, 6),
        (2, str(path), 2, 7, MAX_BYTES + 1),
        (3, str(path), 3, 40_000_008, 5),
    ]
    assert peak < 12_000_000


def test_what_is_kept_of_an_oversized_line_does_not_depend_on_the_resume(tmp_path: Path) -> None:
    """A run that begins just before a line of 3 MB keeps the same of it as one that came by."""
    path = written(tmp_path, "a.jsonl", b"".join([b"y" * 700_000, b"\n", b"x" * 3_000_000, b"\nz\n"]))
    (_, first), (before, second), *_ = steps(path, batch=1)
    assert read(path, resume=before)[0] == second[0]
    assert len(first) == 1


def test_a_stop_ends_the_input_before_the_next_batch(tmp_path: Path) -> None:
    """What the status stops is resumed at the record that would have been next."""
    path = written(tmp_path, "a.jsonl", b"1\n2\n3\n4\n")
    status = RunStatus()
    part = FileSource(Input((str(path),), 2), status).build_part("source", "lane-0", None)
    part.next_batch()
    status.stop = True
    with pytest.raises(StopIteration):
        part.next_batch()
    assert (status.records, status.done) == (2, 8)
    resume = part.snapshot()
    part.close()
    assert [each[4] for each in read(path, resume=resume)] == [b"3", b"4"]


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [
        (0.00005, [1_000, 2_000, 4_000, 8_000, 8_000, 7_500]),
        (1 / 2_048, [1_000, 2_000, *[2_048] * 13, 876]),
        (0.01, [1_000] * 30 + [500]),
    ],
)
def test_a_source_that_chooses_its_batch_takes_more_while_it_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, sizes: list[int]
) -> None:
    """Full batches double, up to 8,000 or what takes a second, which a snapshot may have to wait for."""
    clock = 0.0
    monkeypatch.setattr("dataflows.connectors.source.monotonic", lambda: clock)
    path = written(tmp_path, "a.jsonl", b"".join(b"%d\n" % number for number in range(30_500)))
    part = FileSource(Input((str(path),), None, follow=True), RunStatus()).build_part(
        "source", "lane-0", None
    )
    found = []
    while len(found) < len(sizes):
        found.append(len(part.next_batch()))
        clock += found[-1] * seconds
    assert found == sizes
    assert part.next_batch() == []
    path.write_bytes(path.read_bytes() * 2)
    assert len(part.next_batch()) == 1_000
    part.close()


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (("missing.jsonl",), "missing.jsonl': no such file"),
        (("*.nothing",), r"\*.nothing': no such file"),
        (("-", "a.jsonl"), "cannot be read together with other files"),
        ((), "no input"),
    ],
)
def test_an_input_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patterns: tuple[str, ...], said: str
) -> None:
    """Each with its name and where to set it, before anything runs."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "a.jsonl", b"")
    with pytest.raises(InputError, match=said):
        expand(patterns)


def test_files_that_were_read_must_stay_in_their_order(tmp_path: Path) -> None:
    """One that was read and is renamed, missing, or behind a new one is refused; the store knows it."""
    first, second = written(tmp_path, "a.jsonl", b"1\n"), written(tmp_path, "b.jsonl", b"2\n")
    in_second = steps(first, second, batch=1)[1][0]
    end = steps(first, second)[-1][0]
    for resume in (in_second, end):
        new = written(tmp_path, "0.jsonl", b"0\n")
        for wrong in ([second], [second, first], [new, first, second], [first, new]):
            if resume == in_second and wrong == [first, new]:
                continue
            with pytest.raises(InputError, match="files already read must stay"):
                partition(*wrong, resume=resume)
    assert [each[4] for each in read(first, second, tmp_path / "0.jsonl", resume=end)] == [b"0"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_file_that_became_shorter_is_refused(tmp_path: Path, name: str) -> None:
    """A file that ends before the place from which to read on was replaced, and is not skipped as done."""
    path = written(tmp_path, name, b"one\ntwo\nthree\n")
    resume = steps(path, batch=2)[1][0]
    written(tmp_path, name, b"one\n")
    with pytest.raises(
        InputError, match=re.escape(f"{path} ends at byte 4, but 8 bytes of it were read before")
    ):
        partition(path, resume=resume)


@pytest.mark.parametrize("damage", ["cut", "flipped", "no gzip at all"])
def test_a_damaged_gzip_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    """A packed file that cannot be unpacked to its end stops the run, and is not taken for a shorter one."""
    path = written(tmp_path, "a.jsonl.gz", b"".join(b"%d\n" % number for number in range(10_000)))
    packed = path.read_bytes()
    path.write_bytes(
        {
            "cut": packed[: len(packed) // 2],
            "flipped": packed[:500] + bytes([packed[500] ^ 0xFF]) + packed[501:],
            "no gzip at all": b"\x1f\x8b and nothing",
        }[damage]
    )
    part = partition(path)
    with pytest.raises(InputError, match=re.escape(f"{path} is damaged") + ".*export or copy it again"):
        part.next_batch()
    part.close()


def test_a_damaged_gzip_file_goes_on_once_it_is_whole(tmp_path: Path) -> None:
    """It is the same file, since its contents begin as before; one that begins otherwise is another."""
    content = b"".join(b"%d\n" % number for number in range(300_000))
    path = written(tmp_path, "a.jsonl.gz", content)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])
    part = partition(path, batch=1_000)
    for _ in range(110):
        part.next_batch()
    resume = part.snapshot()
    with pytest.raises(InputError, match="is damaged"):
        [part.next_batch() for _ in range(100)]
    part.close()
    path.write_bytes(gzip.compress(content, compresslevel=1))
    (_, _, line, *_), *_ = read(path, resume=resume)
    assert line == 110_001
    written(tmp_path, "a.jsonl.gz", b"7\n" + content)
    with pytest.raises(InputError, match="written again under the same name"):
        partition(path, resume=resume)


def test_standard_input_is_not_resumed() -> None:
    """A snapshot of standard input is refused: what was read is gone."""
    resume = partition("-").snapshot()
    with pytest.raises(InputError, match="standard input cannot be resumed"):
        partition("-", resume=resume)


def test_a_resume_takes_back_what_was_not_committed(tmp_path: Path) -> None:
    """The file is cut to the length of the snapshot, and written on from there."""
    sink = FileSink(tmp_path / "out")
    part = sink.build_part("outputs", "late", None)
    part.write_batch([row("late", b"1"), row("late", b"2")])
    committed = part.snapshot()
    part.write_batch([row("late", b"3")])
    part.close()
    path = tmp_path / "out" / "late.jsonl"
    assert path.read_bytes() == b"1\n2\n3\n"
    part = sink.build_part("outputs", "late", committed)
    part.write_batch([row("late", b"4")])
    assert length_of(part.snapshot()) == 6
    part.close()
    assert path.read_bytes() == b"1\n2\n4\n"


def test_rows_of_a_run_without_a_snapshot_are_taken_back(tmp_path: Path) -> None:
    """What a run wrote that was killed before its first snapshot is written again by the next."""
    path = written(tmp_path, "late.jsonl", b"of a killed run\n")
    part = FileSink(tmp_path).build_part("outputs", "late", None)
    part.close()
    assert path.read_bytes() == b""


def test_committed_rows_are_on_disk(tmp_path: Path) -> None:
    """A snapshot's length is never more than another process can read."""
    part = FileSink(tmp_path).build_part("outputs", "late", None)
    part.write_batch([row("late", b"1")])
    assert length_of(part.snapshot()) == (tmp_path / "late.jsonl").stat().st_size == 2
    part.close()


def test_rows_that_were_lost_are_refused(tmp_path: Path) -> None:
    """An output that is shorter than the store remembers, or gone, is not written on."""
    written(tmp_path, "late.jsonl", b"1\n")
    for output in ("late", "rejects"):
        with pytest.raises(InputError, match=r"the recovery store knows of 1,234"):
            FileSink(tmp_path).build_part("outputs", output, 1_234)
    assert (tmp_path / "late.jsonl").read_bytes() == b"1\n"


def test_each_output_goes_to_the_file_of_its_name(tmp_path: Path) -> None:
    """Through the engine, which numbers the files by its own rule."""
    rows = [row(name, name.encode()) for name in OUTPUTS for _ in range(2)]
    rows.append(row(SUMMARY, b'{"input":{"records":1}}'))
    dataflow = Dataflow("flow")
    stream = op.input("source", dataflow, TestingSource(rows, 4))
    op.output("outputs", op.key_on("by_output", stream, lambda item: item.body.output), FileSink(tmp_path))
    run_main(dataflow)
    found = {path.name: path.read_text() for path in tmp_path.glob("*.json*")}
    expected = {f"{name}.jsonl": f"{name}\n" * 2 for name in OUTPUTS}
    assert found == {**expected, "summary.json": '{\n  "input": {\n    "records": 1\n  }\n}\n'}


def test_the_summary_holds_what_all_said_at_this_end(tmp_path: Path) -> None:
    """Sections of several groups are joined, counts of one name added up, over what an earlier end left."""
    written(tmp_path, "summary.json", b'{"targets":{"old":1}}')
    part = FileSink(tmp_path).build_part("outputs", SUMMARY, None)
    part.write_batch([row(SUMMARY, b'{"targets":{"b":1}}'), row(SUMMARY, b'{"input":{"records":3}}')])
    part.write_batch([row(SUMMARY, b'{"targets":{"a":2},"input":{"rejected":{"late":1,"torn":2}}}')])
    part.write_batch([row(SUMMARY, b'{"input":{"rejected":{"late":4}}}')])
    part.close()
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found == {"input": {"records": 3, "rejected": {"late": 5, "torn": 2}}, "targets": {"a": 2, "b": 1}}
    assert list(found) == ["input", "targets"]
    assert not list(tmp_path.glob("*.part"))


def test_an_output_without_rows_is_an_empty_file_at_the_end(tmp_path: Path) -> None:
    """What was written stays as it is, through the engine and with or without a summary before."""
    for expected in (b"1\n", b"2\n"):
        rows = [row("late", expected.strip()), row(SUMMARY, b'{"input":{}}')]
        dataflow = Dataflow("flow")
        stream = op.input("source", dataflow, TestingSource(rows))
        op.output("outputs", op.key_on("by", stream, lambda item: item.body.output), FileSink(tmp_path))
        run_main(dataflow)
        found = {path.name: path.read_bytes() for path in tmp_path.glob("*.jsonl")}
        assert found == {f"{name}.jsonl": expected if name == "late" else b"" for name in OUTPUTS}


def test_an_empty_file_does_not_hide_that_rows_were_lost(tmp_path: Path) -> None:
    """A file that was lost and made anew, empty, is refused on resume like one that is gone."""
    FileSink(tmp_path).build_part("outputs", SUMMARY, None).close()
    assert (tmp_path / "late.jsonl").read_bytes() == b""
    with pytest.raises(InputError, match="holds 0 bytes, the recovery store knows of 12"):
        FileSink(tmp_path).build_part("outputs", "late", 12)
