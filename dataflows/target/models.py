"""The models of one target: they score, they learn, and they are written only when they changed.

`ModelVersion` is one version of a model at work. `ActiveVersions` chooses the versions: the configured ones,
and former ones that the champion needs. `ModelSet` asks and teaches all of them.

A small model is written whole in every epoch in which it learned. A big one is written now and then. In
between, only the log of the examples that it learned is written; after a resume the model learns that log
again, and is the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import orjson
import structlog

from dataflows.estimators import FORMER_PATHS, from_stored, to_stored
from dataflows.items import in_words
from dataflows.scoring import running_prior
from dataflows.state.snapshots import UNSIGNED, Kind, SnapshotError, is_signed_by, sign
from dataflows.target.compiled import Calls, Reader, calls_of, reader_of
from dataflows.target.error_rate import ErrorRate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from dataflows.fleet.fleet import Model
    from dataflows.outputs import Link, ModelEvent
    from dataflows.state.layouts import Refit

__all__ = [
    "LOG",
    "MODELS",
    "MODEL_PARTS",
    "RIVER",
    "SMALL",
    "ActiveVersion",
    "ActiveVersions",
    "Answer",
    "Learned",
    "ModelError",
    "ModelSet",
    "ModelVersion",
    "can_go_on",
    "dict_of",
    "read_models",
    "sealed_models",
    "served_scores",
    "spec_digest",
]


def _sizes(models: Mapping[str, tuple[int, str, int, bytes]]) -> dict[str, int]:
    """Bytes of each model as it is written."""
    return {label: len(pickled) for label, (_, _, _, pickled) in models.items()}


#: Snapshots of some versions, see `sealed_models`. To read one is to run code, so a key may sign it.
MODELS: Kind[dict[str, int]] = Kind("models", 1, describe=_sizes, signed=True)
#: Snapshots of the log of examples that big models learned since they were written, see `ModelSet`.
LOG: Kind[None] = Kind("log", 4, {2: lambda log: log, 3: lambda log: log})
RIVER = importlib.metadata.version("river")
#: A pickle up to this size is written whole whenever its model learned.
SMALL = 64 * 1024


class ModelError(RuntimeError):
    """A model cannot be written to the recovery store."""


@dataclass(slots=True)
class ModelVersion:
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
        label: see `ModelSet`.
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
        """The share of positives among the examples that it learned, see `running_prior`."""
        return running_prior(self.positives, self.learned)

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


def served_scores(slot: ModelVersion, scores: Mapping[str, float | None]) -> dict[str, float]:
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
    sealed = MODELS.seal(models)
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
        for name, (at, river, version, pickled) in MODELS.unseal(sealed).items():
            if river != RIVER:
                msg = (
                    f"model {name!r} was written by River {river}, installed is {RIVER}; "
                    f"install river=={river}, or start with a new store"
                )
                raise SnapshotError(msg)
            pickles[name] = (at, version, pickled)
    return pickles


@dataclass(frozen=True, slots=True)
class ActiveVersion:
    """One version of a model.

    Attributes:
        name: of the model in the catalogue.
        version: counts changes of its configuration.
        spec: digest of its configuration.
        picks: indices of the features that it sees, as configured.
        sees: labels of the models whose scores it sees.
        model: as configured; None of a former version.
        is_new: nothing of it is stored.
    """

    name: str
    version: int
    spec: str
    picks: tuple[int, ...]
    sees: tuple[str, ...]
    model: Model | None
    is_new: bool


class ActiveVersions:
    """The versions at work.

    Args:
        models: as configured.
        features: names of all features of the class.
        known: by label, what the store has of the versions that were at work.
        champion: label of the version that goes on in any case, None if there is none.

    Attributes:
        members: by label.
        labels: of the configured models, by name.
        changes: models that the configuration added, changed or removed: change, name, version, why.
    """

    def __init__(
        self,
        models: Sequence[Model],
        features: tuple[str, ...],
        known: Mapping[str, Mapping[str, Any]],
        champion: str | None,
    ) -> None:
        self.members: dict[str, ActiveVersion] = {}
        self.labels: dict[str, str] = {}
        self.changes: list[tuple[ModelEvent, str, int, str]] = []
        kept = {*_needed(champion, known)}
        versions = {}
        for model in models:
            self.labels[model.name], versions[model.name] = self._label(model, features, known, kept)
        for model in models:
            label, version = self.labels[model.name], versions[model.name]
            spec, is_new = spec_digest(model, features), version != known.get(label, {}).get("version")
            sees = tuple(self.labels[name] for name in model.scores)
            self.members[label] = ActiveVersion(
                model.name, version, spec, model.features, sees, model, is_new
            )
        for label in known:
            if label in kept and label not in self.members:
                self.members[label] = _former(known[label])
        gone = [found for label, found in known.items() if label not in self.members]
        configured = {model.name for model in models}
        self.changes += [
            ("removed", found["name"], found["version"], "no longer configured")
            for found in gone
            if found["name"] not in configured
        ]

    def _label(
        self,
        model: Model,
        features: tuple[str, ...],
        known: Mapping[str, Mapping[str, Any]],
        kept: set[str],
    ) -> tuple[str, int]:
        versions = {label: found for label, found in known.items() if found["name"] == model.name}
        for label, found in versions.items():
            if found["spec"] in {spec_digest(model, features), _former_digest(model)}:
                return label, found["version"]
        if not versions:
            self.changes.append(("challenger", model.name, 1, "added"))
            return model.name, 1
        version = 1 + max(found["version"] for found in versions.values())
        label = f"{model.name}:{version}" if any(of in kept for of in versions) else model.name
        self.changes.append(("challenger", model.name, version, "configured otherwise"))
        return label, version


def _needed(champion: str | None, known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The champion and the models whose scores it sees."""
    if champion is not None and champion in known:
        yield champion
        yield from known[champion]["sees"]


