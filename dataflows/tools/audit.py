"""``python -m dataflows audit``: the proof that models were served the features of their recording.

Feature vectors as served, from the outputs of a run, are compared with those that the same stages compute
from the raw recording, to the last bit (`Matching`). Both are read once, side by side; only vectors without a
counterpart are held. `Explanation` names, for a vector that differs, the features and the events nearby.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import orjson

from dataflows.asset.plan import in_sample
from dataflows.connectors.file_sink import end_of, files_of
from dataflows.connectors.files import FileSource
from dataflows.connectors.lines import InputError
from dataflows.evaluation.reading import PREDICTIONS, SERVED
from dataflows.events import AssetEvent, Telemetry, Weather
from dataflows.fleet import load
from dataflows.instants import HOUR, format_instant, shown_instant
from dataflows.items import Forgotten, Observation, observations_of
from dataflows.mapping.recording import with_recordings
from dataflows.pipeline import Inline, asset_of, decoded
from dataflows.placement import ONLY_LANE
from dataflows.status import RunStatus
from dataflows.tools.run import bytes_of, progress, signals
from dataflows.tools.tables import plain_table, show_either

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from rich.console import Console

    from dataflows.fleet import Fleet
    from dataflows.items import Item

__all__ = [
    "Audit",
    "AuditError",
    "Changed",
    "Difference",
    "Explanation",
    "Made",
    "Matching",
    "Nearby",
    "Report",
    "Served",
    "Share",
    "audit",
    "differing",
    "explain",
    "records_of",
]

#: Which of the vectors that are computed were served: every one, or some, in the same order by asset and
#: target; or some in any order.
Share = Literal["every", "some", "any"]

#: Number of remembered equal vectors of each asset and target.
_EQUAL = 8
#: Event time and revision of a prediction.
Key = tuple[int, int]


class Served(NamedTuple):
    """A feature vector in the outputs of a run.

    Attributes:
        sequence: of the record that the row followed, in the run.
        values: float64 array (features of the class), NaN is missing.
    """

    sequence: int
    asset: str
    target: str
    time: int
    revision: int
    values: NDArray[np.float64]


class Made(NamedTuple):
    """A recomputed feature vector.

    Attributes:
        sequence: of its record in the recording.
        features: float64 array (features of the class) as bytes.
    """

    sequence: int
    features: bytes


class Difference(NamedTuple):
    """A difference between served and recomputed vectors.

    Attributes:
        what: ``missing`` where nothing was computed for what was served, ``extra`` for the opposite.
        after: event time and sequence of the last vector of this asset and target that was equal.
        sequence: in the recording, up to where it was read when this showed.
    """

    what: Literal["differs", "missing", "extra"]
    asset: str
    target: str
    time: int
    revision: int
    sequence: int
    after: tuple[int, int] | None
    served: NDArray[np.float64] | None = None
    made: NDArray[np.float64] | None = None


@dataclass(slots=True)
class _Stream:
    """One asset and target."""

    made: OrderedDict[Key, Made] = field(default_factory=OrderedDict)
    #: The largest key that was computed.
    last: Key | None = None
    #: Served, and not computed yet.
    waiting: list[Served] = field(default_factory=list)
    #: Event time and sequence of the last vectors that were equal.
    equal: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_EQUAL))


class Matching:
    """Match vectors of both sides, each side in its own order, and find the differences.

    It holds only what has no counterpart yet.

    Args:
        share: which of the vectors that are computed were served.

    Attributes:
        compared: pairs that were compared.
        differences: what was found.
    """

    def __init__(self, share: Share) -> None:
        self._share = share
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._waiting: set[tuple[str, str]] = set()
        self.compared = 0
        self.differences: list[Difference] = []

    @property
    def waiting(self) -> bool:
        """Whether something was served that was not computed yet."""
        return bool(self._waiting)

    @property
    def assets(self) -> int:
        """Number of assets with computed features."""
        return len({asset for asset, _ in self._streams})

    def make(self, asset: str, target: str, key: Key, made: Made) -> None:
        """Add a computed vector."""
        stream = self._streams.get((asset, target))
        if stream is None:
            stream = self._streams[asset, target] = _Stream()
        stream.made[key] = made
        if stream.last is None or key > stream.last:
            stream.last = key

    def serve(self, served: Served, read: int) -> None:
        """Add a served vector.

        Args:
            served: the vector.
            read: sequence up to which the recording was computed.
        """
        place = served.asset, served.target
        stream = self._streams.get(place)
        if stream is None:
            stream = self._streams[place] = _Stream()
        if not self._settle(stream, served, read):
            stream.waiting.append(served)
            self._waiting.add(place)

    def settle(self, read: int, *, ended: bool = False) -> None:
        """Compare again what was served before it was computed; at the end, report what is left."""
        for place in sorted(self._waiting):
            stream = self._streams[place]
            stream.waiting = [one for one in stream.waiting if not self._settle(stream, one, read, ended)]
            if not stream.waiting:
                self._waiting.discard(place)

    def _settle(self, stream: _Stream, served: Served, read: int, ended: bool = False) -> bool:  # noqa: FBT001, FBT002
        """Compare what was served with what was computed; False if that may still come."""
        key = served.time, served.revision
        made = stream.made.pop(key, None)
        if made is None:
            if not ended and (stream.last is None or stream.last < key):
                return False
            self._differ("missing", served, read, stream, served.values)
            return True
        if self._share != "any":
            self._skip(stream, served, key)
        self.compared += 1
        values = np.frombuffer(made.features)
        if differing(served.values, values).any():
            self._differ("differs", served, made.sequence, stream, served.values, values)
        else:
            stream.equal.append((served.time, made.sequence))
        return True

    def _skip(self, stream: _Stream, served: Served, key: Key) -> None:
        """Report vectors that were computed before this one, and never served."""
        while stream.made and next(iter(stream.made)) < key:
            before, made = stream.made.popitem(last=False)
            if self._share == "every":
                self._extra(stream, (served.asset, served.target), before, made)

    def _extra(self, stream: _Stream, place: tuple[str, str], key: Key, made: Made) -> None:
        values = np.frombuffer(made.features)
        self._differ(
            "extra", Served(made.sequence, *place, *key, values), made.sequence, stream, None, values
        )

    def end(self, last: int) -> None:
        """Note the end of the served vectors.

        Args:
            last: the largest sequence of what was served; later computed vectors are ignored.
        """
        for place, stream in self._streams.items():
            for key, made in stream.made.items() if self._share == "every" else ():
                if made.sequence <= last:
                    self._extra(stream, place, key, made)

    def _differ(
        self,
        what: Literal["differs", "missing", "extra"],
        of: Served,
        sequence: int,
        stream: _Stream,
        served: NDArray[np.float64] | None = None,
        made: NDArray[np.float64] | None = None,
    ) -> None:
        # What is served in no order may be older than what was equal before it.
        after = max((equal for equal in stream.equal if equal[0] <= of.time), default=None)
        place = of.asset, of.target, of.time, of.revision
        self.differences.append(Difference(what, *place, sequence, after, served, made))

    def forget(self, asset: str, target: str) -> None:
        """Drop the computed vectors of an asset whose examples were dropped: they will not be served."""
        stream = self._streams.get((asset, target))
        if stream is not None:
            stream.made.clear()


def differing(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(features) where two vectors are not the same bits; all ways to write a missing value are one."""
    differs: NDArray[np.bool_] = (one.view(np.uint64) != other.view(np.uint64)) & ~(
        np.isnan(one) & np.isnan(other)
    )
    return differs


