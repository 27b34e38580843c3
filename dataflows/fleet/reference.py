"""Generate the reference of ``fleet.toml`` from the schema.

``python -m dataflows.fleet.reference > docs/fleet.md`` writes the page; a test keeps it up to date.
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import annotated_types
from pydantic_core import PydanticUndefined

from dataflows.fleet.schema import Document, Table, key_of, nested
from dataflows.fleet.values import Form
from dataflows.instants import format_duration, shown_instant
from dataflows.window_statistics import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic.fields import FieldInfo

__all__ = ["reference", "sections"]

_BEFORE = """\
# `fleet.toml`

One file describes a fleet: the source of its records, the sensors and windows of its classes of assets, its
prediction targets, and their models. This page is the reference of every key. It is generated from the
schema by `python -m dataflows.fleet.reference > docs/fleet.md`. `python -m dataflows check fleet.toml`
shows the fleet that a file describes.

```toml
name = "pumps"
figures_from = 2020-02-01T00:00:00Z

[input]
files = ["data/*.jsonl.gz"]

[assets]
registry = ["pumps.jsonl"]

[classes.pump]
sensors = ["pressure", "flow", "vibration"]
faults = ["overheated", "dry"]
maintenance = ["seal", "bearing"]
attributes = ["age"]
categories = { model = ["P100", "P200"] }
allowed_lateness = "10m"
label_delay = "2d"

[[classes.pump.windows]]
length = "24h"
hop = "1h"
statistics = ["mean", "std", "slope"]

[[targets]]
class = "pump"
mode = ["seal", "bearing"]
horizon = ["24h", "7d"]
champion = "linear"
alert = { open = 0.5, clear = 0.3, dwell = "1h" }

[models.linear]
features = ["pressure", "flow", "vibration", "*:mean:*", "*:count:*", "age", "model=*"]
pipeline = [
  { estimator = "river.preprocessing.StandardScaler" },
  { estimator = "river.linear_model.LogisticRegression", l2 = 0.001 },
]

[models.forest]
pipeline = [{ estimator = "river.forest.ARFClassifier", n_models = 5 }]
```

This makes four targets, `pump/seal/24h`, `pump/seal/7d`, `pump/bearing/24h` and `pump/bearing/7d`, and two
models for each of them.

## How values are written

- A **duration** is text, a number and one of `us`, `ms`, `s`, `m`, `h`, `d`, `w`: `"90s"`, `"30h"`, `"7d"`.
- A **time** is a TOML date-time with offset, or RFC 3339 text. Without an offset it is refused.
- A **name** has at most 120 characters and none of `/ : * ? [ ]`, since the names of targets
  (`pump/seal/24h`: class, mode, horizon) and of features (`pressure:mean:24h`: sensor, statistic, window)
  are composed of names.
- A **glob** matches names of features, with `*`, `?` and `[...]`. Case matters.

Relative paths start at the folder of the file. Three environment variables override the file:
`FLEET_INPUT` (paths or globs, separated by spaces, in quotes if they have spaces themselves),
`FLEET_OUTPUT` (a folder) and `FLEET_BATCH`. Their relative paths start at the working directory. An empty
variable counts as not set.
"""

_AFTER = """\
## Features

The features of a class are, in this order:

| what | such as | meaning |
| --- | --- | --- |
| readings, unless `values = false` | `flow` | the event's own readings |
| likewise `expressions` | `over_air` | computed on the event |
| for each window, for each sensor and expression in it, its statistics | `flow:mean:24h` | as above |
| then for each of its faults, its fault statistics | `error1:count:24h`, `error1:age:24h` | likewise |
| for each component of `maintenance` | `comp1:since`, `comp1:times` | hours since the last, how many so far |
| `attributes` | `age` | the registry's number |
| `categories` | `model=model3` | 1 if the attribute has this value, else 0 |
| `values` of `weather` | `weather:rain` | from the weather joined with the event |
| then | `weather:age`, `weather:forecast` | hours before the event; 1 a forecast, 0 an observation |

No two features may share a name. A model sees the features that any of its globs matches. A glob has to match
a feature of at least one class that uses the model. A model has to see at least one feature of each class.

