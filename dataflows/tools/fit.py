"""``python -m dataflows check fleet.toml --against FILES``: does a fleet fit a sample of its data?

A name that matches nothing makes no feature and no label. Here it is a finding before the run, and so are
lateness, reports and ranges that differ from what the fleet allows.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dataflows.connectors.lines import expand
from dataflows.events import Registration, decode
from dataflows.fleet.problems import nearest
from dataflows.instants import format_duration
from dataflows.mapping.recording import Recording, events_of, line_of
from dataflows.tools.health import Finding, Level
from dataflows.tools.survey import ENOUGH, Survey, quantile, survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dataflows.events import Event, Reject
    from dataflows.fleet.fleet import AssetClass, Fleet

__all__ = ["fit"]

#: Events of one file that are examined.
_EVENTS = 300_000
#: Shares of delays that a fleet should cover.
_LATE, _REPORTED = 0.999, 0.95


def fit(fleet: Fleet, files: Sequence[str]) -> list[Finding]:
    """Compare a fleet with a sample of its data.

    Args:
        fleet: the fleet; its rules make events of the rows, where it has some.
        files: paths and globs.

    Raises:
        InputError: no file matches.
        MappingError: a rule names a field that a file does not have.
        RowsError: a file cannot be read.
    """
    classes: set[str] = set()
    found = survey(_events(fleet, expand(tuple(files)), classes))
    total = sum(found.assets.values())
    head = f"{total:,} messages of {len(found.assets):,} assets, {found.modes.total():,} failures"
    start = Finding("ok" if total else "failure", "sample", head, "" if total else "no telemetry can be read")
    return [
        start,
        *_rejects(found),
        *_names(fleet, found, classes),
        *_ranges(fleet, found),
        *_times(fleet, found),
    ]


def _events(fleet: Fleet, paths: Iterable[str], classes: set[str]) -> Iterator[Event | Reject]:
    for path in paths:
        for line in islice(_lines(fleet, path), _EVENTS):
            if line.strip():
                event = decode(line.rstrip(b"\n"))
                if isinstance(event, Registration) and event.asset_class is not None:
                    classes.add(event.asset_class)
                yield event


def _lines(fleet: Fleet, path: str) -> Iterator[bytes]:
    """Lines of events of a file, made by the fleet's rules where it has some."""
    if fleet.input.rules:
        yield from map(line_of, events_of(path, fleet.input.rules, Recording(Path(path))))
    else:
        with Path(path).open("rb") as file:
            yield from file


def _rejects(found: Survey) -> Iterator[Finding]:
    for reason, count in found.rejects.most_common(5):
        yield Finding(
            "warning", "rejects", f"{count:,} records cannot be used: {reason}", "see docs/rejects.md"
        )


def _names(fleet: Fleet, found: Survey, classes: set[str]) -> Iterator[Finding]:
    """Names in the data that are not in the fleet, and names in the fleet that are not in the data."""
    layouts = fleet.classes.values()
    sent = {name: sensor for each in layouts for name, sensor in each.sent_names().items()}
    declared = {
        "sensor": (set(sent.values()), {sent.get(name, name) for name in found.sensors}),
        "mode": ({target.mode for target in fleet.targets.values()}, set(found.modes)),
        "fault code": ({code for each in layouts for code in each.faults}, set(found.codes)),
        "component": (
            {name for each in layouts for name in each.maintenance}
            | {target.component for target in fleet.targets.values()},
            set(found.components) - {""},
        ),
        "class": (set(fleet.classes), classes),
    }
    for what, (ours, theirs) in declared.items():
        for name in sorted(theirs - ours):
            near = nearest(name, ours - theirs)
            todo = (
                f"did you mean {near!r}?" if near else "it is not used; name it in fleet.toml if it matters"
            )
            level: Level = "failure" if what == "class" else "warning"
            yield Finding(level, "names", f"{what} {name!r} is not in the fleet", todo)
        if what in {"sensor", "mode"}:
            for name in sorted(ours - theirs):
                near = nearest(name, theirs - ours)
                todo = f"did you mean {near!r}?" if near else "correct it, or give files that have it"
                yield Finding("warning", "names", f"{what} {name!r} is not in the data", todo)
    for mode, count in found.modes.items():
        if count < ENOUGH and any(target.mode == mode for target in fleet.targets.values()):
            what = f"{count} failure{'s' * (count > 1)} of {mode!r}"
            yield Finding("warning", "labels", what, f"figures of fewer than {ENOUGH} failures say little")


def _ranges(fleet: Fleet, found: Survey) -> Iterator[Finding]:
    for layout in fleet.classes.values():
        for limits in layout.limits:
            for name in (limits.sensor, *limits.aliases):
                sensor = found.sensors.get(name)
                if (
                    sensor is None
                    or not sensor.count
                    or limits.least <= sensor.least <= sensor.largest <= limits.most
                ):
                    continue
                what = (
                    f"{name} is {sensor.least:g} to {sensor.largest:g}, its range {limits.least:g} to "
                    f"{limits.most:g}"
                )
                yield Finding("warning", "ranges", what, "readings outside of it count as missing")


def _times(fleet: Fleet, found: Survey) -> Iterator[Finding]:
    """Lateness, reports and cadence against what the fleet allows."""
    late, reported = quantile(found.disorder, _LATE), quantile(found.reported, _REPORTED)
    for layout in fleet.classes.values():
        yield from _lateness(layout, late, len(found.disorder))
        yield from _windows(layout, found.cadence)
    for target in fleet.targets.values():
        if reported > target.label_delay:
            what = (
                f"a share of {_REPORTED:.0%} of failures is reported within {format_duration(reported)}, "
                f"`label_delay` of {target.name} is {format_duration(target.label_delay)}"
            )
            yield Finding("warning", "reports", what, "later reports first count as no failure; raise it")


def _lateness(layout: AssetClass, late: int, count: int) -> Iterator[Finding]:
    if late > layout.allowed_lateness:
        what = (
            f"of {count:,} messages out of order, {_LATE:.1%} are up to {format_duration(late)} late, "
            f"`allowed_lateness` of {layout.name} is {format_duration(layout.allowed_lateness)}"
        )
        yield Finding("warning", "lateness", what, "later ones are not merged into windows; raise it")


def _windows(layout: AssetClass, cadence: int) -> Iterator[Finding]:
    for window in layout.windows:
        if window.length < 2 * cadence:
            length, every = format_duration(window.length), format_duration(cadence)
            what = f"a window of {length} of {layout.name} holds less than two messages, one every {every}"
            yield Finding("warning", "windows", what, "lengthen it")