_NEAR = 20
_LONGEST = 200
#: Largest distance of reported weather from the difference.
_WEATHER = 12 * HOUR


class Changed(NamedTuple):
    """One feature that differs; NaN is missing."""

    feature: str
    served: float
    made: float


class Nearby(NamedTuple):
    """An event of the recording.

    Attributes:
        sequence: of its record.
        place: file and line.
        kind: of event.
        time: microseconds, None of a registry row or a retraction.
        content: as JSON, cut where it is long.
    """

    sequence: int
    place: str
    kind: str
    time: int | None
    content: str


class Explanation(NamedTuple):
    """Explanation of a difference.

    Attributes:
        changed: features that differ, in their order.
        sensors: readings, fault codes or others that these features are made of; where the event's own
            readings are among them, only those.
        events: of the asset, read since the last vector that was equal, and weather of its site from within
            half a day where it makes features; at most 20, those nearest in time.
        among: how many there are.
        gone: times of predictions since then for which the recording holds no telemetry.
    """

    changed: tuple[Changed, ...]
    sensors: tuple[str, ...]
    events: tuple[Nearby, ...]
    among: int
    gone: tuple[int, ...]


def explain(
    difference: Difference, features: tuple[str, ...], records: Iterable[list[Item]], predictions: Path
) -> Explanation:
    """Search the recording again, for one asset only.

    Args:
        difference: what was found.
        features: names of all features of the class.
        records: the recording, from its beginning.
        predictions: those of the run, with or without features.
    """
    changed = _changed(difference, features)
    events = _events(difference, records, weather=any(name.startswith("weather:") for name in features))
    present = {event.time for event in events if event.kind == "telemetry"}
    gone = sorted(_predicted(difference, predictions) - present)
    near = sorted(events, key=lambda event: abs((event.time or difference.time) - difference.time))[:_NEAR]
    return Explanation(changed, _sensors(changed), tuple(sorted(near)), len(events), tuple(gone))


