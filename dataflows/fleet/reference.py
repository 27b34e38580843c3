"""The reference of ``fleet.toml``, made from the schema.

``python -m dataflows.fleet.reference > docs/fleet.md`` writes the page; a test holds it to be up to date.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import annotated_types
from pydantic_core import PydanticUndefined

from dataflows.fleet.plan import STATISTICS
from dataflows.fleet.schema import Document, Table, key_of, nested
from dataflows.fleet.values import Form
from dataflows.instants import format_duration, format_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic.fields import FieldInfo

__all__ = ["reference", "sections"]

_BEFORE = """\
# `fleet.toml`

One file says what a fleet is: where its records come from, which sensors and windows its classes of assets
have, what is predicted, and by which models. This page is the reference of every key. It is made from the
schema by `python -m dataflows.fleet.reference > docs/fleet.md`; `python -m dataflows check fleet.toml`
shows what a file expands to.

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
- A **time** is a TOML date-time with offset, or the same as RFC 3339 text. Without an offset it is refused.
- A **name** has at most 120 characters and none of `/ : * ? [ ]`, since names are joined into those of
  targets (`pump/seal/24h`: class, mode, horizon) and of features (`pressure:mean:24h`: sensor, statistic,
  window).
- A **glob** matches names of features, with `*`, `?` and `[...]`; upper and lower case differ.

Relative paths belong to the folder of the file. Three environment variables override the file:
`FLEET_INPUT` (paths or globs, separated by spaces, in quotes if they have spaces themselves),
`FLEET_OUTPUT` (a folder) and `FLEET_BATCH`; their relative paths belong to the working directory, and an
empty one counts as not set.
"""

_AFTER = """\
## Features

The features of a class are, in this order:

| what | such as | meaning |
| --- | --- | --- |
| readings, unless `values = false` | `flow` | the event's own |
| likewise `expressions` | `over_air` | worked out on the event |
| for each window, for each sensor and expression in it, its statistics | `flow:mean:24h` | as above |
| then for each of its faults, its fault statistics | `error1:count:24h`, `error1:age:24h` | likewise |
| for each component of `maintenance` | `comp1:since`, `comp1:times` | hours since the last, how many so far |
| `attributes` | `age` | the registry's number |
| `categories` | `model=model3` | 1 if the attribute has this value, else 0 |
| `values` of `weather` | `weather:rain` | of the weather that the event got |
| then | `weather:age`, `weather:forecast` | hours before the event; 1 a forecast, 0 an observation |

No two may have one name. A model sees those that any of its globs matches. A glob has to match a feature of
at least one class that uses the model, and a model has to see at least one feature of each.

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
one of the class's weather values; a name with other signs than letters, digits and `_` stands in quotes.
Expressions do not name each other. The value is missing if anything the expression names is missing, or if
it is not finite, as after a division by zero.

An expression is worked out once for each event, on its readings and the weather joined with it; windows
hold what came of that. So weather values are windowed through an expression, as `air` above. Messages of
one time are worked out together, with the weather of the last of them.

## Registry rows

```json
{"kind":"asset","asset":"p-1","class":"pump","site":"north","attributes":{"age":4}}
{"kind":"asset","asset":"p-1","class":"pump","attributes":{"age":5,"owner":null}}
```

A row changes what it names: the second one keeps the site, and all attributes that it leaves out. An
attribute of `null` is missing from then on. A site can be changed, but not taken away.

A file of `assets.registry` is compared with what it said when it was read before, asset by asset (give each
asset one row of one file). So it can be exported anew as often as you like, and a row of the stream that came
since is overruled only where the file itself changed. An asset that is no longer in the file stays as it is;
`"retired":true` is what ends it. What changed takes effect at the start of a run, between the last record
that was read before and the next.

## Names that match nothing

A failure of a mode without a target labels nothing, and nobody would notice. So names are counted that match
nothing: modes without a target, components without target or feature, assets that never sent telemetry,
assets without a registry row, sensors and fault codes that are declared and never came, and those that came
and are not declared. `summary.json` lists them under `names` in `input`, each with the nearest name that
would match; what is likely a mistake is shown at the end of a run and written to the log.

## Weather

```json
{"kind":"weather","site":"north","time":"2025-05-01T08:00:00Z","values":{"air_temperature":11.5,"rain":0}}
{"kind":"weather","site":"north","time":"2025-05-01T12:00:00Z","issued":1746079200,"values":{"rain":2}}
```

