"""The order journal: what was chosen comes back, whole and in order, or is refused."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.order_journal import Entry, Journal, JournalError, Run, delete_journal, entries_of

DAY = 86_400_000_000
NAMES = ("a.jsonl", "b.jsonl")

RUNS = st.builds(Run, st.integers(0, 1), st.integers(0, 2**40), st.integers(0, 2**40), st.integers(1, 9))
CHOSEN = st.lists(RUNS, min_size=1, max_size=3).map(tuple) | st.integers(-(2**50), 2**52)


def made(folder: Path, chosen: list[tuple[Run, ...] | int], **sizes: int) -> list[Entry]:
    """Write entries; the records before each are 10 times its number."""
    journal = Journal(folder, NAMES, DAY, **sizes)
    first = journal.next
    for number, each in enumerate(chosen, start=first):
        journal.append(10 * number, each)
    journal.close()
    return [Entry(number, 10 * number, each) for number, each in enumerate(chosen, start=first)]


def repeated(folder: Path, since: int) -> list[Entry]:
    """As the next run would repeat them."""
    journal = Journal(folder, NAMES, DAY)
    try:
        return list(journal.entries(since))
    finally:
        journal.close()


@given(st.lists(st.lists(CHOSEN, max_size=6), min_size=1, max_size=4), st.integers(1, 300))
def test_what_was_chosen_comes_back_from_any_entry_on(
    runs: list[list[tuple[Run, ...] | int]], size: int
) -> None:
    """Over any number of processes and files, from the entry that a snapshot names."""
    with (
        tempfile.TemporaryDirectory() as name,
        # Thousands of times to the disk and back would take minutes where disks are slow.
        mock.patch("os.fdatasync"),
        mock.patch("os.fsync"),
    ):
        folder = Path(name) / "journal"
        written = [entry for chosen in runs for entry in made(folder, chosen, file_bytes=size)]
        for since in range(len(written) + 1):
            assert repeated(folder, since) == written[since:]
        if written:
            assert list(entries_of(folder, len(NAMES))) == written


def test_a_kill_at_any_byte_costs_only_what_was_not_whole(tmp_path: Path) -> None:
    """Of a torn file the whole entries count, and the next process goes on after them."""
    written = made(tmp_path / "whole", [(Run(0, 0, 90, 3),), 1_000, (Run(1, 0, 7, 1), Run(0, 90, 99, 1))])
    (path,) = (tmp_path / "whole").iterdir()
    content = path.read_bytes()
    ends = [index for index, byte in enumerate(content, start=1) if byte == ord("\n")]
    for length in range(len(content)):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / path.name).write_bytes(content[:length])
        whole = max(0, sum(end <= length for end in ends) - 1)
        assert repeated(folder, 0) == written[:whole]
        (more,) = made(folder, [77])
        assert repeated(folder, 0) == [*written[:whole], more]
        assert more.number == whole


@pytest.mark.parametrize("line", [0, 1, 2])
def test_damage_is_refused(tmp_path: Path, line: int) -> None:
    """A file with something wrong before its end was not torn by a kill."""
    made(tmp_path, [1, 2, 3])
    (path,) = tmp_path.iterdir()
    lines = path.read_bytes().split(b"\n")
    lines[line] = lines[line].replace(b"]", b" ", 1)
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(JournalError, match="is damaged after byte"):
        Journal(tmp_path, NAMES, DAY)


def test_a_file_that_is_gone_is_missed(tmp_path: Path) -> None:
    """Neither a resume nor a replay steps over a gap, nor goes on where a journal lags behind its store."""
    made(tmp_path, [1, 2, 3], file_bytes=1)
    first, second, _ = sorted(tmp_path.iterdir())
    kept = second.read_bytes()
    second.unlink()
    with pytest.raises(JournalError, match="entry 1 is needed"):
        repeated(tmp_path, 0)
    assert [entry.number for entry in repeated(tmp_path, 2)] == [2]
    second.write_bytes(kept)
    first.unlink()
    with pytest.raises(JournalError, match="what came before was deleted"):
        list(entries_of(tmp_path, 2))
    with pytest.raises(JournalError, match="the recovery store has read up to 4"):
        repeated(tmp_path, 4)


def test_partitions_stay_and_new_ones_follow(tmp_path: Path) -> None:
    """Another order or another file is refused by name; one more is not."""
    made(tmp_path, [1])
    for wrong in (("b.jsonl", "a.jsonl"), ("a.jsonl",), ("a.jsonl", "c.jsonl")):
        with pytest.raises(JournalError, match="files already read must stay"):
            Journal(tmp_path, wrong, DAY)
    journal = Journal(tmp_path, (*NAMES, "c.jsonl"), DAY)
    journal.append(10, (Run(2, 0, 5, 1),))
    assert [entry.chosen for entry in journal.entries(0)] == [1, (Run(2, 0, 5, 1),)]
    journal.close()
    with pytest.raises(JournalError, match=r"read 3 files .*c\.jsonl.*this replay has 2"):
        list(entries_of(tmp_path, 2))
    assert len(list(entries_of(tmp_path, 3))) == 2


def test_what_no_resume_needs_is_deleted_when_it_is_old(tmp_path: Path) -> None:
    """A file goes if all its entries come before the snapshot's and its last is older than is kept."""
    made(tmp_path, [1, 2, 3, 4], file_bytes=1)
    paths = sorted(tmp_path.iterdir())
    old = paths[0].stat().st_mtime - 2 * DAY / 1e6
    for path in paths[:3]:
        os.utime(path, (old, old))
    journal = Journal(tmp_path, NAMES, DAY)
    journal.forget(before=2)
    assert sorted(tmp_path.iterdir()) == paths[2:]
    os.utime(paths[2])
    journal.forget(before=4)
    assert sorted(tmp_path.iterdir()) == paths[2:]
    journal.close()


def test_deleting_a_journal_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    """Only its files go."""
    made(tmp_path, [1])
    (tmp_path / "notes.txt").write_text("mine")
    delete_journal(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(JournalError, match="holds no order journal"):
        list(entries_of(tmp_path, 1))
