"""Generate the reference of the outputs from the types of their rows.

``python -m dataflows.tools.outputs > docs/outputs.md`` writes the page; a test keeps it up to date. Each kind
of row has its fields and one real row, of a small fleet that this module runs.
"""

from __future__ import annotations

import inspect
import logging
import random
import sys
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

import msgspec
import orjson
import structlog
from msgspec import UNSET, UnsetType

from dataflows.instants import HOUR, MICROSECONDS, format_instant, parse_instant
from dataflows.items import Item, Late, Row
from dataflows.lane import Lane
from dataflows.outputs import OUTPUTS, ROWS, About, OutputRow
from dataflows.pipeline import Stages, decoded, run_lines
from dataflows.placement import ONLY_LANE
from dataflows.testing import failure, pump_fleet, telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dataflows.fleet import Fleet

__all__ = ["kind_of", "reference", "sample_rows"]

_BEFORE = """\
# Outputs

Each output is a JSON Lines file, `<output>.jsonl` in the output folder, or a [Kafka topic](kafka.md). This
page lists every field of every kind of row. It is generated from the types in `dataflows/outputs.py` by
`python -m dataflows.tools.outputs > docs/outputs.md`. The rows shown are those of a small fleet of pumps.

In every output a field is null or of one type. A **time** is RFC 3339 in UTC, always with six digits. A row
has the fields in the order of this page. Later releases may append fields, so a reader should skip fields
that it does not know. Changes of form are listed in the [changelog](../CHANGELOG.md).

Rows of `predictions`, `examples` and `evaluations` have an `id` that is the same in every run on the same
input. Corrections of an evaluation share its `id` and differ in `correction`. Rows of `metrics` and `changes`
say their kind in the field `kind` or `change`.
"""

_ABOUT = {
    "predictions": "Which scores are published is set by `publish` under `[output]`.",
    "alerts": "Only targets with an `alert` have them.",
    "examples": "With `features` = `examples` or `all` under `[output]`. A row is written when the example "
    "is taken, once for all targets of the class. So it is there before its evaluations, and also if none "
    "follows. An example that was taken with `features` = `none`, or by a release without this output, gets "
    "its row with its first evaluation: one for each target, whose `id` is that of the prediction.",
    "evaluations": "One row as soon as the label is known, and one more each time it changes.",
    "metrics": "Rows of a period are written when knowledge time passes its end.",
    "changes": "What changed in models, assets, clocks and state, and why.",
    "late": "The reasons are explained in [rejects.md](rejects.md).",
    "rejects": "The reasons are explained in [rejects.md](rejects.md).",
}


def reference() -> str:
    """Generate the page, in Markdown."""
    samples = sample_rows()
    parts = [_BEFORE]
    for output in OUTPUTS:
        kinds = [kind for kind in ROWS if kind.output == output]
        parts.append(f"## `{output}`\n\n{_ABOUT[output]}\n")
        for kind in kinds:
            if len(kinds) > 1:
                parts.append(f"### {_title(kind)}\n")
            parts.append(f"{inspect.getdoc(kind)}\n")
            parts.append(
                "| field | type | unit | null or absent | meaning |\n| --- | --- | --- | --- | --- |"
            )
            parts += [_line(*field) for field in _fields(kind, _names(kind), "")]
            parts.append(f"\n```json\n{samples[kind].decode()}\n```\n")
    return "\n".join(parts)


def kind_of(output: str, row: Mapping[str, Any]) -> type[OutputRow]:
    """Type of a row of an output.

    Raises:
        ValueError: it has none: it lacks a field, or has one too many or out of its place.
    """
    for kind in ROWS:
        if kind.output == output and _fits(kind, row):
            return kind
    msg = f"no type of {output} has the fields {', '.join(row)}, in this order"
    raise ValueError(msg)


#: Fields of a kind of row. msgspec evaluates all its annotations each time, which costs a millisecond.
_fields_of = cache(msgspec.structs.fields)


def _fits(kind: type[OutputRow], row: Mapping[str, Any]) -> bool:
    fields = _fields_of(kind)
    there = [each for each in fields if each.encode_name in row or each.default is not UNSET]
    if [each.encode_name for each in there] != list(row):
        return False
    try:
        msgspec.convert(row, kind)
    except msgspec.ValidationError:
        return False
    return True


def _title(kind: type[OutputRow]) -> str:
    """Field and value that tell a kind of row from the others of its output."""
    field = msgspec.structs.fields(kind)[0]
    values = get_args(get_type_hints(kind)[field.name])
    return f"`{field.encode_name}` = " + ", ".join(f"`{value}`" for value in values)


def _names(kind: type[OutputRow]) -> dict[str, str]:
    return {each.name: each.encode_name for each in msgspec.structs.fields(kind)}