In names a duration has its shortest whole form, with days from two days on: a window written as `"48h"` or
`"2880m"` makes features such as `flow:mean:2d`, and a horizon of `"1d"` a target such as `pump/seal/24h`.

## Expressions

```toml
[classes.pump.expressions]
head = "outlet_pressure - inlet_pressure"
over_air = 'max(0, "oil temp" - weather.air_temperature)'
air = "weather.air_temperature"
```

An expression is made of numbers, names, `+ - * /`, unary minus, parentheses, comparisons (1 or 0), `a if b
else c`, and `abs`, `min`, `max`, `sqrt`, `log` (natural) and `exp`. A name is a sensor, or `weather.` and
one of the class's weather values. A name with characters other than letters, digits and `_` is quoted.
Expressions do not name each other. The value is missing if any name in the expression is missing, or if it
is not finite, as after a division by zero.

An expression is computed once for each event, on its readings and the weather joined with it; windows hold
the result. So weather values enter windows through an expression, as `air` above. Messages of one time are
computed together, with the weather of the last of them.

## Registry rows

```json
{"kind":"asset","asset":"p-1","class":"pump","site":"north","attributes":{"age":4}}
{"kind":"asset","asset":"p-1","class":"pump","attributes":{"age":5,"owner":null}}
```

A row changes only the fields that it names: the second row keeps the site, and all attributes that it leaves
out. An attribute of `null` is missing from then on. A site can be changed, but not removed.

A file of `assets.registry` is compared with its content when it was last read, asset by asset (give each
asset one row of one file). So you can export it as often as you like. It overrules a later row of the stream
only where the file itself changed. An asset that is no longer in the file stays as it is; `"retired":true`
ends it. A change takes effect at the start of a run, between the last record of the previous run and the
next.

## Names that match nothing

A failure of a mode without a target labels nothing, and nobody would notice. So the program counts names that
match nothing: modes without a target, components without target or feature, assets that never sent telemetry,
assets without a registry row, sensors and fault codes that are declared and never came, and those that came
and are not declared. `summary.json` lists them under `names` in `input`, each with the nearest name that
would match. Likely mistakes are shown at the end of a run and written to the log.

## Weather

```json
{"kind":"weather","site":"north","time":"2025-05-01T08:00:00Z","values":{"air_temperature":11.5,"rain":0}}
{"kind":"weather","site":"north","time":"2025-05-01T12:00:00Z","issued":1746079200,"values":{"rain":2}}
```

`time` is the time at which the weather is valid. `issued` is the time at which it became known: before `time`
for a forecast, after it for a delayed observation. A row without `issued` is an observation made at its time.
A row is known from its place in the stream on, and not before `issued`. A telemetry event gets the latest row
of its site that is not after the event, not older than `max_age`, and known when the event comes. Of several
rows for one time, it gets the one issued last. Rows of one time and one issue are merged. Values that no
class names are ignored, and so is a row that has no others.

The site of an event is its own `site`, else that of the asset's latest registry row, else there is no
weather. `summary.json` counts telemetry without weather as `without_weather`, under `input`.

An event never waits for its weather. Suppose that a row becomes known later and would now be chosen for the
latest event of an asset that is still at the site. Then that prediction is published again, with 1 added to
its `revision`. Its weather features and its expressions are those of the new row; windows keep the weather
that was joined before. Examples stay as they were served.

Rows are dropped when their time lies further behind the stream than the longest `max_age` +
`allowed_lateness` + `memory` of a class, + `max_future`. Rows that come later than that go to the late
output. The stream's time is the largest time of telemetry or fault, or the largest `issued`, whichever is
smaller.

## Estimators

A step is `{ estimator = "<dotted path of a class>", <parameter> = <value>, ... }`. A value may be such a
table itself, or a list of them. The `*arguments` of a constructor are given as a list under their name: `{
estimator = "river.compose.Select", keys = ["pressure"] }`. A class with a parameter that is itself called
`estimator` is named by `class`: `{ class = "river.compat.SKL2RiverClassifier", estimator = { estimator =
"sklearn.linear_model.SGDClassifier", loss = "log_loss" }, classes = [false, true] }` (install scikit-learn
for it). Every step but the last has to be a transformer; the last has to have `learn_one`, and
`predict_proba_one` or a `score_one` that needs no label. Any importable class with River's protocol is
allowed. So trust a file as you would trust a program.
Each target gets instances of its own.

