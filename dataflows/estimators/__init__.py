"""Estimators of our own in River's protocol, for the ``pipeline`` of a model in ``fleet.toml``.

- `Prior`: the share of failures so far, which every model must beat.
- `BayesianLogistic`: logistic regression without a step size, for a few hundred features.
- `Calibration`: makes the scores of another model hold.
- `Hazard`: when within the horizon an asset fails.
- `Chain`: the score of the first of several models that has one, for classes with few examples.
- `AssetModel`: a model of a class with an offset of each asset.
- `Frozen`: a model that was fitted elsewhere, by file and digest.
- `Mixture`: makes one score of the scores of several models.
- `Rehearsal`: lets a model learn a few of its past failures again, so that it does not forget them.
- `Retrained`: fits a batch classifier again and again, at exact points of the stream.
- `AnomalyProbability`, `TimeToFailure`, `Rule`: make probabilities of anomaly scores, hours to failure, and
  an expression.
- `RobustScaler`: scales features, and recovers from wild values by itself.

Each is written as versioned plain data, without pickle (`to_bytes`, `from_bytes`). Files and stores may name
them by their former paths, see `FORMER_PATHS`.
"""

from __future__ import annotations

from dataflows.estimators.chain import AssetModel, Chain, FleetModel
from dataflows.estimators.experts import Mixture
from dataflows.estimators.frozen import Frozen
from dataflows.estimators.hazard import Hazard
from dataflows.estimators.online import BayesianLogistic, Calibration, Prior, RobustScaler
from dataflows.estimators.rehearsal import Rehearsal
from dataflows.estimators.retrained import Retrained
from dataflows.estimators.scored import AnomalyProbability, Rule, TimeToFailure
from dataflows.estimators.stored import ESTIMATOR, FORMER_PATHS, from_stored, to_stored

__all__ = [
    "ESTIMATOR",
    "FORMER_PATHS",
    "AnomalyProbability",
    "AssetModel",
    "BayesianLogistic",
    "Calibration",
    "Chain",
    "FleetModel",
    "Frozen",
    "Hazard",
    "Mixture",
    "Prior",
    "Rehearsal",
    "Retrained",
    "RobustScaler",
    "Rule",
    "TimeToFailure",
    "from_stored",
    "to_stored",
]
