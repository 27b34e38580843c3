"""Tables of a fleet.toml that many tests write, to be added to what each of them is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LEAK", "LINEAR", "PRIOR", "PRIOR_ALONE", "pumps"]

#: Pipeline of the model that every other must beat.
PRIOR_ALONE = '{ estimator = "dataflows.estimators.Prior" }'

#: A model that learns.
LINEAR = """
[models.linear]
pipeline = [
  { estimator = "river.preprocessing.StandardScaler" },
  { estimator = "river.linear_model.LogisticRegression" },
]
"""
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
    pipeline: str,
    *,
    sensors: Sequence[str] = ("pressure",),
    mode: str = "leak",
    horizon: str = "12h",
    source: str = "",
    output: str = "",
    pump: str = "",
    target: str = "",
    more: str = "",
) -> str:
    """Write a fleet.toml of pumps with one target.

    Args:
        champion: its model.
        pipeline: steps of that model, in TOML.
        sensors: of the class.
        mode: of the target.
        horizon: of the target.
        source: more keys of ``[input]``.
        output: more keys of ``[output]``.
        pump: more keys of the class, and its tables.
        target: more keys of the target.
        more: further tables, such as other models.
    """
    names = ", ".join(f'"{name}"' for name in sensors)
    return f"""
name = "pumps"
[input]
files = ["events.jsonl"]
{source}
[output]
folder = "out"
{output}
[classes.pump]
sensors = [{names}]
{pump}
[[targets]]
class = "pump"
mode = "{mode}"
horizon = "{horizon}"
champion = "{champion}"
{target}
[models.{champion}]
pipeline = [{pipeline}]
{more}
"""