`time` is when the weather holds, `issued` when it became known: before `time` for a forecast, after it for
an observation that took a while. Without `issued` a row is an observation made at its time. A row is known
from its place in the stream on, and not before `issued`. A telemetry event gets the latest row of its site
that is not after the event, not older than `max_age`, and known when the event comes; of several rows for
one time, the one issued last. Rows of one time and one issue are merged; values that no class names are
passed over, and so is a row that has no others.

The site of an event is its own `site`, else that of the asset's latest registry row, else there is no
weather. `summary.json` counts telemetry that got none as `without_weather`, under `input`.

An event is never held back for its weather. A row that becomes known later, and would now be chosen for the
latest event of an asset that is still at the site, publishes that prediction again with `revision` + 1:
weather features and expressions of the event are those of the new row, while windows go on holding what was
joined before. Examples stay as they were served.

Rows are let go when their time lies further behind the stream than the longest `max_age` +
`allowed_lateness` + `memory` of a class, + `max_future`; rows that come later than that go to the late
output. The stream's time is the largest time of telemetry or fault, or the largest `issued`, whichever is
smaller.

## Estimators

A step is `{ estimator = "<dotted path of a class>", <parameter> = <value>, ... }`. A value may be such a
table itself, or a list of them. What the constructor takes as `*arguments` is given as a list under their
name: `{ estimator = "river.compose.Select", keys = ["pressure"] }`. A class with a parameter that is
itself called `estimator` is named by `class`: `{ class = "river.compat.SKL2RiverClassifier", estimator =
{ estimator = "sklearn.linear_model.SGDClassifier", loss = "log_loss" }, classes = [false, true] }`. Every
step but the last has to be a transformer; the last has to have `learn_one`, and `predict_proba_one` or a
`score_one` that needs no label. Any importable class with River's protocol will do, so a file is as much
to be trusted as a program. Each target gets instances of its own.

Before a run, and by `check`, every model is built and fed rows with and without missing values: it has to
learn both labels, give scores between 0 and 1, and be written and read again. Missing features are absent
from what an estimator sees; a pipeline that begins with one of River's imputers (after `Select` or
`Discard`) sees them as None. An estimator that cannot do without a feature, such as `Select`, is accepted
with a note: where it raises, or gives something that is no probability, the prior answers, and it does
not learn that example. A model that fails at more than half of its latest calls is set aside, and tried
again after 200 calls, then 400, up to 51,200 (`changes`: `put_aside`, `tried_again`).

Until a model has learned both labels the prior answers for it (`link`), and it opens no alert. An
estimator that was trained elsewhere says so by an attribute, `pretrained = True`, and serves from the
first record; an anomaly detector (`score_one`) serves once it has learned anything.

An estimator with a parameter `seed` or `random_state` that is not given, and has no default other than
None, gets a seed made by CRC-32 from the model's name and the estimator's place in the pipeline. So every
run draws the same numbers, and two forests in one model draw different ones; to draw others, set `seed`.

## What is refused

Everything that is wrong is reported at once, before anything runs, each with its key, what was expected,
what came, and the nearest valid name. Beyond wrong types and unknown keys or names these are refused: a
window whose length is not a multiple of its hop, or has more than 2000 of them; a window over no sensor and
no fault; two features of one name; `required` without `score_on = "complete"`; a name listed twice; the
same target twice; a target on a class without features; a champion that is not among the target's models;
a glob that matches nothing; an alert that clears above the score at which it opens; an expression that is
none of the language, or names what the class has not; an `asset_ttl` without `idle_timeout`, or not longer
than it and than horizon + label delay of each target of the class; an `idle_timeout` of which more than
100,000 would pass before a silent asset's last example is forgotten; unknown assets to be adopted where
several classes are possible and none is named; an estimator that cannot be imported, built, or asked for a
probability or a score; a model that fails at the rows that every model is tried on.
"""


def reference() -> str:
    """The page, in Markdown."""
    return "\n".join([_BEFORE, *sections(Document, "", "The top of the file"), _AFTER])


def sections(table: type[Table], path: str, title: str) -> Iterator[str]:
    """The section of a table as Markdown, then those of the tables below it."""
    below = {key_of(name, field): nested(field) for name, field in table.model_fields.items()}
    yield f"## {title}\n\n{table.__doc__}\n"
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
        "time with offset": format_instant,
    }
    for mark in field.metadata:
        if isinstance(mark, Form) and mark.text in shown:
            value = shown[mark.text](value)
    return f"`{json.dumps(value)}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