def _former(known: Mapping[str, Any]) -> ActiveVersion:
    picks = tuple(known["picks"] or ())
    return ActiveVersion(
        name=known["name"],
        version=known["version"],
        spec=known["spec"],
        picks=picks,
        sees=tuple(known["sees"]),
        model=None,
        is_new=False,
    )


def spec_digest(model: Model, features: Sequence[str]) -> str:
    """What makes two configurations of a model the same: its pipeline, and the names of what it sees."""

    def named(picks: Sequence[int]) -> list[str]:
        return sorted(features[index] for index in picks)

    spec = dict(model.spec)
    if "scores" in spec:
        below = spec["scores"].items()
        spec["scores"] = {name: {**of, "features": named(of["features"])} for name, of in below}
    return _digest((spec, named(model.features)))


def can_go_on(model: Model, features: Sequence[str], known: Mapping[str, Any]) -> bool:
    """Whether a stored version is what is configured, or is known well enough to go on as it is.

    Releases that wrote version 2 of the group's snapshot did not tell what a version sees.
    """
    return known["picks"] is not None or known["spec"] in {
        spec_digest(model, features),
        _former_digest(model),
    }


def _former_digest(model: Model) -> str:
    """As releases made it that wrote version 2 of the group's snapshot: by the places of the features."""
    return _digest((model.spec, model.features))


#: Digests know an estimator that moved by its former path.
_FORMER_OF = {today: former for former, today in FORMER_PATHS.items()}


def _by_former_paths(spec: Any) -> Any:  # noqa: ANN401 - any TOML value
    """A spec as it was written before its estimators moved, so that a new path is no new model."""
    if isinstance(spec, Mapping):
        return {key: _by_former_paths(value) for key, value in spec.items()}
    if isinstance(spec, list | tuple):
        return [_by_former_paths(value) for value in spec]
    return _FORMER_OF.get(spec, spec) if isinstance(spec, str) else spec


def _digest(what: object) -> str:
    return hashlib.blake2b(
        orjson.dumps(_by_former_paths(what), option=orjson.OPT_SORT_KEYS), digest_size=12
    ).hexdigest()


#: Models share this many parts; up to so many models, each has one of its own.
MODEL_PARTS = 16
#: A bigger one is written again after it learned so many examples.
RENEW_AFTER = 1_000
#: So far beyond 0 or 1 a score is a probability with an error of rounding.
_ROUNDING = 1e-9
_log = structlog.get_logger()

#: One line of the log of what was learned: asset, time, label.
Learned = tuple[str, int, int]

