"""One version of a model at work, and how it is read from a snapshot."""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dataflows.estimators import to_stored
from dataflows.group.error_rate import ErrorRate
from dataflows.group.readers import Calls, Reader, calls_of
from dataflows.snapshots import UNSIGNED, SnapshotError, is_signed_by, seal, sign, unseal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["RIVER", "SMALL", "ModelError", "Slot", "dict_of", "read_models", "sealed_models", "served_scores"]

_VERSION = 1
RIVER = importlib.metadata.version("river")
#: A pickle up to this size is written whole whenever its model learned.
SMALL = 64 * 1024


class ModelError(RuntimeError):
    """A model cannot be written to the recovery store."""


@dataclass(slots=True)
class Slot:
    """One version of a model at work.

    Attributes:
        name: of the model in the catalogue.
        spec: digest of what it is, see `spec_digest`.
        picks: indices, among the features of the class, of those that it sees; of a model of scores, of those
            that the models below it see.
        sees: the labels of the models whose scores it sees, if it sees scores.
        part: where it is written.
        version: counts changes of its configuration.
        learned: examples learned by this version.
        positives: how many of them were positive.
        pickled: the last pickle, and how many examples of the target had been learned by then.
        errors: how often it fails, and whether it is set aside for that.
        renew: it is written at the end of this epoch, however big it is.
        calls: how it is called.
        reader: scores it from arrays where it can.
        label: see `Scorer`.
        names: of the features that it sees; none where it sees scores.
        indices: `picks` as an array.
    """

    name: str
    spec: str
    picks: tuple[int, ...]
    sees: tuple[str, ...]
    estimator: Any
    part: int
    version: int
    learned: int = 0
    pickled: bytes = b""
    pickled_at: int = 0
    errors: ErrorRate = field(default_factory=ErrorRate)
    renew: bool = False
    reader: Reader | None = None
    label: str = ""
    names: tuple[str, ...] = ()
    indices: NDArray[np.intp] | None = None
    positives: int = 0
    calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        self.calls = calls_of(self.estimator)

    def probabilities(self, x: dict[str, float]) -> dict[Any, float]:
        """Probability of each label that it knows."""
        return self.calls.probabilities(self._given(x))

    def learn(self, x: dict[str, float], label: int) -> None:
        """Let it learn one example."""
        self.calls.learn(self._given(x), bool(label))

    def to_pickle(self, target: str) -> bytes:
        """The estimator as it is written.

        Raises:
            ModelError: it cannot be pickled.
        """
        try:
            return to_stored(self.estimator)
        except Exception as error:
            msg = (
                f"target {target!r}: model {self.label!r} cannot be written to the recovery store, since it "
                f"cannot be pickled ({type(error).__name__}: {error}); take it out of the fleet.toml, or "
                "give its class __getstate__ and __setstate__"
            )
            raise ModelError(msg) from error

    def _given(self, x: dict[str, float]) -> dict[str, Any]:
        """Features in the form that it bears; imputers expect what is missing as None."""
        return {name: x.get(name) for name in self.names} if self.calls.with_none else x

    @property
    def prior(self) -> float:
        """The share of positives among what it learned."""
        return (self.positives + 0.5) / (self.learned + 1)

    @property
    def is_ready(self) -> bool:
        """Whether it has seen enough to have an opinion: both labels, where it learns from labels."""
        if self.calls.pretrained:
            return True
        return 0 < self.positives < self.learned if self.calls.supervised else self.learned > 0

    @property
    def big(self) -> bool:
        """Whether it is written now and then, with a log in between."""
        return len(self.pickled) > SMALL


def served_scores(slot: Slot, scores: Mapping[str, float | None]) -> dict[str, float]:
    """What a model of scores learns from: the scores of the others as they were served."""
    given = {name: scores.get(name) for name in slot.sees}
    return {name: score for name, score in given.items() if score is not None}


def dict_of(names: tuple[str, ...], values: NDArray[np.float64]) -> dict[str, float]:
    """River's form of a feature vector: what is missing is absent."""
    given = zip(names, values.tolist(), strict=True)
    if not np.isnan(values).any():
        return dict(given)
    return {name: value for name, value in given if not math.isnan(value)}


def sealed_models(models: Mapping[str, tuple[int, str, int, bytes]], key: bytes | None = None) -> bytes:
    """The snapshot of some versions.

    Args:
        models: by label, how many examples of the target had been learned when it was pickled, the River that
            can read it, its version, and its pickle.
        key: signs the snapshot.
    """
    sealed = seal("models", _VERSION, models)
    return sealed if key is None else sign(sealed, key)


def read_models(parts: Mapping[int, bytes], key: bytes | None = None) -> dict[str, tuple[int, int, bytes]]:
    """What `sealed_models` was given, of all parts; without the River.

    Args:
        parts: by number.
        key: by which each has to be signed; None: it is not checked.

    Raises:
        SnapshotError: one is damaged, not signed by the key, or of a version or River that cannot be read.
    """
    pickles = {}
    for sealed in parts.values():
        if key is not None and not is_signed_by(sealed, key):
            raise SnapshotError(UNSIGNED)
        for name, (at, river, version, pickled) in unseal("models", _VERSION, sealed).items():
            if river != RIVER:
                msg = (
                    f"model {name!r} was written by River {river}, installed is {RIVER}; "
                    f"install river=={river}, or start with a new store"
                )
                raise SnapshotError(msg)
            pickles[name] = (at, version, pickled)
    return pickles
