"""Make one recording of events from a user's files: rows through the rules, sorted by arrival.

The recording is JSON Lines in the form that the dataflow reads. It is written once, into the folder of the
outputs; a resumed run finds it there. A row that cannot become an event is a line of
kind ``unusable`` in it, so that it ends in the rejects with its own file and line.
"""

from __future__ import annotations

import hashlib
import heapq
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dataflows.connectors.lines import expand
from dataflows.disk import replace_file
from dataflows.fleet.problems import nearest
from dataflows.instants import format_instant
from dataflows.mapping.rows import form_of, read_rows
from dataflows.mapping.rules import FILE, Mapper, MappingError, Rule, fields_of, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dataflows.fleet.fleet import Fleet
    from dataflows.mapping.rows import Row

__all__ = [
    "ORDER",
    "Examined",
    "Recording",
    "delete_recordings",
    "events_of",
    "line_of",
    "sentence",
    "with_recordings",
    "write_recording",
]

#: Events that are sorted in memory at once; more are sorted in files.
IN_MEMORY = 400_000
#: Order of events of one time, without arrivals: registry and weather, records and faults, then telemetry.
ORDER = {
    "asset": 0,
    "weather": 1,
    "failure": 2,
    "retraction": 3,
    "maintenance": 4,
    "fault": 5,
    "telemetry": 6,
}
_FIRST = -(2**62)
_ABSENT = object()
#: Number of rows of a file that are examined for the fields that rules name.
_EXAMINED = 1_000


@dataclass(slots=True)
class Recording:
    """Result of making events of rows.

    Attributes:
        path: the recording.
        rows: rows read.
        events: events by kind.
        unusable: rows, or events of them, that could not be made.
        unmatched: rows that no rule took, by file.
        absent: fields that no JSON object of a file had, by file.
    """

    path: Path
    rows: int = 0
    events: Counter[str] = field(default_factory=Counter)
    unusable: int = 0
    unmatched: Counter[str] = field(default_factory=Counter)
    absent: dict[str, list[str]] = field(default_factory=dict)


def with_recordings(
    fleet: Fleet, progress: Callable[[int], None] | None = None
) -> tuple[Fleet, list[dict[str, Any]]]:
    """Return the fleet with recordings of events as its input, where it has rules that make them.

    Files that a recording holds already stay in it, new files make a recording of their own after it. Rows of
    topics and of files that are followed become events as they come: a topic has no recording, and files are
    followed after the recordings of earlier runs.

    Args:
        fleet: the fleet; it is returned as it is if its files hold events.
        progress: called with the number of rows read so far.

    Returns:
        The fleet, and for each recording its rows, events by kind, unusable and unmatched rows.

    Raises:
        MappingError: a file has no rule, a rule names a field that the file does not have, or a file or a
            rule changed since its recording was written.
        RowsError: a file cannot be read.
    """
    given = fleet.input
    if not given.rules or given.kafka is not None:
        return fleet, []
    folder = fleet.output.folder / "input"
    folder.mkdir(parents=True, exist_ok=True)
    rules = _digest(repr([_dumped(rule) for rule in given.rules]).encode())
    index = folder / "recordings.json"
    known = _recordings_in(index)
    paths = expand(given.files)
    read = {path for recording in known for path in recording["files"]} if given.follow else set(paths)
    # A file that is followed grows, so nothing is known of its content.
    digests = {path: _digest_of(path) if path in read else "" for path in paths}
    for recording in known:
        _check_same(recording, rules, digests)
    held = {path for recording in known for path in recording["files"]}
    new = [path for path in digests if path not in held]
    if given.follow:
        recorded = tuple(str(folder / recording["recording"]) for recording in known)
        return replace(fleet, input=replace(given, files=(*recorded, *new), recorded=recorded)), known
    if new:
        path = folder / f"events-{len(known):04}.jsonl"
        made = write_recording(new, given.rules, path, progress)
        known.append(
            {
                "recording": path.name,
                "rules": rules,
                "files": {name: digests[name] for name in new},
                "rows": made.rows,
                "events": dict(made.events),
                "unusable": made.unusable,
                "unmatched": dict(made.unmatched),
                "absent": made.absent,
            }
        )
        # Written last: a recording that it does not name is incomplete.
        replace_file(index, orjson.dumps(known, option=orjson.OPT_INDENT_2))
    files = tuple(str(folder / recording["recording"]) for recording in known)
    return replace(fleet, input=replace(given, files=files, rules=())), known


