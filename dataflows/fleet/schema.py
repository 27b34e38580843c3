"""Form of ``fleet.toml``: every key with its type, default and reason.

These tables define the valid keys and values; `expand` checks rules across tables. The reference in
``docs/fleet.md`` is generated from the descriptions below.
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
    """Source of the records: `files`, or `kafka`."""

    files: Annotated[list[str], Form("list of paths or globs")] = Field(
        default=[],
        description="JSON Lines files, plain or gzip, relative to this file; `-` is standard input. "
        "`FLEET_INPUT` overrides it: paths or globs separated by spaces, relative to the working directory.",
    )
    batch: int = Field(
        default=1000,
        gt=0,
        description="Number of records that the source emits at once. It changes the speed, never the "
        "outputs. `FLEET_BATCH` overrides it.",
    )
    follow: bool = Field(
        default=False,
        description="The files are still being written: read them as they grow, until the run is stopped. "
        "Every record needs `arrived`. A last line without its line end is not yet a record. A file that is "
        "cut or replaced ends the run with an error. The order journal, in the folder `journal` of the "
        "recovery store, keeps the order that the source chose; without recovery there is no journal.",
    )
    tick_every: PositiveDuration = Field(
        default=MICROSECONDS["s"],
        description="With `follow`, and if a class has an `idle_timeout`: while nothing arrives, time "
        "advances in steps of at least this.",
    )
    tick_slack: Duration = Field(
        default=5 * MICROSECONDS["s"],
        description="How far those steps lag behind the time since the last record. A record that takes "
        "longer than this from its `arrived` to the file counts as arrived at the last step.",
    )
    journal_keep: Duration = Field(
        default=7 * MICROSECONDS["d"],
        description="How long the order journal keeps entries that no resume needs any more. `replay "
        "--journal` needs all entries since the first record.",
    )
    kafka: KafkaInputTable | None = Field(default=None, description="Topics to read instead of files.")


class OutputTable(Table):
    """Destination of the rows."""

    folder: Annotated[str, Form("path")] = Field(
        default="out",
        min_length=1,
        description="The folder of the outputs, relative to this file. `FLEET_OUTPUT` overrides it, "
        "relative to the working directory.",
    )
    features: Literal["none", "examples", "all"] = Field(
        default="examples",
        description="Rows that carry the feature vector: none, the evaluated examples (enough to train "
        "another model on the served features), or every prediction too.",
    )
    publish: Literal["all", "grid", "changed"] = Field(
        default="all",
        description="Predictions to write, to bound the volume: all, those chosen as examples, or those "
        "whose score differs by `changed_by` or more from the last one written of that asset and target. A "
        "score that moves an alert is always written. Evaluations do not depend on it.",
    )
    changed_by: Part = Field(
        default=0.02, description='Smallest change of a score that is written, with `publish = "changed"`.'
    )
    rotate: Rotation | None = Field(
        default=None,
        description="When an output starts a new file: before a row that would make the file larger than "
        "this size, or with the first row of a day, in UTC, of knowledge time. A replay does it at the same "
        "rows. [recovery/](../recovery/README.md#files-that-rotate) gives the names of the files, and which "
        "of them are finished. Default: never.",
    )
    kafka: KafkaOutputTable | None = Field(default=None, description="Topics to write instead of files.")


class ClockTable(Table):
    """Check of clocks, as `clock = { tolerance = "10m" }` in `[assets]`; without it no clock is checked."""

    tolerance: PositiveDuration = Field(
        default=10 * MICROSECONDS["m"],
        description="Largest error of an asset's clock. The clock is found wrong by three events further "
        "ahead of their arrival than this, or by nine that lag by more, a tenth of it apart at least. "
        "Choose it longer than the usual delay of messages, or honest clocks seem to be behind. Without "
        "arrival times nothing is found. Findings are in `changes` and in the lane's rows of `metrics`.",
    )
    quarantine: bool = Field(
        default=False,
        description="Whether telemetry and faults of an asset whose clock is wrong are rejected, as "
        "`wrong_clock`, until it is right again. For silence they count as not arrived.",
    )


class AssetsTable(Table):
    """Known assets, and the treatment of assets without a registry row."""

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
        description="Files of registry rows (kind `asset`), relative to this file and read before the "
        "input, so that classes and attributes are known from the first record on. A file that was exported "
        "again is read whole at the next start, before new input: rows that did not change have no effect, "
        "the others take effect. `FLEET_INPUT` does not override these files.",
    )
    max_future: Duration = Field(
        default=MICROSECONDS["h"],
        description="How far after its arrival a record's time may lie. Beyond it the record is rejected as "
        "`future`, since one wrong clock must not make all other records of the asset too late. Without "
        "arrival times a failure or maintenance record that lies so far after all telemetry waits until "
        "telemetry reaches it, at most 100,000 of them at once.",
    )
    max_past: PositiveDuration = Field(
        default=3_650 * MICROSECONDS["d"],
        description="How far before its arrival the time of telemetry or of a fault may lie. Beyond it the "
        "record is rejected as `too_late`: a device that starts without its clock reports 1970. Choose it "
        "longer than the oldest history that is ever sent. Without arrival times no record is rejected.",
    )
    max_arrival_jump: PositiveDuration = Field(
        default=30 * MICROSECONDS["d"],
        description="How far after its predecessor a record may arrive. A later one is rejected as "
        "`wrong_arrival`, until another asset or another source confirms the time, or until one asset has "
        "confirmed it five times in a row: one wild `arrived` must not advance time for the whole fleet.",
    )
    max_weather: int = Field(
        default=1_000_000,
        gt=0,
        description="Number of rows of weather held at once, of all sites. Rows beyond it are rejected as "
        "`no_room`. A million takes about 300 MB.",
    )
    max_tombstones: int = Field(
        default=1_000_000,
        gt=0,
        description="Number of dropped assets (`asset_ttl`) whose watermark and last identities are "
        "remembered, so that a returning asset is not taken for a new one. The oldest are forgotten first; "
        "attributes of the registry stay.",
    )
    clock: ClockTable | None = Field(default=None, description="Check of clocks. Default: none.")


class AlertTable(Table):
    """Alerts of a target, as `alert = { open = 0.5 }`; without it there are none."""

    open: Part | None = Field(
        default=None, description="Lowest score that opens an alert. Default: the target's `threshold`."
    )
    clear: Part | None = Field(
        default=None,
        description="Score below which the alert clears, at most `open`. The distance keeps a score that "
        "varies a little from opening one alert after the other. Default: 0.8 * `open`.",
    )
    dwell: Duration = Field(
        default=0,
        description="How long, in event time, the score has to stay there before the alert opens or clears.",
    )
    update_by: Part = Field(
        default=0.1,
        description="Change of the score since its last row after which an open alert is written again.",
    )


class TargetTable(Table):
    """A prediction task: this mode within this horizon. Lists expand to the product mode x horizon."""

    asset_class: Name = Field(alias="class", description="Class of the predicted assets.")
    mode: Names = Field(description="Failure mode, as in failure records.")
    horizon: Durations = Field(description="How far ahead: positive means t < failure time <= t + horizon.")
    component: Name | None = Field(
        default=None,
        description="Maintenance of this component inside the horizon censors an example. "
        "Default: the mode's name.",
    )
    label_delay: Duration | None = Field(
        default=None,
        description="As in the class, for modes whose reports take more or less time than others. Default: "
        "the class's.",
    )
    label_memory: Duration | None = Field(
        default=None,
        description="How long after maturing a record can still correct a label. Default: three horizons.",
    )
    threshold: Part = Field(
        default=0.5,
        description="Lowest score that precision and recall count as a predicted failure.",
    )
    learn_positives: Literal["together", "at_once"] = Field(
        default="together",
        description="`together`: a positive is learned when the negatives of its time are, so that a model "
        "does not believe for a horizon that everything fails. `at_once`: as soon as it is known.",
    )
    champion: Name = Field(
        description="Model that serves at first, in a new recovery store; one of `models`."
    )
    models: list[Name] | None = Field(
        default=None,
        min_length=1,
        description="Models that score and learn the examples. Default: the whole catalogue.",
    )
    successor: Name | None = Field(
        default=None,
        description="Model that becomes champion if the champion in a recovery store is no longer among "
        "`models`. Without it such a fleet is refused. It has no effect while the champion is among "
        "`models`.",
    )
    alert: AlertTable | None = Field(default=None, description="Thresholds of alerts. Default: no alerts.")


class ModelTable(Table):
    """A model of the catalogue. The key is its name."""

    features: Annotated[list[str], Form("list of globs")] = Field(
        default=["*"],
        min_length=1,
        description="Features that it sees, as globs over names such as `sensor_02` (a reading) and "
        "`sensor_02:mean:30h` (sensor:statistic:window); all forms are under Features below. Each glob must "
        "match something.",
    )
    scores: Annotated[list[str], Form("list of models")] = Field(
        default=[],
        description="Scores of other models, by name, as its input instead of features. It learns from them "
        "as they were served. A target that uses it uses those models too. Calibrated scores come from `{ "
        'estimator = "dataflows.estimators.Calibration" }`, over one model; another estimator, over '
        "several, weighs them against each other.",
    )
    pipeline: Annotated[list[dict[str, Any]], Form("list of estimators")] = Field(
        min_length=1,
        description='Estimators with their parameters, `{ estimator = "river.tree.HoeffdingTreeClassifier", '
        "max_depth = 8 }`; parameters may contain estimators. Several are joined as by River's `|`.",
    )


class Document(Table):
    """The fleet as a whole."""

    name: Name = Field(description="The fleet's name; a recovery store of another name is refused.")
    figures_from: Instant | None = Field(
        default=None,
        description="Examples before this instant count in no figure of the summary. Use it to leave out "
        "the time in which models know nothing yet. Default: all count.",
    )
    metrics_every: PositiveDuration = Field(
        default=MICROSECONDS["w"],
        description="Period of the metrics rows, in knowledge time: from one multiple of it to the next, "
        "counted from 1970-01-01T00:00Z. If it is changed under a recovery store, the open period ends at "
        "the next multiple of the new one.",
    )
    max_internal_errors: int = Field(
        default=100,
        gt=0,
        description="Number of records with a failed stage after which the run ends. Each is rejected as "
        "`internal_error`, and its asset starts with empty state. Where many fail, going on does harm.",
    )
    kafka: KafkaTable = Field(default=KafkaTable(), description="The Kafka cluster.")
    input: InputTable = Field(description="Source of the records.")
    output: OutputTable = Field(default=OutputTable(), description="Destination of the rows.")
    assets: AssetsTable = Field(
        default=AssetsTable(), description="Known assets, and the treatment of unknown ones."
    )
    classes: dict[Name, ClassTable] = Field(
        min_length=1, description="Assets that share sensors, features and models, by name."
    )
    targets: list[TargetTable] = Field(default=[], description="Prediction targets.")
    models: dict[Name, ModelTable] = Field(default={}, description="Catalogue of models, by name.")