def _changed(difference: Difference, features: tuple[str, ...]) -> tuple[Changed, ...]:
    served, made = difference.served, difference.made
    if served is None or made is None:
        return ()
    return tuple(
        Changed(features[index], float(served[index]), float(made[index]))
        for index in np.flatnonzero(differing(served, made)).tolist()
    )


def _sensors(changed: tuple[Changed, ...]) -> tuple[str, ...]:
    own = [found.feature for found in changed if ":" not in found.feature]
    return tuple(dict.fromkeys(own or [found.feature.split(":")[0] for found in changed]))


def _events(difference: Difference, records: Iterable[list[Item]], *, weather: bool) -> list[Nearby]:
    site = None
    first = 0 if difference.after is None else difference.after[1]
    events: list[Nearby] = []
    for batch in records:
        for item in decoded(batch):
            if item.sequence > difference.sequence:
                return events
            body = item.body
            if isinstance(body, AssetEvent) and body.asset == difference.asset:
                site = getattr(body, "site", None) or site
                if item.sequence > first:
                    events.append(_nearby(item, body))
            elif weather and isinstance(body, Weather):
                near = abs(body.time - difference.time) <= _WEATHER
                if near and body.site == site:
                    events.append(_nearby(item, body))
    return events


def _nearby(item: Item, event: AssetEvent | Weather) -> Nearby:
    source, line, _ = item.position
    time = getattr(event, "time", None)
    shown = {
        name: value
        for name in event.__struct_fields__
        if name not in {"asset", "time", "arrived"} and (value := getattr(event, name)) is not None
    }
    content = orjson.dumps(shown["readings"] if isinstance(event, Telemetry) else shown).decode()[:_LONGEST]
    return Nearby(item.sequence, f"{source}, line {line}", type(event).__name__.lower(), time, content)


def _predicted(difference: Difference, predictions: Path) -> set[int]:
    """Times that the run predicted for this asset, since the last vector that was equal."""
    first = None if difference.after is None else difference.after[0]
    times: set[int] = set()
    if not files_of(predictions):
        return times
    for row in PREDICTIONS.rows(predictions):
        since = first is None or row.instant > first
        if row.asset == difference.asset and since and row.instant <= difference.time:
            times.add(row.instant)
    return times


