"""``python -m dataflows audit``: prove that the served features are those of the recording.

Served feature vectors, from the outputs of a run, are compared to the last bit with those that the same
stages compute from the raw recording. Both are read once, in parallel; only vectors without a counterpart are
kept in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.connectors.files import FileSource
from dataflows.connectors.lines import InputError
from dataflows.connectors.outputs import end_of
from dataflows.evaluation.reading import SERVED
from dataflows.fleet import load
from dataflows.instants import shown_instant
from dataflows.items import Observation
from dataflows.pipeline import LANE, Inline, asset_of
from dataflows.sampling import in_sample
from dataflows.status import RunStatus
from dataflows.tools.explain import Explanation, explain, told
from dataflows.tools.matching import Made, Matching, Served, Share
from dataflows.tools.run import bytes_of, progress, signals
from dataflows.tools.tables import plain_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from dataflows.fleet import Fleet
    from dataflows.items import Item
    from dataflows.tools.matching import Difference

__all__ = ["Audit", "AuditError", "Report", "audit"]


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

    Returns:
        Whether all is equal.

    Raises:
        AuditError: the outputs hold no features, or those of other features, or none of the sample.
        FleetError: the configuration cannot be used.
        InputError: the recording cannot be read.
        RowError: a line of the outputs is not a valid row.
        OutputGoneError: files of the outputs were moved away.
    """
    overrides: dict[str, Any] = {"input": {"follow": False}}
    if recording:
        overrides["input"]["files"] = [str(Path.cwd() / name) for name in recording]
    if out is not None:
        overrides["output"] = {"folder": str(Path.cwd() / out)}
    resolved = load(fleet, overrides)
    named = frozenset(assets)
    chosen = named.__contains__ if named else lambda asset: in_sample(asset, sample)
    report = Audit(resolved, chosen, journal).run(console)
    _show(report, console)
    return report.difference is None


class Audit:
    """One audit.

    Args:
        fleet: the fleet.
        chosen: whether an asset is audited.
        journal: folder of an order journal whose order is repeated.
    """

    def __init__(self, fleet: Fleet, chosen: Callable[[str], bool], journal: Path | None = None) -> None:
        self._fleet = fleet
        self._chosen = chosen
        self._journal = journal
        self._path, share = _served_in(fleet)
        self._examples = share == "any"
        self._matching = Matching(share)
        self._forgotten: list[tuple[str, str]] = []
        self._features = {
            name: fleet.classes[target.asset_class].features for name, target in fleet.targets.items()
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
        records = _records(self._source(RunStatus()))
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
        for batch in _records(source):
            read = max((item.sequence for item in batch), default=status.records)
            for known in stages.lane(batch):
                if self._chosen(asset_of(known)):
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
                break  # what the recording holds beyond the outputs was served by nobody
        while row is not None and not matching.differences:
            matching.serve(row, status.records)
            matching.settle(status.records, ended=True)
            row = next(served, None)
        matching.settle(status.records, ended=True)
        if not matching.differences:
            matching.end(last)

    def _make(self, stages: Inline, known: Item) -> None:
        """Compute features with the same stage that served them."""
        for item in stages.asset(known):
            seen = item.body
            if not isinstance(seen, Observation):
                continue
            wanted = seen.example or not self._examples
            if wanted and seen.time is not None and seen.features is not None:
                made = Made(item.sequence, seen.features)
                self._matching.make(seen.asset, seen.target, (seen.time, seen.revision), made)
            if seen.forgotten and self._examples:
                self._forgotten.append((seen.asset, seen.target))

    def _served(self) -> Iterator[Served]:
        """Vectors in the outputs, of the chosen assets."""
        for number, row in enumerate(SERVED.rows(self._path), start=1):
            if row.features is None or row.correction or not self._chosen(row.asset):
                continue
            if tuple(row.features) != self._features.get(row.target):
                msg = (
                    f"{self._path}, line {number} has other features of {row.target!r} than "
                    f"{self._fleet.path} makes; audit a run with the fleet.toml that it had"
                )
                raise AuditError(msg)
            values = np.array(list(row.features.values()), dtype=np.float64)
            yield Served(row.sequence, row.asset, row.target, row.instant, row.revision, values)


def _served_in(fleet: Fleet) -> tuple[Path, Share]:
    """Find the output with features, and the share of computed features in it.

    Raises:
        AuditError: none does.
    """
    folder = fleet.output.folder
    predictions, evaluations = (folder / f"{name}.jsonl" for name in ("predictions", "evaluations"))
    if _has_features(predictions):
        return predictions, "every" if fleet.output.publish == "all" else "some"
    if _has_features(evaluations):
        return evaluations, "any"
    if fleet.output.features != "none" and end_of(predictions) and not end_of(evaluations):
        msg = (
            f"{evaluations} is empty: no example has its label yet, and the predictions hold no features. "
            'Audit once failures or time have labelled some; with `features = "all"` under [output] a run '
            "writes the features of every prediction"
        )
        raise AuditError(msg)
    msg = (
        f"neither {predictions} nor {evaluations} holds features; run with `features` under [output] set to "
        '"examples" or "all", or name another folder with --out'
    )
    raise AuditError(msg)


def _has_features(path: Path) -> bool:
    row = next(SERVED.rows(path), None) if end_of(path) else None
    return row is not None and row.features is not None


def _records(source: FileSource) -> Iterator[list[Item]]:
    """The recording in the order in which a run reads it."""
    partition = source.build_part("audit", LANE, None)
    try:
        while True:
            try:
                batch = partition.next_batch()
            except StopIteration:
                return
            yield batch
    finally:
        partition.close()


def _show(report: Report, console: Console) -> None:
    read = f"{report.compared:,} feature vectors of {report.assets:,} assets, {report.records:,} records read"
    if report.difference is None or report.why is None:
        console.print(f"Equal to the last bit: {read}.", highlight=False)
        return
    console.print(f"Not equal. Compared: {read}.", style="bold red", highlight=False)
    for line in told(report.difference, report.why):
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
