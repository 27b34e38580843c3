"""Form of ``fleet.toml``: every key with its type, default and reason.

These tables define the valid keys and values; `expand` checks rules across tables. The reference in
``docs/fleet.md`` is generated from the descriptions below.
"""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dataflows.estimators.kept import MOST_KEPT
from dataflows.fleet.values import (
    Category,
    Duration,
    Durations,
    FileName,
    Form,
    Instant,
    Name,
    Names,
    PipelineStep,
    PositiveDuration,
    RefitEvery,
    RefitLag,
    Rotation,
    Share,
    label_name,
    topic_name,
)
from dataflows.instants import MICROSECONDS
from dataflows.window_statistics import FAULT_MEANINGS, FAULT_STATISTICS, MEANINGS, STATISTICS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

__all__ = [
    "AlertTable",
    "AssetsTable",
    "ClassTable",
    "ClockTable",
    "ConditionsTable",
    "Document",
    "InputTable",
    "KafkaInputTable",
    "KafkaOutputTable",
    "KafkaTable",
    "ModelTable",
    "NotifyTable",
    "OutputTable",
    "Table",
    "TargetTable",
    "TemplateTable",
    "WeatherTable",
    "WindowTable",
    "key_of",
    "nested",
]


class Table(BaseModel):
    """A table of the document; it refuses unknown keys and values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def key_of(name: str, field: FieldInfo) -> str:
    """Key of a field in the document."""
    return field.alias or name


def nested(field: FieldInfo) -> tuple[Literal["table", "list", "map"], type[Table]] | None:
    """Table below a field, and whether the field holds one table, a list or a map by name."""
    annotation: Any = field.annotation
    choices = get_args(annotation)
    if choices[1:] == (NoneType,):  # an optional table
        annotation, choices = choices[0], ()
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return "table", annotation
    inner = choices[-1:]
    if not inner or not isinstance(inner[0], type) or not issubclass(inner[0], Table):
        return None
    return ("list" if get_origin(annotation) is list else "map"), inner[0]


Topic = Annotated[str, AfterValidator(topic_name), Form("name of a topic")]


class KafkaTable(Table):
    """The Kafka cluster of `input.kafka` and `output.kafka`.

    The file never contains secrets: it names the environment variable or the file that holds one.
    """

    bootstrap: str = Field(
        default="localhost:9092",
        min_length=1,
        description="Addresses of some of its brokers, `host:port`, separated by commas. `FLEET_KAFKA` "
        "overrides it.",
    )
    security: Literal["none", "tls", "sasl", "sasl_tls"] = Field(
        default="none",
        description="Kind of connection: plain text, TLS, or either with a login by SASL. Use `sasl` "
        "without TLS only in networks that nobody else can listen to.",
    )
    ca_file: FileName | None = Field(
        default=None,
        description="With TLS, the authorities that may sign a broker's certificate, as PEM. Default: those "
        "of the system.",
    )
    certificate_file: FileName | None = Field(
        default=None, description="With TLS, the certificate of this client, as PEM."
    )
    key_file: FileName | None = Field(
        default=None, description="The key of that certificate, as PEM, in a file of its own."
    )
    key_password_env: str | None = Field(
        default=None, min_length=1, description="Environment variable that holds the password of the key."
    )
    key_password_file: FileName | None = Field(
        default=None, description="File that holds the password of the key."
    )
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="Mechanism of SASL."
    )
    user: str | None = Field(default=None, min_length=1, description="With SASL, the name of the user.")
    password_env: str | None = Field(
        default=None, min_length=1, description="Environment variable that holds the user's password."
    )
    password_file: FileName | None = Field(
        default=None, description="File that holds the user's password; a line end at its end does not count."
    )


class KafkaInputTable(Table):
    """Topics to read instead of files.

    All partitions of all topics are merged by the timestamps of their messages, which are the arrivals of
    the records, whatever `arrived` a record has itself. With `follow = true` they are read until the run is
    stopped; without it, up to where they end when the run starts.
    """

    topics: Annotated[list[Topic], Form("list of names of topics")] = Field(
        min_length=1,
        description="Topics of the input: one for all kinds of events, or several. Records of one asset "
        "belong into one partition of each topic, so that their order is kept: use its name as the key.",
    )
    shared: Annotated[list[Topic], Form("list of names of topics")] = Field(
        default=[],
        description="Topics that every lane reads, besides `topics`: for weather, registry rows, commands. "
        "With several `lanes` a record of anything else in them is rejected.",
    )
    group: str | None = Field(
        default=None,
        min_length=1,
        description="Consumer group that offsets are committed to, for tools that show lag. A resume reads "
        "its offsets from the recovery store. Default: `highwater-<name of the fleet>`.",
    )
    start: Literal["beginning", "end"] = Field(
        default="beginning", description="Offset at which a new store begins to read, in every partition."
    )
    new_partitions: Literal["refuse", "read"] = Field(
        default="refuse",
        description="What a run does if a topic has more partitions than before. Records of an asset then "
        "go to another partition, and may overtake older ones. So stop the producers, let the run read "
        "everything, add the partitions, set `read`, run, and start the producers again.",
    )


class KafkaOutputTable(Table):
    """Topics to write instead of files. `summary.json` and the log still go to the folder.

    A message's key is the asset (the target for metrics and changes), its value the row. Its headers are
    `id` (for predictions, alerts, examples and evaluations), `order` (sequence and part) and `run`. Rows are
    written in transactions, one an epoch: a reader with `isolation.level=read_committed` sees every row once.
    """

    prefix: str = Field(
        default="",
        description="Each output has a topic, named by this prefix and the output: with `plant1.`, "
        "`plant1.predictions`. Nobody else may write to them.",
    )
    partitions: int | None = Field(
        default=None,
        gt=0,
        description="Number of partitions of topics that do not exist: they are created, with the broker's "
        "other defaults. Default: all topics have to exist.",
    )
    transaction_timeout: PositiveDuration = Field(
        default=5 * MICROSECONDS["m"],
        description="How long brokers may be away before a run ends with an error; it can then be resumed. "
        "Also how long rows after those of a killed run stay invisible, unless it is resumed before. At "
        "most the brokers' `transaction.max.timeout.ms`.",
    )


if TYPE_CHECKING:
    Statistic: TypeAlias = str
    FaultStatistic: TypeAlias = str
else:
    Statistic, FaultStatistic = Literal[STATISTICS], Literal[FAULT_STATISTICS]


def _meanings(statistics: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` ({meaning})" for name, meaning in statistics.items())


class WindowTable(Table):
    """One event-time window; at time t it covers (floor(t / hop) * hop - length, t]."""

    length: PositiveDuration = Field(description="Length of the window: a multiple of `hop`.")
    hop: PositiveDuration | None = Field(
        default=None,
        description="Step in which old events leave the window. length / hop is at most 2000, since each "
        "asset keeps that many panes. Default: length / 12.",
    )
    statistics: list[Statistic] = Field(
        default=[*STATISTICS],
        min_length=1,
        description=f"Each is one feature a sensor: {_meanings(MEANINGS)}. In another order of arrival "
        "a slope may differ by 1e-6 of its largest term, where readings are at least 10 microseconds "
        "apart for each hour of the hop; n times closer together, by n times as much, since times are kept "
        "as hours from the start of a pane.",
    )
    sensors: list[Name] | None = Field(
        default=None,
        description="Sensors and expressions of the window; `[]` for a window over faults alone. Default: "
        "all of the class.",
    )
    faults: list[Name] | None = Field(
        default=None, description="Fault codes that the window counts. Default: all of the class."
    )
    fault_statistics: list[FaultStatistic] = Field(
        default=[*FAULT_STATISTICS],
        min_length=1,
        description=f"Each is one feature a fault code: {_meanings(FAULT_MEANINGS)}.",
    )


class WeatherTable(Table):
    """Weather at an asset's site, as the class sees it; see Weather below. By default a class sees none."""

    values: list[Name] = Field(
        min_length=1,
        description="Values of the weather rows. Each is a feature, `weather:<value>`, and a name for "
        "expressions, `weather.<value>`. Two features come with them: `weather:age`, the hours from the "
        "time at which the weather was valid to the event, and `weather:forecast`, 1 for a forecast, 0 for "
        "an observation.",
    )
    max_age: PositiveDuration = Field(
        description="Largest age of the weather at the time of the event; older weather counts as missing."
    )
    memory: Duration = Field(
        default=MICROSECONDS["w"],
        description="How long weather is kept beyond `max_age` and `allowed_lateness`, for backlogs. "
        "Telemetry that comes later finds none. The time is measured back from the newest telemetry of the "
        "stream.",
    )


