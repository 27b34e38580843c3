"""What flows out: one type for each kind of row, with its id and key.

Stages build rows as these types. `encode` makes the JSON line of a row once, and no stage decodes it again:
a sink takes id, key and identity from the type.
docs/outputs.md is generated from this module by ``python -m dataflows.tools.outputs``.

To add a kind of row, write its type here, with a line `About` each field. To add an output, name it in
`OUTPUTS` too: sinks, backups and tools go through that list.
"""

from __future__ import annotations

import hashlib
from functools import cache, partial
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias, TypedDict

import msgspec
import numpy as np
import orjson
from msgspec import UNSET, UnsetType

from dataflows.instants import format_instant

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence as Sequenced

__all__ = [
    "IDENTIFIED",
    "LATE_REASONS",
    "OUTPUTS",
    "ROWS",
    "About",
    "Alert",
    "AlertState",
    "AssetDropped",
    "AssetReset",
    "ClockChange",
    "Commanded",
    "Confusion",
    "DataMovement",
    "DetectorMetrics",
    "DriftAlarm",
    "DriftCause",
    "DriftMetrics",
    "DriftPlace",
    "DriftSeries",
    "Evaluation",
    "Evidence",
    "ExpectedLoss",
    "ExpectedMetrics",
    "Gate",
    "HoursToFailure",
    "IntakeMetrics",
    "Judgement",
    "LateRecord",
    "LearnedMetrics",
    "Link",
    "Measure",
    "Migrated",
    "ModelChange",
    "ModelEvent",
    "ModelLineage",
    "ModelMetrics",
    "MovedBy",
    "OutputRow",
    "PeriodFields",
    "Prediction",
    "RejectedRecord",
    "Relearned",
    "ServedExample",
    "SkewMetrics",
    "ThresholdChange",
    "UnusedRecord",
    "encode",
    "encode_rows",
    "example_id",
    "fields_of",
    "identity",
    "named",
    "prediction_id",
    "prediction_ids",
    "time_or_none",
]

#: The outputs: one JSON Lines file or one topic each.
OUTPUTS = ("predictions", "alerts", "examples", "evaluations", "metrics", "changes", "late", "rejects")

#: Rejects of these reasons go to the late output.
LATE_REASONS = frozenset({"too_late", "unmatched"})


class About(NamedTuple):
    """What the reference says of a field.

    Attributes:
        meaning: what the value is.
        unit: of a number.
        null: when the value is null; empty where it never is.
        absent: when a row does not have the field; empty where every row has it.
    """

    meaning: str
    unit: str = ""
    null: str = ""
    absent: str = ""


#: RFC 3339 in UTC, with six digits.
Time: TypeAlias = Annotated[str, "time"]
#: A feature vector by name; null is missing.
Features: TypeAlias = dict[str, float | None]

AssetName: TypeAlias = Annotated[str, About("the asset")]
TargetName: TypeAlias = Annotated[str, About("the target: class, mode and horizon")]
Sequence: TypeAlias = Annotated[int, About("number of the record, in the whole input, that caused the row")]
Known: TypeAlias = Annotated[
    Time, About("knowledge time: the latest arrival; without arrivals the largest event time")
]
_NO_ARRIVALS = "in recordings without arrivals"
Arrival: TypeAlias = Annotated[Time | None, About("the latest arrival up to this record", null=_NO_ARRIVALS)]
Watermark: TypeAlias = Annotated[
    Time | None, About("watermark of the asset after this record", null="before its first telemetry")
]
#: Rows that belong to no asset have the field too, so that all rows of an output have one form.
NoWatermark: TypeAlias = Annotated[None, About("the row is of no single asset", null="always")]


