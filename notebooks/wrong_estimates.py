# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Why the error in a notebook is not the error that users see
#
# Five estimates of the error of one model, from one recording. Only the way in which data moved differs.

# %%
from pathlib import Path

import highwater as hw

folder = Path("wrong-estimates")
hw.simulate(folder, trucks=20, days=60, every="1h", seed=7)
FLEET = """
name = "trucks"
[input]
files = ["events.jsonl"]
[classes.truck]
sensors = ["coolant_level", "engine_temperature", "fan_speed", "load", "ambient_temperature"]
allowed_lateness = "10m"
label_delay = "4d"
example_every = "4h"
[[classes.truck.windows]]
length = "6h"
statistics = ["mean", "min", "max", "slope"]
[[classes.truck.windows]]
length = "48h"
statistics = ["mean", "min", "delta"]
[assets]
unknown = "adopt"
[[targets]]
class = "truck"
mode = "coolant_leak"
horizon = "48h"
champion = "linear"
[models.linear]
pipeline = [
  { estimator = "river.preprocessing.StandardScaler" },
  { estimator = "river.linear_model.LogisticRegression" },
]
"""
(folder / "fleet.toml").write_text(FLEET)

# %% [markdown]
# `random` splits the rows of the collected table at random. `hindsight` splits by time, but computes features from all
# data, also from what came later. `served` takes the features as they were served. `immature` judges each score after one horizon, before all failures are
# reported. `matured` waits for the labels: it is what Highwater reports. `truth` knows every failure, reported or not.

# %%
found = hw.estimate(folder / "fleet.toml", truth=folder / "truth.jsonl")
print(found)

# %% [markdown]
# The estimate that judges too early counts fewer positives than there are, and so looks better than what users get.

# %%
import narwhals as nw

rows = {row["name"]: row for row in nw.from_native(found).iter_rows(named=True)}
for name, row in rows.items():
    off = row["log_loss"] / rows["truth"]["log_loss"] - 1
    print(f"{name:10} {row['log_loss']:.4f}  {off:+.0%}  {row['positives']} positives")
assert rows["immature"]["positives"] < rows["matured"]["positives"]
assert rows["matured"]["low"] <= rows["truth"]["log_loss"] <= rows["matured"]["high"]