class ConditionsTable(Table):
    """Operating conditions, found online; `<sensor>.relative` is a reading relative to its condition."""

    by: dict[Name, float] = Field(
        min_length=1,
        description="Sensors that tell the condition, each with a width: `{ load = 5.0 }`. A reading further "
        "than this from the first one of every known condition begins another condition. They have to come "
        "in one message with the others.",
    )
    sensors: list[Name] | None = Field(
        default=None,
        min_length=1,
        description="Sensors that get a channel `<sensor>.relative`, for windows and as a value: deviations "
        "from the mean of the condition, over all assets of the class so far. Default: all but those of "
        "`by`.",
    )
    most: int = Field(
        default=16,
        ge=1,
        le=1_000,
        description="Most conditions; a further one counts as the nearest of them.",
    )


class LimitTable(Table):
    """Plausible readings of one sensor: `flow = { range = [0, 40], unit = "l/min", sentinels = [65535] }`."""

    range: list[float] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="The least and the largest plausible reading. A reading outside is missing, and counted.",
    )
    unit: str | None = Field(default=None, min_length=1, description="Its unit, for human readers.")
    sentinels: list[float] = Field(
        default=[],
        description="Numbers by which the device reports that it has no reading, such as 65535 or -9999: "
        "they are missing, and counted.",
    )
    stuck_after: PositiveDuration | None = Field(
        default=None,
        description="A reading is missing if one of the same value lies this long before it, by event time, "
        "and no other value in between: the sensor is stuck. [features.md](features.md#stuck-sensors) tells "
        "what late readings change. By default a sensor may stand still.",
    )
    aliases: list[Name] = Field(
        default=[],
        description="Other names by which devices send it. A message that has its own name and an "
        "alias counts the former.",
    )


