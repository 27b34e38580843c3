"""Models for few examples: an offset of each asset, a model of several classes, a chain of fallbacks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from dataflows.estimators.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["AssetModel", "Chain", "FleetModel", "FleetModels"]

#: Prior variance of the log-odds by which an asset differs from its class.
_VARIANCE = 1.0
#: Offsets are learned, and asked for, once the class has shown so many positives: before that all assets
#: would learn alike, and a model of other classes may know more.
_SETTLED = 20
#: Scores are held within these log-odds of 0 before an offset is added.
_WIDEST = 20.0
#: What one asset has learned: examples, positives, offset of the log-odds, and its variance.
_Learned = tuple[int, int, float, float]


class AssetModel(Stored):
    """A model of a class with an offset of each asset: what ``scope = "asset"`` makes of a pipeline.

    The pipeline learns the examples of all assets. The log-odds of an asset are those of the pipeline and an
    offset of its own, which is normally distributed around 0 (A. Gelman, J. Hill, "Data Analysis Using
    Regression and Multilevel/Hierarchical Models", 2007, chapter 14: partial pooling). An example moves the
    offset by one Newton step, as in `BayesianLogistic`. The examples of one horizon share their outcome, so
    each of them counts for its ``share``.

    An asset has no score before it has shown both labels and ``least`` positives, and its class twenty. Those
    that learned longest ago are forgotten beyond ``most``. Without an asset, as in a test of the estimator,
    it is the pipeline.

    Args:
        estimator: with River's protocol, of probabilities.
        least: positives that an asset has to show.
        share: of an example that counts for an offset, above 0 and at most 1.
        most: assets whose offsets are kept.

    Raises:
        ValueError: ``share`` is not in its range, or ``most`` is not positive.

    Example:
        >>> from dataflows.estimators import Prior
        >>> model = AssetModel(Prior())
        >>> for number in range(400):
        ...     model.learn_one({}, number % 10 == 0, asset="sound")
        ...     model.learn_one({}, number % 10 < 3, asset="weak")
        >>> round(model.predict_proba_one({}, asset="weak")[True], 2)
        0.29
        >>> round(model.predict_proba_one({})[True], 2), model.knows("new")
        (0.2, False)
    """

    _STATE = ("estimator", "least", "share", "most", "learned", "positives", "rows")
    #: Its calls are given the asset.
    learns_asset = True

    def __init__(self, estimator: Any, least: int = 0, share: float = 1.0, most: int = 100_000) -> None:  # noqa: ANN401 - River's protocol is by method names
        if not (0.0 < share <= 1.0 and most > 0):
            msg = f"expected 0 < share <= 1 and most > 0, got {share} and {most}"
            raise ValueError(msg)
        self.estimator = estimator
        self.least = least
        self.share = share
        self.most = most
        self.learned = self.positives = 0
        #: By asset; who learned longest ago comes first.
        self._assets: dict[str, _Learned] = {}

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """Name, examples, positives, offset and its variance of each asset, as they are stored."""
        return [(asset, *learned) for asset, learned in self._assets.items()]

    @rows.setter
    def rows(self, rows: Sequence[Sequence[Any]]) -> None:
        self._assets = {asset: (int(n), int(positives), *rest) for asset, n, positives, *rest in rows}

    def knows(self, asset: str | None) -> bool:
        """Whether an asset has shown both labels, and enough positives, and its class twenty; None: True."""
        if asset is None:
            return True
        if not self._is_settled:
            return False
        learned, positives, *_ = self._assets.get(asset, (0, 0))
        return positives >= self.least and 0 < positives < learned

    def learn_one(self, x: dict[str, Any], y: bool, asset: str | None = None) -> None:  # noqa: FBT001 - River's signature
        """Learn an example of an asset."""
        if asset is not None:
            # Before the pipeline learns: the offset is that from what it expected.
            learned, positives, offset, variance = self._assets.pop(asset, (0, 0, 0.0, _VARIANCE))
            if self._is_settled:
                offset, variance = self._moved(x, y, offset, variance)
            self._assets[asset] = learned + 1, positives + y, offset, variance
            if len(self._assets) > self.most:
                del self._assets[next(iter(self._assets))]
        self.estimator.learn_one(x, y)
        self.learned += 1
        self.positives += y

    @property
    def _is_settled(self) -> bool:
        """Whether the class has shown enough for what is left to be the asset's own."""
        return _SETTLED <= self.positives < self.learned

    def _moved(self, x: dict[str, Any], y: bool, offset: float, variance: float) -> tuple[float, float]:  # noqa: FBT001 - as above
        """Return an offset and its variance after an example."""
        expected = self.estimator.predict_proba_one(x)
        if not expected:
            return offset, variance
        p = _shifted(expected.get(True, 0.0), offset)
        variance /= 1.0 + self.share * p * (1.0 - p) * variance
        return offset + self.share * variance * (y - p), variance

    def predict_proba_one(self, x: dict[str, Any], asset: str | None = None) -> dict[bool, float]:
        """Probability of either label for an asset; empty where the pipeline has none."""
        of_class = self.estimator.predict_proba_one(x)
        if not of_class or asset is None:
            return of_class  # type: ignore[no-any-return]
        score = of_class.get(True, 0.0)
        if not 0.0 <= score <= 1.0:
            return {True: score}  # whoever asks counts it as an error
        positive = _shifted(score, self._assets.get(asset, (0, 0, 0.0))[2])
        return {False: 1.0 - positive, True: positive}


def _shifted(score: float, offset: float) -> float:
    """Add an offset to the log-odds of a score."""
    logit = _WIDEST if score > 0.5 else -_WIDEST  # noqa: PLR2004 - either end
    if 0.0 < score < 1.0:
        logit = min(max(math.log(score / (1.0 - score)), -_WIDEST), _WIDEST)
    return 1.0 / (1.0 + math.exp(-(logit + offset)))


class Chain(Stored):
    """The score of the first of several models that has one; River's protocol.

    When to use it: in a model with ``scores = ["own", "common"]``, so that a class without enough examples is
    served by the next link. A model without a score sleeps: it failed, is set aside, or knows too little
    (``least_positives``). Predictions name the link that answered.

    Args:
        links: names of the models, the most specific first.

    Example:
        >>> chain = Chain(links=["own", "common"])
        >>> chain.predict_proba_one({"common": 0.5, "own": 0.25})[True]
        0.25
        >>> chain.predict_proba_one({"common": 0.5})[True], chain.predict_proba_one({})
        (0.5, {})
    """

    _STATE = ("links", "pretrained")

    def __init__(self, links: Sequence[str]) -> None:
        self.links = [*links]
        #: It learns nothing, so it scores from the start.
        self.pretrained = True

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:  # noqa: FBT001 - River's signature
        """Learn nothing."""

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """The first score; empty without one."""
        if not x:
            return {}
        positive = x[self.answering(x)]
        return {False: 1.0 - positive, True: positive}

    def answering(self, x: Mapping[str, float]) -> str:
        """Label of the model that answers: of the first link, its latest version that has a score."""
        return min(x, key=self._place)

    def _place(self, label: str) -> tuple[int, int]:
        """Place of a model in the chain; ``name:version`` is a version beside the one that serves."""
        name, _, version = label.partition(":")
        place = self.links.index(name) if name in self.links else len(self.links)
        return place, -int(version or 0)


class FleetModels(Protocol):
    """The estimators that several classes share, by key."""

    def open(self, key: str, build: Callable[[], Any] | None) -> None:
        """Build an estimator, unless there is one."""

    def learn(self, key: str, x: dict[str, float], label: bool) -> None:  # noqa: FBT001 - as River's
        """Let one learn an example."""

    def probabilities(self, key: str, x: dict[str, float]) -> dict[Any, float]:
        """Ask one for the probability of each label."""

    def positives(self, key: str) -> int | None:
        """Positives that one has learned; None where it cannot score yet."""

    def rebuild(self, key: str) -> None:
        """Let one start from nothing."""


class FleetModel(Stored):
    """What a target has of a model with ``scope = "fleet"``: the key under which classes share the estimator.

    Where it was joined to nothing, as in a test of the estimator, it is a model of its own.

    Args:
        key: of the estimator among the `FleetModels`.
        build: makes that estimator.
    """

    _STATE = ("key",)
    of_all_classes = True
    #: Until an own estimator is needed, or by the class variables where it was read from bytes.
    _build: Callable[[], Any] | None = None
    _own: Any = None
    _models: FleetModels | None = None
    _learns = True

    def __init__(self, key: str, build: Callable[[], Any]) -> None:
        self.key = key
        self._build = build

    def join(self, models: FleetModels, *, learns: bool) -> None:
        """Share the estimator of the key with the other classes.

        Args:
            models: all that are shared.
            learns: whether it gets the examples; two versions of one model in a target share an estimator,
                which gets each example once.
        """
        self._models, self._learns = models, learns
        models.open(self.key, self._build)

    @property
    def positives(self) -> int | None:
        """Positives that were learned, of all classes; None where it cannot score yet."""
        return None if self._models is None else self._models.positives(self.key)

    def learn_one(self, x: dict[str, float], y: bool) -> None:  # noqa: FBT001 - River's signature
        """Let the estimator learn an example."""
        if self._models is None:
            self._alone().learn_one(x, y)
        elif self._learns:
            self._models.learn(self.key, x, y)

    def predict_proba_one(self, x: dict[str, float]) -> dict[Any, float]:
        """Ask the estimator."""
        if self._models is None:
            found: dict[Any, float] = self._alone().predict_proba_one(x)
            return found
        return self._models.probabilities(self.key, x)

    def rebuild(self) -> None:
        """Let the estimator start from nothing, in all classes."""
        if self._models is not None:
            self._models.rebuild(self.key)

    def of_one_class(self) -> Any:  # noqa: ANN401 - River's protocol is by method names
        """Build an estimator like the shared one, for one class.

        Raises:
            ValueError: it was read from bytes, so its configuration is not known.
        """
        if self._build is None:
            msg = f"the shared model {self.key!r} is not configured, so it cannot be built"
            raise ValueError(msg)
        return self._build()

    def _alone(self) -> Any:  # noqa: ANN401 - River's protocol is by method names
        if self._own is None:
            self._own = self.of_one_class()
        return self._own
