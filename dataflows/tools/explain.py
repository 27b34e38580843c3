"""Explain a feature vector that differs from the served one: the features, and the events near it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import orjson

from dataflows.connectors.outputs import files_of
from dataflows.evaluation.reading import PREDICTIONS
from dataflows.events import AssetEvent, Telemetry, Weather
from dataflows.instants import HOUR, shown_instant
from dataflows.pipeline import decoded
from dataflows.tools.matching import differing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dataflows.items import Item
    from dataflows.tools.matching import Difference

__all__ = ["Changed", "Explanation", "Nearby", "explain", "told"]

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
    told = {event.time for event in events if event.kind == "telemetry"}
    gone = sorted(_predicted(difference, predictions) - told)
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


def told(difference: Difference, why: Explanation) -> list[str]:
    """The difference in sentences."""
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
