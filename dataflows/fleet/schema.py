"""The form of ``fleet.toml``: every key with its type, default and reason.

These tables say what may be written; what belongs together across tables is checked in `expand`.
The reference in ``docs/fleet.md`` is made from the descriptions below.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dataflows.fleet.class_schema import ClassTable, WeatherTable, WindowTable
from dataflows.fleet.streams import KafkaInputTable, KafkaOutputTable, KafkaTable
from dataflows.fleet.tables import Table, key_of, nested
from dataflows.fleet.values import (
    Duration,
    Durations,
    FileName,
    Form,
    Instant,
    Name,
    Names,
    Part,
    PositiveDuration,
    Rotation,
)
from dataflows.instants import MICROSECONDS

__all__ = [
    "AlertTable",
    "AssetsTable",
    "ClassTable",
    "ClockTable",
    "Document",
    "InputTable",
    "ModelTable",
    "OutputTable",
    "Table",
    "TargetTable",
    "WeatherTable",
    "WindowTable",
    "key_of",
    "nested",
]


class InputTable(Table):
    """Where records come from: `files`, or `kafka`."""

    files: Annotated[list[str], Form("list of paths or globs")] = Field(
        default=[],
        description="JSON Lines files, plain or gzip, relative to this file; `-` is standard input. "
        "`FLEET_INPUT` overrides it: paths or globs separated by spaces, relative to the working directory.",
    )
    batch: int = Field(
        default=1000,
        gt=0,
        description="Records the source emits at once. It changes the speed, never the outputs. "
        "`FLEET_BATCH` overrides it.",
    )
    follow: bool = Field(
        default=False,
        description="The files are still being written: read them as they grow, until the run is stopped. "
        "Every record needs `arrived`. A last line without its line end is not yet a record; a file that is "
        "cut or replaced ends the run with an error. What the source chose is kept in the order journal, in "
        "the folder `journal` of the recovery store; without recovery none is kept.",
    )
    tick_every: PositiveDuration = Field(
        default=MICROSECONDS["s"],
        description="With `follow`, and where a class has an `idle_timeout`: while nothing arrives, time is "
        "let pass in steps of at least this.",
    )
    tick_slack: Duration = Field(
        default=5 * MICROSECONDS["s"],
        description="How far those steps lag behind the time that has passed since the last record. A record "
        "that takes longer than this from its `arrived` to the file counts as arrived at the last step.",
    )
    journal_keep: Duration = Field(
        default=7 * MICROSECONDS["d"],
        description="How long the order journal keeps what no resume needs any more; `replay --journal` "
        "needs all of it since the first record.",
    )
    kafka: KafkaInputTable | None = Field(default=None, description="Topics to read instead of files.")


class OutputTable(Table):
    """Where rows go."""

    folder: Annotated[str, Form("path")] = Field(
        default="out",
        min_length=1,
        description="The folder of the outputs, relative to this file. `FLEET_OUTPUT` overrides it, "
        "relative to the working directory.",
    )
    features: Literal["none", "examples", "all"] = Field(
        default="examples",
        description="Which rows carry the feature vector: none, the evaluated examples (enough to train "
        "another model on what was served), or every prediction too.",
    )
    publish: Literal["all", "grid", "changed"] = Field(
        default="all",
        description="Which predictions are written, to bound the volume: every one, those chosen as "
        "examples, or those whose score differs by `changed_by` or more from the last one written of that "
        "asset and target. A score that moves an alert is always written. Evaluations do not depend on it.",
    )
    changed_by: Part = Field(
        default=0.02, description='How far a score has to move, with `publish = "changed"`.'
    )
    rotate: Rotation | None = Field(
        default=None,
        description="When an output goes on in a new file: before a row that would make the file larger than "
        "so many bytes, or with the first row of a day, in UTC, of knowledge time. A replay does it at the "
        "same rows. [recovery/](../recovery/README.md#files-that-rotate) says how the files are named, and "
        "which are finished. Default: never.",
    )
    kafka: KafkaOutputTable | None = Field(default=None, description="Topics to write instead of files.")


class ClockTable(Table):
    """How clocks are checked, as `clock = { tolerance = "10m" }` in `[assets]`; without it they are not."""

    tolerance: PositiveDuration = Field(
        default=10 * MICROSECONDS["m"],
        description="How far an asset's clock may be wrong. It is found wrong by three events further ahead "
        "of their arrival than this, or by nine that lag by more, a tenth of it apart at least. Longer than "
        "what messages regularly take on their way, or honest clocks seem to be behind. Without arrival "
        "times nothing is found; what is found is in `changes` and in the lane's rows of `metrics`.",
    )
    quarantine: bool = Field(
        default=False,
        description="Whether telemetry and faults of an asset whose clock is wrong are rejected, as "
        "`wrong_clock`, until it is right again; to silence they count as not arrived.",
    )


class AssetsTable(Table):
    """Which assets there are, and what happens to those that no registry row named."""

    unknown: Literal["adopt", "reject"] = Field(
        default="adopt",
        description="`adopt` takes an unknown asset into the class `adopt_as`; `reject` sends its records to "
        "the rejects. Most recordings have no registry, hence `adopt`.",
    )
    adopt_as: Name | None = Field(
        default=None,
        description="The class of adopted assets. With a single class that class is the default; with "
        "several it must be given.",
    )
    max_assets: int = Field(
        default=100_000,
        gt=0,
        description="Unknown assets beyond this number are rejected: a typing error in an asset's name must "
        "not fill the memory.",
    )
    registry: Annotated[list[FileName], Form("list of paths")] = Field(
        default=[],
        description="Files of registry rows (kind `asset`), relative to this file and read before the input, "
        "so that classes and attributes are known from the first record on. A file that was written anew "
        "is read whole at the next start, before new input: a row that says what the file said before "
        "changes nothing, the others take effect. `FLEET_INPUT` leaves them as they are.",
    )
    max_future: Duration = Field(
        default=MICROSECONDS["h"],
        description="How far after its arrival a record's time may lie; beyond it the record is rejected as "
        "`future`, since one wrong clock must not make everything else of the asset too late. Without "
        "arrival times nothing is.",
    )
    max_past: PositiveDuration = Field(
        default=3_650 * MICROSECONDS["d"],
        description="How far before its arrival the time of telemetry or of a fault may lie; beyond it the "
        "record is rejected as `too_late`: a device that starts without its clock says 1970. Longer than "
        "the oldest history that is ever sent. Without arrival times nothing is.",
    )
    max_arrival_jump: PositiveDuration = Field(
        default=30 * MICROSECONDS["d"],
        description="How far after its predecessor a record may arrive. One that arrives later is rejected "
        "as `wrong_arrival` until another asset or another source says the same, or until one asset has said "
        "so five times in a row: one wild `arrived` must not let time pass for the whole fleet.",
    )
    max_weather: int = Field(
        default=1_000_000,
        gt=0,
        description="How many rows of weather are held at once, of all sites; beyond it they are rejected as "
        "`no_room`. A million takes about 300 MB.",
    )
    max_tombstones: int = Field(
        default=1_000_000,
        gt=0,
        description="How many assets that `asset_ttl` dropped are remembered, by watermark and last "
        "identities, so that one which comes back is not taken for new. The oldest are forgotten first.",
    )
    clock: ClockTable | None = Field(default=None, description="How clocks are checked. Default: not at all.")


class AlertTable(Table):
    """When an alert opens and clears, as `alert = { open = 0.5 }` in a target; without it there are none."""

    open: Part | None = Field(
        default=None, description="The score from which on it opens. Default: the target's `threshold`."
    )
    clear: Part | None = Field(
        default=None,
        description="The score below which it clears, at most `open`. The distance keeps a score that "
        "trembles from opening one alert after the other. Default: 0.8 * `open`.",
    )
    dwell: Duration = Field(
        default=0,
        description="How long, in event time, the score has to stay there before the alert opens or clears.",
    )
    update_by: Part = Field(
        default=0.1,
        description="An open alert is written again when the score has moved by this much since its last "
        "row.",
    )


class TargetTable(Table):
    """What is predicted: this mode within this horizon. Lists expand to the product mode x horizon."""

    asset_class: Name = Field(alias="class", description="The class whose assets are predicted.")
    mode: Names = Field(description="The failure mode, as failure records name it.")
    horizon: Durations = Field(description="How far ahead: positive means t < failure time <= t + horizon.")
    component: Name | None = Field(
        default=None,
        description="Maintenance of this component inside the horizon censors an example. "
        "Default: the mode's name.",
    )
    label_delay: Duration | None = Field(
        default=None,
        description="As in the class, for modes that are reported sooner or later than others. "
        "Default: the class's.",
    )
    label_memory: Duration | None = Field(
        default=None,
        description="How long after maturing a record can still correct a label. Default: three horizons.",
    )
    threshold: Part = Field(
        default=0.5,
        description="The score from which on precision and recall count an example as predicted to fail.",
    )
    learn_positives: Literal["together", "at_once"] = Field(
        default="together",
        description="`together`: a positive is learned when the negatives of its time are, so that a model "
        "does not believe for a horizon that everything fails. `at_once`: when it is known.",
    )
    champion: Name = Field(
        description="The model whose score is published at first, in a new recovery store; one of `models`."
    )
    models: list[Name] | None = Field(
        default=None,
        min_length=1,
        description="The models that score and learn the examples. Default: all of the catalogue.",
    )
    successor: Name | None = Field(
        default=None,
        description="The model that becomes champion where the champion that a recovery store has by now is "
        "no longer among `models`; without it such a fleet is refused. While the champion is there it "
        "changes nothing.",
    )
    alert: AlertTable | None = Field(default=None, description="When alerts are raised. Default: never.")


class ModelTable(Table):
    """A model of the catalogue. The key is its name."""

    features: Annotated[list[str], Form("list of globs")] = Field(
        default=["*"],
        min_length=1,
        description="The features it sees, by globs over names such as `sensor_02` (a reading) and "
        "`sensor_02:mean:30h` (sensor:statistic:window); all forms are under Features below. Each glob must "
        "match something.",
    )
    scores: Annotated[list[str], Form("list of models")] = Field(
        default=[],
        description="Instead of features it sees the scores of these other models, and learns from them as "
        "they were served. A target that uses it uses those too. Calibrated scores come from "
        '`{ estimator = "dataflows.estimators.Calibration" }`, over one model; another estimator, over '
        "several, weighs them against each other.",
    )
    pipeline: Annotated[list[dict[str, Any]], Form("list of estimators")] = Field(
        min_length=1,
        description='Estimators with their parameters, `{ estimator = "river.tree.HoeffdingTreeClassifier", '
        "max_depth = 8 }`; parameters may hold estimators again. Several are joined as River's `|` does.",
    )


class Document(Table):
    """The fleet as a whole."""

    name: Name = Field(description="The fleet's name; a recovery store of another name is refused.")
    figures_from: Instant | None = Field(
        default=None,
        description="Examples before this instant count in no figure of the summary, so that the time in "
        "which models know nothing yet is left out. Default: all count.",
    )
    metrics_every: PositiveDuration = Field(
        default=MICROSECONDS["w"],
        description="The period of the metrics rows, in knowledge time: from one multiple of it to the next, "
        "counted from 1970-01-01T00:00Z. Where it is changed under a recovery store, the open period ends at "
        "the next multiple of the new one.",
    )
    max_internal_errors: int = Field(
        default=100,
        gt=0,
        description="The run ends after so many records on which a stage failed. Each is rejected as "
        "`internal_error` and its asset's state starts anew; where many fail, going on does harm.",
    )
    kafka: KafkaTable = Field(default=KafkaTable(), description="The Kafka cluster.")
    input: InputTable = Field(description="Where records come from.")
    output: OutputTable = Field(default=OutputTable(), description="Where rows go.")
    assets: AssetsTable = Field(
        default=AssetsTable(), description="Which assets there are, and what happens to unknown ones."
    )
    classes: dict[Name, ClassTable] = Field(
        min_length=1, description="Assets that share sensors, features and models, by name."
    )
    targets: list[TargetTable] = Field(default=[], description="What is predicted.")
    models: dict[Name, ModelTable] = Field(default={}, description="The catalogue of models, by name.")
