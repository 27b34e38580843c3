"""Tables of a fleet.toml that many tests write, to be added to what each of them is about."""

from __future__ import annotations

__all__ = ["LEAK", "LINEAR", "PRIOR"]

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
