"""Files are replaced whole, in the order that a power cut respects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dataflows.connectors.file_sink import Committed, RowsPartition, committed_file
from dataflows.disk import locked_alone, replace_file
from dataflows.fleet import load
from dataflows.recovery import manifest
from dataflows.status import RunStatus


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced and renamed, in order."""
    order: list[str] = []
    sync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        order.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    def renamed(path: Path, target: Any) -> Path:  # noqa: ANN401
        order.append(f"rename {Path(target).name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    return order


def test_contents_reach_the_disk_before_their_name(tmp_path: Path, done: list[str]) -> None:
    """The file, then its name, then the folder that holds the name."""
    replace_file(tmp_path / "note", b"new")
    assert done == ["sync note.part", "rename note", f"sync {tmp_path.name}"]
    assert (tmp_path / "note").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [tmp_path / "note"]


def test_a_manifest_and_a_committed_length_are_never_empty(tmp_path: Path, done: list[str]) -> None:
    """Both are synced before they get their name."""
    example = Path(__file__).parents[1] / "examples" / "trucks" / "fleet.toml"
    manifest.write_manifest(tmp_path, manifest.new_manifest(load(example, environ={}), 1))
    assert done[:2] == ["sync manifest.json.part", "rename manifest.json"]
    done.clear()
    Committed(tmp_path / "alerts.jsonl", 12, RunStatus())
    assert done == ["sync alerts.committed.part", "rename alerts.committed"]
    assert committed_file(tmp_path / "alerts.jsonl").read_text() == "12\n"


def test_the_folder_of_a_new_output_is_synced(tmp_path: Path, done: list[str]) -> None:
    """Else a power cut could take the whole file, of which the store remembers rows."""
    RowsPartition(tmp_path / "alerts.jsonl", RunStatus(), None).close()
    assert f"sync {tmp_path.name}" in done


@pytest.mark.parametrize("name", [".", "lock"])
def test_a_locked_folder_or_file_is_refused_until_its_block_ends(tmp_path: Path, name: str) -> None:
    """Who comes second gets the error that it names; a file is made where it is missing."""
    with locked_alone(tmp_path / name, ValueError("first")):
        with pytest.raises(ValueError, match="second"), locked_alone(tmp_path / name, ValueError("second")):
            pytest.fail("locked twice")
        with locked_alone(tmp_path / "other", ValueError("another file")):
            pass
    with locked_alone(tmp_path / name, ValueError("third")):
        assert (tmp_path / name).exists()