def _recordings_in(index: Path) -> list[dict[str, Any]]:
    """Return what is known of the recordings beside an index; nothing where there is none."""
    try:
        return list(orjson.loads(index.read_bytes())) if index.exists() else []
    except (orjson.JSONDecodeError, TypeError):
        msg = f"{index} is damaged; restore it from a copy, or start over (--fresh), which makes it again"
        raise MappingError(msg) from None


def _check_same(recording: Mapping[str, Any], rules: str, digests: Mapping[str, str]) -> None:
    """Refuse rules or files that are not those of a recording."""
    start_over = "start over (--fresh)"
    if recording["rules"] != rules:
        msg = f"[[input.map]] changed since {recording['recording']} was made by it; {start_over}"
        raise MappingError(msg)
    for path, digest in recording["files"].items():
        if digests.get(path) != digest:
            what = "changed" if path in digests else "is no longer among the files"
            msg = (
                f"{path} {what} since its events were recorded; put new rows into new files, or {start_over}"
            )
            raise MappingError(msg)


def sentence(recordings: Sequence[Mapping[str, Any]]) -> str:
    """Describe the events of the rows in a sentence.

    >>> events = {"telemetry": 10, "failure": 1}
    >>> sentence([{"rows": 12, "events": events, "unusable": 0, "unmatched": {"a.csv": 1}}])
    '12 rows made 10 telemetry and 1 failure. No rule took 1 row of a.csv.'
    """
    events, unmatched, rows, unusable = Counter[str](), Counter[str](), 0, 0
    for recording in recordings:
        events.update(recording["events"])
        unmatched.update(recording["unmatched"])
        rows, unusable = rows + recording["rows"], unusable + recording["unusable"]
    made = [f"{count:,} {kind}" for kind, count in events.items() if kind != "unusable"] or ["no event"]
    listed = " and ".join([", ".join(made[:-1]), made[-1]]) if made[1:] else made[0]
    said = f"{_counted(rows)} made {listed}."
    if unusable:
        said += f" {_counted(unusable)} could not be used (see rejects.jsonl)."
    for path, count in unmatched.items():
        said += f" No rule took {_counted(count)} of {Path(path).name}."
    for recording in recordings:
        for path, names in recording.get("absent", {}).items():
            said += f" No row of {Path(path).name} has {', '.join(names)}."
    return said


def _counted(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"


def delete_recordings(output: Path) -> None:
    """Delete what `with_recordings` wrote below a folder of outputs."""
    folder = output / "input"
    for path in (*folder.glob("events-*.jsonl"), folder / "recordings.json"):
        path.unlink(missing_ok=True)


def _dumped(rule: Rule) -> dict[str, Any]:
    """What a recording depends on; keys that came later count only where they are set."""
    left: dict[str, Any] = {"topics": True, "encoding": rule.encoding is None, "skip": not rule.skip}
    left["make"] = {number: {"unless"} for number, made in enumerate(rule.make) if not made.unless}
    dumped: dict[str, Any] = _without_later(rule.model_dump(exclude=left))
    return dumped


#: Keys of texts and times that releases added: where they are not set, a recording does not depend on them.
_LATER = ("match", "clock")


def _without_later(value: Any) -> Any:  # noqa: ANN401 - any plain value
    """Leave out the keys of `_LATER` where they are not set."""
    if isinstance(value, dict):
        unset = {name for name in _LATER if value.get(name, "") is None}
        return {name: _without_later(each) for name, each in value.items() if name not in unset}
    return [*map(_without_later, value)] if isinstance(value, list) else value


def _digest_of(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def write_recording(
    files: Sequence[str],
    rules: Sequence[Rule],
    path: Path,
    progress: Callable[[int], None] | None = None,
    in_memory: int = IN_MEMORY,
) -> Recording:
    """Write the recording of files.

    Args:
        files: paths.
        rules: rules, in order.
        path: path of the recording; its folder exists.
        progress: called with the number of rows read so far.
        in_memory: number of events that are sorted in memory; more are sorted in files.

    Raises:
        MappingError: a file has no rule, or a rule names a field that the file does not have.
        RowsError: a file cannot be read.
    """
    recording = Recording(path)
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=path.parent)))
        whole = temporary / path.name
        with whole.open("wb") as out:
            for line in _sorted(_lines(files, rules, recording, progress), temporary, stack, in_memory):
                out.write(line)
        whole.replace(path)
    return recording


