"""Evaluations as arrays, for the tests of studies."""

from __future__ import annotations

import numpy as np

from dataflows.evaluation.reading import Evaluations


def rows(scores: dict[str, list[float]], labels: list[int], assets: list[str]) -> Evaluations:
    """Evaluations of two targets in turn."""
    count = len(labels)
    return Evaluations(
        ids=np.array([str(number) for number in range(count)]),
        assets=np.array(assets),
        targets=np.array(["one", "two"])[np.arange(count) % 2],
        times=np.arange(count),
        settled=np.arange(count),
        corrections=np.zeros(count, dtype=np.int64),
        labels=np.array(labels),
        learned=np.ones(count, dtype=bool),
        champions=np.full(count, "mine"),
        models=tuple(scores),
        scores=np.array(list(scores.values())).T,
        feature_names=(),
        features=np.empty((count, 0)),
    )