def _sentences(difference: Difference, why: Explanation) -> list[str]:
    """Describe the difference in sentences."""
    at = shown_instant(difference.time)
    of = f"{difference.asset}, {difference.target}, prediction of {at}, revision {difference.revision}"
    lines = {
        "differs": [f"First difference: {of}: not the features that were served."],
        "missing": [f"First difference: {of} was served, and the recording leads to none."],
        "extra": [f"First difference: {of} follows from the recording, and was not served."],
    }[difference.what]
    if difference.after is None:
        lines.append("Nothing of this asset was equal before.")
    else:
        lines.append(
            f"The last equal vector is that of {shown_instant(difference.after[0])}, after record "
            f"{difference.after[1]:,} of the recording."
        )
    if why.sensors:
        lines.append(f"What differs is made of {', '.join(why.sensors)}.")
    for time in why.gone:
        lines.append(
            f"The prediction of {shown_instant(time)} has no event in the recording: telemetry of "
            f"{difference.asset} at that time is missing."
        )
    if difference.what == "missing" and difference.revision and not why.gone:
        lines.append(f"The run revised its prediction of {at} because of a late event that is missing.")
    return lines


class AuditError(RuntimeError):
    """There is nothing to audit, or not by this configuration."""


@dataclass(frozen=True, slots=True)
class Report:
    """Result of an audit.

    Attributes:
        compared: number of compared feature vectors; if there is a difference, all but the last are equal.
        assets: number of assets.
        records: number of records read.
        difference: the first difference, None if all is equal.
        why: explanation of it.
    """

    compared: int
    assets: int
    records: int
    difference: Difference | None = None
    why: Explanation | None = None


def audit(
    fleet: Path,
    recording: Sequence[str],
    console: Console,
    *,
    out: Path | None = None,
    sample: float = 1.0,
    assets: Sequence[str] = (),
    journal: Path | None = None,
    as_json: bool = False,
) -> bool:
    """Audit a run and print the result.

    Args:
        fleet: the ``fleet.toml`` of the run.
        recording: files and globs, relative to the working directory; none for the fleet's own input.
        console: console for progress and the report.
        out: folder of the outputs instead of the fleet's own.
        sample: share of the assets, chosen by a hash of their names.
        assets: names of assets instead of a share.
        journal: folder of the order journal of a live run.
        as_json: print one JSON object.

    Returns:
        Whether all is equal.

    Raises:
        AuditError: the outputs hold no features, or those of other features, or none of the sample.
        FleetError: the configuration cannot be used.
        InputError: the recording cannot be read.
        RowError: a line of the outputs is not a valid row.
        OutputGoneError: files of the outputs were moved away.
    """
    overrides: dict[str, Any] = {}
    if recording:
        overrides["input"] = {"files": [str(Path.cwd() / name) for name in recording], "map": []}
    if out is not None:
        overrides["output"] = {"folder": str(Path.cwd() / out)}
    resolved, _ = with_recordings(load(fleet, overrides))
    # Files that a run followed are read up to where they end now.
    resolved = replace(resolved, input=replace(resolved.input, follow=False))
    named = frozenset(assets)
    chosen = named.__contains__ if named else lambda asset: in_sample(asset, sample)
    report = Audit(resolved, chosen, journal).run(console)
    show_either(console, [_as_row(report)], lambda: _show(report, console), as_json=as_json)
    return report.difference is None