#: A model's score, None where it failed or is set aside, and its link: which answered. ``class`` is the
#: model, ``prior`` the prior because the model has learned nothing or has no opinion, or its own prior
#: because it has learned one label only, and would be sure of that.
Answer: TypeAlias = "tuple[float | None, Link]"


class ModelSet:
    """Every model of one target.

    A model whose configuration changed is a new version, and begins anew. Where the version before is the
    champion, or the champion sees its scores, it goes on beside the new one, as it was stored. So each
    version at work has a label: the name of its model, but ``name:version`` while a former version has that.

    Args:
        target: its name, for the log.
        models: as configured; the first snapshot fixes their versions.
        features: names of all features of the class.
        main: what `main_state` returned, None for a new target.
        parts: what `part` returned, by number.
        champion: label of the version that goes on, whatever is configured; None of a new target, and where
            another follows it.
        refit: what makes stored features those of the present layout; None where that is the same.
        key: signs the models as they are stored; None: they are not signed.
    """

    def __init__(
        self,
        target: str,
        models: tuple[Model, ...],
        features: tuple[str, ...],
        main: Mapping[str, Any] | None,
        parts: Mapping[int, bytes],
        *,
        champion: str | None = None,
        refit: Refit | None = None,
        key: bytes | None = None,
    ) -> None:
        self._target = target
        self._key = key
        self._features = features
        self._refit = refit
        self._slots: dict[str, ModelVersion] = {}
        #: Examples of the target learned so far, and how many of them were positive.
        self.learned = 0
        self.positives = 0
        #: What was learned since the oldest pickle of a big model: from example number ``log_start`` on.
        self.log: list[Learned] = []
        self.logged: set[tuple[str, int]] = set()
        self._changed: set[int] = set()
        #: Models that were set aside or are tried again, not written yet: event, label, why.
        self.events: list[tuple[ModelEvent, str, str]] = []
        #: Models that the configuration added, changed or removed: change, name, version, why.
        self.changes: list[tuple[ModelEvent, str, int, str]] = []
        known: Mapping[str, Mapping[str, Any]] = {} if main is None else main["models"]
        if main is not None:
            self.learned = main["learned"]
            self.positives = main["positives"]
        self.log_start = self.learned
        pickles = read_models(parts, key)
        lineup = ActiveVersions(models, features, known, champion)
        taken = [known[label]["part"] for label in lineup.members if label in known]
        for label, member in lineup.members.items():
            self._open(label, member, known.get(label), pickles, taken)
        if main is not None:
            self.changes = lineup.changes
        #: A part that held only models which are no longer there would come back at each resume.
        self._changed.update(kept["part"] for label, kept in known.items() if label not in self._slots)
        self._labels = lineup.labels
        self._groups = self._by_features()
        #: Models that see scores of others, which are asked first.
        self._stacked = [label for label, slot in self._slots.items() if slot.sees]
        for names, indices, members in self._groups:
            for slot in map(self._slots.__getitem__, members):
                slot.names, slot.indices = names, indices
                slot.reader = reader_of(slot.estimator, names, indices)

    def _open(
        self,
        label: str,
        member: ActiveVersion,
        known: Mapping[str, Any] | None,
        pickles: Mapping[str, Any],
        taken: list[int],
    ) -> None:
        part = self._free_part(taken) if known is None else known["part"]
        at, of_version, pickled = pickles.get(label, (0, 0, b""))
        picks = member.picks
        if not member.is_new and known is not None and known["picks"] is not None:
            # In the order in which it was first made, so that its sums are added up as before.
            picks = tuple(known["picks"]) if self._refit is None else self._refit.picks(known["picks"])
        # Where a run opened a new version and ended before any record, the main state names it, and its part
        # still holds the version before: it begins now.
        if member.model is not None and (known is None or of_version != member.version):
            estimator = member.model.build()
            slot = ModelVersion(
                member.name, member.spec, member.picks, member.sees, estimator, part, member.version
            )
            slot.pickled_at = self.learned
            self._changed.add(part)
        else:
            kept = known or {}
            estimator = from_stored(pickled)
            slot = ModelVersion(member.name, member.spec, picks, member.sees, estimator, part, member.version)
            slot.learned, slot.positives = kept["learned"], kept["positives"]
            slot.errors = ErrorRate(kept["errors"])
            slot.pickled, slot.pickled_at = pickled, at
        slot.label = label
        self._slots[label] = slot

    @staticmethod
    def _free_part(taken: list[int]) -> int:
        part = min(range(MODEL_PARTS), key=lambda part: (taken.count(part), part))
        taken.append(part)
        return part

    def _by_features(self) -> list[tuple[tuple[str, ...], NDArray[np.intp], list[str]]]:
        """Models that see the same features share one dict of them."""
        groups: dict[tuple[int, ...], list[str]] = {}
        for label, slot in self._slots.items():
            if not slot.sees:
                groups.setdefault(slot.picks, []).append(label)
        return [
            (tuple(self._features[index] for index in picks), np.array(picks, dtype=np.intp), labels)
            for picks, labels in groups.items()
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
                if slot.errors.aside or self._unscored(slot, scores):
                    continue
                x = served_scores(slot, scores)
                if not slot.sees:
                    x = dict_of(slot.names, np.frombuffer(features)[slot.indices])
                with contextlib.suppress(Exception):  # as it was when it was learned first, and counted
                    slot.learn(x, label)

    def named(self, label: str) -> tuple[str, int]:
        """Name of a model in the catalogue, and version of its configuration."""
        slot = self._slots[label]
        return slot.name, slot.version

    def picks(self, label: str) -> tuple[int, ...]:
        """Indices, among the features of the class, of those that a model sees."""
        return self._slots[label].picks

    def label(self, name: str) -> str:
        """Label of a model as it is configured."""
        return self._labels[name]

    def names(self) -> list[str]:
        """Labels of every version at work."""
        return list(self._slots)

    @property
    def prior(self) -> float:
        """The share of positives among the examples that were learned, see `running_prior`."""
        return running_prior(self.positives, self.learned)

    def answer(self, name: str, features: bytes) -> Answer:
        """Score and link of one model.

        Args:
            name: of the model.
            features: float64 array (features of the class) as bytes.
        """
        slot = self._slots[name]
        if slot.sees:
            below = {of: self._ask_one(self._slots[of], features) for of in slot.sees}
            return self._ask_stacked(slot, below)
        return self._ask_one(slot, features)

    def answers(self, features: bytes) -> dict[str, Answer]:
        """Score and link of every model; see `answer`."""
        answers: dict[str, Answer] = {}
        for names, picks, members in self._groups:
            x = dict_of(names, np.frombuffer(features)[picks])
            for name in members:
                answers[name] = self._ask(self._slots[name], x)
        for name in self._stacked:
            answers[name] = self._ask_stacked(self._slots[name], answers)
        return {name: answers[name] for name in self._slots}

    def _ask_one(self, slot: ModelVersion, features: bytes) -> Answer:
        if slot.reader is not None and slot.is_ready and not slot.errors.aside:
            try:
                score = slot.reader.score(features)
            except Exception:  # noqa: BLE001 - the model itself is asked, and fails or not
                score = None
            if score is not None and math.isfinite(score):
                slot.errors.succeed(learning=False)
                return score, "class"
        return self._ask(slot, dict_of(slot.names, np.frombuffer(features)[slot.indices]))

    def _ask_stacked(self, slot: ModelVersion, answers: Mapping[str, Answer]) -> Answer:
        """What the prior answered is no model's score, and so there is nothing to see."""
        seen = {name: answers[name] for name in slot.sees}
        given = {name: score for name, (score, link) in seen.items() if link == "class" and score is not None}
        if not given and not slot.errors.aside:
            return self.prior, "prior"
        return self._ask(slot, given)

    def _ask(self, slot: ModelVersion, x: dict[str, float]) -> Answer:
        if slot.errors.aside:
            if slot.errors.wait():
                self._move("tried_again", slot, slot.errors.why or "")
            return None, "prior"
        if not slot.is_ready:
            return slot.prior if slot.learned else self.prior, "prior"
        try:
            probabilities = slot.probabilities(x)
            score = float(probabilities.get(True, 0.0)) if probabilities else None
        except Exception as error:  # noqa: BLE001 - a model is foreign code; the rest goes on
            self._fail(slot, in_words(error), learning=False)
            return None, "prior"
        if score is None:
            return self.prior, "prior"
        if not -_ROUNDING <= score <= 1.0 + _ROUNDING:  # nor NaN
            self._fail(slot, f"its score {score:g} is no probability", learning=False)
            return None, "prior"
        slot.errors.succeed(learning=False)
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
        values = np.frombuffer(features)
        # All of it before the first model learns: an example is learned by all of them, or by none.
        given = [(members, dict_of(names, values[picks])) for names, picks, members in self._groups]
        given += [([name], served_scores(self._slots[name], scores)) for name in self._stacked]
        for members, x in given:
            for name in members:
                self._teach(self._slots[name], x, label, scores)
        self.learned += 1
        self.positives += label
        self.log.append((asset, time, label))
        self.logged.add((asset, time))
        for slot in self._slots.values():
            if self._due(slot):
                self._changed.add(slot.part)

    def _teach(
        self, slot: ModelVersion, x: dict[str, float], label: int, scores: Mapping[str, float | None]
    ) -> None:
        """Let a model learn, unless it is set aside, or failed at this very example when it was served."""
        if slot.errors.aside or self._unscored(slot, scores):
            return
        if slot.reader is not None:
            slot.reader.learned()
        try:
            slot.learn(x, label)
        except Exception as error:  # noqa: BLE001 - a model is foreign code; the rest goes on
            self._fail(slot, in_words(error), learning=True)
            return
        slot.errors.succeed(learning=True)
        slot.learned += 1
        slot.positives += label

    def _unscored(self, slot: ModelVersion, scores: Mapping[str, float | None]) -> bool:
        """Whether a model was asked for the score of an example and gave none."""
        return scores.get(slot.label, 0.0) is None

    def _fail(self, slot: ModelVersion, why: str, *, learning: bool) -> None:
        """Count an error of a model; one that fails too often is set aside."""
        if not slot.errors.total:
            _log.warning("a model failed at a record", target=self._target, model=slot.label, why=why)
        if slot.errors.fail(why, learning=learning):
            self._move("put_aside", slot, why)

    def _move(self, change: ModelEvent, slot: ModelVersion, why: str) -> None:
        """Record that a model is set aside or tried again.

        It is written in this epoch: the log of a big model, which is learned again after a resume, must not
        reach over this change.
        """
        self.events.append((change, slot.label, why))
        slot.renew = True
        self._changed.add(slot.part)
        _log.warning(
            "model set aside" if slot.errors.aside else "model tried again",
            target=self._target,
            model=slot.label,
            errors=slot.errors.total,
            why=why,
        )

    def errors(self) -> dict[str, int]:
        """Errors so far, of each model that had any."""
        return {label: slot.errors.total for label, slot in self._slots.items() if slot.errors.total}

    def set_aside(self) -> dict[str, str]:
        """Why, of each model that is set aside."""
        return {label: slot.errors.why or "" for label, slot in self._slots.items() if slot.errors.aside}

    def recent_errors(self) -> dict[str, int]:
        """Errors of every model since `forget_recent_errors`."""
        return {label: slot.errors.recent for label, slot in self._slots.items()}

    def forget_recent_errors(self) -> None:
        """Begin to count recent errors again: a row told them."""
        for slot in self._slots.values():
            slot.errors.recent = 0

    def _due(self, slot: ModelVersion) -> bool:
        since = self.learned - slot.pickled_at
        return since > 0 and (not slot.big or slot.renew or since >= RENEW_AFTER)

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
                label: {
                    "name": slot.name,
                    "spec": slot.spec,
                    "picks": slot.picks,
                    "sees": slot.sees,
                    "version": slot.version,
                    "part": slot.part,
                    "learned": slot.learned,
                    "positives": slot.positives,
                    "errors": slot.errors.state(),
                }
                for label, slot in self._slots.items()
            },
        }

    def part(self, number: int) -> bytes:
        """The models of one part, sealed, each with the River version that can read it."""
        models = {}
        for name, slot in self._slots.items():
            if slot.part == number:
                if not slot.pickled or self._due(slot):
                    slot.pickled = slot.to_pickle(self._target)
                    slot.pickled_at = self.learned
                slot.renew = False
                models[name] = (slot.pickled_at, RIVER, slot.version, slot.pickled)
        return sealed_models(models, self._key)
