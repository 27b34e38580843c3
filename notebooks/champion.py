# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Champion against challenger
#
# A new model must replace an old one without anyone fooling themselves. Here the champion is the prior, which knows
# nothing, so a challenger should win; the question is when one may be sure.

# %%
from pathlib import Path

import highwater as hw

folder = Path("champion")
hw.simulate(folder, trucks=40, days=90, every="1h", seed=3)
FLEET = """
name = "trucks"
[input]
files = ["events.jsonl"]
[classes.truck]
sensors = ["coolant_level", "engine_temperature", "fan_speed", "load", "ambient_temperature"]
label_delay = "4d"
example_every = "4h"
[[classes.truck.windows]]
length = "6h"
statistics = ["mean", "min", "max"]
[[classes.truck.windows]]
length = "48h"
statistics = ["mean", "min", "delta"]
[assets]
unknown = "adopt"
[[targets]]
class = "truck"
mode = "coolant_leak"
horizon = "48h"
champion = "prior"
models = ["prior", "linear"]
promotion = "auto"
[models.prior]
pipeline = [{ estimator = "dataflows.estimators.Prior" }]
[models.linear]
pipeline = [
  { estimator = "river.preprocessing.StandardScaler" },
  { estimator = "dataflows.estimators.BayesianLogistic" },
]
"""
(folder / "fleet.toml").write_text(FLEET)
result = hw.run(folder / "fleet.toml", fresh=True)

# %% [markdown]
# All models score the same examples, and the losses of the scores *as served* are compared in pairs. Looking at the
# mean after every example would promote a lucky model sooner or later. The judge bets on each comparison instead; its
# capital is the evidence, and the chance that it ever reaches 1/alpha for a challenger that is no better is at most alpha.

# %%
for row in result.outputs.rows("changes"):
    if row["change"] in {"champion", "verdict"}:
        print(row["known"][:16], row["change"], row["model"], row["why"])
(verdict,) = (row for row in result.outputs.rows("changes") if row["change"] == "verdict")
evidence = verdict["evidence"]
print("evidence", evidence["e_values"], "needed", evidence["needed"], "positives", evidence["positives"])
print("it assumes:", evidence["assumes"])
assert verdict["model"] == "linear"
assert max(evidence["e_values"]) >= evidence["needed"]

# %% [markdown]
# The former champion goes on in shadow. It would need this much evidence to come back:

# %%
(target,) = result.summary["targets"].values()
assert target["champion"] == "linear"
back = target["promotion"]["challengers"]["prior"]
print("evidence", back["e_values"], "needed", back["needed"])
