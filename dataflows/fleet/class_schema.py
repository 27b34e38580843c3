"""Form of a class of assets in ``fleet.toml``: its sensors, windows, weather and expressions."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from dataflows.fleet.tables import Table
from dataflows.fleet.values import (
    Category,
    Duration,
    Form,
    Name,
    PositiveDuration,
    Share,
)
from dataflows.instants import MICROSECONDS

__all__ = ["ClassTable", "WeatherTable", "WindowTable"]

Statistic = Literal["count", "missing", "mean", "std", "min", "max", "slope", "delta", "last", "age"]
FaultStatistic = Literal["count", "age"]


class WindowTable(Table):
    """One event-time window; at time t it covers (floor(t / hop) * hop - length, t]."""

    length: PositiveDuration = Field(description="Length of the window: a multiple of `hop`.")
    hop: PositiveDuration | None = Field(
        default=None,
        description="Step in which old events leave the window. length / hop is at most 2000, since each "
        "asset keeps that many panes. Default: length / 12.",
    )
    statistics: list[Statistic] = Field(
        default=[*get_args(Statistic)],
        min_length=1,
        description="Each is one feature a sensor. `std` is the population's, `slope` is by least squares "
        "and per hour, `delta` is last minus first, `age` is the hours since the last value. In another "
        "order of arrival a slope may differ in its last digits: by 1e-6 of it with readings a millisecond "
        "apart, by 1e-3 with readings a microsecond apart, where the hop is a day.",
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
        default=[*get_args(FaultStatistic)],
        min_length=1,
        description="Each is one feature a fault code: the number of faults, and the hours since the last.",
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
    windows: list[WindowTable] = Field(default=[], description="The windows over readings and faults.")
