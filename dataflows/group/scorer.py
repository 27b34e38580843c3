"""The models of one target: they score, they learn, and they are written only when they changed.

A small model is written whole in every epoch in which it learned. A big one is written now and then; in
between, only the log of what it learned is: after a resume the model learns that log again, and is the same.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import structlog

from dataflows.group.readers import Probabilities, Reader, probabilities_of, reader_of
from dataflows.snapshots import SnapshotError, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from dataflows.fleet.plan import Model

__all__ = ["MODEL_PARTS", "Answer", "Learned", "Scorer"]

#: Models share this many parts; up to so many models, each has one of its own.
MODEL_PARTS = 16
#: A pickle up to this size is written whole whenever its model learned.
SMALL = 64 * 1024
#: A bigger one is written again after it learned so many examples.
RENEW_AFTER = 1_000
_VERSION = 1
_RIVER = importlib.metadata.version("river")
_log = structlog.get_logger()

#: One line of the log of what was learned: asset, time, label.
Learned = tuple[str, int, int]

#: A model's score, None where it was put aside, and its link: which answered. ``class`` is the model,
#: ``prior`` the prior because the model has learned nothing or has no opinion, or its own prior because it
#: knows of only one label and would say 0 or 1 (as River's classifiers do).
Answer = tuple[float | None, str]


@dataclass(slots=True)
class _Slot:
    """One model at work.

    Attributes:
        part: where it is written.
        version: counts changes of its configuration.
        learned: examples learned by this version.
        positives: how many of them were positive.
        pickled: the last pickle, and how many examples of the target had been learned by then.
        failed: why it was put aside, None while it works.
        probabilities: asks it.
        reader: scores it from arrays where it can.
        names: of the features that it sees; none where it sees scores.
        picks: their indices among the features of the class.
    """

    model: Model
    estimator: Any
    part: int
    version: int
    learned: int = 0
    pickled: bytes = b""
    pickled_at: int = 0
    failed: str | None = None
    reader: Reader | None = None
    names: tuple[str, ...] = ()
    picks: NDArray[np.intp] | None = None
    positives: int = 0
    probabilities: Probabilities = field(init=False)

    def __post_init__(self) -> None:
        self.probabilities = probabilities_of(self.estimator)

    @property
    def prior(self) -> float:
        return (self.positives + 0.5) / (self.learned + 1)

    @property
    def one_sided(self) -> bool:
        return self.positives in (0, self.learned)

    @property
    def big(self) -> bool:
        return len(self.pickled) > SMALL


class Scorer:
    """Every model of one target.

    Args:
        target: its name, for the log.
        models: as configured; the first snapshot fixes their versions.
        features: names of all features of the class.
        main: what `main_state` returned, None for a new target.
        parts: what `part` returned, by number.
    """

    def __init__(
        self,
        target: str,
        models: tuple[Model, ...],
        features: tuple[str, ...],
        main: Mapping[str, Any] | None,
        parts: Mapping[int, bytes],
    ) -> None:
        self._target = target
        self._features = features
        self._slots: dict[str, _Slot] = {}
        #: Examples of the target learned so far, and how many of them were positive.
        self.learned = 0
        self.positives = 0
        #: What was learned since the oldest pickle of a big model: from example number ``log_start`` on.
        self.log: list[Learned] = []
        self.logged: set[tuple[str, int]] = set()
        self._changed: set[int] = set()
        self.aside: list[tuple[str, str]] = []
        known = {} if main is None else main["models"]
        if main is not None:
            self.learned = main["learned"]
            self.positives = main["positives"]
        self.log_start = self.learned
        pickles = _read_parts(parts)
        taken = [known[model.name]["part"] for model in models if model.name in known]
        for model in models:
            self._open(model, known.get(model.name), pickles, taken)
        self._groups = self._by_features()
        #: Models that see scores of others, which are asked first.
        self._stacked = [name for name, slot in self._slots.items() if slot.model.scores]
        for names, picks, members in self._groups:
            for slot in map(self._slots.__getitem__, members):
                slot.names, slot.picks = names, picks
                slot.reader = reader_of(slot.estimator, names, picks)

    def _open(
        self, model: Model, known: Mapping[str, Any] | None, pickles: Mapping[str, Any], taken: list[int]
    ) -> None:
        version = 1 if known is None else known["version"] + (known["spec"] != spec_digest(model))
        part = self._free_part(taken) if known is None else known["part"]
        at, of_version, pickled = pickles.get(model.name, (0, 0, b""))
        # Where a run opened a new version and ended before any record, the main state names it, and its part
        # still holds the version before: it begins now.
        if known is None or of_version != version:
            slot = _Slot(model, model.build(), part, version, pickled_at=self.learned)
            self._changed.add(part)
        else:
            estimator = pickle.loads(pickled)  # noqa: S301 - our own store, sealed
            slot = _Slot(model, estimator, part, version, known["learned"], pickled, at, known["failed"])
            slot.positives = known["positives"]
        self._slots[model.name] = slot

    @staticmethod
    def _free_part(taken: list[int]) -> int:
        part = min(range(MODEL_PARTS), key=lambda part: (taken.count(part), part))
        taken.append(part)
        return part

    def _by_features(self) -> list[tuple[tuple[str, ...], NDArray[np.intp], list[str]]]:
        """Models that see the same features share one dict of them."""
        groups: dict[tuple[int, ...], list[str]] = {}
        for name, slot in self._slots.items():
            if not slot.model.scores:
                groups.setdefault(slot.model.features, []).append(name)
        return [
            (tuple(self._features[index] for index in picks), np.array(picks, dtype=np.intp), names)
            for picks, names in groups.items()
        ]

    def replay(
        self,
        log: list[Learned],
        log_start: int,
        examples: Mapping[tuple[str, int], tuple[bytes, Mapping[str, float | None]]],
    ) -> None:
        """After a resume: let the big models learn again what they learned since their pickle.

        Args:
            log: what was learned, from the ``log_start``-th example on.
            log_start: see above.
            examples: features and scores, both as served, of the examples in the log.
        """
        if log_start + len(log) < self.learned:
            return  # what was learned after it needed no log: no model was big any more
        self.log, self.log_start = log, log_start
        self.logged = {(asset, time) for asset, time, _ in log}
        for slot in self._slots.values():
            for asset, time, label in log[max(0, slot.pickled_at - log_start) :]:
                features, scores = examples[asset, time]
                if slot.model.scores:
                    self._teach(slot, _served(slot.model, scores), label)
                else:
                    self._teach(slot, _dict(slot.names, np.frombuffer(features)[slot.picks]), label)

    def version(self, name: str) -> int:
        """Version of a model's configuration."""
        return self._slots[name].version

    def names(self) -> list[str]:
        """Every model of the target."""
        return list(self._slots)

    @property
    def prior(self) -> float:
        """The share of positives among what was learned: (positives + 0.5) / (learned + 1)."""
        return (self.positives + 0.5) / (self.learned + 1)

    def answer(self, name: str, features: bytes) -> Answer:
        """Score and link of one model.

        Args:
            name: of the model.
            features: float64 array (features of the class) as bytes.
        """
        slot = self._slots[name]
        if slot.model.scores:
            below = {of: self._ask_one(self._slots[of], features) for of in slot.model.scores}
            return self._ask_stacked(slot, below)
        return self._ask_one(slot, features)

    def answers(self, features: bytes) -> dict[str, Answer]:
        """Score and link of every model; see `answer`."""
        answers: dict[str, Answer] = {}
        for names, picks, members in self._groups:
            x = _dict(names, np.frombuffer(features)[picks])
            for name in members:
                answers[name] = self._ask(self._slots[name], x)
        for name in self._stacked:
            answers[name] = self._ask_stacked(self._slots[name], answers)
        return {name: answers[name] for name in self._slots}

    def _ask_one(self, slot: _Slot, features: bytes) -> Answer:
        if slot.reader is not None and slot.learned and slot.failed is None:
            score = slot.reader.score(features)
            if score is not None and math.isfinite(score):
                return score, "class"
        return self._ask(slot, _dict(slot.names, np.frombuffer(features)[slot.picks]))

    def _ask_stacked(self, slot: _Slot, answers: Mapping[str, Answer]) -> Answer:
        """What the prior answered is no model's score, and so there is nothing to see."""
        seen = {name: answers[name] for name in slot.model.scores}
        given = {name: score for name, (score, link) in seen.items() if link == "class" and score is not None}
        if slot.failed is None and not given:
            return self.prior, "prior"
        return self._ask(slot, given)

    def _ask(self, slot: _Slot, x: dict[str, float]) -> Answer:
        if slot.failed is not None or not slot.learned:
            return None if slot.failed is not None else self.prior, "prior"
        try:
            probabilities = slot.probabilities(x)
            score = float(probabilities.get(True, 0.0)) if probabilities else None
        except Exception as error:  # noqa: BLE001 - a model is foreign code; the rest goes on
            self._put_aside(slot, f"{type(error).__name__}: {error}")
            return None, "prior"
        if score is None:
            return self.prior, "prior"
        if len(probabilities) == 1 and score in (0.0, 1.0) and slot.one_sided:
            return slot.prior, "prior"
        if not math.isfinite(score):
            self._put_aside(slot, f"score {score}")
            return None, "prior"
        return min(max(score, 0.0), 1.0), "class"

    def learn(
        self, asset: str, time: int, features: bytes, label: int, scores: Mapping[str, float | None]
    ) -> None:
        """Every model learns one example.

        Args:
            asset: of the example.
            time: of the example.
            features: as served.
            label: 1 or 0.
            scores: of every model, as served.
        """
        for names, picks, members in self._groups:
            x = _dict(names, np.frombuffer(features)[picks])
            for name in members:
                self._teach(self._slots[name], x, label)
                self._slots[name].learned += 1
                self._slots[name].positives += label
        for slot in map(self._slots.__getitem__, self._stacked):
            self._teach(slot, _served(slot.model, scores), label)
            slot.learned += 1
            slot.positives += label
        self.learned += 1
        self.positives += label
        self.log.append((asset, time, label))
        self.logged.add((asset, time))
        for slot in self._slots.values():
            if self._due(slot):
                self._changed.add(slot.part)

    def _teach(self, slot: _Slot, x: dict[str, float], label: int) -> None:
        if slot.failed is not None:
            return
        if slot.reader is not None:
            slot.reader.learned()
        try:
            slot.estimator.learn_one(x, bool(label))
        except Exception as error:  # noqa: BLE001 - a model is foreign code; the rest goes on
            self._put_aside(slot, f"{type(error).__name__}: {error}")

    def _put_aside(self, slot: _Slot, why: str) -> None:
        slot.failed = why
        self.aside.append((slot.model.name, why))
        self._changed.add(slot.part)
        _log.warning("model put aside", target=self._target, model=slot.model.name, why=why)

    def _due(self, slot: _Slot) -> bool:
        since = self.learned - slot.pickled_at
        return since > 0 and (not slot.big or since >= RENEW_AFTER)

    def trim(self) -> list[Learned]:
        """Cut off the log what no big model needs any more, and return it."""
        needed = min((slot.pickled_at for slot in self._slots.values() if slot.big), default=self.learned)
        cut = needed - self.log_start
        trimmed, self.log = self.log[:cut], self.log[cut:]
        self.logged.difference_update((asset, time) for asset, time, _ in trimmed)
        self.log_start = needed
        return trimmed

    def changed(self) -> Iterable[int]:
        """Parts to write since this was last asked."""
        changed = sorted(self._changed)
        self._changed.clear()
        return changed

    def main_state(self) -> dict[str, Any]:
        """What is written in every epoch."""
        return {
            "learned": self.learned,
            "positives": self.positives,
            "models": {
                name: {
                    "spec": spec_digest(slot.model),
                    "version": slot.version,
                    "part": slot.part,
                    "learned": slot.learned,
                    "positives": slot.positives,
                    "failed": slot.failed,
                }
                for name, slot in self._slots.items()
            },
        }

    def part(self, number: int) -> bytes:
        """The models of one part, sealed, each with the River version that can read it."""
        models = {}
        for name, slot in self._slots.items():
            if slot.part == number:
                if not slot.pickled or self._due(slot):
                    slot.pickled = pickle.dumps(slot.estimator, protocol=5)
                    slot.pickled_at = self.learned
                models[name] = (slot.pickled_at, _RIVER, slot.version, slot.pickled)
        return seal("models", _VERSION, models)


