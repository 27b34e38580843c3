"""A recovery store that is backed up while a run writes to it, put back, mixed up, and damaged."""

from __future__ import annotations

import io
import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from rich.console import Console

from dataflows.fleet import load
from dataflows.recovery.manifest import read_manifest
from dataflows.recovery.sqlite_files import (
    StoreError,
    opened,
    part_files,
    read_partition,
    resume_epoch,
    snapshots,
)
from dataflows.recovery.store import check_store
from dataflows.tools.backup import backup, restore
from dataflows.tools.inspect import inspect
from tests.chaos.harness import (
    arguments,
    assert_same,
    dataflows,
    eventually,
    finish,
    inline_outputs,
    outputs,
    prepare,
)
from tests.processes import environment, start

if TYPE_CHECKING:
    from dataflows.fleet import Fleet

pytestmark = pytest.mark.ci

RECORDS = 1_000
BACKUPS = 10
FLIPS = 20


class Killed(NamedTuple):
    """A run that was backed up ten times while it wrote, and then killed."""

    fleet: Path
    copies: list[Path]
    expected: dict[str, bytes]

    @property
    def store(self) -> Path:
        return self.fleet.parent / "store"


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def resume_of(copy: Path) -> int:
    """The epoch of a backup."""
    manifest = read_manifest(copy)
    assert manifest is not None
    assert manifest.copy is not None
    return manifest.copy.resume