Before a run, and by `check`, every model is built and given rows with and without missing values. It has to
learn both labels, return scores between 0 and 1, and be written and read again. Missing features are
absent from an estimator's input; a pipeline that begins with one of River's imputers (after `Select` or
`Discard`) gets them as None. An estimator that cannot do without a feature, such as `Select`, is accepted
with a note. Where it raises, or returns no probability, the prior answers, and it does not learn that
example. A model that fails at more than half of its latest calls is suspended. It is tried again after 200
calls, then 400, up to 51,200 (`changes`: `put_aside`, `tried_again`). One whose weights are not finite by
then starts from nothing (`rebuilt`).

Until a model has learned both labels the prior answers for it (`link`), and it opens no alert. An
estimator that was trained elsewhere has the attribute `pretrained = True` and serves from the first record.
An anomaly detector (`score_one`) serves after its first example.

If a parameter `seed` or `random_state` is not given and has no default but None, its value is the CRC-32 of
the model's name and the estimator's place in the pipeline. So every run draws the same numbers, and two
forests in one model draw different ones. To draw others, set `seed`.

## What is refused

All problems are reported at once, before anything runs, each with its key, the expected value, the given
value, and the nearest valid name. Besides wrong types and unknown keys or names, these are refused: a window
whose length is not a multiple of its hop, or has more than 2000 of them; a window over no sensor and no
fault; two features of one name; `required` without `score_on = "complete"`; a name listed twice; the same
target twice; a target on a class without features; a champion that is not among the target's models; a glob
that matches nothing; an alert that clears above the score at which it opens; an expression that is not in the
language, or names something that the class lacks; an `asset_ttl` without `idle_timeout`, or not longer than
it and than horizon + label delay of each target of the class; an `idle_timeout` so short that more than
100,000 of it would pass before a silent asset's last example is forgotten; unknown assets to be adopted where
several classes are possible and none is named; an estimator that cannot be imported, built, or asked for a
probability or a score; a model that fails at the rows that every model is tried on.
"""


def reference() -> str:
    """Generate the page, in Markdown."""
    return "\n".join([_BEFORE, *sections(Document, "", "The top of the file"), _AFTER])


def sections(table: type[Table], path: str, title: str) -> Iterator[str]:
    """Generate the section of a table as Markdown, then those of the tables below it."""
    below = {key_of(name, field): nested(field) for name, field in table.model_fields.items()}
    yield f"## {title}\n\n{inspect.getdoc(table)}\n"
    yield "| key | value | default | meaning |\n| --- | --- | --- | --- |"
    for name, field in table.model_fields.items():
        if below[key_of(name, field)] is None:
            cells = (f"`{key_of(name, field)}`", _form(field), _default(field), field.description or "")
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""
    for key, inner in below.items():
        if inner is not None:
            kind, inner_table = inner
            place = f"{path}{key}.<name>" if kind == "map" else f"{path}{key}"
            heading = f"`[[{place}]]`" if kind == "list" else f"`[{place}]`"
            yield from sections(inner_table, f"{place}.", heading)


def _form(field: FieldInfo) -> str:
    for mark in field.metadata:
        if isinstance(mark, Form):
            return mark.text
    text = _type(field.annotation)
    above = [str(mark.gt) for mark in field.metadata if isinstance(mark, annotated_types.Gt)]
    return f"{text} above {above[0]}" if above else text


def _type(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    simple = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    marks = [mark.text for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, Form)]
    if marks or annotation in simple:
        return marks[0] if marks else simple[annotation]
    inner, origin = get_args(annotation), get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    text = _type(inner[0])
    if origin is list:
        return f"list of {text}" if get_origin(inner[0]) is Literal else f"list of {text}s"
    return text  # an optional value


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "see meaning"
    if value == [*STATISTICS]:
        return "all"
    shown: dict[str, Callable[[int], str]] = {
        "duration": format_duration,
        "time with offset": shown_instant,
    }
    for mark in field.metadata:
        if isinstance(mark, Form) and mark.text in shown:
            value = shown[mark.text](value)
    return f"`{json.dumps(value)}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
