"""Fitted classifiers as arrays: the scores of their library, row by row, and no pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from dataflows.estimators import from_stored, to_stored
from dataflows.estimators.fitted import FittedElsewhere, fitted
from dataflows.state.snapshots import SnapshotError

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAPS = {
    "boosting": lambda: HistGradientBoostingClassifier(max_iter=30, random_state=1),
    "forest": lambda: RandomForestClassifier(10, random_state=1),
    "extra trees": lambda: ExtraTreesClassifier(5, random_state=1),
    "tree": lambda: DecisionTreeClassifier(max_depth=4, random_state=1),
    "light": lambda: LGBMClassifier(n_estimators=20, verbosity=-1, n_jobs=1),
    "logistic": lambda: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
    "scaled first": lambda: make_pipeline(RobustScaler(), SimpleImputer(), LogisticRegression()),
    "imputed forest": lambda: make_pipeline(SimpleImputer(), RandomForestClassifier(5, random_state=1)),
}
WHOLE = {"gradient": lambda: GradientBoostingClassifier(n_estimators=10, random_state=1)}


def rows(*, gaps: bool, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    chance = np.random.default_rng(seed)
    values = chance.normal(size=(600, 6)) * 10.0 ** np.arange(-3, 3)
    labels = (values[:, 1] * 100 + values[:, 5] / 100 + chance.normal(size=600) > 0.5).astype(np.int64)
    if gaps:
        values[chance.random(values.shape) < 0.1] = np.nan
    return values, labels


@pytest.mark.parametrize("name", [*GAPS, *WHOLE])
def test_the_arrays_of_a_fitted_model_give_the_scores_of_its_library(name: str) -> None:
    """On rows that it was not fitted on, missing values among them; they hold no pickle."""
    values, labels = rows(gaps=name in GAPS)
    model = (GAPS | WHOLE)[name]().fit(values, labels)
    arrays = fitted(model, values[:50])
    others, _ = rows(gaps=name in GAPS, seed=1)
    own = model.predict_proba(others)[:, 1]
    scores = arrays.score_rows(others)
    np.testing.assert_allclose(scores, own, rtol=0, atol=1e-12)
    data = to_stored(arrays)
    assert b"sklearn" not in data
    assert b"lightgbm" not in data
    alone = [from_stored(data).score_rows(row[np.newaxis])[0] for row in others]
    assert alone == scores.tolist()


def test_a_model_that_no_array_holds_is_scored_by_its_library() -> None:
    """It is pickled, and read again only by the version that wrote it."""
    values, labels = rows(gaps=False)
    model = GaussianNB().fit(values, labels)
    kept = fitted(model, values)
    assert isinstance(kept, FittedElsewhere)
    score = kept.score_rows(values[3:9])
    assert score[0] == model.predict_proba(values[3:4])[0, 1]
    assert from_stored(to_stored(kept)).score_rows(values[3:9]).tolist() == score.tolist()
    other: Any = from_stored(to_stored(kept))
    other.library = "scikit-learn 0.1"
    with pytest.raises(SnapshotError, match=r"was stored by scikit-learn 0\.1, installed is"):
        other.score_rows(values[3:9])


def test_arrays_that_differ_from_the_library_are_not_used() -> None:
    """The library's own way is chosen, which has to pickle the model, and cannot pickle this one."""
    values, labels = rows(gaps=False)
    model = DecisionTreeClassifier(max_depth=3, random_state=1).fit(values, labels)

    assert not isinstance(fitted(model, values), FittedElsewhere)
    model.predict_proba = lambda rows: 1.0 - DecisionTreeClassifier.predict_proba(model, rows)
    with pytest.raises(AttributeError, match="pickle"):
        fitted(model, values)
