# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Your own data
#
# From two CSV files to scores, labels and alerts. Open this file in Jupyter with jupytext, or run it with Python. It
# needs pandas, polars or pyarrow.

# %%
from pathlib import Path

import highwater as hw

folder = Path("own-data")
tables = hw.simulate(folder, trucks=20, days=40, every="30m", as_csv=True)  # or a list of your own files
for path in tables:
    print(path, *path.read_text().splitlines()[:2], sep="\n")

# %% [markdown]
# `init` looks at the files and writes a `fleet.toml` that runs on them. It says what you have to decide.

# %%
print(hw.init(tables, folder / "fleet.toml", force=True))

# %% [markdown]
# A run reads the rows in the order in which they were received, as if they came live.

# %%
result = hw.run(folder / "fleet.toml", fresh=True)
(target,) = result.summary["targets"].values()
losses = {model: figures["log_loss"] for model, figures in target["first_labels"].items()}
print(f"{result.records:,} records")
for model, loss in sorted(losses.items(), key=lambda item: item[1]):
    print(f"{model:8} log loss {loss:.4f}")

# %% [markdown]
# The prior always answers with the share of failures so far. A model that is not better than it is useless. The champion,
# `mixture`, weighs the scores of the others by how well they predicted so far.

# %%
assert losses["mixture"] < losses["prior"]

# %% [markdown]
# The rows are data frames. An evaluation has the label of an example, and the scores of all models as they were served.

# %%
print(result.outputs.evaluations().tail())

# %% [markdown]
# `hw.features` is the training set as it was served. A model that is trained on it sees the same features in production.

# %%
training = hw.features(folder / "fleet.toml")
print(training.shape)
