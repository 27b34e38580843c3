"""Stores that former releases wrote are read, and a run goes on from them as if it had never stopped."""

from __future__ import annotations

import io
import pickle
import re
import sqlite3
import tarfile
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path

import orjson
import pytest
import river
from rich.console import Console

from dataflows import steps
from dataflows.engine.runtime import find_runtime
from dataflows.fleet import load
from dataflows.lane.metrics import LANE_METRICS
from dataflows.recovery.kinds import kind_of, kinds
from dataflows.recovery.manifest import read_manifest
from dataflows.recovery.sqlite_files import opened, part_files, snapshots
from dataflows.recovery.store import check_store, moved_state
from dataflows.state.snapshots import contents, seal
from dataflows.target.examples import EXAMPLES
from dataflows.target.horizons import AGREEING
from dataflows.tools.inspect import inspect
from tests.chaos.harness import finish, inline_outputs

GOLDEN = sorted(Path(__file__).parent.glob("*.tar.xz"))
#: Of runs that read topics, which are gone: their stores can be read, but no run can go on from them.
KAFKA = [path for path in GOLDEN if "kafka" in path.name]
FILES = [path for path in GOLDEN if path not in KAFKA]


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
            if kind == AGREEING.name:
                for each in payload.values():
                    note(each)
            if kind == "models":
                for _, _, _, stored in payload.values():
                    # Estimators of ours are snapshots, all others are pickled.
                    note(stored if stored[:1] != pickle.PROTO else None)

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
                begun = [(str(events), *place) for _, *place in begun]
                sealed = pickle.dumps(seal(kind, version, (sequence, entry, begun)))
                connection.execute("UPDATE snaps SET ser_change = ? WHERE rowid = ?", (sealed, row))


#: Examples that wait. The broker gave the first record of the first of these stores a time of its own.
PENDING = {
    "0.1.0-kafka.tar.xz": 2,
    "0.1.0-kafka-faults.tar.xz": 3,
    "0.1.0-kafka-judge.tar.xz": 3,
    "0.1.0-kafka-blocks.tar.xz": 3,
    "0.1.0-kafka-relearn.tar.xz": 3,
    "0.1.0-kafka-lanes.tar.xz": 3,
    "0.1.0-kafka-panes.tar.xz": 3,
}
#: Record that ends the period of the lane's metrics in which the stores before 0.1.0-kafka were written.
OPEN_PERIOD = 554


def without_kinds_of_the_open_period(metrics: bytes) -> bytes:
    """Without `by_kind` of the period in which each store was written.

    Former releases counted there what an asset rejected as well, and the store holds only the sum.
    """
    rows = [orjson.loads(line) for line in metrics.splitlines()]
    for row in rows:
        if row["kind"] == "lane" and row["sequence"] == OPEN_PERIOD:
            assert row.pop("by_kind").keys() >= {"telemetry", "weather"}
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def rejected_in(fleet: Path) -> dict[str, int]:
    """Rejects of all runs by reason, as the summary gives them."""
    counts: dict[str, int] = orjson.loads((fleet.parent / "out" / "summary.json").read_bytes())["input"][
        "rejected"
    ]
    return counts


