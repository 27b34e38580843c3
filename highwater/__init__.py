"""Highwater in Python: what the commands do, for notebooks and programs.

>>> import highwater as hw
>>> fleet = hw.load("fleet.toml")                # doctest: +SKIP
>>> result = hw.run(fleet)                       # doctest: +SKIP
>>> result.outputs.predictions().tail()          # doctest: +SKIP

Everything here is defined in `dataflows.api`; docs/python.md tells more.
"""

from __future__ import annotations

import dataflows

if not hasattr(dataflows, "__version__") or not dataflows.__doc__ or "Highwater" not in dataflows.__doc__:
    msg = (
        f"another package called `dataflows` is imported, from {dataflows.__path__}; rename it, or put it "
        "behind Highwater's on sys.path"
    )
    raise ImportError(msg)

from dataflows import __version__
from dataflows.api import (
    Outputs,
    Result,
    Run,
    check,
    estimate,
    features,
    init,
    load,
    read,
    run,
    simulate,
    start,
)
from dataflows.fleet import Fleet, FleetError

__all__ = [
    "Fleet",
    "FleetError",
    "Outputs",
    "Result",
    "Run",
    "__version__",
    "check",
    "estimate",
    "features",
    "init",
    "load",
    "read",
    "run",
    "simulate",
    "start",
]