class ClassTable(Table):
    """A class: assets that share sensors, features and models. The key is its name."""

    sensors: list[Name] = Field(
        default=[],
        description="Readings to keep; other readings of a record are ignored.",
    )
    limits: Annotated[dict[Name, LimitTable], Form("table of tables")] = Field(
        default={},
        description="Plausible readings of each sensor. An implausible reading counts as missing, so that "
        "no model learns it. The summary counts it under `implausible`.",
    )
    values: bool = Field(
        default=True,
        description="Whether the event's own readings and expressions are features, in addition to the "
        "windows.",
    )
    expressions: Annotated[dict[Name, str], Form("table of expressions")] = Field(
        default={},
        description="Channels that are computed on every event and then count as sensors: `{ over_air = "
        '"coolant_temperature - weather.air_temperature" }`; see Expressions below.',
    )
    allowed_lateness: Duration = Field(
        default=0,
        description="How far below an asset's largest event time a late record is still merged into its "
        "windows. Later records go to the late output.",
    )
    label_delay: Duration = Field(
        default=0,
        description="How long after the horizon a failure may still be reported. Only then does an example "
        "count as negative. A short delay gives wrong negatives, a long one delays learning.",
    )
    downtime: Duration = Field(
        default=0,
        description="How long a machine may be down after a failure. Failures of one mode, each at most "
        "this long after the one before, count as one failure that is reported repeatedly. An example from "
        "a failure to this long after it is censored (`down`), unless a new failure follows within its "
        "horizon.",
    )
    example_every: PositiveDuration = Field(
        default=MICROSECONDS["h"],
        description="Grid of examples. Of the on-time telemetry of an asset in a cell of this grid, the "
        "first to arrive is evaluated and learned. The grid is aligned to 1970-01-01T00:00Z.",
    )
    faults: list[Name] = Field(
        default=[], description="The fault codes that windows can count; others are ignored."
    )
    maintenance: list[Name] = Field(
        default=[],
        description="Components whose maintenance makes two features: `<component>:since`, the hours since "
        "the last record, and `<component>:times`, the number of records. A record without a component "
        "counts for each of them.",
    )
    attributes: list[Name] = Field(
        default=[],
        description="Attributes of the registry that are features with their value. An attribute that an "
        "asset lacks, or that is no number, is a missing value.",
    )
    categories: Annotated[dict[Name, list[Category]], Form("table of lists of text")] = Field(
        default={},
        description="Text attributes, each with the values that make a feature of 0 or 1: `{ model = "
        '["model1", "model2"] }` makes `model=model1` and `model=model2`.',
    )
    running: Annotated[str, Form("expression")] | None = Field(
        default=None,
        description='When the machine runs: `"rpm > 100"`, an expression over sensors of the class; 0 means '
        "that it stands. Windows hold, scores and examples are made of, readings of a running machine only. "
        "A time without a reading of these sensors has the state of the time before; see "
        "[docs/features.md](features.md#machines-that-stand). Default: it always runs.",
    )
    reset_windows_on: list[Literal["failure", "maintenance"]] = Field(
        default=[],
        description="Records after which an asset's windows start empty, since the machine is repaired. "
        "Later events from before the record are too late for windows. Events from after it stay in them, "
        "however late the record is reported. For that an asset keeps each reading for the length of its "
        "longest window, at most 16,384 times (a reset among older ones drops the rest of their hop).",
    )
    idle_timeout: PositiveDuration | None = Field(
        default=None,
        description="At each multiple of it after an asset's last arrival the label clock advances to that "
        "instant, so that the examples of a silent asset get their label. It should be longer than the "
        "pauses of a healthy asset, and needs arrival times. After horizon + label delay + label memory + "
        "`max_future` nothing is left to decide, and the asset rests; at most 100,000 multiples are allowed "
        "up to there. Default: silence decides nothing.",
    )
    asset_ttl: PositiveDuration | None = Field(
        default=None,
        description="How long after its last arrival the state of a silent asset is dropped. It needs "
        "`idle_timeout`, and is longer than that and than horizon + label delay of each target, so that no "
        "example is lost. Default: never.",
    )
    weather: WeatherTable | None = Field(default=None, description="Weather that the class sees.")
    conditions: ConditionsTable | None = Field(
        default=None, description="Operating conditions to which readings are relative. Default: none."
    )
    compare: Share = Field(
        default=0.0,
        description="Share of its assets, chosen by a hash of their names, whose examples are computed "
        "again once the watermark has passed them. Rows of the metrics with `kind` = `skew`, and the "
        "summary, report how late data changed their features, the score and the log loss. Such an asset "
        "keeps its windows twice. 0 compares nothing and costs nothing; so does an `allowed_lateness` of 0.",
    )
    score_on: Literal["arrival", "complete"] = Field(
        default="arrival",
        description="When a time is scored. `arrival`: with each of its messages (the first prediction, "
        "then revisions). `complete`: once, when a reading of each of `required` has come. If one is "
        "missing, the time is scored when telemetry of a newer time comes, when a fault moves the watermark "
        "past it, or when the asset was silent for `idle_timeout`. `complete` is for gateways that send one "
        "sensor a message.",
    )
    required: list[Name] | None = Field(
        default=None,
        description='Sensors that a time waits for with `score_on = "complete"`. Leave out sensors that are '
        "often missing or null, since such times wait for the next. Default: all of the class.",
    )
    features: Annotated[dict[Name, dict[str, Any]], Form("table of tables")] = Field(
        default={},
        description="Features of kinds of your own: `{ running = { block = "
        '"my_features.RunningHours", sensor = "load", above = 0.1 } }` makes `running:hours`, '
        "where the class computes one feature, `hours`; see docs/features.md. A changed entry starts empty.",
    )
    windows: list[WindowTable] = Field(default=[], description="The windows over readings and faults.")