def assert_examples_have_their_features(
    found: dict[str, bytes], expected: dict[str, bytes], *, written_before: bool
) -> None:
    """Each evaluation names a row with the features of its example, also of one that an older store held.

    Then leave the name out, which the full run has from the asset. Where the run of the store wrote such rows
    before, they are those of the full run.
    """
    features = []
    before: dict[str, object] = {}
    for each in (expected, found):
        rows = [orjson.loads(line) for line in each["evaluations"].splitlines()]
        served = {row["id"]: row["features"] for row in map(orjson.loads, each["examples"].splitlines())}
        assert len(served) == len(each["examples"].splitlines())
        known = {**before, **served}
        features.append({(row["id"], row["correction"]): known[row.pop("example")] for row in rows})
        before = served if written_before else {}
        each["evaluations"] = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    assert features[1].items() <= features[0].items()
    assert features[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_run_goes_on_from_the_store_of_a_former_release(path: Path, tmp_path: Path) -> None:
    """The rest of the recording gives the rest of the outputs, to the byte."""
    fleet = unpacked(path, tmp_path)
    manifest = read_manifest(tmp_path / "store")
    # The first has no manifest: such a store is given one.
    wrote = "0.26.1" if manifest is None else manifest.run.river
    if wrote != river.__version__:
        pytest.skip(f"its models were pickled by River {wrote}, which alone reads them")
    written_before = EXAMPLES.version in versions_of(tmp_path / "store")[EXAMPLES.name]
    moved(tmp_path / "store", tmp_path / "events.jsonl")
    found = finish(fleet)
    expected = inline_outputs(fleet)
    for each in (found, expected):
        each["metrics"] = without_kinds_of_the_open_period(each["metrics"])
    assert_examples_have_their_features(found, expected, written_before=written_before)
    for name in ("predictions", "evaluations", "metrics", "alerts", "late", "rejects"):
        assert found[name], name
        assert expected[name].endswith(found[name]), name
        assert len(found[name]) < len(expected[name]), name
    assert read_manifest(tmp_path / "store") is not None
    rejected = Counter(
        orjson.loads(row)["reason"] for name in ("late", "rejects") for row in expected[name].splitlines()
    )
    # Once from where former releases kept these counts, and once more from where this one does.
    assert rejected_in(fleet) == rejected
    finish(fleet)
    assert rejected_in(fleet) == rejected


def keeps_lane_metrics(store: Path) -> bool:
    """Whether a store has the step that counts rejects; former releases kept the counts elsewhere."""
    found = False
    for path in part_files(store):
        with opened(path) as connection:
            found = found or any(
                steps.is_of(each.step, steps.LANE_METRICS) for each in snapshots(path, connection)
            )
    return found


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_the_counts_of_a_lane_are_in_their_step_or_where_former_releases_kept_them(
    path: Path, tmp_path: Path
) -> None:
    """Both commands hand them to their step where it has none of its own."""
    fleet, store = unpacked(path, tmp_path), tmp_path / "store"
    kept = moved_state(store)
    assert (kept is None) == keeps_lane_metrics(store)
    if kept is not None:
        assert kind_of(kept) is LANE_METRICS
    runtime = find_runtime(load(fleet, environ={}), ["-r", str(store), "-b", "0"], {})
    assert runtime.moved == kept


@pytest.mark.parametrize("path", KAFKA, ids=lambda path: path.name)
def test_what_a_run_on_topics_left_is_read(path: Path, tmp_path: Path) -> None:
    """Offsets by topic and partition, what is known of its rows, the journal, assets and models are told."""
    fleet = unpacked(path, tmp_path)
    assert check_store(tmp_path / "store", load(fleet, environ={})) is not None
    console = Console(file=io.StringIO(), width=200)
    inspect(tmp_path / "store", fleet, console)
    assert isinstance(console.file, io.StringIO)
    said = " ".join(console.file.getvalue().split())
    assert "Read: 100 records, 2 entries of the order journal." in said
    assert re.search(r"\.events \S+ 0 67 .*\.events \S+ 1 33 ", said), "next offsets"
    assert re.search(r"Topics that are written.* predictions \S+ 0 100 0 0 ", said)
    assert f"pump/leak/1h linear 3 0 {PENDING[path.name]} 0 " in said, "learned, positives, pending"
    assert re.search(r"pump/leak/1h linear [\d.]+ kB", said), "models"
    assert "asset 3" in said


def test_every_version_that_is_written_has_a_golden_store(tmp_path: Path) -> None:
    """A raised version needs one: ``python -m tests.golden.write NAME``."""
    found: dict[str, set[int]] = defaultdict(set)
    for number, path in enumerate(GOLDEN):
        for kind, versions in versions_of(unpacked(path, tmp_path / str(number)).parent / "store").items():
            found[kind] |= versions
    lacking = {name: kind.version for name, kind in kinds().items() if kind.version not in found[name]}
    assert lacking == {}
