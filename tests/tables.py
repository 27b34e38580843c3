"""Tables of a fleet.toml that many tests write, to be added to what each of them is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LEAK", "LINEAR", "LINEAR_ALONE", "PRIOR", "PRIOR_ALONE", "model", "pumps"]

#: Pipeline of the model that every other must beat.
PRIOR_ALONE = '{ estimator = "dataflows.estimators.Prior" }'


def model(name: str, pipeline: str) -> str:
    """Write a model: its name, and the steps of its pipeline, in TOML."""
    return f"""
[models.{name}]
pipeline = [{pipeline}]
"""


#: Pipeline of a model that learns.
LINEAR_ALONE = """
  { estimator = "river.preprocessing.StandardScaler" },
  { estimator = "river.linear_model.LogisticRegression" },
"""
LINEAR = model("linear", LINEAR_ALONE)
#: The model that every other must beat.
PRIOR = """
[models.prior]
pipeline = [{ estimator = "dataflows.group.estimators.Prior" }]
"""
#: A target of pumps, and its model.
LEAK = f"""
[[targets]]
class = "pump"
mode = "leak"
horizon = "12h"
champion = "linear"
{LINEAR}"""


def pumps(
    champion: str,
    pipeline: str | None,
    *,
    name: str = "pumps",
    keys: str = "",
    files: Sequence[str] = ("events.jsonl",),
    sensors: Sequence[str] = ("pressure",),
    mode: str | Sequence[str] = "leak",
    horizon: str = "12h",
    adopt: bool = False,
    source: str = "",
    output: str = "",
    pump: str = "",
    target: str = "",
    more: str = "",
) -> str:
    """Write a fleet.toml of pumps with one target.

    Args:
        champion: its model.
        pipeline: steps of that model, in TOML; None where ``more`` has it.
        name: of the fleet.
        keys: more keys of the fleet itself.
        files: of the input.
        sensors: of the class.
        mode: of the target, or several.
        horizon: of the target.
        adopt: whether an asset without a registry row is a pump.
        source: more keys of ``[input]``.
        output: more keys of ``[output]``.
        pump: more keys of the class, and its tables.
        target: more keys of the target.
        more: further tables, such as other models.
    """
    modes = f'"{mode}"' if isinstance(mode, str) else _array(mode)
    assets = '[assets]\nunknown = "adopt"\nadopt_as = "pump"' if adopt else ""
    return f"""
name = "{name}"
{keys}
[input]
files = {_array(files)}
{source}
[output]
folder = "out"
{output}
{assets}
[classes.pump]
sensors = {_array(sensors)}
{pump}
[[targets]]
class = "pump"
mode = {modes}
horizon = "{horizon}"
champion = "{champion}"
{target}
{"" if pipeline is None else model(champion, pipeline)}
{more}
"""


def _array(names: Sequence[str]) -> str:
    """TOML of an array of texts."""
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