class OutputRow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A row of an output."""

    #: Name of its output.
    output: ClassVar[str]
    #: The field that is the key of its message, by which a topic is partitioned; None for no key.
    key_field: ClassVar[str | None] = "asset"
    #: The field that may hold numbers from 1e16 on; see `encode`.
    unbounded: ClassVar[str | None] = None
    #: Whether its id, with its correction where it has one, is its `identity` within its output: the same in
    #: every run on the same input. Of other rows that is the place in the order of effect, which several
    #: workers may change.
    identified: ClassVar[bool] = False


_BEYOND = "beyond the horizon"

#: Who answered: a model that knows the asset, one of the class, one that classes share, or the prior of the
#: target.
Link: TypeAlias = Literal["asset", "class", "fleet", "prior"]


class HoursToFailure(TypedDict):
    """When it fails, as far as that is within the horizon: percentiles 10, 50 and 90."""

    low: Annotated[float | None, About("lower end of the interval", "hours", null=_BEYOND)]
    median: Annotated[float | None, About("median", "hours", null=_BEYOND)]
    high: Annotated[float | None, About("upper end of the interval", "hours", null=_BEYOND)]


_NO_HOURS = "where the prior answers, and until a failure was learned"


class Prediction(OutputRow, frozen=True, kw_only=True):
    """One published score."""

    output = "predictions"
    unbounded = "features"
    identified = True

    id: Annotated[str, About("hash of asset, target, time and revision")]
    asset: AssetName
    target: TargetName
    time: Annotated[Time, About("event time of the telemetry")]
    score: Annotated[float, About("probability of a failure within the horizon", "0 to 1")]
    model: Annotated[str, About("name of the champion")]
    version: Annotated[int, About("its version")]
    link: Annotated[
        Link,
        About(
            "who answered: a model that knows the asset, one of the class, one that several classes share, "
            "or the prior because the model knows too little or failed"
        ),
    ]
    revision: Annotated[int, About("0 for the first score of a time; late and merged data count it up")]
    revises: Annotated[
        str | None, About("id of the published prediction that this one replaces", null="for the first")
    ]
    sequence: Sequence
    arrival: Arrival
    watermark: Watermark
    own: Annotated[
        float | UnsetType,
        About(
            "score of the model, where another is published, so that it agrees with those of other horizons",
            "0 to 1",
            absent="where the score is the model's",
        ),
    ] = UNSET
    hours: Annotated[
        HoursToFailure | UnsetType | None,
        About("hours to failure", null=_NO_HOURS, absent="unless the target has `hours`"),
    ] = UNSET
    within: Annotated[
        dict[str, float] | UnsetType | None,
        About(
            "probability of a failure within shorter horizons, which ascends up to the score",
            "0 to 1",
            null=_NO_HOURS,
            absent="unless the target has `within`",
        ),
    ] = UNSET
    features: Annotated[
        Features | UnsetType, About("the feature vector, by name", absent='unless `features = "all"`')
    ] = UNSET


class MovedBy(TypedDict):
    """A feature that raised the score of an alert."""

    feature: Annotated[str, About("its name")]
    value: Annotated[float, About("as served")]
    usual: Annotated[float, About("mean over the negative examples learned so far")]
    raised_by: Annotated[float, About("score minus the score with the usual value", "0 to 1")]


AlertState: TypeAlias = Literal["opened", "updated", "cleared"]


class Alert(OutputRow, frozen=True, kw_only=True):
    """One change in the life of an alert."""

    output = "alerts"
    unbounded = "moved_by"

    id: Annotated[str, About("the same over the whole life of the alert")]
    asset: AssetName
    target: TargetName
    state: Annotated[AlertState, About("after this change")]
    why: Annotated[
        str,
        About(
            "what changed it: `score`, `score rose`, `score fell`, `failure`, `maintenance`, `silent`, "
            "`retired`, `class changed` or `internal error`"
        ),
    ]
    opened: Annotated[Time, About("event time at which it opened")]
    time: Annotated[Time, About("event time of this change")]
    score: Annotated[
        float, About("the score that changed it; where a record cleared it, the last one", "0 to 1")
    ]
    threshold: Annotated[
        float | None, About("the threshold that was crossed", "0 to 1", null="where no score cleared it")
    ]
    sequence: Sequence
    arrival: Arrival
    watermark: Watermark
    moved_by: Annotated[
        list[MovedBy] | UnsetType,
        About("up to three features that raised the score most", absent="unless the alert opened"),
    ] = UNSET


class ServedExample(OutputRow, frozen=True, kw_only=True, rename={"asset_class": "class"}):
    """The feature vector of an example as served: once for all targets, when the example is taken."""

    output = "examples"
    unbounded = "features"
    identified = True

    id: Annotated[str, About("hash of asset and time, which is `example` of the evaluations")]
    asset: AssetName
    asset_class: Annotated[str, About("class of the asset, which has these features")]
    time: Annotated[Time, About("event time of the telemetry")]
    sequence: Sequence
    arrival: Arrival
    watermark: Watermark
    features: Annotated[Features, About("the feature vector, by name; null is missing")]


class Evaluation(OutputRow, frozen=True, kw_only=True):
    """One label of one example, with the scores that were served; one more row for each correction."""

    output = "evaluations"
    identified = True

    id: Annotated[str, About("id of the prediction, of revision 0")]
    asset: AssetName
    target: TargetName
    time: Annotated[Time, About("event time of the example")]
    label: Annotated[
        Literal["positive", "negative", "censored", "undecided"], About("the label that stands with this row")
    ]
    why: Annotated[
        str,
        About(
            "the record or rule that decided: `failure`, `horizon passed`, `maintenance`, `down`, `silent`, "
            "`retired`, `withdrawn`; or the verdict: `confirmed`, `healthy`"
        ),
    ]
    matured: Annotated[Time, About("label clock of the asset at the decision")]
    known: Known
    lead: Annotated[
        float | None,
        About(
            "time from the example to the failure", "hours", null="unless a failure made the label `positive`"
        ),
    ]
    champion: Annotated[str, About("the model whose score was published, with its version if that is stored")]
    scores: Annotated[
        dict[str, float | None],
        About("score of each model, as served; null where a model gave none", "0 to 1"),
    ]
    correction: Annotated[int, About("0 for the first label, counting from there")]
    learned: Annotated[bool, About("whether this label leads to learning")]
    sequence: Sequence
    arrival: Arrival
    watermark: Watermark
    example: Annotated[
        str | None,
        About("id of the row of `examples` with its features", null='with `features = "none"`'),
    ]


#: A figure of examples.
Figure: TypeAlias = float | UnsetType


def _figure(meaning: str, unit: str = "", null: str = "") -> About:
    """A field that is there only if there are examples."""
    return About(meaning, unit, null, "if `examples` is 0")


_ONE_LABEL = "if all have one label"
_NO_WARNING = "without a warned example"
_NO_POSITIVE = "without a positive"
_NONE_SUCH = "if `examples` is 0"
_UNMEASURED = "if it is missing in either vector of each"


class PeriodFields(TypedDict):
    """Fields of each row of a period of the metrics."""

    start: str
    end: str
    known: str
    sequence: int
    arrival: str | None
    watermark: None


PeriodStart: TypeAlias = Annotated[Time, About("start of the period, in knowledge time; not in it")]
PeriodEnd: TypeAlias = Annotated[Time, About("end of the period; in it")]


class ModelMetrics(OutputRow, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """Figures of one model in one period, under the first label of each example."""

    output = "metrics"
    key_field = "target"

    kind: Literal["model"] = "model"
    target: TargetName
    model: Annotated[str, About("the model, with its version if that is stored")]
    champion: Annotated[bool, About("whether its scores are published")]
    start: PeriodStart
    end: PeriodEnd
    examples: Annotated[int, About("examples that the target clock passed in the period, with a score")]
    positives: Annotated[int, About("positive ones among them")]
    log_loss: Annotated[
        float | UnsetType,
        _figure("mean log loss, of scores clipped to [1e-4, 1 - 1e-4]", "nats"),
    ] = UNSET
    brier: Annotated[Figure, _figure("mean squared error")] = UNSET
    roc_auc: Annotated[
        Figure | None,
        _figure("area under the ROC curve", "0 to 1", null=_ONE_LABEL),
    ] = UNSET
    pr_auc: Annotated[Figure | None, _figure("average precision", "0 to 1", null=_ONE_LABEL)] = UNSET
    precision: Annotated[
        Figure | None,
        _figure("share of positives among the warned examples", "0 to 1", null=_NO_WARNING),
    ] = UNSET
    recall: Annotated[
        Figure | None,
        _figure("share of warned examples among the positives", "0 to 1", null=_NO_POSITIVE),
    ] = UNSET
    precision_low: Annotated[
        Figure | None,
        _figure(
            "precision if no warned example that maintenance censored was positive",
            "0 to 1",
            null="if no example was warned, censored ones included",
        ),
    ] = UNSET
    precision_high: Annotated[
        Figure | None,
        _figure("precision if all of them were positive", "0 to 1", null="likewise"),
    ] = UNSET
    recall_low: Annotated[
        Figure | None,
        _figure("recall if none of them was positive", "0 to 1", null=_NO_POSITIVE),
    ] = UNSET
    recall_high: Annotated[
        Figure | None,
        _figure(
            "recall if all of them were positive",
            "0 to 1",
            null="without a positive or a warned example that maintenance censored",
        ),
    ] = UNSET
    censored_warned: Annotated[int | UnsetType, _figure("warned examples that maintenance censored")] = UNSET
    calibration_error: Annotated[
        Figure,
        _figure("expected calibration error in ten bins", "0 to 1"),
    ] = UNSET
    mean_score: Annotated[Figure, _figure("mean score", "0 to 1")] = UNSET
    base_rate: Annotated[Figure, _figure("share of positives", "0 to 1")] = UNSET
    median_lead: Annotated[
        Figure | None,
        _figure(
            "median time from a warned positive to its failure, to a 64th of the horizon",
            "hours",
            null="without a warned positive",
        ),
    ] = UNSET
    censored: Annotated[dict[str, int], About("censored examples by reason, of the target")]
    contradicted: Annotated[int, About("labels that a later record changed, of the target")]
    positive_after_silence: Annotated[
        int, About("failures of assets whose example silence had censored, of the target")
    ]
    errors: Annotated[int, About("rows at which the model raised, or returned no probability")]
    set_aside: Annotated[bool, About("whether the model is set aside after too many errors")]
    pending: Annotated[int, About("examples of the target without a label, at the end of the period")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


class ScoreChange(TypedDict):
    """What complete data changed in the scores of the champion."""

    examples: Annotated[int, About("compared examples with both scores")]
    mean: Annotated[float | None, About("mean change", "0 to 1", null=_NONE_SUCH)]
    mean_absolute: Annotated[float | None, About("mean size of the change", "0 to 1", null=_NONE_SUCH)]
    worst: Annotated[float | None, About("the largest change, with its sign", "0 to 1", null=_NONE_SUCH)]


class LossChange(TypedDict):
    """What complete data changed in the log loss of the champion."""

    examples: Annotated[int, About("compared examples with a label")]
    mean: Annotated[float | None, About("mean change", "nats", null=_NONE_SUCH)]


class FeatureChange(TypedDict):
    """What complete data changed in one feature."""

    changed: Annotated[int, About("examples in which the feature changed")]
    share: Annotated[float, About("their share of the compared ones", "0 to 1")]
    mean: Annotated[float | None, About("mean size of the change", "standard deviations", null=_UNMEASURED)]
    worst: Annotated[float | None, About("the largest size", "standard deviations", null=_UNMEASURED)]


class LearnedMetrics(OutputRow, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """What the models of a target had learned by the end of a period."""

    output = "metrics"
    key_field = "target"

    kind: Literal["learned"] = "learned"
    target: TargetName
    start: PeriodStart
    end: PeriodEnd
    examples: Annotated[int, About("examples that the target learned so far")]
    positives: Annotated[int, About("positive ones among them")]
    models: Annotated[dict[str, int], About("examples that each version of a model learned so far")]
    last_asset: Annotated[str | None, About("asset of the last learned example", null="if there is none")]
    last_time: Annotated[Time | None, About("event time of the last learned example", null="likewise")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


class SkewMetrics(OutputRow, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """Lateness skew of one target in one period: features as served against those of complete data."""

    output = "metrics"
    key_field = "target"
    unbounded = "features"

    kind: Literal["skew"] = "skew"
    target: TargetName
    start: PeriodStart
    end: PeriodEnd
    compared: Annotated[int, About("examples whose features were computed again from complete data")]
    changed: Annotated[int, About("those of which a feature changed")]
    given_up: Annotated[dict[str, int], About("examples that could not be compared, by reason")]
    score: Annotated[ScoreChange, About("change of the champion's score")]
    log_loss_change: Annotated[LossChange, About("change of the champion's log loss")]
    features: Annotated[dict[str, FeatureChange], About("features that changed, by name")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


class DriftSeries(TypedDict):
    """A series that is watched for drift."""

    series: Annotated[
        str,
        About(
            "`loss`, `positives`, `gap` (log loss minus the loss that the scores expect), `score`, `alerts`, "
            "`missing`: means over examples or assets; or a feature"
        ),
    ]
    value: Annotated[float | None, About("of the latest block", null="before the first block")]
    reference: Annotated[float | None, About("mean of its reference", null="before it has a reference")]
    deviation: Annotated[
        float | None,
        About("of the value from the reference", "standard deviations", null="before it has a reference"),
    ]
    evidence: Annotated[float | None, About("log of its e-detector", null="before it has a reference")]
    cost: Annotated[
        float | None,
        About(
            "at its latest alarm: log loss that the shift costs", "nats", null="before an alarm; no feature"
        ),
    ]


class DriftMetrics(OutputRow, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """What is watched for drift in one target, at the end of a period."""

    output = "metrics"
    key_field = "target"
    unbounded = "series"

    kind: Literal["drift"] = "drift"
    target: TargetName
    start: PeriodStart
    end: PeriodEnd
    series: Annotated[
        list[DriftSeries],
        About("the series of the target, and the five features furthest from their reference"),
    ]
    needed: Annotated[float, About("evidence at which a series raises an alarm")]
    moved: Annotated[
        list[str], About("what was unusual about the data of the latest block, as in `movement`")
    ]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


class DetectorMetrics(OutputRow, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """A further detector of drift of the champion's loss, at the end of a period."""

    output = "metrics"
    key_field = "target"

    kind: Literal["detector"] = "detector"
    target: TargetName
    detector: Annotated[str, About("its dotted path")]
    start: PeriodStart
    end: PeriodEnd
    examples: Annotated[int, About("losses that it was given, ever")]
    detected: Annotated[int, About("changes that it reported in the period")]
    ever: Annotated[int, About("changes that it reported, ever")]
    latest: Annotated[Time | None, About("time of the example of the latest one", null="before the first")]
    statistics: Annotated[dict[str, float], About("its own numbers, by name")]
    error: Annotated[str | None, About("what it raised last, in words", null="if it never did")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


class ExpectedLoss(TypedDict):
    """Log loss that scores expect of themselves, with what came of it."""

    examples: Annotated[int, About("examples")]
    expected: Annotated[float | None, About("mean log loss if the scores hold", "nats", null=_NONE_SUCH)]
    low: Annotated[float | None, About("95 % interval of it: lower end", "nats", null=_NONE_SUCH)]
    high: Annotated[float | None, About("upper end", "nats", null=_NONE_SUCH)]
    realised: Annotated[
        float | None,
        About("mean log loss under the labels", "nats", null="without labels, as of open examples"),
    ]


class Confusion(TypedDict):
    """One count at the threshold, expected of examples without a label."""

    expected: Annotated[float, About("expected number")]
    low: Annotated[float, About("95 % interval of it: lower end")]
    high: Annotated[float, About("upper end")]


class ExpectedMetrics(OutputRow, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """Error before labels: what the champion's scores expect of themselves."""

    output = "metrics"
    key_field = "target"

    kind: Literal["expected"] = "expected"
    target: TargetName
    start: PeriodStart
    end: PeriodEnd
    open: Annotated[ExpectedLoss, About("of examples without a label at the end of the period")]
    confusion: Annotated[
        dict[str, Confusion],
        About("`hits`, `false_alarms` and `missed` among these examples, at the threshold"),
    ]
    settled: Annotated[ExpectedLoss, About("of examples that the target clock passed in the period")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


class IntakeMetrics(OutputRow, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """What came in within one period."""

    output = "metrics"
    key_field = None

    kind: Literal["lane"] = "lane"
    lane: Annotated[str, About("name of the lane")]
    start: PeriodStart
    end: PeriodEnd
    by_kind: Annotated[dict[str, int], About("accepted records by kind of event")]
    late: Annotated[int, About("telemetry and faults that came late and were merged")]
    rejected: Annotated[dict[str, int], About("rows of `rejects` and `late` by reason")]
    clocks: Annotated[
        dict[str, int] | UnsetType,
        About(
            "assets whose clock is `wrong`, `ahead`, `behind` or `stopped` at the end of the period, and "
            "clocks that `jumped` in it",
            absent="unless clocks are checked",
        ),
    ] = UNSET
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


ModelEvent: TypeAlias = Literal[
    "champion", "challenger", "removed", "put_aside", "tried_again", "rebuilt", "refit", "reset"
]


class ModelChange(OutputRow, frozen=True, kw_only=True):
    """A model became champion or challenger, was removed, or was set aside after errors."""

    output = "changes"
    key_field = "target"

    change: Annotated[
        ModelEvent,
        About(
            "`champion`: its scores are published from now on; `challenger`: it is scored in shadow; "
            "`removed`: it is no longer configured; `put_aside`: it failed too often; `tried_again`: it is "
            "scored again after that; `rebuilt`: the same, from nothing, since its weights were not finite; "
            "`refit`: it scores with another fit from now on"
        ),
    ]
    target: TargetName
    model: Annotated[str, About("name of the model")]
    version: Annotated[int, About("its version")]
    why: Annotated[str, About("the reason, in words")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


class ModelLineage(OutputRow, frozen=True, kw_only=True):
    """What a version of a model is made of: when it begins, and when this changes, as by an upgrade."""

    output = "changes"
    key_field = "target"
    unbounded = "pipeline"

    change: Literal["lineage"] = "lineage"
    target: TargetName
    model: Annotated[str, About("name of the model")]
    version: Annotated[int, About("its version")]
    digest: Annotated[str, About("of its configuration: pipeline and names of the features")]
    estimator: Annotated[str, About("dotted path of the class that gives the score")]
    pipeline: Annotated[
        list[dict[str, Any]] | None,
        About("its steps and their parameters, as configured", null="of a version no longer configured"),
    ]
    refit: Annotated[
        dict[str, Any] | None,
        About(
            "when it is fitted in batch (`every`: examples or a duration), on how many examples (`keep`)",
            null="if it learns example by example",
        ),
    ]
    scores: Annotated[list[str], About("the models whose scores it sees, instead of features")]
    features: Annotated[list[str], About("the features that it sees")]
    libraries: Annotated[dict[str, str], About("version of each library that it is made of")]
    learns_from: Annotated[
        Time | None, About("it learns examples from this time on", null="if it learns all")
    ]
    learned: Annotated[int, About("examples that it had learned so far")]
    last_asset: Annotated[str | None, About("asset of the last of them", null="if it had learned none")]
    last_time: Annotated[Time | None, About("event time of the last of them", null="likewise")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


class Relearned(OutputRow, frozen=True, kw_only=True):
    """Corrected labels reached the models, which learned the examples since a checkpoint again."""

    output = "changes"
    key_field = "target"

    change: Literal["relearned"] = "relearned"
    target: TargetName
    examples: Annotated[int, About("examples whose label was put right")]
    learned: Annotated[int, About("examples that were learned again")]
    since: Annotated[Time, About("target clock at the checkpoint")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


class ThresholdChange(OutputRow, frozen=True, kw_only=True):
    """The thresholds of a target, where it begins and whenever they are configured otherwise."""

    output = "changes"
    key_field = "target"

    change: Literal["threshold"] = "threshold"
    target: TargetName
    threshold: Annotated[float, About("lowest score that counts as a predicted failure", "0 to 1")]
    open: Annotated[
        float | None, About("lowest score that opens an alert", "0 to 1", null="if the target has no `alert`")
    ]
    clear: Annotated[float | None, About("score below which an alert clears", "0 to 1", null="likewise")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


class Gate(TypedDict):
    """A figure that must not be worse than the champion's."""

    champion: Annotated[float, About("of the champion")]
    challenger: Annotated[float, About("of the challenger")]
    error: Annotated[float, About("standard error of the difference, over blocks")]
    worse: Annotated[bool, About("whether the challenger is worse beyond chance")]


class Evidence(TypedDict):
    """What is known of a challenger, compared with the champion in blocks of examples."""

    judge: Annotated[Literal["assets", "calendar"], About("whose examples of a horizon are a block")]
    assumes: Annotated[str, About("what the comparison assumes")]
    loss: Annotated[Literal["brier", "log"], About("by which the models are compared")]
    e_values: Annotated[list[float], About("evidence of even and of odd horizons")]
    needed: Annotated[float, About("the e-value that one of both has to reach")]
    level: Annotated[float, About("probability of a wrong promotion by this comparison", "0 to 1")]
    blocks: Annotated[list[int], About("blocks of even and of odd horizons")]
    examples: Annotated[int, About("compared examples")]
    positives: Annotated[int, About("positives among them")]
    difference: Annotated[float, About("mean over blocks of the champion's loss minus the challenger's")]
    interval: Annotated[
        list[float | None],
        About("95 % confidence sequence of it; null: no bound yet"),
    ]
    recall: Annotated[Gate, About("share of positives found, with equally many alerts", "0 to 1")]
    calibration: Annotated[Gate, About("mean score minus share of positives")]
    horizons_left: Annotated[
        float | None,
        About("horizons until the evidence suffices if it grows as so far", null="where it does not grow"),
    ]


class Judgement(OutputRow, frozen=True, kw_only=True):
    """A verdict on a challenger, new or changed."""

    output = "changes"
    key_field = "target"

    change: Literal["verdict"] = "verdict"
    target: TargetName
    model: Annotated[str, About("name of the challenger")]
    version: Annotated[int, About("its version")]
    verdict: Annotated[
        Literal["better", "positives", "margin", "recall", "calibration", "cool_down", "undecided"],
        About(
            "`better`; or what holds a challenger with enough evidence back; `undecided`: the evidence of a "
            "proposal has gone"
        ),
    ]
    why: Annotated[str, About("the verdict in words")]
    next: Annotated[str, About("what has to happen next")]
    evidence: Annotated[Evidence, About("what it rests on")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


class Commanded(OutputRow, frozen=True, kw_only=True):
    """A command about the champion of a target."""

    output = "changes"
    key_field = "target"

    change: Literal["command"] = "command"
    target: TargetName
    action: Annotated[
        Literal["promote", "rollback", "freeze", "thaw", "accept", "refuse"], About("as commanded")
    ]
    model: Annotated[str | None, About("the model that the command names", null="if it names none")]
    by: Annotated[str, About("who gave the command")]
    why: Annotated[str | None, About("the reason that the command gives", null="if it gives none")]
    refused: Annotated[str | None, About("why it was not obeyed", null="if it was")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


#: What explains an alarm of drift; see `dataflows.target.causes`.
DriftCause: TypeAlias = Literal["data movement", "labels", "asset", "site", "sensor", "world"]


class DriftPlace(TypedDict):
    """Where a shift is: one asset, one site, or the whole class."""

    asset: Annotated[str | None, About("the one asset that shifted", null="if it is not one asset")]
    site: Annotated[str | None, About("the one site whose assets shifted", null="if it is not one site")]
    share: Annotated[float, About("share of the shift that is there; 1 for the whole class", "0 to 1")]


class DriftAlarm(OutputRow, frozen=True, kw_only=True):
    """The mean of a series of a target has moved beyond what chance explains."""

    output = "changes"
    key_field = "target"
    unbounded = "value"

    change: Literal["drift"] = "drift"
    target: TargetName
    series: Annotated[str, About("as in the rows `drift` of `metrics`")]
    rank: Annotated[
        Literal["page", "warn", "note"],
        About(
            "`page`: the loss grew; `warn`: labels, calibration, scores, alerts, missing values; `note`: a "
            "feature, or a loss that shrank"
        ),
    ]
    side: Annotated[Literal["up", "down"], About("where it moved")]
    value: Annotated[float, About("of the latest block")]
    reference: Annotated[float, About("mean of its reference, which ends now")]
    deviation: Annotated[float, About("of the value from the reference", "standard deviations")]
    effect: Annotated[float, About("mean distance from the reference since the evidence began")]
    evidence: Annotated[float, About("log of its e-detector")]
    needed: Annotated[float, About("the evidence that raises an alarm")]
    cause: Annotated[
        DriftCause,
        About(
            "the first explanation that holds: `data movement` (see `moved`); `labels`: failures are not "
            "reported any more; `asset` and `site`: only there; `sensor`: only the features of one; `world`"
        ),
    ]
    place: Annotated[DriftPlace, About("where the shift is")]
    sensors: Annotated[list[str], About("sensors whose features moved in the same time")]
    moved: Annotated[list[str], About("what was unusual about the data in its blocks, as in `movement`")]
    beside: Annotated[
        list[str],
        About("other series with half of the evidence they need, or an alarm in the same time"),
    ]
    cost: Annotated[
        float | None,
        About(
            "log loss that the champion would save on its latest examples without the shift, by its scores",
            "nats",
            null="if the series is no feature",
        ),
    ]
    answer: Annotated[str | None, About("what was done", null="if nothing was")]
    since: Annotated[Time, About("start of the block in which the evidence began, in event time")]
    time: Annotated[Time, About("start of the latest block, in event time")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


#: What is measured of the way in which the data of a block came.
Measure: TypeAlias = Literal["delay", "late", "missing", "ahead", "reporting", "labels"]


class DataMovement(OutputRow, frozen=True, kw_only=True):
    """The data of a target comes otherwise than usual, from this block on: this is no drift of the world."""

    output = "changes"
    key_field = "target"

    change: Literal["movement"] = "movement"
    target: TargetName
    measure: Annotated[
        Measure,
        About(
            "`delay`: mean hours from event to knowledge; `late`: share of revisions among examples and "
            "revisions; shares of features that are `missing`, of examples `ahead` of their arrival, of "
            "assets `reporting`; `labels`: blocks without a positive until now"
        ),
    ]
    why: Annotated[str, About("the same in words")]
    value: Annotated[float, About("of the block")]
    usual: Annotated[
        float, About("mean of the last thirty blocks that were usual; of `labels`, blocks between positives")
    ]
    time: Annotated[Time, About("start of the block, in event time")]
    known: Known
    sequence: Sequence
    arrival: Arrival
    watermark: NoWatermark


class AssetDropped(OutputRow, frozen=True, kw_only=True):
    """The state of an asset was dropped, since it was silent for `asset_ttl`."""

    output = "changes"

    change: Literal["asset_dropped"] = "asset_dropped"
    asset: AssetName
    why: Annotated[str, About("the reason, in words")]
    sequence: Sequence


class AssetReset(OutputRow, frozen=True, kw_only=True):
    """A stage failed on a record of an asset, whose state begins empty from there."""

    output = "changes"

    change: Literal["asset_reset"] = "asset_reset"
    asset: AssetName
    why: Annotated[str, About("the error")]
    sequence: Sequence


class ClockChange(OutputRow, frozen=True, kw_only=True):
    """The clock of an asset was found wrong, or right again."""

    output = "changes"

    change: Literal["clock"] = "clock"
    asset: AssetName
    state: Annotated[Literal["right", "ahead", "behind", "stopped"], About("from now on")]
    offset: Annotated[
        float, About("by how much it is ahead of the arrivals: the median of what shows its state", "seconds")
    ]
    jumped: Annotated[bool, About("whether it moved by more than the tolerance from its last known offset")]
    known: Known
    sequence: Sequence


class Migrated(OutputRow, frozen=True, kw_only=True):
    """State of a class or target was given up by ``--migrate``, and begins empty."""

    output = "changes"
    key_field = None

    change: Literal["migrated"] = "migrated"
    name: Annotated[str, About("the class or target")]
    why: Annotated[str, About("what changed, and what was lost")]
    known: Known
    sequence: Sequence


class Cut(TypedDict):
    """What was too large for its row."""

    field: Annotated[Literal["event", "raw"], About("the field that is not there, or only its beginning")]
    bytes: Annotated[int, About("its length", "bytes")]
    blake2b: Annotated[str, About("its digest of 16 bytes, in hexadecimal")]


class UnusedRecord(OutputRow, frozen=True, kw_only=True):
    """A record that could not be used."""

    unbounded = "event"

    reason: Annotated[str, About("the code of the reason: [rejects.md](rejects.md)")]
    detail: Annotated[str, About("the reason in words, which may change")]
    source: Annotated[str, About("the file, or topic and partition")]
    line: Annotated[int, About("line in the file, from 1; on Kafka the offset")]
    offset: Annotated[int, About("first byte of the line in the unpacked file, from 0", "bytes")]
    sequence: Sequence
    arrival: Arrival
    asset: Annotated[str | None, About("the asset", null="if it is not known, or there is none")]
    raw: Annotated[
        str | UnsetType,
        About("the record as it came, or its beginning", absent="unless it was not decoded, or cut"),
    ] = UNSET
    event: Annotated[
        dict[str, Any] | UnsetType,
        About("the record, which can be sent again", absent="unless it was decoded, or if it was cut"),
    ] = UNSET
    cut: Annotated[Cut | UnsetType, About("what was cut", absent="unless the row were too long")] = UNSET


class LateRecord(UnusedRecord, frozen=True, kw_only=True):
    """A valid record that came too late to count."""

    output = "late"


class RejectedRecord(UnusedRecord, frozen=True, kw_only=True):
    """A record that cannot be used."""

    output = "rejects"


#: Every kind of row, in the order of the outputs.
ROWS: tuple[type[OutputRow], ...] = (
    Prediction,
    Alert,
    ServedExample,
    Evaluation,
    ModelMetrics,
    LearnedMetrics,
    SkewMetrics,
    DriftMetrics,
    DetectorMetrics,
    ExpectedMetrics,
    IntakeMetrics,
    ModelChange,
    ModelLineage,
    ThresholdChange,
    Relearned,
    Judgement,
    Commanded,
    DriftAlarm,
    DataMovement,
    ClockChange,
    AssetDropped,
    AssetReset,
    Migrated,
    LateRecord,
    RejectedRecord,
)


#: Outputs whose rows have an identity.
IDENTIFIED = frozenset(row.output for row in ROWS if row.identified)


def identity(row_id: str, correction: int = 0) -> str:
    """Identity of a row; see `OutputRow.identified`."""
    return f"{row_id}/{correction}"


@cache
def _form(row: type[OutputRow]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Fields that a row may lack, and fields with another name in JSON."""
    fields = msgspec.structs.fields(row)
    lacking = tuple(field.name for field in fields if field.default is UNSET)
    return lacking, {field.name: field.encode_name for field in fields if field.name != field.encode_name}


def fields_of(row: OutputRow) -> dict[str, Any]:
    """Fields of a row by their names in JSON, without those that it lacks."""
    fields = msgspec.structs.asdict(row)
    lacking, renamed = _form(type(row))
    for name in lacking:
        if fields[name] is UNSET:
            del fields[name]
    return {renamed.get(name, name): value for name, value in fields.items()} if renamed else fields


_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


def encode(row: OutputRow) -> bytes:
    """Make the JSON line of a row, without its line end; NaN becomes null.

    Raises:
        TypeError: a value is none of JSON.
        ValueError: a text is not Unicode.

    >>> row = AssetDropped(asset="pump-1", why="silent for asset_ttl", sequence=7)
    >>> encode(row)
    b'{"change":"asset_dropped","asset":"pump-1","why":"silent for asset_ttl","sequence":7}'
    """
    # msgspec writes a row in half the time. But from 1e16 on it writes numbers in another form than orjson,
    # and the rows of an output have one form for ever.
    if row.unbounded is None or getattr(row, row.unbounded) is UNSET:
        return _encode(row)
    return orjson.dumps(fields_of(row))


def encode_rows(rows: Sequenced[OutputRow]) -> list[bytes]:
    """Make the JSON lines of rows of one kind: `encode` of each, in one call where that is faster.

    >>> encode_rows([AssetDropped(asset="pump-1", why="silent", sequence=sequence) for sequence in (7, 8)])[1]
    b'{"change":"asset_dropped","asset":"pump-1","why":"silent","sequence":8}'
    """
    unbounded = rows[0].unbounded if rows else None
    if unbounded is None or [*map(attrgetter(unbounded), rows)].count(UNSET) == len(rows):
        return _encode_lines(rows).split(b"\n")[:-1]
    return [encode(row) for row in rows]


def prediction_id(asset: str, target: str, time: int, revision: int) -> str:
    """Id of a prediction: the same for the same asset, target, time and revision, in every run."""
    return _hash(f"{asset}\x1f{target}\x1f{time}\x1f{revision}")


def prediction_ids(
    assets: Iterable[str], target: str, times: Iterable[int], revisions: Iterable[int]
) -> list[str]:
    """`prediction_id` of each.

    >>> prediction_ids(["pump-1"], "leak", [60], [0]) == [prediction_id("pump-1", "leak", 60, 0)]
    True
    """
    digest = partial(hashlib.blake2b, digest_size=12)
    return [
        digest(f"{asset}\x1f{target}\x1f{time}\x1f{revision}".encode()).hexdigest()
        for asset, time, revision in zip(assets, times, revisions, strict=True)
    ]


def example_id(asset: str, time: int) -> str:
    """Id of the example of an asset at a time: one for all targets that take it.

    >>> example_id("pump-1", 3_600_000_000)
    '32820760552622ff15be8563'
    """
    return _hash(f"{asset}\x1f{time}")


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def time_or_none(instant: int | None) -> str | None:
    """An instant in the form of the outputs; None stays None."""
    return None if instant is None else format_instant(instant)


def named(features: tuple[str, ...], values: bytes) -> Features:
    """A feature vector by name; a missing value is null.

    Args:
        features: names.
        values: float64 array (features) as bytes.
    """
    return dict(zip(features, np.frombuffer(values).tolist(), strict=True))