def events_of(
    path: str, rules: Sequence[Rule], recording: Recording, progress: Callable[[int], None] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the events of one file in the order of its rows; times are microseconds since 1970.

    Readings of one asset and time in successive rows (``tag`` and ``value``) become one event.

    Raises:
        MappingError: as of `write_recording`.
    """
    fitting = [rule for rule in rules if rule.is_for(path)]
    if not fitting:
        patterns = sorted({pattern for rule in rules for pattern in rule.files})
        msg = f"{path}: no rule of [[input.map]] is for this file; they are for {', '.join(patterns)}"
        raise MappingError(msg)
    mapper = Mapper(fitting)
    last = _last_rows(path, mapper, fitting) if mapper.last else frozenset()
    examined = Examined(path, fitting)

    def made() -> Iterator[dict[str, Any]]:
        for row in _rows(path, fitting):
            recording.rows += 1
            if progress is not None and recording.rows % 10_000 == 0:
                progress(recording.rows)
            examined.add(row.fields)
            found = mapper.make(row, last=row.number in last)
            yield from found.events
            for why in found.unusable:
                recording.unusable += 1
                raw = row.raw or repr(row.fields)
                yield {"kind": "unusable", "source": path, "line": row.number, "why": why, "raw": raw}

    yield from _joined(made())
    if absent := examined.absent():
        recording.absent[path] = absent
    if mapper.unmatched:
        recording.unmatched[path] += mapper.unmatched


def _joined(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield events, successive readings of one asset and time as one."""
    held: dict[str, Any] | None = None
    for event in events:
        if held is not None and _joins(held, event):
            held["readings"].update(event["readings"])
            continue
        if held is not None:
            yield held
        held = event
    if held is not None:
        yield held


def _joins(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two events are readings of one asset and time, of different sensors."""
    if one["kind"] != "telemetry" or other["kind"] != "telemetry":
        return False
    same = all(one.get(name) == other.get(name) for name in ("asset", "time", "arrived", "site", "id"))
    return same and not one["readings"].keys() & other["readings"].keys()


def _rows(path: str, rules: Sequence[Rule]) -> Iterator[Row]:
    """Yield the rows of a file in the form that the first of its rules says."""
    first = rules[0]
    rows = read_rows(
        path, columns=first.columns, skip=first.skip, delimiter=first.delimiter, encoding=first.encoding
    )
    named = any(FILE in fields_of(rule) for rule in rules)
    file = Path(path).name.split(".")[0]
    for row in rows:
        yield row._replace(fields={FILE: file, **row.fields}) if named and row.fields is not None else row


def _last_rows(path: str, mapper: Mapper, rules: Sequence[Rule]) -> frozenset[int]:
    """Return the number of the last row of each asset."""
    last: dict[str, int] = {}
    for row in _rows(path, rules):
        asset = None if row.fields is None else mapper.asset(row.fields)
        if asset is not None:
            last[asset] = row.number
    return frozenset(last.values())


class Examined:
    """Fields that the first rows of a file have: a rule that names another column is wrong."""

    def __init__(self, path: str, rules: Sequence[Rule]) -> None:
        self._path = path
        self._columns = not form_of(path).startswith("json")
        self._missing = {name for rule in rules for name in fields_of(rule)}
        self._seen: set[str] = set()
        self._rows = 0

    def add(self, fields: dict[str, Any] | None) -> None:
        """Note the fields of a row.

        Raises:
            MappingError: the file has columns, and a rule names one that is not there.
        """
        if not self._missing or self._rows >= _EXAMINED or fields is None:
            return
        self._rows += 1
        self._seen |= fields.keys()
        self._missing -= {name for name in self._missing if value_of(fields, name, _ABSENT) is not _ABSENT}
        if self._columns and self._missing:
            self._refuse(min(self._missing))

    def _refuse(self, name: str) -> None:
        fields = sorted(self._seen)
        hint = nearest(name, fields)
        meant = "" if hint is None else f"; did you mean {hint!r}?"
        msg = (
            f"{self._path} has no field {name!r}{meant}; its fields are {', '.join(fields[:40])}. Correct "
            "the rule in [[input.map]]"
        )
        raise MappingError(msg)

    def absent(self) -> list[str]:
        """Return the fields that no JSON object had: perhaps they are optional, perhaps misspelt."""
        return sorted(self._missing) if self._rows else []


def _lines(
    files: Sequence[str],
    rules: Sequence[Rule],
    recording: Recording,
    progress: Callable[[int], None] | None,
) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Yield each event as its line, with the key that sorts it."""
    registered: dict[str, bytes] = {}
    with_arrivals: bool | None = None
    place = _FIRST
    for path in files:
        for event in events_of(path, rules, recording, progress):
            line = line_of(event)
            kind = event["kind"]
            if kind == "asset" and registered.get(event["asset"]) == line:
                continue  # many files repeat the attributes of a machine in each row
            if kind == "asset":
                registered[event["asset"]] = line
            if kind in {"asset", "unusable"} and "arrived" not in event:
                # Sorted with the row before it; registry rows without a time come first.
                yield ((_FIRST if kind == "asset" else place), 0), line
                recording.events[kind] += 1
                continue
            arrived = event.get("arrived")
            if with_arrivals is None:
                with_arrivals = arrived is not None
            if with_arrivals != (arrived is not None):
                msg = f"{path}: some events have `arrived`, some have none; give it in every rule or in none"
                raise MappingError(msg)
            place = event["time"] if arrived is None else arrived
            yield (place, 0 if with_arrivals else ORDER[kind]), line
            recording.events[kind] += 1


def line_of(event: dict[str, Any]) -> bytes:
    """Return an event as a line of the recording, its times as RFC 3339."""
    written = {
        name: format_instant(value) if name in {"time", "arrived", "issued"} else value
        for name, value in event.items()
    }
    return orjson.dumps(written, option=orjson.OPT_APPEND_NEWLINE)


def _sorted(
    lines: Iterable[tuple[tuple[int, int], bytes]], folder: Path, stack: ExitStack, most: int
) -> Iterator[bytes]:
    """Yield lines by key; lines with equal keys keep their order. Chunks are sorted in files."""
    chunks: list[Path] = []
    chunk: list[tuple[tuple[int, int], bytes]] = []
    for each in lines:
        chunk.append(each)
        if len(chunk) >= most:
            chunks.append(_spill(chunk, folder / f"{len(chunks)}"))
            chunk = []
    chunk.sort(key=lambda each: each[0])
    if not chunks:
        yield from (line for _, line in chunk)
        return
    parts = [_spilled(stack, path) for path in chunks]
    # heapq.merge takes the earlier part first where keys are equal.
    merged = heapq.merge(*parts, iter(chunk), key=lambda each: each[0])
    yield from (line for _, line in merged)


def _spill(chunk: list[tuple[tuple[int, int], bytes]], path: Path) -> Path:
    chunk.sort(key=lambda each: each[0])
    with path.open("wb") as file:
        for (place, order), line in chunk:
            file.write(b"%d %d " % (place, order) + line)
    return path


def _spilled(stack: ExitStack, path: Path) -> Iterator[tuple[tuple[int, int], bytes]]:
    file = stack.enter_context(path.open("rb"))
    for each in file:
        place, order, line = each.split(b" ", 2)
        yield (int(place), int(order)), line
