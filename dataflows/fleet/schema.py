"""The form of ``fleet.toml``: every key with its type, default and reason.

These tables say what may be written; what belongs together across tables is checked in `expand`.
The reference in ``docs/fleet.md`` is made from the descriptions below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from dataflows.instants import MICROSECONDS, parse_duration, parse_instant

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = [
    "AssetsTable",
    "ClassTable",
    "Document",
    "Form",
    "InputTable",
    "ModelTable",
    "OutputTable",
    "Table",
    "TargetTable",
    "WindowTable",
    "key_of",
    "nested",
]


@dataclass(frozen=True, slots=True)
class Form:
    """How a value is written, as the reference says it."""

    text: str


_NAME = re.compile(r"[^\s/:*?\[\]]+(?: [^\s/:*?\[\]]+)*")
_LONGEST_NAME = 120


def _name(value: str) -> str:
    if len(value) > _LONGEST_NAME or _NAME.fullmatch(value) is None:
        # Names are joined into `engine/failure/30h` and `sensor:mean:30h`, and matched by globs.
        msg = f"a name of at most {_LONGEST_NAME} characters without any of / : * ? [ ]"
        raise ValueError(msg)
    return value


def _duration(value: object) -> int:
    try:
        return parse_duration(value if isinstance(value, str) else "")
    except ValueError as error:
        msg = "a duration of at most a century, such as '90s', '15m', '30h' or '7d'"
        raise ValueError(msg) from error


def _positive_duration(value: object) -> int:
    duration = _duration(value)
    if duration <= 0:
        msg = "a duration longer than zero, such as '30h'"
        raise ValueError(msg)
    return duration


def _instant(value: object) -> int:
    try:
        if isinstance(value, datetime):
            value = value.isoformat()
        return parse_instant(value if isinstance(value, str) else "")
    except ValueError as error:
        msg = "a time with offset between 1900 and 2200, such as 2020-01-16T00:00:00Z"
        raise ValueError(msg) from error


def _inside_0_1(value: float) -> float:
    if not 0 < value < 1:
        msg = "a number above 0 and below 1"
        raise ValueError(msg)
    return value


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


Name = Annotated[str, AfterValidator(_name), Form("name")]
Duration = Annotated[int, BeforeValidator(_duration), Form("duration")]
PositiveDuration = Annotated[int, BeforeValidator(_positive_duration), Form("duration")]
Instant = Annotated[int, BeforeValidator(_instant), Form("time with offset")]
Statistic = Literal["count", "missing", "mean", "std", "min", "max", "slope", "delta", "last", "age"]
Names = Annotated[
    list[Name], BeforeValidator(_one_or_more), Field(min_length=1), Form("name, or list of names")
]
Durations = Annotated[
    list[PositiveDuration],
    BeforeValidator(_one_or_more),
    Field(min_length=1),
    Form("duration, or list of durations"),
]


class Table(BaseModel):
    """A table of the document: no unknown key, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InputTable(Table):
    """Where records come from."""

    files: Annotated[list[str], Form("list of paths or globs")] = Field(
        min_length=1,
        description="JSON Lines files, plain or gzip, relative to this file; `-` is standard input. "
        "`FLEET_INPUT` overrides it: paths or globs separated by spaces, relative to the working directory.",
    )
    batch: int = Field(
        default=1000,
        gt=0,
        description="Records the source emits at once. It changes the speed, never the outputs. "
        "`FLEET_BATCH` overrides it.",
    )


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


class AssetsTable(Table):
    """What happens to assets that no registry row named."""

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


class WindowTable(Table):
    """One event-time window; at time t it covers (floor(t / hop) * hop - length, t]."""

    length: PositiveDuration = Field(description="How far it looks back: a multiple of `hop`.")
    hop: PositiveDuration | None = Field(
        default=None,
        description="The grain in which old events leave the window; length / hop is at most 2000, since "
        "that many panes are kept for each asset. Default: length / 12.",
    )
    statistics: list[Statistic] = Field(
        default=[*get_args(Statistic)],
        min_length=1,
        description="Each is one feature a sensor; `std` is the population's, `slope` is by least squares "
        "and per hour, `delta` is last minus first, `age` is the time since the last value.",
    )
    sensors: list[Name] | None = Field(
        default=None, min_length=1, description="The sensors it is kept for. Default: all of the class."
    )


class ClassTable(Table):
    """Assets that share sensors, features and models. The key is the name of the class."""

    sensors: list[Name] = Field(
        default=[],
        description="The readings that are kept; others in a record are ignored. A class without sensors can "
        "have no target.",
    )
    values: bool = Field(
        default=True, description="Whether the event's own readings are features, beside the windows."
    )
    allowed_lateness: Duration = Field(
        default=0,
        description="How far below an asset's largest event time a late record is still merged into its "
        "windows; later ones go to the late output.",
    )
    label_delay: Duration = Field(
        default=0,
        description="How long after the horizon a failure may still be reported before an example counts as "
        "negative. Too short makes wrong negatives, too long makes learning late.",
    )
    example_every: PositiveDuration = Field(
        default=MICROSECONDS["h"],
        description="The grid of examples: of the on-time telemetry of an asset in a cell of this grid the "
        "first to arrive is evaluated and learned. It is aligned to 1970-01-01T00:00Z.",
    )
    windows: list[WindowTable] = Field(default=[], description="The windows over the readings.")


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
    threshold: Annotated[float, AfterValidator(_inside_0_1), Form("number above 0 and below 1")] = Field(
        default=0.5,
        description="The score from which on precision and recall count an example as predicted to fail.",
    )
    learn_positives: Literal["together", "at_once"] = Field(
        default="together",
        description="`together`: a positive is learned when the negatives of its time are, so that a model "
        "does not believe for a horizon that everything fails. `at_once`: when it is known.",
    )
    champion: Name = Field(description="The model whose score is published at first; one of `models`.")
    models: list[Name] | None = Field(
        default=None,
        min_length=1,
        description="The models that score and learn the examples. Default: all of the catalogue.",
    )


class ModelTable(Table):
    """A model of the catalogue. The key is its name."""

    features: Annotated[list[str], Form("list of globs")] = Field(
        default=["*"],
        min_length=1,
        description="The features it sees, by globs over names such as `sensor_02` (a reading) and "
        "`sensor_02:mean:30h` (sensor:statistic:window). Each glob must match something.",
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
        default=MICROSECONDS["w"], description="The period of the metrics rows, in knowledge time."
    )
    input: InputTable = Field(description="Where records come from.")
    output: OutputTable = Field(default=OutputTable(), description="Where rows go.")
    assets: AssetsTable = Field(
        default=AssetsTable(), description="What happens to assets that no registry row named."
    )
    classes: dict[Name, ClassTable] = Field(
        min_length=1, description="Assets that share sensors, features and models, by name."
    )
    targets: list[TargetTable] = Field(default=[], description="What is predicted.")
    models: dict[Name, ModelTable] = Field(default={}, description="The catalogue of models, by name.")


def key_of(name: str, field: FieldInfo) -> str:
    """The key of a field as the document writes it."""
    return field.alias or name


def nested(field: FieldInfo) -> tuple[Literal["table", "list", "map"], type[Table]] | None:
    """The table below a field, and whether the field holds one, a list of them or one a name."""
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return "table", annotation
    inner = get_args(annotation)[-1:]
    if not inner or not isinstance(inner[0], type) or not issubclass(inner[0], Table):
        return None
    return ("list" if get_origin(annotation) is list else "map"), inner[0]
