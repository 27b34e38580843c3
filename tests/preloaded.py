"""All that a run of the dataflow imports, and its compiled code loaded: what `tests.processes` forks."""

from __future__ import annotations

import contextlib
import importlib
import io
import pkgutil

import bytewax.recovery
import bytewax.run
import bytewax.testing  # noqa: F401 - so that no child has to import it
import river.api  # noqa: F401 - the same

import dataflows
from dataflows.testing import failure, pump_fleet, run_lines, telemetry

for _module in pkgutil.walk_packages(dataflows.__path__, "dataflows."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)

_LEARNING = {
    "bayesian": {"pipeline": [{"estimator": "dataflows.estimators.BayesianLogistic"}]},
    "linear": {
        "pipeline": [
            {"estimator": "river.preprocessing.StandardScaler"},
            {"estimator": "river.linear_model.LogisticRegression"},
        ]
    },
}
_RECORDS = [
    *(telemetry("pump-1", 1_800 * number, {"pressure": 4.0, "flow": 1.0}) for number in range(40)),
    failure("pump-1", 71_000, "leak"),
    *(telemetry("pump-1", 1_800 * number, {"pressure": 5.0, "flow": 2.0}) for number in range(40, 60)),
]
with contextlib.redirect_stdout(io.StringIO()):
    run_lines(pump_fleet(_LEARNING), _RECORDS)
