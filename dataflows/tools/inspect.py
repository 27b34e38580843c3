"""``python -m dataflows inspect``: print the content of a recovery store."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from dataflows import steps
from dataflows.connectors.file_sink import StoredFile
from dataflows.connectors.kafka.sink import StoredTopic
from dataflows.connectors.order_journal import files_of_journal
from dataflows.connectors.source import StoredInput
from dataflows.engine.operators import read_parted
from dataflows.fleet import FleetError, load
from dataflows.instants import shown_instant
from dataflows.placement import name_of
from dataflows.recovery.kinds import describe, kind_of
from dataflows.recovery.manifest import Manifest, past_of, read_manifest
from dataflows.recovery.sqlite_files import (
    Partition,
    Snapshot,
    StoreError,
    check_sound,
    resume_epoch,
    snapshots,
)
from dataflows.target.horizons import stored_apart
from dataflows.target.models import MODELS
from dataflows.target.target import TARGET, ChampionError, described
from dataflows.tools.backup import caught
from dataflows.tools.summary import troubles
from dataflows.tools.tables import plain_table, show_either

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from dataflows.fleet import Fleet

__all__ = ["inspect", "stored_targets"]

#: Shown for a partition without a timestamp.
_NEVER = -(1 << 62)


def inspect(store: Path, fleet_file: Path | None, console: Console, *, as_json: bool = False) -> None:
    """Print the content of a store, as a resume would find it.

    Args:
        store: folder of the store or of a backup; a run may be writing to it.
        fleet_file: the fleet.toml, None for that of the latest run; without it models cannot be asked.
        console: where to print.
        as_json: print one JSON object.

    Raises:
        StoreError: it is no store, or damaged, incomplete or mixed.
    """
    manifest = _manifest(store)
    parts, resume, found = _read(store, manifest)
    every = [snapshot for part in found.values() for snapshot in part if snapshot.state is not None]
    fleet = _fleet(fleet_file or Path(manifest.run.fleet_file))
    if as_json:
        facts = {
            "store": str(store),
            "resumes_from_epoch": resume,
            "partitions": [
                {
                    "file": part.path.name,
                    "committed_epoch": part.committed,
                    "snapshots": len(found[part.path.name]),
                    "newest": _ages(found[part.path.name])[1],
                }
                for part in parts
            ],
            **_facts(every, fleet, manifest),
        }
        show_either(console, [facts], lambda: None, as_json=True)
        return
    _whose(store, manifest, resume, console)
    size, (oldest, newest) = decimal(sum(snapshot.size for snapshot in every)), _ages(every)
    held = f"{len(every):,} snapshots, {size}, written from {oldest} to {newest} UTC."
    console.print(held, highlight=False)
    console.print(_partitions(parts, found))
    console.print(_steps(every))
    _input(every, console)
    _journal(store, console)
    _lengths(every, console)
    _written(every, console)
    for table in _targets(every, fleet, manifest, console):
        console.print(table)


def _input_of(every: Iterable[Snapshot]) -> StoredInput | None:
    """What all lanes have read, together; None where nothing says so."""
    described = (describe(each.state) for each in every if steps.is_of(each.step, steps.SOURCE))
    lanes = [found for found in described if isinstance(found, StoredInput)]
    if not lanes:
        return None
    files: dict[str, int] = {}
    for path, offset in (each for lane in lanes for each in lane.files):
        # A shared file is read by each lane.
        files[path] = min(offset, files.get(path, offset))
    return StoredInput(
        sum(lane.records for lane in lanes),
        sum(lane.entries for lane in lanes),
        [*files.items()],
        {name: topic for lane in lanes for name, topic in lane.topics.items()},
        sorted({part for lane in lanes for part in lane.partitions}),
    )


def _facts(every: Sequence[Snapshot], fleet: Fleet | str, manifest: Manifest) -> dict[str, Any]:
    """What the snapshots hold, for a program."""
    run = manifest.run
    read = _input_of(every)
    outputs = {each.key: describe(each.state) for each in every if steps.is_of(each.step, steps.OUTPUTS)}
    targets = []
    for name, target, parts in () if isinstance(fleet, str) else _described(every, fleet, manifest):
        figures = ("champion", "learned", "positives", "pending", "open_alerts")
        told = {"why_not": target} if isinstance(target, str) else {key: target[key] for key in figures}
        targets.append({"target": name, **told, "model_bytes": dict(_models(parts))})
    return {
        "fleet": manifest.fleet,
        "fleet_file": run.fleet_file,
        "format": manifest.format,
        "last_run": {"started": run.started, "version": run.program, "outputs": run.outputs},
        "bytes": sum(snapshot.size for snapshot in every),
        "steps": [
            {"step": step, "keys": len({each.key for each in held}), "bytes": sum(each.size for each in held)}
            for step, held in sorted(_by_step(every).items())
        ],
        "records": None if read is None else read.records,
        "files": {} if read is None else dict(read.files),
        "topics": []
        if read is None
        else [
            {"topic": topic, "partition": number, "next_offset": offset}
            for topic, number, offset, _ in sorted(read.partitions)
        ],
        "outputs": {name: each.length for name, each in outputs.items() if isinstance(each, StoredFile)},
        "targets": targets,
    }


def _manifest(store: Path) -> Manifest:
    manifest = read_manifest(store)
    if manifest is None:
        msg = f"{store} is no recovery store: it has no manifest.json; a run makes one (--recovery)"
        raise StoreError(msg)
    return manifest


def _read(store: Path, manifest: Manifest) -> tuple[Sequence[Partition], int, dict[str, list[Snapshot]]]:
    """Partitions, the epoch of a resume, and the snapshots of each partition."""
    with ExitStack() as stack:
        connections, parts = caught(store, manifest, stack)
        resume = resume_epoch(parts)
        found: dict[str, list[Snapshot]] = {}
        for path, connection in connections.items():
            check_sound(path, connection)
            found[path.name] = [_lean(each) for each in snapshots(path, connection, resume)]
    return parts, resume, found


def stored_targets(store: Path, fleet_file: Path | None) -> dict[str, dict[str, Any]]:
    """Targets as a resume would find them, by name; see `dataflows.target.target.described`.

    Args:
        store: folder of the store or of a backup; a run may be writing to it.
        fleet_file: the fleet.toml, None for that of the latest run.

    Raises:
        ChampionError: the stored champion of a target cannot serve any more.
        FleetError: the fleet.toml cannot be read.
        StoreError: it is no store, or damaged, incomplete or mixed.
    """
    manifest = _manifest(store)
    fleet = load(fleet_file or Path(manifest.run.fleet_file))
    _, _, found = _read(store, manifest)
    every = [snapshot for part in found.values() for snapshot in part if snapshot.state is not None]
    begun = past_of(manifest, fleet).targets
    mains, parts = _of_step(every, steps.GROUP)
    targets = {}
    for name, main, read in _targets_in(mains, parts):
        if name in fleet.targets and TARGET.describe(main).begun == begun.get(name, 0):
            targets[name] = described(fleet, name, main, read)
    return targets


def _targets_in(
    mains: Mapping[str, bytes], parts: Mapping[str, Mapping[int, bytes]]
) -> list[tuple[str, bytes, dict[int, bytes]]]:
    """Name, main snapshot and parts of each target in the store, by name."""
    keys = (read_parted(mains[key], parts[key]) for key in mains)
    return sorted((found for key in keys for found in stored_apart(*key)), key=itemgetter(0))


def _lean(snapshot: Snapshot) -> Snapshot:
    """Read the snapshots without the state of assets; only their size is shown."""
    if snapshot.state is None or not steps.is_of(snapshot.step, steps.ASSET):
        return snapshot
    return snapshot._replace(state=b"")


def _fleet(path: Path) -> Fleet | str:
    """Load the fleet, or return the reason for none."""
    try:
        return load(path)
    except FleetError as error:
        return str(error)


def _whose(store: Path, manifest: Manifest, resume: int, console: Console) -> None:
    run = manifest.run
    path = Path(run.fleet_file)
    now = hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest() if path.exists() else None
    changed = (
        "is gone" if now is None else "as it was then" if now == run.configuration else "changed since then"
    )
    lines = [
        f"{store}: sound; resumes from epoch {resume:,}.",
        f"Fleet {manifest.fleet!r}, {run.fleet_file}, {changed}.",
        f"Format {manifest.format}, made {manifest.created}.",
        f"Last run: {run.started}, version {run.program}, Bytewax {run.engine}, River {run.river}.",
        f"Its outputs: {run.outputs}.",
        f"Lanes: {', '.join(manifest.lanes)}.",
    ]
    lines += [
        f"Started from nothing: {name}. {why[0].upper()}{why[1:]}." for name, why in manifest.past.migrated
    ]
    if manifest.copy is not None:
        lines.append(f"A backup, taken {manifest.copy.taken}.")
    for line in lines:
        console.print(line, highlight=False)


def _partitions(parts: Sequence[Partition], found: dict[str, list[Snapshot]]) -> Table:
    table = plain_table("Partitions", "file", "size", "committed\nepoch", "snapshots", "newest, UTC")
    for part in parts:
        held = found[part.path.name]
        log = part.path.with_name(f"{part.path.name}-wal")
        size = part.path.stat().st_size + (log.stat().st_size if log.exists() else 0)
        committed = "-" if part.committed is None else f"{part.committed:,}"
        table.add_row(part.path.name, decimal(size), committed, f"{len(held):,}", _ages(held)[1])
    return table


def _ages(held: Iterable[Snapshot]) -> tuple[str, str]:
    written = sorted(snapshot.written for snapshot in held)
    return (written[0], written[-1]) if written else ("-", "-")


def _steps(every: Sequence[Snapshot]) -> Table:
    table = plain_table("State by step", "step", "keys", "size", "oldest, UTC", "newest, UTC")
    for step, held in sorted(_by_step(every).items()):
        keys = {snapshot.key for snapshot in held}
        size = decimal(sum(snapshot.size for snapshot in held))
        table.add_row(step, f"{len(keys):,}", size, *_ages(held))
    return table


def _by_step(every: Iterable[Snapshot]) -> dict[str, list[Snapshot]]:
    by_step: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in every:
        by_step[steps.step_of(snapshot.step) or ""].append(snapshot)
    return by_step


def _input(every: Iterable[Snapshot], console: Console) -> None:
    """Positions of the source."""
    for snapshot in every:
        found = describe(snapshot.state) if steps.is_of(snapshot.step, steps.SOURCE) else None
        if not isinstance(found, StoredInput):
            continue
        entries = f", {found.entries:,} entries of the order journal" if found.entries else ""
        console.print(f"Read: {found.records:,} records{entries}.", highlight=False)
        if found.files:
            console.print("The next byte of each file:", highlight=False)
        for path, offset in found.files:
            console.print(f"  {path}  {offset:,}", highlight=False)
        if found.partitions:
            console.print(_offsets(found.topics, found.partitions))


def _offsets(topics: Mapping[str, str], parts: Iterable[tuple[str, int, int, int]]) -> Table:
    """Read offset of each partition."""
    table = plain_table("Topics that are read", "topic", "id", "part", "next offset", "latest, UTC")
    for topic, number, offset, latest in sorted(parts):
        stamp = "-" if latest <= _NEVER else shown_instant(latest)
        table.add_row(topic, str(topics.get(topic) or "-"), str(number), f"{offset:,}", stamp)
    return table


def _written(every: Iterable[Snapshot], console: Console) -> None:
    """Known offset of each partition of an output topic."""
    table = plain_table("Topics that are written", "output", "id", "part", "known to", "left out", "differed")
    for each in sorted(every, key=lambda found: found.key):
        topic = describe(each.state) if steps.is_of(each.step, steps.OUTPUTS) else None
        if not isinstance(topic, StoredTopic):
            continue
        for number, offset in sorted(topic.offsets.items()):
            counts = (f"{offset:,}", f"{topic.repeated:,}", f"{topic.divergent:,}")
            table.add_row(each.key, str(topic.id or "-"), str(number), *counts)
    if table.row_count:
        console.print(table)


def _journal(store: Path, console: Console) -> None:
    """Size of the order journal."""
    paths = files_of_journal(store / "journal")
    if not paths:
        return
    size = decimal(sum(path.stat().st_size for path in paths))
    first = int(paths[0].stem.removeprefix("order-"))
    console.print(
        f"Order journal: from entry {first:,} on, {size} in {len(paths):,} file(s).", highlight=False
    )


def _lengths(every: Iterable[Snapshot], console: Console) -> None:
    found = {each.key: describe(each.state) for each in every if steps.is_of(each.step, steps.OUTPUTS)}
    lengths = {name: output.length for name, output in found.items() if isinstance(output, StoredFile)}
    if lengths:
        console.print("Final bytes of each output:", highlight=False)
    for name, length in sorted(lengths.items()):
        console.print(f"  {name}  {length:,}", highlight=False)


def _targets(
    every: Sequence[Snapshot], fleet: Fleet | str, manifest: Manifest, console: Console
) -> list[Table]:
    """Models, pending examples and open alerts, asked of the stages themselves."""
    table = plain_table(
        "Targets",
        "target",
        "champion",
        "learned",
        "positive",
        "pending\nexamples",
        "open\nalerts",
        text=2,
    )
    models = plain_table("Models, as they are written", "target", "model", "size", text=2)
    if isinstance(fleet, str):
        console.print(f"Targets are not shown, since their fleet cannot be read: {fleet}", highlight=False)
        return []
    for name, target, read in _described(every, fleet, manifest):
        if isinstance(target, str):
            console.print(target, highlight=False)
            continue
        for line in troubles(target):
            console.print(f"{name}: {line}", highlight=False)
        table.add_row(
            name,
            target["champion"],
            *(f"{target[figure]:,}" for figure in ("learned", "positives", "pending", "open_alerts")),
        )
        for model, size in _models(read):
            models.add_row(name, model, decimal(size))
    return [table, models]


def _described(
    every: Iterable[Snapshot], fleet: Fleet, manifest: Manifest
) -> Iterator[tuple[str, dict[str, Any] | str, dict[int, bytes]]]:
    """Name, description and parts of each target of the fleet; why there is none, in its place."""
    begun = past_of(manifest, fleet).targets
    mains, parts = _of_step(every, steps.GROUP)
    for name, main, read in _targets_in(mains, parts):
        if name not in fleet.targets:
            continue
        if TARGET.describe(main).begun != begun.get(name, 0):
            yield name, f"{name}: starts from nothing with the next run.", read
            continue
        try:
            yield name, described(fleet, name, main, read), read
        except ChampionError as error:
            yield name, f"Not shown, since no run could continue from it: {error}", read


def _of_step(every: Iterable[Snapshot], step: str) -> tuple[dict[str, bytes], dict[str, dict[int, bytes]]]:
    mains: dict[str, bytes] = {}
    parts: dict[str, dict[int, bytes]] = defaultdict(dict)
    for snapshot in every:
        part = steps.part_of(snapshot.step)
        if snapshot.step == steps.main_of(step):
            mains[name_of(snapshot.key)] = snapshot.state
        elif part is not None and part[0] == step:
            parts[name_of(snapshot.key)][part[1]] = snapshot.state
    return mains, parts


def _models(parts: dict[int, bytes]) -> list[tuple[str, int]]:
    """Names of the models, and bytes of each as it is written."""
    of_models = [MODELS.describe(sealed) for sealed in parts.values() if kind_of(sealed) is MODELS]
    return sorted((name, size) for sizes in of_models for name, size in sizes.items())
