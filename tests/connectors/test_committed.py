"""The length of an output that is final, told beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dataflows.connectors.file_sink import OUTPUT, Committed, committed_file, length_of
from dataflows.connectors.files import FileSink
from dataflows.items import Item, Row
from dataflows.state.snapshots import SnapshotError
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from pathlib import Path


def row(data: bytes) -> Item:
    return Item(1, 0, None, 0, ("", 0, 0), Row("alerts", data))


def test_rows_are_final_when_the_epoch_after_them_ends(tmp_path: Path) -> None:
    """Neither written nor snapshotted rows are called final before their epoch is known to be committed."""
    status = RunStatus()
    sink = FileSink(tmp_path, status).build_part("outputs", "alerts", None)
    told = tmp_path / "alerts.committed"
    assert told.read_text() == "0\n"
    sink.write_batch([row(b"{}"), row(b"{}")])
    status.committed()
    assert told.read_text() == "0\n"
    state = sink.snapshot()
    assert told.read_text() == "0\n"
    status.committed()
    assert told.read_text() == "6\n"
    sink.write_batch([row(b"{}")])
    sink.snapshot()
    sink.close()
    # A kill, before that epoch is committed: the next run takes its row back.
    FileSink(tmp_path, RunStatus()).build_part("outputs", "alerts", state).close()
    assert told.read_text() == "6\n"
    assert (tmp_path / "alerts.jsonl").read_bytes() == b"{}\n{}\n"


def test_a_length_is_only_written_when_it_changed(tmp_path: Path) -> None:
    """Epochs without rows leave the file alone."""
    status = RunStatus()
    Committed(tmp_path / "late.jsonl", 7, status)
    told = committed_file(tmp_path / "late.jsonl")
    told.unlink()
    status.committed()
    assert not told.exists()


def test_lengths_of_every_store_are_read() -> None:
    """A sealed length, the bare number of the first stores and none at all."""
    assert [length_of(state) for state in (OUTPUT.seal(12), 12, None)] == [12, 12, 0]


def test_a_damaged_length_is_refused() -> None:
    """Rows are never cut off by a number that was changed."""
    sealed = bytearray(OUTPUT.seal(70_000))
    sealed[-1] ^= 1
    with pytest.raises(SnapshotError, match="CRC"):
        length_of(bytes(sealed))