class ConnectorTable(Table):
    """A source or sink of another kind."""

    kind: str = Field(
        min_length=1,
        description="Its name in `dataflows/connectors/ends.py`; "
        "[CONTRIBUTING](../CONTRIBUTING.md#-a-source-or-a-sink) says how to add one.",
    )
    settings: Annotated[dict[str, Any], Form("table")] = Field(
        default={}, description="Keys of its own, which it checks itself."
    )


class InputTable(Table):
    """Source of the records: `files`, or `kafka`."""

    files: Annotated[list[str], Form("list of paths or globs")] = Field(
        default=[],
        description="JSON Lines files, plain or gzip, relative to this file; `-` is standard input. "
        "`FLEET_INPUT` overrides it: paths or globs separated by spaces, relative to the working directory.",
    )
    batch: int | None = Field(
        default=None,
        gt=0,
        description="Most records that the source emits at once. Left out, the source chooses: up to 1,000, "
        "and up to 8,000 while it is behind its input. It changes the speed, never the outputs. "
        "`FLEET_BATCH` overrides it.",
    )
    lanes: int = Field(
        default=1,
        gt=0,
        le=64,
        description="Parts into which the input is divided, each with a sequence, registry and silence of "
        "its own, so that as many processes share the work: entry *i* of `files`, or partition *i* of each "
        "topic, belongs to lane *i* modulo `lanes`. All records of an asset have to be in one lane. A "
        "recovery store keeps its number of lanes. See [lanes](lanes.md).",
    )
    shared: Annotated[list[str], Form("list of paths or globs")] = Field(
        default=[],
        description="Files that every lane reads, besides `files`: for weather, registry rows, commands. "
        "With several `lanes` a record of anything else in them is rejected. `FLEET_INPUT` takes their "
        "place, too.",
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
    connector: ConnectorTable | None = Field(
        default=None, description="Source of another kind, instead of files or topics."
    )
    map: Annotated[list[dict[str, Any]], Form("list of rules")] = Field(
        default=[],
        description="Rules that make events from files of any form: CSV, text in columns, JSON, Parquet, "
        "Arrow. [Your own data](own-data.md) has their keys. The events are sorted by arrival, without "
        "arrivals by time, and written to `input` in the output folder before the run. Rows of topics, and "
        "of files that are followed, become events as they come. Default: files and topics hold events.",
    )


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
        description="Where feature vectors are written: nowhere; once for each example to the output "
        "`examples`, whose id its evaluations name (enough to train another model on the served "
        "features); or to every prediction too.",
    )
    publish: Literal["all", "grid", "changed"] = Field(
        default="all",
        description="Predictions to write, to bound the volume: all, those chosen as examples, or those "
        "whose score differs by `changed_by` or more from the last one written of that asset and target. A "
        "score that moves an alert is always written. Evaluations do not depend on it.",
    )
    changed_by: PipelineStep = Field(
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
    connector: ConnectorTable | None = Field(
        default=None, description="Sink of another kind, instead of files or topics."
    )


Label = Annotated[str, AfterValidator(label_name), Form("name of a label")]


class NotifyTable(Table):
    """A receiver of alerts. The key is its name. [Alerts out](notify.md) says what it gets.

    The file never contains secrets: it names the environment variable or the file that holds one.
    """

    kind: Literal["alertmanager", "webhook"] = Field(
        description="An Alertmanager (API v2), which groups, silences and sends on; or any program that "
        "takes a POST for each alert that begins or ends."
    )
    url: str | None = Field(
        default=None,
        min_length=1,
        description="Its address: of an Alertmanager such as `http://127.0.0.1:9093`; of a webhook the whole "
        "URL. Exactly one of `url`, `url_env` and `url_file` has to be there.",
    )
    url_env: str | None = Field(
        default=None, min_length=1, description="Environment variable with a URL that is a secret itself."
    )
    url_file: FileName | None = Field(default=None, description="File with a URL that is a secret itself.")
    about: list[Literal["failures", "drift", "promotions", "proposals"]] = Field(
        default=["failures", "drift", "promotions", "proposals"],
        min_length=1,
        description="What it gets: alerts of failures (the rows of `alerts`), alarms of drift, changes of a "
        'champion, and proposals that wait for a decision (with `promotion = "propose"`).',
    )
    labels: dict[Label, str] = Field(
        default={}, description="Labels of every alert, besides those of its own, such as `plant`."
    )
    secret_env: str | None = Field(
        default=None,
        min_length=1,
        description="With a webhook, environment variable with the key that signs each post; 16 bytes or "
        "more, or `whsec_` and base64.",
    )
    secret_file: FileName | None = Field(default=None, description="File with that key.")
    token_env: str | None = Field(
        default=None, min_length=1, description="Environment variable with a bearer token for the receiver."
    )
    token_file: FileName | None = Field(default=None, description="File with that token.")
    ca_file: FileName | None = Field(
        default=None,
        description="Authorities that may sign the receiver's certificate, as PEM. Default: the system's.",
    )
    repost_every: PositiveDuration = Field(
        default=MICROSECONDS["m"],
        description="With an Alertmanager, how often alerts that are open are posted again: it forgets them "
        "when it is started again.",
    )
    expires_after: PositiveDuration = Field(
        default=30 * MICROSECONDS["m"],
        description="With an Alertmanager, how long after the last post it takes an open alert for "
        "resolved, in place of its `resolve_timeout`. Choose it longer than a restart of the run takes.",
    )
    hold: PositiveDuration = Field(
        default=MICROSECONDS["h"],
        description="With an Alertmanager, how long an event that has no end (an alarm of drift, a change of "
        "champion) is an active alert.",
    )


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

    open: PipelineStep | None = Field(
        default=None, description="Lowest score that opens an alert. Default: the target's `threshold`."
    )
    clear: PipelineStep | None = Field(
        default=None,
        description="Score below which the alert clears, at most `open`. The distance keeps a score that "
        "varies a little from opening one alert after the other. Default: 0.8 * `open`.",
    )
    dwell: Duration = Field(
        default=0,
        description="How long, in event time, the score has to stay there before the alert opens or clears.",
    )
    update_by: PipelineStep = Field(
        default=0.1,
        description="Change of the score since its last row after which an open alert is written again.",
    )


class BreakerTable(Table):
    """Breaker of a target, as `breaker = { latency = "5ms", commands = "commands.jsonl" }`."""

    latency: PositiveDuration = Field(
        description="Time that a row may take, on average: of the champion and models whose scores it sees."
    )
    rows: int = Field(
        default=1_000,
        gt=0,
        description="Rows of that average. Two such blocks, one after the other, have to be slower: one "
        "pause of the machine is not enough.",
    )
    commands: str = Field(
        min_length=1,
        description="Where the command is written, which a run reads back: one of the `files` of the input, "
        "by its path, or one of its topics.",
    )


class CostsTable(Table):
    """Prices, in one unit: what a failure, a planned repair and an inspection in vain cost."""

    missed: float = Field(gt=0, description="Price of a failure that nobody acted on.")
    false_alarm: float = Field(gt=0, description="Price of acting on a machine that would not have failed.")
    repair: float = Field(
        default=0.0,
        ge=0,
        description="Price of a planned repair, which prevents the failure; below `missed`.",
    )


class TargetTable(Table):
    """A prediction task: this mode within this horizon. Lists expand to class x mode x horizon."""

    asset_class: Names = Field(
        alias="class", description="Class of the predicted assets. Several have a target each."
    )
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
    threshold: PipelineStep = Field(
        default=0.5,
        description="Lowest score that precision and recall count as a predicted failure.",
    )
    learn_positives: Literal["together", "at_once"] = Field(
        default="together",
        description="`together`: a positive is learned when the negatives of its time are, so that a model "
        "does not believe for a horizon that everything fails. `at_once`: as soon as it is known.",
    )
    champion: Name = Field(
        description="Model that serves at first, in a new recovery store; one of `models`. `mixture`, unless "
        "the catalogue has a model of that name, is made of all of them: [mixture.md](mixture.md)."
    )
    models: list[Name] | None = Field(
        default=None,
        min_length=1,
        description="Models that score and learn the examples; the name of an entry with a grid stands for "
        "all of its models. Default: the whole catalogue.",
    )
    successor: Name | None = Field(
        default=None,
        description="Model that becomes champion if the champion in a recovery store is no longer among "
        "`models`. Without it such a fleet is refused. It has no effect while the champion is among "
        "`models`.",
    )
    alert: AlertTable | None = Field(default=None, description="Thresholds of alerts. Default: no alerts.")
    advice: str | None = Field(
        default=None,
        min_length=1,
        description="Where to look when an asset is at risk, in a sentence; the report shows it.",
    )
    costs: CostsTable | None = Field(
        default=None,
        description="Prices: the report says by them whether to act now, `thresholds` where alerts open.",
    )
    promotion: Literal["off", "propose", "auto"] = Field(
        default="propose",
        description="What happens when a challenger is better than the champion beyond doubt. `auto`: it "
        "becomes champion. `propose`: a row in `changes` proposes it, and a command accepts or refuses it. "
        "`off`: nothing is compared.",
    )
    judge: Literal["assets", "calendar"] = Field(
        default="assets",
        description="Unit of the comparison: the examples of one asset in one horizon, which assumes that "
        "assets do not fail together, given the scores; or those of all assets in one horizon, which does "
        "not assume it, and takes many times as long.",
    )
    judge_loss: Literal["brier", "log"] = Field(
        default="brier", description="Loss by which models are compared; `log` of scores in [0.001, 0.999]."
    )
    judge_positives: int = Field(
        default=10, ge=0, description="Positive examples that have to be compared before a promotion."
    )
    judge_margin: Share = Field(
        default=0.0, description="Least mean difference of the losses at which a challenger is promoted."
    )
    cool_down: Duration | None = Field(
        default=None,
        description="Time after a change of champion in which there is no promotion. Default: one horizon.",
    )
    breaker: BreakerTable | None = Field(
        default=None,
        description="A champion that is too slow is replaced by the former one: "
        "[promotion.md](promotion.md#slow-models). Default: no time is measured.",
    )
    relearn: Duration | None = Field(
        default=None,
        description="Corrected labels reach the models: where a record changes labels that they learned, "
        "they go back to a checkpoint and learn the examples since again, with the labels that stand: "
        "[models.md](models.md#corrected-labels). It is the time from one checkpoint to the next; "
        "corrections reach back by one to two times as much. Default: what was learned stays learned.",
    )
    prior: PipelineStep | None = Field(
        default=None,
        description="Share of positives that is expected before any example, as of a class that joins: "
        "until a model has learned both labels the prior answers, from the first event on. It counts as one "
        "positive among as many examples as that takes, 0.01 as one among a hundred. Default: a half, "
        "which counts as one example.",
    )
    thin_negatives: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="Where failures are rare: of the negatives that are kept for models with `refit_every`, "
        "only one in so many, which weighs as much in a fit. `keep`, and a `refit_every` in examples, count "
        "what is kept. Other models learn from all examples.",
    )
    agree: bool = Field(
        default=False,
        description="Whether its horizons agree: of all targets of the class and mode with `agree`, a longer "
        "horizon is never published as less probable. See docs/hours.md.",
    )
    hours: Name | None = Field(
        default=None,
        description="Model of the target that tells when within the horizon a failure comes, as "
        "`dataflows.estimators.Hazard` does: predictions get `hours`, the median of the hours to failure and "
        "the interval from the tenth to the ninetieth percentile. Default: none.",
    )
    within: Durations | None = Field(
        default=None,
        description="With `hours`, shorter horizons: predictions get the probability `within` each. They "
        "ascend with the horizon up to the score, always; targets of their own have models of their own, "
        "which may disagree.",
    )
    verdict_weight: int = Field(
        default=1,
        ge=0,
        le=100,
        description="How often the models learn an example that has its label from a verdict: [verdicts.md]"
        "(verdicts.md). About 1 / share, where a share of the alerts that end in a repair is judged; 0: they "
        "count in figures, and are not learned.",
    )
    drift: Literal["off", "log", "challenger", "reset"] = Field(
        default="off",
        description="`log`: loss, labels, alerts, scores, missing values and features are watched for drift, "
        "with rows in `metrics` and alarms in `changes`. `challenger`: after an alarm a fresh version of "
        "`drift_model` starts as a challenger, which learns what came since the change. `reset`: the "
        "challenger `drift_model` begins with nothing.",
    )
    drift_model: Name | None = Field(
        default=None,
        description="Model that starts or is reset after an alarm of drift. Default: the `champion`, whose "
        "fresh version is a challenger.",
    )
    compare_with: PositiveDuration | None = Field(
        default=None,
        description="Compare each day with the one so long before, such as `7d` or `365d`, so that what "
        "comes back is no drift. Default: with a reference of thirty days.",
    )
    drift_detectors: Annotated[list[str], Form("list of dotted paths")] = Field(
        default=[],
        description="Further detectors of the champion's loss, such as `river.drift.ADWIN`; their statistics "
        "are in the rows `drift` of `metrics`, and they raise no alarms.",
    )


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
        default=[],
        min_length=1,
        description='Estimators with their parameters, `{ estimator = "river.tree.HoeffdingTreeClassifier", '
        "max_depth = 8 }`; parameters may contain estimators. Several are joined as by River's `|`. It has "
        "no default but that of a template.",
    )
    scope: Literal["asset", "class", "fleet"] = Field(
        default="class",
        description="Whose examples it learns: of the target's class, or of all classes whose targets of "
        "one mode and horizon have it. With `asset` it learns those of the class, and an offset of each "
        "asset, and has a score for assets that have shown both labels. A model of the fleet sees features "
        "by name: a class gives it those that it has, the others are missing. See [cold-start.md]"
        "(cold-start.md).",
    )
    least_positives: int = Field(
        default=0,
        ge=0,
        description='Positive examples that it has to learn before it scores, with `scope = "asset"` of that '
        "asset; until then the prior answers, or the next model of a chain. At least one of each label is "
        "needed in any case.",
    )
    refit_every: RefitEvery | None = Field(
        default=None,
        description="Makes it a model that is fitted in batch, again and again, on the matured examples so "
        "far, as they were served: every so many examples, or whenever the target clock passes a multiple of "
        "a duration. "
        "Its `pipeline` is then of scikit-learn or LightGBM (extras `sklearn` and `lightgbm`). [Models]"
        "(models.md#fitted-again-and-again) has more. Default: it learns example by example.",
    )
    keep: int = Field(
        default=100_000,
        gt=0,
        le=MOST_KEPT,
        description="With `refit_every`, the number of latest examples that a fit sees. The models of a "
        "target share them; an example takes 8 bytes a feature of the class.",
    )
    template: Names | None = Field(
        default=None,
        description="A template whose keys it takes over where it has none itself: one of `templates`, or of "
        "those that [Models](models.md#templates-and-grids) lists. A list makes a model of each, named by "
        "this entry and the template: `all-linear`.",
    )
    values_set: Annotated[dict[Name, Any], Form("table")] = Field(
        default={}, alias="set", description="Values of parameters, which `$name` in it stands for."
    )
    grid: Annotated[dict[Name, list[Any]], Form("table of lists")] = Field(
        default={},
        description="Values of parameters, or of `features`, `refit_every`, `keep`, `refit_lag` and "
        "`scores`. Each combination is a model, named by this entry and its values: `tree-max_depth=4`. A "
        "value that no name can hold is named by its place.",
    )
    refit_lag: RefitLag | None = Field(
        default=None,
        description="How long after the start of a fit it takes effect, in the unit of `refit_every`. Until "
        "then it runs in a thread while the former fit scores; the stream waits for it only at that place. "
        "Default: a tenth of `refit_every`.",
    )


class TemplateTable(ModelTable):
    """A part of a model; `$name` in it stands for the parameter `name`. The key is its name."""

    parameters: Annotated[dict[Name, Any], Form("table")] = Field(
        default={}, description="Values of the parameters, where a model does not `set` them."
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
    wrong_promotions: PipelineStep = Field(
        default=0.05,
        description="Probability that any model of any target is ever promoted wrongly, that is, without "
        "being better on average since the comparison began. It is shared among the targets, and in a target "
        "among its challengers and its successive champions.",
    )
    false_drift_alarms_per_year: float = Field(
        default=1.0,
        gt=0,
        description="Alarms of drift that are expected in a year without any drift, of all targets together.",
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
    templates: dict[Name, TemplateTable] = Field(
        default={}, description="Templates of models, by name; they go before those that come with Highwater."
    )
    include: Annotated[list[FileName], Form("list of paths")] = Field(
        default=[],
        description="Files of the same form, relative to this one, whose tables are merged under its own: a "
        "key of this file wins, and a later file wins over an earlier one. Of `targets` all entries count.",
    )
    notify: dict[Name, NotifyTable] = Field(default={}, description="Receivers of alerts, by name.")