def spec_digest(model: Model) -> str:
    """What makes two configurations of a model the same: its pipeline and the features it sees."""
    text = orjson.dumps((model.spec, model.features), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=12).hexdigest()


def _served(model: Model, scores: Mapping[str, float | None]) -> dict[str, float]:
    """What a model of scores learns from: the scores of the others as they were served."""
    given = {name: scores.get(name) for name in model.scores}
    return {name: score for name, score in given.items() if score is not None}


def _dict(names: tuple[str, ...], values: NDArray[np.float64]) -> dict[str, float]:
    """River's form of a feature vector: what is missing is absent."""
    given = zip(names, values.tolist(), strict=True)
    if not np.isnan(values).any():
        return dict(given)
    return {name: value for name, value in given if not math.isnan(value)}


def _read_parts(parts: Mapping[int, bytes]) -> dict[str, tuple[int, int, bytes]]:
    pickles = {}
    for sealed in parts.values():
        for name, (at, river, version, pickled) in unseal("models", _VERSION, sealed).items():
            if river != _RIVER:
                msg = (
                    f"model {name!r} was written by River {river}, installed is {_RIVER}; "
                    f"install river=={river}, or start with a new store"
                )
                raise SnapshotError(msg)
            pickles[name] = (at, version, pickled)
    return pickles