def _fields(kind: type, names: Mapping[str, str] | None, path: str) -> Iterator[tuple[str, str, About]]:
    """Name, type and meaning of each field; those of an object come after it."""
    hints = get_type_hints(kind, include_extras=True)
    for field in names or hints:
        name = f"{path}{names[field] if names else field}"
        hint = hints[field]
        about = next((mark for mark in _marks(hint) if isinstance(mark, About)), About("the kind of row"))
        yield name, _type(hint), about
        inner, suffix = _object(hint)
        if inner is not None:
            yield from _fields(inner, None, f"{name}{suffix}.")


def _marks(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401 - any annotation
    return getattr(hint, "__metadata__", ())


def _options(hint: Any) -> list[Any]:  # noqa: ANN401 - any annotation
    """Types of a value, other than null."""
    if get_origin(hint) is Annotated:
        return [hint] if "time" in hint.__metadata__ else _options(get_args(hint)[0])
    options = [hint] if get_origin(hint) in {Literal, dict, list} else list(get_args(hint)) or [hint]
    return [each for each in options if each not in {UnsetType, type(None)}]


def _type(hint: Any) -> str:  # noqa: ANN401 - any annotation
    (only,) = _options(hint) or (None,)
    if only is None or "time" in _marks(only):
        return "null" if only is None else "time"
    inner, origin = get_args(only), get_origin(only)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if is_typeddict(only) or (origin is dict and inner[1] is Any):
        return "object"
    if origin is not None:
        of = _type(inner[-1])
        return f"list of {of}s" if origin is list else f"object: {of} by name"
    return {bool: "true or false", int: "whole number", float: "number", str: "text"}[only]


def _object(hint: Any) -> tuple[type | None, str]:  # noqa: ANN401 - any annotation
    """The object with fields of its own in a field, and how to get there."""
    options = _options(hint)
    only = options[0] if options else None
    for origin, suffix in ((dict, ".<name>"), (list, "[]")):
        if get_origin(only) is origin and is_typeddict(get_args(only)[-1]):
            return get_args(only)[-1], suffix
    return (only if is_typeddict(only) else None), ""


def _line(name: str, kind: str, about: About) -> str:
    missing = [f"null {about.null}"] if about.null else []
    missing += [f"absent {about.absent}"] if about.absent else []
    cells = (f"`{name}`", kind, about.unit, "; ".join(missing), about.meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


@cache
def sample_rows() -> Mapping[type[OutputRow], bytes]:
    """One real row of each kind: that with the most values, and of these the first."""
    fleet = _fleet()
    rows = {name: run for name, run in run_lines(fleet, _recording()).items() if name in OUTPUTS}
    decisions, watched = _decisions()
    rows["changes"] = [*rows["changes"], *_rare(fleet), *decisions, *_put_right()]
    rows["metrics"] = [*rows["metrics"], *watched]
    found: dict[type[OutputRow], list[tuple[int, bytes]]] = {}
    for output, lines in rows.items():
        for line in lines:
            row = orjson.loads(line)
            found.setdefault(kind_of(output, row), []).append((_values(row), line))
    return MappingProxyType({kind: max(lines, key=lambda each: each[0])[1] for kind, lines in found.items()})


def _values(value: object) -> int:
    """Number of values in a row that are not null."""
    if isinstance(value, dict):
        return sum(map(_values, value.values()))
    if isinstance(value, list):
        return sum(map(_values, value))
    return value is not None


def _fleet(
    champion: str = "bayesian", drift: str = "off", relearn: str | None = None, **tables: object
) -> Fleet:
    model = {"pipeline": [{"estimator": "dataflows.estimators.BayesianLogistic"}]}
    classes = {
        "pump": {
            "sensors": ["pressure", "flow"],
            "allowed_lateness": "2h",
            "label_delay": "1h",
            "example_every": "2h",
            "compare": 1.0,
            "idle_timeout": "12h",
            "asset_ttl": "3d",
            "windows": [{"length": "6h", "hop": "1h", "sensors": ["pressure"], "statistics": ["mean"]}],
        }
    }
    alert = {"open": 0.5, "clear": 0.3, "dwell": "1h"}
    target = {
        "class": "pump",
        "mode": "leak",
        "horizon": "12h",
        "champion": champion,
        "alert": alert,
        "drift": drift,
        "drift_detectors": ["river.drift.ADWIN"] if drift != "off" else [],
    }
    if relearn is not None:
        target["relearn"] = relearn
    assets = {
        "unknown": "adopt",
        "adopt_as": "pump",
        "clock": {"tolerance": "10m"},
    }
    return pump_fleet(
        {"bayesian": model}, classes=classes, targets=[target], assets=assets, metrics_every="7d", **tables
    )


#: Hours in which one pump sends anything, in which the clock of another is wrong, and of the others.
_SHORT, _WRONG, _LONG = range(100), range(200, 260), range(480)


def _recording() -> list[bytes]:
    """Twenty days of six pumps: leaks after low pressure, late readings, a wrong clock, one that stops."""
    draw, start = random.Random(1), parse_instant("2025-01-01T00:00:00Z")  # noqa: S311 - nothing secret
    records = [(start + 5 * HOUR, b'{"kind":"telemetry","asset":"pump-1","time":"yesterday"}')]
    for number, name in enumerate(["silent", "wrong", "pump-1", "pump-2", "pump-3", "pump-4"]):
        leak = start + (60 + 24 * number) * HOUR
        for hour in _SHORT if name == "silent" else _LONG:
            time = start + hour * HOUR
            if time > leak:
                at, arrived = format_instant(leak), leak + HOUR
                records.append((arrived, failure(name, at, "leak", arrived=format_instant(arrived))))
                leak += 120 * HOUR
            pressure = draw.gauss(2.0 if leak - time < 12 * HOUR else 5.0, 0.3)
            readings = {"pressure": round(pressure, 2), "flow": round(draw.gauss(30, 2), 1)}
            at = format_instant(time + (HOUR if name == "wrong" and hour in _WRONG else 0))
            arrived = time + draw.choice([1, 1, 1, 1, 1, 1, 1, 80, 300]) * MICROSECONDS["m"]
            records.append((arrived, telemetry(name, at, readings, arrived=format_instant(arrived))))
    return [line for _, line in sorted(records)]


def _rare(fleet: Fleet) -> list[bytes]:
    """Changes that only faults of the program and migrated stores make."""
    stages = Stages(fleet, strict=True)
    (reading,) = stages.lane(ONLY_LANE, None, {}).process(decoded([_item(_recording()[0])]))
    asset = stages.asset(reading, None)
    lane = Lane(
        fleet, stages.lane(ONLY_LANE, None, {}).main_snapshot(), {}, migrated=(("pump", "other windows"),)
    )
    items = [*asset.process([_item(Late())]), *lane.process(decoded([_item(_recording()[0])]))]
    rows = [item.body for item in items if isinstance(item.body, Row)]
    return [row.data for row in rows if row.output == "changes"]


def _turned() -> list[bytes]:
    """Forty more days of a pump: after twenty, it has another flow, which arrives late on the last days."""
    start, draw = parse_instant("2025-01-21T00:00:00Z"), random.Random(2)  # noqa: S311 - nothing secret
    records = []
    for hour in range(0, 960, 2):
        time, turned = start + hour * HOUR, hour >= 480  # noqa: PLR2004 - as the docstring says
        readings = {"pressure": 5.0, "flow": round(draw.gauss(60.0 if turned else 30.0, 2), 1)}
        delay = 900 if hour >= 912 else draw.choice([1, 1, 1, 1, 1, 1, 1, 80, 300])  # noqa: PLR2004 - likewise
        arrived = format_instant(time + delay * MICROSECONDS["m"])
        records.append(telemetry("pump-1", format_instant(time), readings, arrived=arrived))
    return sorted(records, key=lambda record: orjson.loads(record)["arrived"])


def _decisions() -> tuple[list[bytes], list[bytes]]:
    """Changes and metrics of the same fleet, with a worse champion, and watched for drift."""
    lines = [*_recording(), *_turned()]
    accept = {"kind": "command", "target": "pump/leak/12h", "action": "accept", "by": "ada", "why": "as seen"}
    fleet = _fleet("prior", drift="log", wrong_promotions=0.5, false_drift_alarms_per_year=100.0)
    made = run_lines(fleet, [*lines, orjson.dumps(accept), lines[-1]])
    changes, metrics = {"verdict", "command", "drift", "movement"}, {"drift", "detector", "expected"}
    return [row for row in made["changes"] if orjson.loads(row)["change"] in changes], [
        row for row in made["metrics"] if orjson.loads(row)["kind"] in metrics
    ]


def _put_right() -> list[bytes]:
    """Changes of the same fleet, in which a leak is withdrawn after models have learned it."""
    lines = [orjson.loads(line) for line in _recording() if b"arrived" in line]
    first = next(row for row in lines if row["kind"] == "failure")
    first["id"] = "order-7"
    day_later = format_instant(parse_instant(first["arrived"]) + 24 * HOUR)
    lines.append({"kind": "retraction", "asset": first["asset"], "id": "order-7", "arrived": day_later})
    lines.sort(key=lambda row: str(row["arrived"]))
    made = run_lines(_fleet(relearn="7d"), map(orjson.dumps, lines))["changes"]
    return [row for row in made if orjson.loads(row)["change"] == "relearned"]


def _item(body: bytes | Late) -> Item:
    return Item(1, 0, None, 0, ("events.jsonl", 1, 0), body)


if __name__ == "__main__":
    # Two of the rows come of an error, whose log would hide a real one.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sys.stdout.write(reference())
