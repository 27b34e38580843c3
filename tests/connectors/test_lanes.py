"""An input divided among lanes: what each reads, its sequence and its journal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
import pytest

from dataflows.connectors.files import FileSource
from dataflows.connectors.lines import InputError
from dataflows.connectors.order_journal import delete_journal, entries_of, files_of_journal
from dataflows.connectors.sink import names_of_lanes
from dataflows.fleet import FleetError, load
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.items import Item

FLEET = """
name = "pumps"

[input]
files = ["a.jsonl", "b/*.jsonl", "c.jsonl"]
shared = ["weather.jsonl"]
lanes = 2
follow = {follow}

[assets]
registry = ["registry.jsonl"]

[classes.pump]
sensors = ["flow"]
"""


def line(asset: str, arrived: int) -> bytes:
    event = {"kind": "telemetry", "asset": asset, "time": arrived, "readings": {}, "arrived": arrived}
    return orjson.dumps(event) + b"\n"


def write(folder: Path, *, follow: bool = False) -> Path:
    """Five files; every line names its file and its place in it."""
    (folder / "b").mkdir()
    for name in ("a", "b/1", "b/2", "c", "weather", "registry"):
        lines = (line(f"{name}:{number}", 10 * number) for number in (1, 2))
        (folder / f"{name}.jsonl").write_bytes(b"".join(lines))
    path = folder / "fleet.toml"
    path.write_text(FLEET.format(follow=str(follow).lower()))
    return path


def source(
    path: Path, status: RunStatus, journal: Path | None = None, replayed: Path | None = None
) -> FileSource:
    return FileSource.of(
        load(path, environ={}), status, ticks=False, journal=journal, replayed=replayed, speed=None
    )


def read(source: FileSource, lane: str, resume: bytes | None = None, batches: int = 100) -> list[Item]:
    """The next records of a lane, up to its end or a number of batches."""
    part = source.build_part("source", lane, resume)
    items: list[Item] = []
    try:
        for _ in range(batches):
            items += part.next_batch()
    except StopIteration:
        pass
    finally:
        part.close()
    return items


def shown(items: list[Item]) -> list[tuple[int, str]]:
    """Sequence and asset, or the raw line."""
    return [(item.sequence, getattr(item.body, "asset", item.body)) for item in items]


REGISTRY = ["registry:1", "registry:2"]
FIRST = [*REGISTRY, "a:1", "c:1", "weather:1", "a:2", "c:2", "weather:2"]
SECOND = [*REGISTRY, "b/1:1", "b/2:1", "weather:1", "b/1:2", "b/2:2", "weather:2"]


@pytest.mark.parametrize("follow", [False, True], ids=["complete", "followed"])
def test_a_lane_reads_its_entries_and_the_shared_files(tmp_path: Path, *, follow: bool) -> None:
    """Whole entries in turn, by arrival, after the registry; record i of lane k has the sequence 2i + k."""
    path = write(tmp_path, follow=follow)
    status = RunStatus()
    found = source(path, status)
    assert found.list_parts() == ["lane-0", "lane-1"]
    for lane, assets in enumerate([FIRST, SECOND]):
        items = read(found, f"lane-{lane}", batches=4)
        bodies = [body for _, body in shown(items)]
        assert [orjson.loads(body)["asset"] if isinstance(body, bytes) else body for body in bodies] == assets
        assert [item.sequence for item in items] == [2 * number + lane for number in range(1, 9)]
    assert (status.records, status.began) == (16, 0)


def test_a_lane_resumes_where_it_was(tmp_path: Path) -> None:
    """Its snapshot is of its own files; the records of both lanes are counted together."""
    path = write(tmp_path)
    part = source(path, RunStatus()).build_part("source", "lane-1", None)
    before = part.next_batch()
    snapshot = part.snapshot()
    part.close()
    status = RunStatus()
    after = read(source(path, status), "lane-1", snapshot)
    assert [item.sequence for item in [*before, *after]] == [2 * number + 1 for number in range(1, 9)]
    assert (status.began, status.records) == (len(before), 8)
    with pytest.raises(InputError, match=re.escape("files already read must stay")):
        read(source(path, RunStatus()), "lane-0", snapshot)


def test_each_lane_keeps_a_journal_of_its_own_and_repeats_it(tmp_path: Path) -> None:
    """Lane 0 in the folder itself, as with one lane; a replay repeats the choices of each."""
    path, journal = write(tmp_path, follow=True), tmp_path / "journal"
    found = source(path, RunStatus(), journal)
    chosen = [read(found, f"lane-{lane}", batches=4) for lane in (0, 1)]
    assert [path.relative_to(journal).parts[:-1] for path in files_of_journal(journal)] == [(), ("lane-1",)]
    assert all([*entries_of(folder, 10)] for folder in (journal, journal / "lane-1"))
    again = source(path, RunStatus(), replayed=journal)
    assert [shown(read(again, f"lane-{lane}")) for lane in (0, 1)] == [shown(items) for items in chosen]
    delete_journal(journal)
    assert files_of_journal(journal) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("lanes = 2", "lanes = 4", "at most 3, the number of entries of `files`"),
        ("lanes = 2", "lanes = 0", "lanes"),
        ('files = ["a.jsonl", "b/*.jsonl", "c.jsonl"]', 'connector = { kind = "x" }', "files together with"),
        ("lanes = 2", 'lanes = 2\nmap = [{ files = "*.csv" }]', "1 together with `map`"),
    ],
    ids=["more than entries", "none", "another source", "rows"],
)
def test_an_input_that_cannot_be_divided_is_refused(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    """Before anything is read, with the key and what was expected."""
    path = write(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(FleetError, match=re.escape(expected)):
        load(path, environ={})


def test_names_of_lanes_are_those_of_one_lane() -> None:
    """Counts add up; a declared name is missing where it came in no lane that has telemetry of its class."""

    def row(what: str, name: str, count: int = 0) -> dict[str, object]:
        return {"what": what, "class": "pump", "name": name, "count": count, "nearest": None}

    lanes = {
        "lane-1": {"rows": [row("mode", "leek", 2), row("missing_sensor", "x")], "classes": ["pump"]},
        "lane-0": {
            "rows": [row("mode", "leek", 1), row("missing_sensor", "x"), row("missing_sensor", "y")],
            "classes": ["pump"],
        },
        "lane-2": {"rows": [], "classes": []},
    }
    assert names_of_lanes(lanes) == [row("mode", "leek", 3), row("missing_sensor", "x")]
