"""``python -m dataflows explain``: one prediction, from the recording: windows, late data, model, features.

The recording is run again in memory up to the record that caused the prediction. The same input gives the
same bytes, so the models are then those that gave the score, and each feature can be set to its usual value
in turn. Records that come afterwards show what late data would have changed.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dataflows.connectors.files import FileSource
from dataflows.connectors.lines import InputError
from dataflows.evaluation.reading import whole_rows
from dataflows.evaluation.words import (
    feature_in_words,
    moment,
    number,
    percent,
    plain,
    span,
    target_in_words,
)
from dataflows.events import Fault, Telemetry
from dataflows.instants import format_duration, parse_instant
from dataflows.items import Observation, ResolvedEvent, Row, observations_of
from dataflows.mapping.recording import with_recordings
from dataflows.pipeline import Inline, asset_of
from dataflows.status import RunStatus, silenced
from dataflows.tools.audit import records_of
from dataflows.tools.tables import plain_table, show_either

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from dataflows.fleet.fleet import AssetClass, Fleet
    from dataflows.items import Item
    from dataflows.outputs import MovedBy
    from dataflows.target.target import TargetStage

__all__ = ["ExplainError", "Explained", "WindowContent", "explain", "show_explanation"]

_SHOWN = 12


class ExplainError(RuntimeError):
    """A prediction cannot be explained; the message says what is missing."""


@dataclass(slots=True)
class WindowContent:
    """One window of a prediction.

    Attributes:
        length: as in the fleet.toml.
        start: not in it, microseconds.
        end: in it; the time of the telemetry.
        events: telemetry and faults in it when it was scored.
        late: of them, those that had come after a newer one.
        since: accepted events of this window that came after the score.
    """

    length: str
    start: int
    end: int
    events: int = 0
    late: int = 0
    since: int = 0


@dataclass(slots=True)
class Explained:
    """One prediction, explained.

    Attributes:
        prediction: its row.
        features: by name, as served; None is missing.
        contributions: what each feature did to the score, the largest first: the score minus the score with
            the usual value, which is negative where a feature lowered it.
        together: the same for all features of a sensor, code or attribute at once, by its name, the largest
            first; of one that has a single feature it is the contribution.
        with_usual: the score if every feature had its usual value; None where that is not known.
        read: scores of the models that a mixture or calibration reads, by name.
        windows: of the asset's class.
        weather: features of the weather, as served.
        revisions: later rows of the same asset, target and time.
    """

    prediction: dict[str, Any]
    features: dict[str, float | None] = field(default_factory=dict)
    contributions: list[MovedBy] = field(default_factory=list)
    together: dict[str, float] = field(default_factory=dict)
    with_usual: float | None = None
    read: dict[str, float | None] = field(default_factory=dict)
    windows: list[WindowContent] = field(default_factory=list)
    weather: dict[str, float | None] = field(default_factory=dict)
    revisions: list[dict[str, Any]] = field(default_factory=list)


def show_explanation(fleet: Fleet, prediction: str, console: Console, *, as_json: bool = False) -> None:
    """Print the explanation of a prediction.

    Args:
        fleet: the fleet, whose input is the recording of the run.
        prediction: id of the prediction.
        console: where to print.
        as_json: print one JSON object.

    Raises:
        ExplainError: there is no such prediction, or the recording does not lead to it.
        InputError: the recording cannot be read.
    """
    with console.status("Running the recording up to the prediction ..."), silenced():
        found = explain(fleet, prediction)

    def as_text() -> None:
        for line in _sentences(found):
            console.print(line, highlight=False)
        console.print(_windows(found))
        console.print(_contributions(found))

    show_either(console, [asdict(found)], as_text, as_json=as_json)


def explain(fleet: Fleet, prediction: str) -> Explained:
    """Explain a prediction; as `show_explanation`."""
    found = _find(fleet, prediction)
    row = found.prediction
    if fleet.input.kafka is not None or fleet.input.connector is not None:
        msg = "the recording is needed as files: name them with FLEET_INPUT, as `replay` writes them"
        raise ExplainError(msg)
    if fleet.input.lanes > 1:
        msg = (
            f"{fleet.path}: an explanation reads the input as one lane, and `lanes` under [input] is "
            f"{fleet.input.lanes}; replay the recording in one lane, and explain a prediction of that"
        )
        raise ExplainError(msg)
    fleet, _ = with_recordings(fleet)
    # Files that a run followed are read up to where they end now.
    fleet = replace(fleet, input=replace(fleet.input, follow=False))
    target = fleet.targets.get(row["target"])
    if target is None:
        msg = f"{row['target']} is no target of {fleet.path}; use the fleet.toml of the run"
        raise ExplainError(msg)
    layout = fleet.classes[target.asset_class]
    found.windows = _windows_at(layout, parse_instant(row["time"]))
    _Replay(fleet, layout, found).run()
    return found


def _find(fleet: Fleet, prediction: str) -> Explained:
    """The row of the prediction, and its later revisions."""
    found: Explained | None = None
    for row in whole_rows(fleet.output.folder, "predictions"):
        if row["id"] == prediction:
            found = Explained(row)
        elif found is not None and all(
            row[key] == found.prediction[key] for key in ("asset", "target", "time")
        ):
            found.revisions.append(row)
    if found is None:
        msg = f"{fleet.output.folder}/predictions.jsonl has no prediction {prediction}; take an `id` from it"
        raise ExplainError(msg)
    return found


def _windows_at(layout: AssetClass, time: int) -> list[WindowContent]:
    return [
        WindowContent(format_duration(window.length), time // window.hop * window.hop - window.length, time)
        for window in layout.windows
    ]


class _Replay:
    """The recording, run up to a prediction, and read on for late data."""

    def __init__(self, fleet: Fleet, layout: AssetClass, found: Explained) -> None:
        self._fleet = fleet
        self._layout = layout
        self._found = found
        self._row = found.prediction
        self._stages = Inline(fleet)
        self._newest = -math.inf
        self._done = False

    def run(self) -> None:
        """Fill in the explanation.

        Raises:
            ExplainError: the recording does not lead to the prediction.
            InputError: it cannot be read.
        """
        fleet = self._fleet
        source = FileSource(fleet.input, RunStatus(), registry=fleet.assets.registry)
        try:
            for batch in records_of(source):
                for item in self._stages.lane(batch):
                    self._take(item)
        except FileNotFoundError as error:
            raise InputError(str(error)) from error
        if not self._done:
            msg = (
                f"the recording does not lead to prediction {self._row['id']}: it is not that of the run, or "
                "the fleet.toml was changed since"
            )
            raise ExplainError(msg)

    def _take(self, item: Item) -> None:
        """Take one item of the lane: run it before the prediction, count it in windows."""
        if asset_of(item) == self._row["asset"]:
            self._count(item)
        if self._done:
            return
        made = (seen for each in self._stages.asset(item) for seen in observations_of(each))
        for together in self._stages.together(made):
            written = self._stages.rows(together)
            for seen in together:
                if self._is_it(seen) and self._wrote_it(written):
                    self._explain(seen)
                    return

    def _count(self, item: Item) -> None:
        event = item.body.event if isinstance(item.body, ResolvedEvent) else None
        if not isinstance(event, Telemetry | Fault):
            return
        late = event.time < self._newest
        if isinstance(event, Telemetry):
            self._newest = max(self._newest, event.time)
        for window in self._found.windows:
            if window.start < event.time <= window.end:
                window.events += not self._done
                window.late += late and not self._done
                window.since += self._done

    def _is_it(self, item: Item) -> bool:
        seen, row = item.body, self._row
        return (
            isinstance(seen, Observation)
            and seen.score is not None
            and (seen.asset, seen.target) == (row["asset"], row["target"])
            and (item.sequence, seen.score.revision) == (row["sequence"], row["revision"])
        )

    def _wrote_it(self, written: Iterable[Item]) -> bool:
        """Whether the prediction is among these rows, with the very score.

        Raises:
            ExplainError: its score is another one.
        """
        rows = [orjson.loads(item.body.data) for item in written if isinstance(item.body, Row)]
        same = next((row for row in rows if row.get("id") == self._row["id"]), None)
        if same is not None and same.get("score") != self._row["score"]:
            msg = (
                f"run again, prediction {self._row['id']} has the score {same.get('score')}, not "
                f"{self._row['score']}: the fleet.toml, a model or this program was changed since the run"
            )
            raise ExplainError(msg)
        return same is not None

    def _explain(self, item: Item) -> None:
        self._done = True
        found = self._found
        seen = item.body
        assert isinstance(seen, Observation)  # noqa: S101 - the caller looked
        assert seen.score is not None  # noqa: S101
        features = seen.score.features
        values = np.frombuffer(features).tolist()
        found.features = {
            name: None if math.isnan(value) else value
            for name, value in zip(self._layout.features, values, strict=True)
        }
        found.weather = {name: x for name, x in found.features.items() if name.startswith("weather:")}
        target: TargetStage | None = self._stages.target(self._row["target"])
        if target is not None and self._row["link"] != "prior":
            # Of a target whose horizons agree, the published score may be that of a shorter one.
            own = self._row.get("own", self._row["score"])
            reasons = target.reasons(features, own, self._row["asset"])
            found.contributions, found.read = reasons.features, reasons.read
            moved = sorted(reasons.together.items(), key=lambda each: (-abs(each[1]), each[0]))
            found.together = {name: effect for name, effect in moved if name}
            if "" in reasons.together:
                found.with_usual = own - reasons.together[""]


def _sentences(found: Explained) -> list[str]:
    row = found.prediction
    said = [
        f"{row['asset']}, {target_in_words(row['target'])}: {percent(row['score'])} at "
        f"{moment(parse_instant(row['time']))}, by {row['model']}, version {row['version']}"
        + (
            ", that is by the prior, since the model knew too little or failed."
            if row["link"] == "prior"
            else "."
        )
    ]
    if row["arrival"]:
        delay = parse_instant(row["arrival"]) - parse_instant(row["time"])
        said.append(f"Its telemetry, record {row['sequence']:,}, was known {span(delay)} after its time.")
    if row["revision"]:
        said.append(f"It is revision {row['revision']}: late or merged data replaced {row['revises']}.")
    if found.revisions:
        last = found.revisions[-1]
        said.append(
            f"It was revised {len(found.revisions)} times since; the latest score of that time is "
            f"{percent(last['score'])}."
        )
    said += _about_models(found)
    moves = [move for move in found.contributions[:3] if move["raised_by"]]
    if moves:
        parts = [
            f"{feature_in_words(move['feature'], move['value'], move['usual'])} ({move['raised_by']:+.3f})"
            for move in moves
        ]
        said.append(f"What moved it most: {'; '.join(parts)}.")
    missing = Counter(value is None for value in found.features.values())[True]
    if missing:
        said.append(f"{missing} of {len(found.features)} features were missing.")
    if found.weather:
        parts = [
            feature_in_words(name.removeprefix("weather:"), value) for name, value in found.weather.items()
        ]
        said.append(f"Weather that was known: {', '.join(parts)}.")
    return said


def _about_models(found: Explained) -> list[str]:
    """What the models below said, and what sensors did as a whole."""
    said = []
    if found.read:
        parts = [
            f"{name} {'gave none' if score is None else percent(score)}" for name, score in found.read.items()
        ]
        said.append(f"It reads the scores of other models: {', '.join(parts)}.")
    if found.with_usual is not None:
        said.append(f"With the usual value of every feature the score would be {percent(found.with_usual)}.")
    moved = [(name, effect) for name, effect in found.together.items() if effect][:3]
    if moved:
        parts = [f"{plain(name)} ({effect:+.3f})" for name, effect in moved]
        said.append(f"All features of a sensor or code together: {', '.join(parts)}.")
    return said


def _windows(found: Explained) -> Any:  # noqa: ANN401 - a table of rich
    table = plain_table("Windows", "window", "from", "to", "events", "of them\nlate", "came\nsince", text=3)
    for window in found.windows:
        table.add_row(
            window.length,
            moment(window.start),
            moment(window.end),
            f"{window.events:,}",
            f"{window.late:,}",
            f"{window.since:,}",
        )
    return table


def _contributions(found: Explained) -> Any:  # noqa: ANN401 - as above
    hidden = len(found.contributions) - _SHOWN
    table = plain_table(
        "What each feature did to the score: the score minus the score with the usual value",
        "feature",
        "value",
        "usual",
        "score",
        caption=f"{hidden} more features moved it less; --json has all." if hidden > 0 else None,
    )
    for move in found.contributions[:_SHOWN]:
        table.add_row(
            move["feature"], number(move["value"]), number(move["usual"]), f"{move['raised_by']:+.4f}"
        )
    return table