@pytest.fixture(scope="module")
def killed(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """The run, its backups with the outputs in them, and what it would have written."""
    fleet = prepare(tmp_path_factory.mktemp("lasting"), lines[:RECORDS])
    nobody = os.open(os.devnull, os.O_WRONLY)
    env, log = environment(CHAOS_PAUSE="0.15", FLEET_BATCH="20"), fleet.parent / "run.log"
    process = start("tests.chaos.traced", *arguments(fleet), env=env, out=log, trace=nobody)
    os.close(nobody)
    committed = fleet.parent / "out" / "predictions.committed"
    seen, copies = {"0\n"}, {}
    try:
        while len(copies) < BACKUPS:
            eventually(lambda: committed.exists() and committed.read_text() not in seen, process)
            seen.add(committed.read_text())
            copy = fleet.parent / f"copy-{len(seen)}"
            backup(fleet.parent / "store", copy, quiet(), outputs=True)
            # What is called final lags by an epoch, so that the second may be of the epoch of the first.
            copies.setdefault(resume_of(copy), copy)
        assert process.poll() is None, "the run must last for all the backups"
    finally:
        process.kill()
        process.wait()
    return Killed(fleet, list(copies.values()), inline_outputs(fleet))


@pytest.fixture
def put_back(killed: Killed, tmp_path: Path) -> Path:
    """The store that the kill left, to be spoilt."""
    return Path(shutil.copytree(killed.store, tmp_path / "store"))


def test_each_backup_taken_under_load_gives_the_same_outputs(killed: Killed, tmp_path: Path) -> None:
    """Ten backups of ten epochs, each restored with its outputs: the runs that go on from them end alike."""

    def go_on(copy: Path) -> dict[str, bytes]:
        folder = tmp_path / copy.name
        folder.mkdir()
        fleet = Path(shutil.copy(killed.fleet, folder))
        restore(copy, folder / "store", quiet(), outputs=folder / "out")
        before = {name: len(data) for name, data in outputs(folder / "out").items()}
        manifest = read_manifest(copy)
        assert manifest is not None
        assert manifest.copy is not None
        assert before.items() >= manifest.copy.positions.items()
        found = finish(fleet, FLEET_INPUT=str(killed.fleet.parent / "events.jsonl"))
        for name, data in found.items():
            assert not data or int((folder / "out" / f"{name}.committed").read_text()) == len(data)
        return found

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(go_on, killed.copies):
            assert_same(found, killed.expected)
    assert len(killed.copies) == BACKUPS


def test_what_is_committed_is_final(killed: Killed) -> None:
    """What the file beside an output calls final is a beginning of what an unbroken run writes."""
    for name, expected in killed.expected.items():
        told = killed.fleet.parent / "out" / f"{name}.committed"
        if told.exists():
            length = int(told.read_text())
            assert (killed.fleet.parent / "out" / f"{name}.jsonl").read_bytes()[:length] == expected[:length]
            assert expected[:length].endswith(b"\n") or length == 0
    assert int((killed.fleet.parent / "out" / "predictions.committed").read_text()) > 10_000


def test_a_mixture_of_two_moments_is_refused(killed: Killed, tmp_path: Path) -> None:
    """Any one file, and any set of files, of an older or newer backup among the rest is found.

    A kill may leave files one epoch apart, so only what is further apart than that is a mixture.
    """
    fleet = load(killed.fleet, environ={})
    chance = random.Random(3)
    whole = range(16)
    epochs = [resume_of(copy) for copy in killed.copies]
    apart = [(old, new) for old, new in combinations(range(BACKUPS), 2) if epochs[new] - epochs[old] > 1]
    sets = [[one] for one in whole] + [chance.sample(whole, chance.randrange(2, 15)) for _ in range(16)]
    for stale in sets:
        old, new = chance.choice(apart)
        store = Path(shutil.copytree(killed.copies[new], tmp_path / "store"))
        for number in stale:
            shutil.copy(killed.copies[old] / f"part-{number}.sqlite3", store)
        with pytest.raises(StoreError, match=r"(older|newer) than the rest.*Restore the whole store"):
            check_store(store, fleet)
        shutil.rmtree(store)


def state(store: Path) -> tuple[int, dict[tuple[str, str], object]]:
    """All that the engine reads of a store at a resume."""
    parts = []
    for path in part_files(store):
        with opened(path) as connection:
            parts.append(read_partition(path, connection))
    resume = resume_epoch(parts)
    found = {}
    for path in part_files(store):
        with opened(path) as connection:
            for each in snapshots(path, connection, resume):
                if each.state is not None:
                    found[each.step, each.key] = each.state
    return resume, found


def why_refused(store: Path, fleet: Fleet) -> str | None:
    """What a run would say, None if it would go on from the store."""
    try:
        check_store(store, fleet)
    except StoreError as error:
        return str(error)
    return None


@pytest.mark.parametrize("which", ["killed", "backup"])
def test_a_flipped_byte_is_found_or_does_no_harm(killed: Killed, tmp_path: Path, which: str) -> None:
    """One byte changed, 20 times in each part: the store is refused, or what is read from it is the same."""
    fleet = load(killed.fleet, environ={})
    chance = random.Random(7)
    origin = killed.store if which == "killed" else killed.copies[-1]
    store = Path(shutil.copytree(origin, tmp_path / "store"))
    good = state(store)
    refused = 0
    for part in part_files(origin):
        files = {path: path.read_bytes() for path in origin.glob(f"{part.name}*")}
        spoilt = [path for path in files if not path.name.endswith("-shm")]
        for path in chance.choices(spoilt, [len(files[path]) for path in spoilt], k=FLIPS):
            data = bytearray(files[path])
            place = chance.randrange(len(data))
            data[place] ^= chance.randrange(1, 256)
            (store / path.name).write_bytes(data)
            said = why_refused(store, fleet)
            if said is None:
                assert state(store) == good, f"{path.name}, byte {place}: {data[place]}"
            else:
                assert "Restore the whole store" in said or "restore the recovery store" in said
                refused += 1
            for each, content in files.items():
                (store / each.name).write_bytes(content)
    assert refused > FLIPS


def refusal(killed: Killed, store: Path, **extra: str) -> str:
    """Why a run on a store is refused; its outputs are left as they are."""
    out = killed.fleet.parent / "out"
    before = outputs(out)
    ran = dataflows("run", str(killed.fleet), "--recovery", str(store), **extra)
    assert ran.returncode == 1
    assert outputs(out) == before
    return ran.stderr


def test_a_missing_file_is_refused(killed: Killed, put_back: Path) -> None:
    """The message names the file, and outputs are not touched."""
    for path in put_back.glob("part-5.sqlite3*"):
        path.unlink()
    assert "lacks part-5.sqlite3 of 16 parts. Restore the whole store" in refusal(killed, put_back)


def test_a_file_of_another_store_is_refused(killed: Killed, put_back: Path, lines: list[bytes]) -> None:
    """A file that another run of the same fleet wrote is told apart by the number of its store."""
    other = prepare(put_back.parent / "other", lines[:50])
    finish(other)
    for path in put_back.glob("part-5.sqlite3*"):
        path.unlink()
    shutil.copy(other.parent / "store" / "part-5.sqlite3", put_back)
    assert "part-5.sqlite3 is of another recovery store" in refusal(killed, put_back)


def test_a_store_without_its_manifest_is_refused(killed: Killed, put_back: Path) -> None:
    """Files that carry a number belong to a manifest."""
    (put_back / "manifest.json").unlink()
    assert "lacks its manifest.json" in refusal(killed, put_back)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"format": 2', '"format": 1', "damaged (its CRC differs)"),
        ('name = "chaos"', 'name = "other"', "of the fleet 'chaos', not of 'other'"),
        ('length = "6h"', 'length = "7h"', "- truck: other windows for coolant_level"),
    ],
)
def test_what_a_store_does_not_fit_is_refused(
    killed: Killed, put_back: Path, before: str, after: str, said: str
) -> None:
    """A changed manifest, another fleet and other windows are refused before anything is touched."""
    manifest = put_back / "manifest.json"
    manifest.write_text(manifest.read_text().replace(before, after))
    fleet = put_back.parent / "fleet.toml"
    fleet.write_text(killed.fleet.read_text().replace(before, after))
    ran = dataflows(
        "run",
        str(fleet),
        "--recovery",
        str(put_back),
        FLEET_INPUT=str(killed.fleet.parent / "events.jsonl"),
        FLEET_OUTPUT=str(killed.fleet.parent / "out"),
    )
    assert ran.returncode == 1
    assert said in ran.stderr


