"""Stores that former releases wrote are read, and a run goes on from them as if it had never stopped."""

from __future__ import annotations

import pickle
import sqlite3
import tarfile
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest
import river

from dataflows.engine.formats import KINDS, readable
from dataflows.engine.manifest import read_manifest
from dataflows.engine.partitions import opened, part_files, snapshots
from dataflows.snapshots import contents, seal
from tests.chaos.harness import finish, inline_outputs

GOLDEN = sorted(Path(__file__).parent.glob("*.tar.xz"))


def unpacked(path: Path, folder: Path) -> Path:
    """A golden store, its fleet and its recording in a folder of this test; returns the fleet.toml."""
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")
    return folder / "fleet.toml"


def versions_of(store: Path) -> dict[str, set[int]]:
    """Versions of each kind of snapshot in a store."""
    found: dict[str, set[int]] = defaultdict(set)

    def note(sealed: object) -> None:
        if isinstance(sealed, bytes):
            kind, version, payload = contents(sealed)
            found[kind].add(version)
            if kind in {"main", "part"}:
                note(payload[2])

    for path in part_files(store):
        with opened(path) as connection:
            for each in snapshots(path, connection):
                note(each.state)
    return found


def moved(store: Path, events: Path) -> None:
    """The recording lies elsewhere now, and the outputs before the store begin with nothing."""
    for path in part_files(store):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM snaps WHERE step_id = 'highwater.outputs'")
            rows = connection.execute(
                "SELECT rowid, ser_change FROM snaps WHERE step_id = 'highwater.source'"
            )
            for row, pickled in rows.fetchall():
                kind, version, (sequence, entry, begun) = contents(pickle.loads(pickled))  # noqa: S301
                begun = [(str(events), place) for _, place in begun]
                sealed = pickle.dumps(seal(kind, version, (sequence, entry, begun)))
                connection.execute("UPDATE snaps SET ser_change = ? WHERE rowid = ?", (sealed, row))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_a_run_goes_on_from_the_store_of_a_former_release(path: Path, tmp_path: Path) -> None:
    """The rest of the recording gives the rest of the outputs, to the byte."""
    fleet = unpacked(path, tmp_path)
    manifest = read_manifest(tmp_path / "store")
    # The first has no manifest: such a store is given one.
    wrote = "0.26.1" if manifest is None else manifest.run.river
    if wrote != river.__version__:
        pytest.skip(f"its models were pickled by River {wrote}, which alone reads them")
    moved(tmp_path / "store", tmp_path / "events.jsonl")
    found = finish(fleet)
    expected = inline_outputs(fleet)
    for name in ("predictions", "evaluations", "metrics", "alerts", "late", "rejects"):
        assert found[name], name
        assert expected[name].endswith(found[name]), name
        assert len(found[name]) < len(expected[name]), name
    assert read_manifest(tmp_path / "store") is not None


def test_every_version_that_is_written_has_a_golden_store(tmp_path: Path) -> None:
    """A raised version needs one: ``python -m tests.golden.write NAME``."""
    found: dict[str, set[int]] = defaultdict(set)
    for number, path in enumerate(GOLDEN):
        for kind, versions in versions_of(unpacked(path, tmp_path / str(number)).parent / "store").items():
            found[kind] |= versions
    lacking = {kind: readable(kind)[-1] for kind in KINDS if readable(kind)[-1] not in found[kind]}
    assert lacking == {}
