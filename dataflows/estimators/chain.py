"""Models for the start of a class: one that learns from several classes, and a chain of fallbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from dataflows.estimators.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Chain", "FleetModel", "FleetModels"]


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