def test_inspect_shows_what_a_resume_would_find(killed: Killed) -> None:
    """Fleet, epoch, files, keys, offsets, lengths and models are told of a store and of a backup."""
    for store in (killed.store, killed.copies[0]):
        console = quiet()
        inspect(store, None, console)
        assert isinstance(console.file, io.StringIO)
        said = console.file.getvalue()
        assert "sound; resumes from epoch" in said
        told = (
            "part-15.sqlite3",
            "asset",
            str(killed.fleet),
            "predictions  ",
            "truck/coolant_leak/12h",
        )
        assert [text for text in told if text not in said] == []
    assert "A backup, taken" in said


def test_a_damaged_backup_is_not_restored(killed: Killed, tmp_path: Path) -> None:
    """A file that is not as it was backed up is named, and no store is made; nor over one that is there."""
    copy = Path(shutil.copytree(killed.copies[0], tmp_path / "copy"))
    with (copy / "part-3.sqlite3").open("ab") as file:
        file.write(b"x")
    with pytest.raises(StoreError, match=r"part-3.sqlite3 is not as it was backed up"):
        restore(copy, tmp_path / "store", quiet())
    assert not part_files(tmp_path / "store")
    restore(killed.copies[0], tmp_path / "store", quiet())
    with pytest.raises(StoreError, match="holds a store; move it away"):
        restore(killed.copies[0], tmp_path / "store", quiet())


def test_journal_and_lineage_go_with_their_store(put_back: Path, tmp_path: Path) -> None:
    """Their files are in the backup and come back; a journal that is left over is not mixed with them."""
    entries = b"as a live run wrote it\n"
    (put_back / "journal").mkdir()
    (put_back / "journal" / "order-000000000000.log").write_bytes(entries)
    (put_back / "lineage").write_text("of these runs")
    backup(put_back, tmp_path / "copy", quiet(), outputs=False)
    restore(tmp_path / "copy", tmp_path / "again", quiet())
    assert (tmp_path / "again" / "journal" / "order-000000000000.log").read_bytes() == entries
    assert (tmp_path / "again" / "lineage").read_text() == "of these runs"
    (tmp_path / "left" / "journal").mkdir(parents=True)
    (tmp_path / "left" / "journal" / "order-000000000007.log").write_bytes(entries)
    with pytest.raises(StoreError, match="holds a store; move it away"):
        restore(tmp_path / "copy", tmp_path / "left", quiet())


def test_a_backup_never_writes_over_what_is_there(killed: Killed, tmp_path: Path) -> None:
    """A folder that exists is refused, and so are a folder that is no store and one that is no backup."""
    with pytest.raises(StoreError, match="is there already"):
        backup(killed.store, tmp_path, quiet(), outputs=False)
    with pytest.raises(StoreError, match="is no recovery store"):
        backup(tmp_path, tmp_path / "copy", quiet(), outputs=False)
    with pytest.raises(StoreError, match="is no backup"):
        restore(killed.store, tmp_path / "store", quiet())