class Audit:
    """One audit.

    Args:
        fleet: the fleet.
        chosen: whether an asset is audited.
        journal: folder of an order journal whose order is repeated.
    """

    def __init__(self, fleet: Fleet, chosen: Callable[[str], bool], journal: Path | None = None) -> None:
        if fleet.input.lanes > 1:
            msg = (
                f"{fleet.path}: an audit reads the input as one lane, and `lanes` under [input] is "
                f"{fleet.input.lanes}; replay the recording in one lane, and audit that"
            )
            raise AuditError(msg)
        self._fleet = fleet
        self._chosen = chosen
        self._journal = journal
        self._path, share = _served_in(fleet)
        #: Whether only examples were served; and whether only those that lived until they had a label.
        self._examples = self._path.stem != "predictions"
        self._labelled = share == "any"
        self._matching = Matching(share)
        self._forgotten: list[tuple[str, str]] = []
        #: Name under which what is computed for a target is served.
        self._served_as = {name: name for name in fleet.targets}
        if self._path.stem == "examples":
            self._served_as = {name: target.asset_class for name, target in fleet.targets.items()}
        self._features = {
            self._served_as[name]: fleet.classes[target.asset_class].features
            for name, target in fleet.targets.items()
        }

    def run(self, console: Console) -> Report:
        """Read both sides to the end, or to the first difference.

        Raises:
            AuditError: nothing was compared, or the features served are others than those configured.
            InputError: the recording cannot be read, or the audit was stopped.
        """
        status = RunStatus()
        source = self._source(status)
        total = bytes_of(source.paths)
        with signals(status, console), progress("audit", total, status, console):
            self._read(status, source)
        matching = self._matching
        if status.stop:
            msg = f"stopped after record {status.records:,}; nothing is proved"
            raise InputError(msg)
        if not matching.differences and not matching.compared:
            msg = f"{self._path} holds no features of the chosen assets, so nothing was compared"
            raise AuditError(msg)
        report = Report(matching.compared, matching.assets, status.records)
        if not matching.differences:
            return report
        found = matching.differences
        mine = [one for one in found if (one.asset, one.target) == (found[0].asset, found[0].target)]
        first = min(mine, key=lambda one: (one.time, one.revision))
        records = records_of(self._source(RunStatus()))
        predictions = self._fleet.output.folder / "predictions.jsonl"
        why = explain(first, self._features[first.target], records, predictions)
        return Report(report.compared, report.assets, report.records, first, why)

    def _source(self, status: RunStatus) -> FileSource:
        fleet = self._fleet
        return FileSource(fleet.input, status, registry=fleet.assets.registry, replayed=self._journal)

    def _read(self, status: RunStatus, source: FileSource) -> None:
        """Read both sides in parallel: rows up to the record that they followed."""
        stages = Inline(self._fleet)
        served = self._served()
        row = next(served, None)
        last = 0
        matching = self._matching
        for batch in records_of(source):
            read = max((item.sequence for item in batch), default=status.records)
            for known in stages.lane(batch):
                asset = asset_of(known)
                if asset is not None and self._chosen(asset):
                    self._make(stages, known)
            matching.settle(read)
            while row is not None and row.sequence <= read:
                last = max(last, row.sequence)
                matching.serve(row, read)
                row = next(served, None)
            for place in self._forgotten:
                matching.forget(*place)
            self._forgotten.clear()
            if matching.differences or status.stop:
                return
            if row is None and not matching.waiting:
                break  # the recording goes beyond the outputs: later vectors were never served
        while row is not None and not matching.differences:
            matching.serve(row, status.records)
            matching.settle(status.records, ended=True)
            row = next(served, None)
        matching.settle(status.records, ended=True)
        if not matching.differences:
            matching.end(last)

    def _make(self, stages: Inline, known: Item) -> None:
        """Compute features with the same stage that served them."""
        for item in (each for made in stages.asset(known) for each in observations_of(made)):
            seen = item.body
            if not isinstance(seen, Observation):
                continue
            score, served_as = seen.score, self._served_as[seen.target]
            if score is not None and (score.example or not self._examples):
                made = Made(item.sequence, score.features)
                self._matching.make(seen.asset, served_as, (score.time, score.revision), made)
            if seen.of(Forgotten) and self._labelled:
                self._forgotten.append((seen.asset, served_as))

    def _served(self) -> Iterator[Served]:
        """Vectors in the outputs, of the chosen assets."""
        for number, row in enumerate(SERVED.rows(self._path), start=1):
            if row.features is None or row.correction or not self._chosen(row.asset):
                continue
            of = row.target or row.asset_class or ""
            if tuple(row.features) != self._features.get(of):
                msg = (
                    f"{self._path}, line {number} has other features of {of!r} than "
                    f"{self._fleet.path} makes; audit a run with the fleet.toml that it had"
                )
                raise AuditError(msg)
            values = np.array(list(row.features.values()), dtype=np.float64)
            yield Served(row.sequence, row.asset, of, row.instant, row.revision, values)


def _served_in(fleet: Fleet) -> tuple[Path, Share]:
    """Find the output with features, and the share of computed features in it.

    Raises:
        AuditError: none does.
    """
    folder = fleet.output.folder
    predictions, examples = folder / "predictions.jsonl", folder / "examples.jsonl"
    if _has_features(predictions):
        return predictions, "every" if fleet.output.publish == "all" else "some"
    # Former releases wrote the features into the evaluations; the examples that waited for their label then
    # were written with it, and not when they were served.
    evaluations = folder / "evaluations.jsonl"
    if _has_features(examples):
        return examples, "any" if _has_features(evaluations) else "every"
    if _has_features(evaluations):
        return evaluations, "any"
    msg = (
        f"neither {predictions} nor {examples} holds features; run with `features` under [output] set to "
        '"examples" or "all", or name another folder with --out'
    )
    raise AuditError(msg)


def _has_features(path: Path) -> bool:
    row = next(SERVED.rows(path), None) if end_of(path) else None
    return row is not None and row.features is not None


def records_of(source: FileSource) -> Iterator[list[Item]]:
    """Yield the records of a recording in the order in which a run reads it."""
    partition = source.build_part("audit", ONLY_LANE, None)
    try:
        while True:
            try:
                batch = partition.next_batch()
            except StopIteration:
                return
            yield batch
    finally:
        partition.close()


def _as_row(report: Report) -> dict[str, Any]:
    """A report for a program."""
    row: dict[str, Any] = {"equal": report.difference is None}
    row |= {name: getattr(report, name) for name in ("compared", "assets", "records")}
    if report.difference is None or report.why is None:
        return row
    found = report.difference
    place = {name: getattr(found, name) for name in ("what", "asset", "target", "revision", "sequence")}
    events = (
        {**event._asdict(), "time": None if event.time is None else format_instant(event.time)}
        for event in report.why.events
    )
    return row | {
        "difference": {**place, "time": format_instant(found.time)},
        "changed": [changed._asdict() for changed in report.why.changed],
        "events": list(events),
    }


def _show(report: Report, console: Console) -> None:
    read = f"{report.compared:,} feature vectors of {report.assets:,} assets, {report.records:,} records read"
    if report.difference is None or report.why is None:
        console.print(f"Equal to the last bit: {read}.", highlight=False)
        return
    console.print(f"Not equal. Compared: {read}.", style="bold red", highlight=False)
    for line in _sentences(report.difference, report.why):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if report.why.changed:
        table = plain_table("What differs", "feature", "served", "from the recording")
        for changed in report.why.changed:
            table.add_row(changed.feature, repr(changed.served), repr(changed.made))
        console.print(table)
    if report.why.events:
        title = f"Events of {report.difference.asset} since the last equal vector"
        if report.why.among > len(report.why.events):
            title += f": those nearest in time, of {report.why.among:,}"
        table = plain_table(title, "record", "where", "kind", "time", "content", text=5)
        for event in report.why.events:
            time = "" if event.time is None else shown_instant(event.time)
            table.add_row(f"{event.sequence:,}", event.place, event.kind, time, event.content)
        console.print(table)
