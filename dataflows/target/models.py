"""The models of one target: they score, they learn, and they are written only when they changed.

`ModelVersion` is one active version of a model. `ActiveVersions` chooses the versions: the configured ones,
and former ones that the champion needs. `ModelSet` scores with all of them, and lets them learn.

A few small models are written whole in every epoch in which they learned. A big one, or one of many, is
written rarely; in between only the log of the examples that it learned is written. After a resume the model
learns that log again, and has the same weights.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import orjson
import structlog

from dataflows.estimators import FORMER_PATHS, Retrained, from_stored, to_stored
from dataflows.estimators.kept import KeptExamples
from dataflows.instants import HOUR
from dataflows.items import in_words
from dataflows.scoring import running_prior
from dataflows.state.snapshots import UNSIGNED, Kind, SnapshotError, is_signed_by, sign
from dataflows.target.compiled import Calls, Compiled, calls_of, compiled_of
from dataflows.target.error_rate import ErrorRate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from dataflows.estimators.chain import FleetModels
    from dataflows.estimators.hazard import TimeLeft
    from dataflows.fleet.fleet import Model
    from dataflows.outputs import Link, ModelEvent
    from dataflows.state.layouts import Refit
    from dataflows.status import ScoreTimes
    from dataflows.target.examples import Example
    from dataflows.target.relearn import Checkpoint

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
    """Return the size of each stored model in bytes."""
    return {label: len(pickled) for label, (_, _, _, pickled) in models.items()}


def _without_relearning(payload: list[Any]) -> list[Any]:
    """Version 5 put no label right."""
    return [*payload, None]


def _with_leads(payload: list[Any]) -> list[Any]:
    """Version 4 had no hours to failure: no estimator learned them."""
    log, start = payload
    return [[(*line, None) for line in log], start]


#: Snapshots of some versions, see `sealed_models`. To read one is to run code, so a key may sign it.
MODELS: Kind[dict[str, int]] = Kind("models", 1, describe=_sizes, signed=True)
#: Snapshots of the log of examples that big models learned since they were written, see `ModelSet`, and of
#: what relearning needs, see `dataflows.target.relearn`; None without it.
LOG: Kind[None] = Kind(
    "log", 6, {2: lambda log: log, 3: lambda log: log, 4: _with_leads, 5: _without_relearning}
)
RIVER = importlib.metadata.version("river")
#: Pickles of a target that are together up to this size are written whole whenever their models learned.
SMALL = 64 * 1024


class ModelError(RuntimeError):
    """A model cannot be written to the recovery store."""


@dataclass(slots=True)
class ModelVersion:
    """One active version of a model.

    Attributes:
        name: of the model in the catalogue.
        spec: digest of its configuration, see `spec_digest`.
        picks: indices of its features among those of the class; for a model of scores, those of the models
            below it.
        sees: labels of the models whose scores are its features; empty for a model of features.
        part: number of the part in which it is stored.
        version: counts changes of its configuration.
        learned: examples learned by this version.
        positives: how many of them were positive.
        pickled: the last pickle.
        pickled_at: number of examples of the target that had been learned by then.
        errors: its error rate, and whether it is set aside.
        renew: it is written at the end of this epoch, whatever its size.
        calls: its fastest calls.
        compiled: its fast form; None where only the estimator can score.
        label: see `ModelSet`.
        names: of its features; empty for a model of scores.
        indices: `picks` as an array.
        build: makes a new estimator of the configuration; None of a former version.
        since: it learns examples from this time on; None: all. A version with it was started at a drift.
        least: positives that it has to learn before it scores.
        over_shared: it sees scores of a model that classes share: a mixture is of use before it has learned.
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
    compiled: Compiled | None = None
    label: str = ""
    names: tuple[str, ...] = ()
    indices: NDArray[np.intp] | None = None
    positives: int = 0
    build: Callable[[], Any] | None = None
    since: int | None = None
    least: int = 0
    over_shared: bool = False
    calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        self.calls = calls_of(self.estimator)

    @classmethod
    def of(cls, version: ActiveVersion, picks: tuple[int, ...], estimator: object, part: int) -> ModelVersion:
        """Activate a version."""
        return cls(version.name, version.spec, picks, version.sees, estimator, part, version.version)

    def probabilities(self, x: dict[str, float], asset: str | None = None) -> dict[Any, float]:
        """Return the probability of each label that it knows."""
        self._flush()
        if self.calls.learns_asset:
            found: dict[Any, float] = self.estimator.predict_proba_one(x, asset=asset)
            return found
        return self.calls.probabilities(self._given(x))

    def learn(self, x: dict[str, float], label: int, lead: int | None, asset: str | None = None) -> None:
        """Learn one example of an asset; ``lead`` is the microseconds to its failure."""
        self._flush()
        if self.compiled is not None:
            self.compiled.learned()
        if self.calls.learns_lead:
            hours = None if lead is None else lead / HOUR
            self.estimator.learn_one(self._given(x), bool(label), lead=hours)
        elif self.calls.learns_asset:
            self.estimator.learn_one(x, bool(label), asset=asset)
        else:
            self.calls.learn(self._given(x), bool(label))

    def learn_row(
        self, row: NDArray[np.float64], label: int, lead: int | None, asset: str | None = None
    ) -> None:
        """Learn one example: values of `names`, or scores of the models that it `sees`; NaN is missing."""
        if self.compiled is None or not self.compiled.learn(row, bool(label)):
            self.learn(dict_of(self.names or self.sees, row), label, lead, asset)

    def _flush(self) -> None:
        """Write what its fast form learned into the estimator."""
        if self.compiled is not None:
            self.compiled.flush()

    def is_broken(self) -> bool:
        """Whether it scores a row of zeros with a number that is not finite: then its weights are not either.

        One bad row may do that to a model, and no later row repairs it.
        """
        try:
            scores = self.probabilities(dict.fromkeys(self.names or self.sees, 0.0)).values()
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - a model that raises at some rows may be right at others
            return False
        return not all(map(math.isfinite, scores))

    def rebuild(self, estimator: object) -> None:
        """Start with an estimator that learned nothing."""
        self.estimator, self.calls = estimator, calls_of(estimator)
        self.learned = self.positives = 0
        self.pickled = b""
        self.compiled = compiled_of(estimator, self.names or self.sees)

    def to_pickle(self, target: str) -> bytes:
        """Return the estimator as it is stored.

        Raises:
            ModelError: it cannot be pickled.
        """
        self._flush()
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
        """Return features in the form that it accepts; imputers expect a missing one as None."""
        return {name: x.get(name) for name in self.names} if self.calls.with_none else x

    def prior(self, assumed: float | None) -> float:
        """The share of positives among the examples that it learned, see `running_prior`."""
        return running_prior(self.positives, self.learned, assumed)

    @property
    def retrained(self) -> Retrained | None:
        """The estimator, if it fits a batch classifier on kept examples."""
        return self.estimator if isinstance(self.estimator, Retrained) else None

    @property
    def is_ready(self) -> bool:
        """Whether it can score: it has learned enough positives, and both labels if it learns from them."""
        if self.calls.of_all_classes:
            positives = self.estimator.positives
            return positives is not None and positives >= self.least
        if self.positives < self.least:
            return False
        if self.retrained is not None:
            return self.retrained.model is not None
        if self.calls.pretrained or (self.over_shared and self.calls.mixes):
            return True
        return 0 < self.positives < self.learned if self.calls.supervised else self.learned > 0

    def knows(self, asset: str | None) -> bool:
        """Whether it can score that asset; only where `is_ready`."""
        return not self.calls.learns_asset or bool(self.estimator.knows(asset))

    @property
    def link(self) -> Link:
        """The link of a chain that it is: whose examples it learns from."""
        if self.calls.learns_asset:
            return "asset"
        return "fleet" if self.calls.of_all_classes else "class"

    @property
    def replays(self) -> bool:
        """Whether the log of learned examples, learned again, leads to its state.

        Not where others learn with it: what is fitted in batch keeps examples, and what classes share is
        stored with all of them.
        """
        return self.retrained is None and not self.calls.of_all_classes

    @property
    def big(self) -> bool:
        """Whether it alone is too big to be written in every epoch."""
        return len(self.pickled) > SMALL and self.replays


def served_scores(model: ModelVersion, scores: Mapping[str, float | None]) -> dict[str, float]:
    """Return the features of a model of scores: the scores of the others as served."""
    given = {name: scores.get(name) for name in model.sees}
    return {name: score for name, score in given.items() if score is not None}


def _row_of(given: Mapping[str, float], names: tuple[str, ...]) -> NDArray[np.float64]:
    """Return values by name as a row; NaN where one is missing."""
    return np.array([given.get(name, math.nan) for name in names])


def dict_of(names: tuple[str, ...], values: NDArray[np.float64]) -> dict[str, float]:
    """Return a feature vector as a dict for River, without missing features."""
    given = zip(names, values.tolist(), strict=True)
    if not np.isnan(values).any():
        return dict(given)
    return {name: value for name, value in given if not math.isnan(value)}


def sealed_models(models: Mapping[str, tuple[int, str, int, bytes]], key: bytes | None = None) -> bytes:
    """Return the snapshot of some versions.

    Args:
        models: by label: number of examples of the target that were learned when it was pickled, version of
            River, version of the model, pickle.
        key: signs the snapshot.
    """
    sealed = MODELS.seal(models)
    return sealed if key is None else sign(sealed, key)


def read_models(parts: Mapping[int, bytes], key: bytes | None = None) -> dict[str, tuple[int, int, bytes]]:
    """Return the models of all parts, see `sealed_models`; without the version of River.

    Args:
        parts: by number.
        key: that has to have signed each part; None: it is not checked.

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
        picks: indices of its features, as configured.
        sees: labels of the models whose scores are its features.
        model: as configured; None of a former version.
        is_new: it has no stored state.
    """

    name: str
    version: int
    spec: str
    picks: tuple[int, ...]
    sees: tuple[str, ...]
    model: Model | None
    is_new: bool


class ActiveVersions:
    """The active versions of the models of a target.

    Args:
        models: as configured.
        features: names of all features of the class.
        known: stored state of each version that was active, by label.
        champion: label of the stored version that is kept in any case, None if there is none.

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
        specs = {model.name: spec_digest(model, features) for model in models}
        # Started at a drift, by a model that is configured as it was then.
        kept |= {
            label
            for label, found in known.items()
            if found["since"] is not None and found["spec"] == specs.get(found["name"]) and ":" in label
        }
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
    """Yield the labels of the champion and of the models whose scores it sees."""
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
    """Return the digest of a configuration: of the pipeline and the names of the features."""

    def named(picks: Sequence[int]) -> list[str]:
        return sorted(features[index] for index in picks)

    spec = dict(model.spec)
    if "scores" in spec:
        below = spec["scores"].items()
        spec["scores"] = {name: {**of, "features": named(of["features"])} for name, of in below}
    return _digest((spec, named(model.features)))


def can_go_on(model: Model, features: Sequence[str], known: Mapping[str, Any]) -> bool:
    """Whether a stored version can serve: it is the configured one, or its features are stored with it.

    Version 2 of the snapshot of a target did not store them.
    """
    return known["picks"] is not None or known["spec"] in {
        spec_digest(model, features),
        _former_digest(model),
    }


def _former_digest(model: Model) -> str:
    """Return the digest of releases that wrote version 2 of a target: by the places of the features."""
    return _digest((model.spec, model.features))


#: Digests use the former path of an estimator that moved.
_FORMER_OF = {today: former for former, today in FORMER_PATHS.items()}


def _by_former_paths(spec: Any) -> Any:  # noqa: ANN401 - any TOML value
    """Return a spec with the former paths of estimators that moved, so that a new path is no new model."""
    if isinstance(spec, Mapping):
        return {key: _by_former_paths(value) for key, value in spec.items()}
    if isinstance(spec, list | tuple):
        return [_by_former_paths(value) for value in spec]
    return _FORMER_OF.get(spec, spec) if isinstance(spec, str) else spec


def _digest(what: object) -> str:
    return hashlib.blake2b(
        orjson.dumps(_by_former_paths(what), option=orjson.OPT_SORT_KEYS), digest_size=12
    ).hexdigest()


_CHECKPOINT = re.compile(r"checkpoint (\d+) of (.*)", re.DOTALL)


def _checkpoints_of(pickles: dict[str, tuple[int, int, bytes]]) -> dict[int, dict[str, tuple[int, bytes]]]:
    """Take the models of checkpoints out of what `read_models` returned: by number, by label."""
    found: dict[int, dict[str, tuple[int, bytes]]] = {}
    for name in [*pickles]:
        named = _CHECKPOINT.fullmatch(name)
        if named is not None:
            _, version, pickled = pickles.pop(name)
            found.setdefault(int(named[1]), {})[named[2]] = version, pickled
    return dict(sorted(found.items()))


#: Number of parts for models; up to this number each model has a part of its own.
MODEL_PARTS = 16
#: A big model is written again after this number of learned examples.
RENEW_AFTER = 1_000
#: Small models that are together bigger than `SMALL` are written again after this number of learned examples.
#: To learn them again, after a resume, takes all models of a target a tenth of a second.
RENEW_MANY_AFTER = 100
#: A score that is beyond 0 or 1 by at most this is a probability with a rounding error.
_ROUNDING = 1e-9
_log = structlog.get_logger()

#: One line of the log of what was learned: asset, time, label, microseconds to the failure.
Learned = tuple[str, int, int, "int | None"]

#: Score of a model, None where it failed or is set aside, and the source of the score: ``class`` is a model
#: of the class, ``fleet`` one that learns from several classes; ``prior`` is the prior of the target where
#: the model learned too little or gave no score, or the prior of the model where it learned one label only,
#: which it would predict with certainty.
Answer: TypeAlias = "tuple[float | None, Link]"


class ModelSet:
    """Every model of one target.

    A model whose configuration changed is a new version, which starts from nothing. If the former version is
    the champion, or the champion sees its scores, both versions work. So each version has a label: the name
    of its model, or ``name:version`` while a former version has the name.

    Args:
        target: its name, for the log.
        models: as configured; the first snapshot fixes their versions.
        features: names of all features of the class.
        main: return value of `main_state`, None for a new target.
        parts: return values of `part`, by number.
        champion: label of the stored version that is kept, even if another is configured; None for a new
            target, and where a successor replaces it.
        refit: converts stored features to the present layout; None where that is the same.
        key: signs the models as they are stored; None: they are not signed.
        renew_after: a big model is written again after this number of learned examples.
        assumed: share of positives that is expected before any example, see `running_prior`.
        thin: of the negatives one in so many is kept, with that weight.
        shared: models that are shared with targets of other classes; None: each is of this target alone.

    Attributes:
        kept: examples on which models are fitted in batch, see `restore_kept`; empty without such a model.
        times: adds up what its models take to score, for those who watch the run; None: nothing is measured.
    """

    def __init__(  # noqa: PLR0913 - two of them are for stores that are signed, or small
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
        renew_after: int = RENEW_AFTER,
        assumed: float | None = None,
        thin: int = 1,
        shared: FleetModels | None = None,
    ) -> None:
        self.times: ScoreTimes | None = None
        self._target = target
        self._assumed = assumed
        self._renew_after = renew_after
        self._key = key
        self._features = features
        self._refit = refit
        #: Where the layout changed: names of the features that a stored model has learned, in its order.
        self._former: dict[str, tuple[str, ...]] = {}
        self._thin = thin
        self._shared = shared
        self._versions: dict[str, ModelVersion] = {}
        #: Number of examples learned by this target so far, and of positive ones among them.
        self.learned = 0
        self.positives = 0
        #: Examples learned since the oldest pickle of a model that is written rarely: from number
        #: ``log_start`` on.
        self.log: list[Learned] = []
        self.logged: set[tuple[str, int]] = set()
        self._changed: set[int] = set()
        #: Whether the small models are so many that they are not written in every epoch.
        self._many = False
        #: Models that were set aside or are tried again, not written yet: event, label, why.
        self.events: list[tuple[ModelEvent, str, str]] = []
        if main is not None:
            self.learned = main["learned"]
            self.positives = main["positives"]
        self.log_start = self.learned
        #: Name and version of versions that ended in this run.
        self._ended: dict[str, tuple[str, int]] = {}
        active = self._open_versions(models, {} if main is None else main["models"], parts, champion)
        #: Models that the configuration added, changed or removed: change, name, version, why.
        self.changes: list[tuple[ModelEvent, str, int, str]] = [] if main is None else active.changes
        self._arrange()
        self.kept = KeptExamples(len(features))
        if main is None:
            self.restore_kept({})

    def _open_versions(
        self,
        models: tuple[Model, ...],
        known: Mapping[str, Mapping[str, Any]],
        parts: Mapping[int, bytes],
        champion: str | None,
    ) -> ActiveVersions:
        """Open every version that works: those of a store, by label, and those of new models."""
        pickles = read_models(parts, self._key)
        #: By number of a checkpoint, by label: version and pickle.
        self._checkpoints = _checkpoints_of(pickles)
        active = ActiveVersions(models, self._features, known, champion)
        taken = [known[label]["part"] for label in active.members if label in known]
        for label, member in active.members.items():
            self._open(label, member, known.get(label), pickles, taken)
        self._join()
        #: Without this, a part whose models are all removed would come back at each resume.
        self._changed.update(kept["part"] for label, kept in known.items() if label not in self._versions)
        self._labels = active.labels
        return active

    def _arrange(self) -> None:
        """Group the versions for scoring, after some were opened."""
        self._groups = self._by_features()
        #: Models of scores; the others are asked first.
        self._stacked = [label for label, model in self._versions.items() if model.sees]
        for names, indices, members in self._groups:
            for model in map(self._versions.__getitem__, members):
                model.names, model.indices = names, indices
        # A compiled form holds what it learned since it was last written, so it stays.
        for model in (each for each in self._versions.values() if each.compiled is None):
            model.compiled = compiled_of(model.estimator, model.names or model.sees)
        self._whole = tuple(range(len(self._features)))
        self._retrained = [model for model in self._versions.values() if model.retrained is not None]

    def restore_kept(self, parts: Mapping[int, bytes]) -> None:
        """Read the kept examples of a stored target, for the models that are fitted on them.

        Args:
            parts: see `KeptExamples.restored`.

        Raises:
            SnapshotError: a part cannot be read.
        """
        converted = None if self._refit is None else self._refit.rows
        self.kept = KeptExamples.restored(len(self._features), parts, converted)
        for model in self._retrained:
            cast("Retrained", model.retrained).share(self.kept, self._features, model.names)
        if not self._retrained:
            self.kept.drop_before(self.kept.count)

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
            # In the order of its first run, so that sums are added up in the same order.
            picks = tuple(known["picks"]) if self._refit is None else self._refit.picks(known["picks"])
            if member.model is not None and not member.sees:
                # Configured again as it was made, it sees again what it lost in between.
                picks += tuple(pick for pick in member.picks if pick not in picks)
        # If a run opened a new version and ended before any record, the main state names the new version and
        # the part still holds the former one.
        if member.model is not None and (known is None or of_version != member.version):
            model = ModelVersion.of(member, member.picks, member.model.build(), part)
            model.pickled_at = self.learned
            model.errors = self.error_rate(None)
            self._changed.add(part)
        else:
            stored = known or {}
            model = ModelVersion.of(member, picks, from_stored(pickled), part)
            model.learned, model.positives = stored["learned"], stored["positives"]
            model.errors = self.error_rate(stored["errors"])
            model.since = stored["since"]
            model.pickled, model.pickled_at = pickled, at
            if self._refit is not None and stored["picks"] is not None and not member.sees:
                self._former[label] = tuple(self._refit.names[pick] for pick in stored["picks"])
        model.label = label
        model.build = None if member.model is None else member.model.build
        model.least = 0 if member.model is None else member.model.least_positives
        self._versions[label] = model

    def _join(self) -> None:
        """Join the models of other classes; of versions that share one, the configured one learns."""
        taught: set[str] = set()
        for model in sorted(self._versions.values(), key=lambda model: model.build is None):
            if model.calls.of_all_classes and self._shared is not None:
                key = model.estimator.key
                model.estimator.join(self._shared, learns=key not in taught)
                taught.add(key)
        for model in self._versions.values():
            model.over_shared = any(self._versions[of].link == "fleet" for of in model.sees)

    @staticmethod
    def error_rate(state: Sequence[Any] | None) -> ErrorRate:
        """Build the error rate of a model from its state; None for a new model."""
        return ErrorRate(state)

    @staticmethod
    def _free_part(taken: list[int]) -> int:
        part = min(range(MODEL_PARTS), key=lambda part: (taken.count(part), part))
        taken.append(part)
        return part

    def _by_features(self) -> list[tuple[tuple[str, ...], NDArray[np.intp], list[str]]]:
        """Group the models by their features: those of a group share one dict."""
        groups: dict[tuple[int, ...], list[str]] = {}
        for label, model in self._versions.items():
            if not model.sees:
                groups.setdefault(model.picks, []).append(label)
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
        """Let models learn the examples again that they learned since their pickle, after a resume.

        Where the features of the class changed, they learn the former ones, as the first time, and are
        written in the first epoch: the features of examples are stored in their new places from then on.

        Args:
            log: learned examples, from the ``log_start``-th on.
            log_start: see ``log``.
            examples: features and scores, both as served, of the examples in the log; features are at the
                places in which they are stored.
        """
        if log_start + len(log) < self.learned:
            return  # no model was big any more: the last examples are in the pickles
        self.log, self.log_start = log, log_start
        self.logged = {(asset, time) for asset, time, *_ in log}
        for model in self._versions.values():
            if model.retrained is not None:
                continue  # its examples are kept
            today, model.names = model.names, self._former.get(model.label, model.names)
            for asset, time, label, lead in log[max(0, model.pickled_at - log_start) :]:
                features, scores = examples[asset, time]
                if model.errors.aside or self._unlearned(model, time, scores):
                    continue
                x = served_scores(model, scores) if model.sees else self._as_stored(model, features)
                try:
                    model.learn(x, label, lead, asset)
                except KeyboardInterrupt:
                    raise
                except BaseException:  # noqa: BLE001, S112 - it failed the first time too, and was counted then
                    continue
            model.names = today
            if self._refit is not None:
                model.renew = True
                self._changed.add(model.part)

    def _as_stored(self, model: ModelVersion, features: bytes) -> dict[str, float]:
        """Return a model's features of an example at the places in which it is stored."""
        if self._refit is None or model.label not in self._former:
            values = np.frombuffer(features if self._refit is None else self._refit(features))
            return dict_of(model.names, values[model.indices])
        values = np.frombuffer(features)
        return dict_of(model.names, values[[self._refit.names.index(name) for name in model.names]])

    def named(self, label: str) -> tuple[str, int]:
        """Return the name of a model in the catalogue, and the version of its configuration."""
        if label in self._ended and label not in self._versions:
            return self._ended[label]
        model = self._versions[label]
        return model.name, model.version

    def version(self, label: str) -> ModelVersion:
        """Return an active version, to look at."""
        return self._versions[label]

    def sees(self, label: str) -> tuple[str, ...]:
        """Return the labels of the models whose scores a model sees; empty for a model of features."""
        return self._versions[label].sees

    def picks(self, label: str) -> tuple[int, ...]:
        """Return the indices of a model's features among those of the class."""
        return self._versions[label].picks

    def label(self, name: str) -> str:
        """Return the label of a configured model."""
        return self._labels[name]

    def names(self) -> list[str]:
        """Return the labels of all active versions."""
        return list(self._versions)

    @property
    def prior(self) -> float:
        """The share of positives among the examples that were learned, see `running_prior`."""
        return running_prior(self.positives, self.learned, self._assumed)

    def answer(self, name: str, features: bytes, asset: str | None = None) -> Answer:
        """Return score and link of one model.

        Args:
            name: of the model.
            features: float64 array (features of the class) as bytes.
            asset: whose features they are; None: of none that a model knows.
        """
        model = self._versions[name]
        if model.sees:
            below = {of: self._ask_one(self._versions[of], features, asset) for of in model.sees}
            return self._ask_stacked(model, below)
        return self._ask_one(model, features, asset)

    def time_left(self, name: str, features: bytes) -> TimeLeft | None:
        """Return when within the horizon a failure comes, if one does; None where the model cannot say.

        Args:
            name: of a configured model that tells the hours to failure.
            features: float64 array (features of the class) as bytes.
        """
        model = self._versions[self._labels[name]]
        if model.errors.aside or not model.is_ready:
            return None
        try:
            left: TimeLeft | None = model.estimator.time_left(
                dict_of(model.names, np.frombuffer(features)[model.indices])
            )
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a model is foreign code; the rest goes on
            self._fail(model, in_words(error), learning=False)
            return None
        return left

    def answers(self, features: bytes, asset: str | None = None) -> dict[str, Answer]:
        """Return score and link of every model; see `answer`."""
        answers: dict[str, Answer] = {}
        vector = np.frombuffer(features)
        for _, indices, members in self._groups:
            values = vector[indices]
            for name in members:
                answers[name] = self._ask_values(self._versions[name], values, asset)
        for name in self._stacked:
            answers[name] = self._ask_stacked(self._versions[name], answers)
        return {name: answers[name] for name in self._versions}

    def asks_examples(self) -> bool:
        """Whether an example is known to need an estimator that has to be asked; see `score_run`."""
        return any(
            not model.errors.is_sound or (model.is_ready and model.compiled is None)
            for model in self._versions.values()
        )

    def score_run(
        self, champion: str, rows: NDArray[np.float64], examples: Sequence[int]
    ) -> tuple[list[Answer], dict[int, dict[str, Answer]]] | None:
        """Score a run of rows, between which no model learns, as far as no estimator has to be asked.

        Nothing changes by it: an estimator that is asked may fail, and what follows depends on that.

        Args:
            champion: scores every row.
            rows: (n, features of the class).
            examples: numbers of the rows that every model scores, ascending.

        Returns:
            The champion's answers, and the answers of every model by the number of the row, to the same as
            `answer` and `answers`; up to before the first example, where the others have to be asked there.
            None where the champion has to be asked.
        """
        lead = self._answer_alike(champion, rows, {})
        if lead is None or not examples:
            return None if lead is None else (lead, {})
        some, made = rows[examples], {champion: [lead[number] for number in examples]}
        every: dict[int, dict[str, Answer]] = {number: {} for number in examples}
        for name in self._versions:
            answers = self._answer_alike(name, some, made)
            if answers is None:
                return lead[: examples[0]], {}
            for number, answer in zip(examples, answers, strict=True):
                every[number][name] = answer
        return lead, every

    def _answer_alike(
        self, name: str, rows: NDArray[np.float64], made: dict[str, list[Answer]]
    ) -> list[Answer] | None:
        """Return the answers of a model that are known without asking it, and change nothing.

        Args:
            name: of the model.
            rows: (n, features of the class).
            made: such answers by model; those of this model are added.

        Returns:
            None where the estimator has to be asked, or an error of it is remembered.
        """
        if name in made:
            return made[name]
        model = self._versions[name]
        if not model.errors.is_sound:
            return None
        columns = self._columns(model, rows, made)
        if columns is None:
            return None
        # A model of scores has no opinion without one.
        given = np.flatnonzero(~np.isnan(columns).all(axis=1)) if model.sees else np.arange(len(rows))
        answers = self._known(model, columns if len(given) == len(rows) else columns[given])
        if answers is None:
            return None
        if len(given) < len(rows):
            known = dict(zip(given.tolist(), answers, strict=True))
            prior: Answer = self.prior, "prior"
            answers = [known.get(number, prior) for number in range(len(rows))]
        made[name] = answers
        return answers

    def _known(self, model: ModelVersion, columns: NDArray[np.float64]) -> list[Answer] | None:
        """Return a model's answers to rows with features, None where its estimator has to be asked."""
        if not model.is_ready or not len(columns):
            return [(model.prior(self._assumed) if model.learned else self.prior, "prior")] * len(columns)
        scores = None if model.compiled is None else self._score_rows(model, model.compiled, columns)
        if scores is None or not np.logical_and(scores >= 0.0, scores <= 1.0).all():
            return None
        return [(score, "class") for score in scores.tolist()]

    def _score_rows(
        self, model: ModelVersion, compiled: Compiled, rows: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Return the scores of rows (n, features of the model), None where the estimator has to be asked."""
        if self.times is None:
            return compiled.score_rows(rows)
        return self.times.call(model.label, len(rows), compiled.score_rows, rows)

    def _columns(
        self, model: ModelVersion, rows: NDArray[np.float64], made: dict[str, list[Answer]]
    ) -> NDArray[np.float64] | None:
        """Return the features of a model (n, features); None where a model below has to be asked."""
        if not model.sees:
            return rows if model.picks == self._whole else rows[:, model.indices]
        below = [self._answer_alike(of, rows, made) for of in model.sees]
        scores = [
            [score if link != "prior" and score is not None else math.nan for score, link in answers]
            for answers in below
            if answers is not None
        ]
        return np.array(scores).T if len(scores) == len(below) else None

    def _ask_one(self, model: ModelVersion, features: bytes, asset: str | None) -> Answer:
        return self._ask_values(model, np.frombuffer(features)[model.indices], asset)

    def _ask_values(self, model: ModelVersion, values: NDArray[np.float64], asset: str | None) -> Answer:
        """Ask a model for the score of its features (features of the model)."""
        score = self._computed(model, values)
        if score is not None:
            model.errors.succeed(learning=False)
            return score, "class"
        return self._ask(model, dict_of(model.names, values), model.link, asset)

    def _computed(self, model: ModelVersion, values: NDArray[np.float64]) -> float | None:
        """Return the score of one row (features of the model), None where the estimator has to be asked."""
        if model.compiled is None or not model.is_ready or model.errors.aside:
            return None
        try:
            scores = self._score_rows(model, model.compiled, values[None, :])
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - the estimator itself is asked, and fails or not
            return None
        score = math.nan if scores is None else float(scores[0])
        return score if 0.0 <= score <= 1.0 else None

    def _ask_stacked(self, model: ModelVersion, answers: Mapping[str, Answer]) -> Answer:
        """Ask a model of scores; a score of the prior is no feature."""
        seen = {name: answers[name] for name in model.sees}
        given = {name: score for name, (score, link) in seen.items() if link != "prior" and score is not None}
        if not given and not model.errors.aside:
            return self.prior, "prior"
        link = self._link(model, given, {name: seen[name][1] for name in given})
        score = self._computed(model, _row_of(given, model.sees))
        if score is not None:
            model.errors.succeed(learning=False)
            return score, link
        return self._ask(model, given, link)

    @staticmethod
    def _link(model: ModelVersion, given: Mapping[str, float], links: Mapping[str, Link]) -> Link:
        """Return the link of a model of scores: that of the score that counts most."""
        kinds = {*links.values()}
        if len(kinds) <= 1:
            return next(iter(kinds), "class")
        answering = getattr(model.estimator, "answering", None)
        return "class" if answering is None else links[answering(given)]

    def _ask(
        self, model: ModelVersion, x: dict[str, float], link: Link = "class", asset: str | None = None
    ) -> Answer:
        if model.errors.aside:
            if model.errors.wait():
                self._try_again(model)
            return None, "prior"
        if not model.is_ready or not model.knows(asset):
            return model.prior(self._assumed) if model.learned else self.prior, "prior"
        try:
            if self.times is None:
                probabilities = model.probabilities(x, asset)
            else:
                probabilities = self.times.call(model.label, 1, partial(model.probabilities, asset=asset), x)
            score = float(probabilities.get(True, 0.0)) if probabilities else None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a model is foreign code; the rest goes on
            self._fail(model, in_words(error), learning=False)
            return None, "prior"
        if score is None:
            return self.prior, "prior"
        if not -_ROUNDING <= score <= 1.0 + _ROUNDING:  # nor NaN
            self._fail(model, f"its score {score:g} is no probability", learning=False)
            return None, "prior"
        model.errors.succeed(learning=False)
        return min(max(score, 0.0), 1.0), link

    def learn(
        self,
        asset: str,
        time: int,
        features: bytes,
        label: int,
        scores: Mapping[str, float | None],
        lead: int | None = None,
    ) -> None:
        """Every model learns one example.

        Args:
            asset: of the example.
            time: of the example.
            features: as served.
            label: 1 or 0.
            scores: of every model, as served.
            lead: microseconds to the failure, None without one.
        """
        values = np.frombuffer(features)
        # Before the first model learns: an example is learned by all models, or by none.
        given = [(members, values[picks]) for _, picks, members in self._groups]
        for name in self._stacked:
            model = self._versions[name]
            given.append(([name], _row_of(served_scores(model, scores), model.sees)))
        if self._retrained and (label or self._is_thinned_in()):
            self.kept.add(values, label, time, 1 if label else self._thin)
        for members, row in given:
            for name in members:
                self._learn(self._versions[name], time, row, (label, lead, asset), scores)
        if self._retrained:
            self.kept.drop_before(min(cast("Retrained", model.retrained).needed for model in self._retrained))
        self.learned += 1
        self.positives += label
        self.log.append((asset, time, label, lead))
        self.logged.add((asset, time))
        # Only here: between a cut of the log and the end of the epoch it must not change.
        small = (model for model in self._versions.values() if model.replays and not model.big)
        self._many = sum(len(model.pickled) for model in small) > SMALL
        for model in self._versions.values():
            if self._due(model):
                self._changed.add(model.part)

    def _is_thinned_in(self) -> bool:
        """Whether the next example, if negative, is one of those that are kept for fits.

        A multiplicative hash of its number decides, so that no day and no asset is preferred (D. E. Knuth,
        "The Art of Computer Programming" 3, 6.4).
        """
        return self.learned * 2_654_435_761 % 2**32 < 2**32 // self._thin

    def _learn(
        self,
        model: ModelVersion,
        time: int,
        row: NDArray[np.float64],
        outcome: tuple[int, int | None, str],
        scores: Mapping[str, float | None],
    ) -> None:
        """Let a model learn an example, unless it is set aside, or does not learn this one.

        ``outcome`` is the label, the microseconds to the failure, and the asset.
        """
        if model.errors.aside or self._unlearned(model, time, scores):
            return
        fit = None if model.retrained is None else model.retrained.current
        try:
            model.learn_row(row, *outcome)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a model is foreign code; the rest goes on
            self._fail(model, in_words(error), learning=True)
            return
        model.errors.succeed(learning=True)
        model.learned += 1
        model.positives += outcome[0]
        if model.retrained is not None and model.retrained.current is not fit:
            self._record_fit(model)

    def take_checkpoint(self, number: int) -> dict[str, tuple[int, int, int]]:
        """Keep the models as they are; return version, examples learned and positives of each, by label.

        Models that are fitted in batch are left out: they keep what they were fitted on.

        Args:
            number: by which `go_back` finds it.

        Raises:
            ModelError: a model cannot be pickled.
        """
        models = {label: model for label, model in self._versions.items() if model.retrained is None}
        self._checkpoints[number] = {
            label: (model.version, model.to_pickle(self._target)) for label, model in models.items()
        }
        self._changed.update(model.part for model in models.values())
        return {label: (model.version, model.learned, model.positives) for label, model in models.items()}

    def end_checkpoints(self, numbers: Iterable[int]) -> None:
        """Forget checkpoints."""
        for number in numbers:
            ended = self._checkpoints.pop(number, {})
            self._changed.update(self._versions[label].part for label in ended if label in self._versions)

    def go_back(self, checkpoint: Checkpoint) -> list[Learned]:
        """Let the models be as they were at a checkpoint; return the lines of the log, which is empty then.

        A model that was not there then, or began again since, stays as it is; `learn_again` leaves it out.
        """
        self.learned, self.positives = checkpoint.learned, checkpoint.positives
        for label, model in self._at(checkpoint.number):
            _, model.learned, model.positives = checkpoint.models[label]
            model.estimator = from_stored(self._checkpoints[checkpoint.number][label][1])
            model.calls = calls_of(model.estimator)
            model.compiled = compiled_of(model.estimator, model.names or model.sees)
        log, self.log = self.log, []
        self.logged.clear()
        return log

    def _at(self, number: int) -> Iterator[tuple[str, ModelVersion]]:
        """Yield the models that a checkpoint has, as the versions that they are now."""
        for label, (version, _) in self._checkpoints[number].items():
            model = self._versions.get(label)
            if model is not None and model.version == version:
                yield label, model

    def learn_again(self, number: int, examples: Iterable[Example], weight: Callable[[Example], int]) -> int:
        """Let the models learn examples after `go_back`; return how many they learned.

        What a model failed to score it does not learn, as the first time. An error is not counted again.

        Args:
            number: of the checkpoint.
            examples: in the order of learning, with the labels that stand, 1 or 0.
            weight: how often an example is learned.
        """
        models = [model for _, model in self._at(number)]
        count = 0
        for example in examples:
            count += 1
            for _ in range(weight(example)):
                for model in models:
                    self._learn_one_again(model, example)
                self.learned += 1
                self.positives += example.label or 0
        self.log_start = self.learned
        for model in self._versions.values():
            # Whatever its size, it is written with this epoch: the log of before does not lead to it.
            model.pickled, model.pickled_at = b"", self.learned
            self._changed.add(model.part)
        return count

    def _learn_one_again(self, model: ModelVersion, example: Example) -> None:
        if model.errors.aside or self._unlearned(model, example.time, example.scores):
            return
        if model.sees:
            row = _row_of(served_scores(model, example.scores), model.sees)
        else:
            row = np.frombuffer(example.features)[model.indices]
        label = example.label or 0
        try:
            model.learn_row(row, label, example.lead if label else None, example.asset)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - a model is foreign code; it failed the first time too
            return
        model.learned += 1
        model.positives += label

    def reach(self, clock: int) -> None:
        """Start fits that are due by event time, or let them take effect.

        Args:
            clock: that the target's is about to pass.
        """
        for model in self._retrained:
            retrained = cast("Retrained", model.retrained)
            if not retrained.by_time or model.errors.aside:
                continue
            fit = retrained.current
            try:
                retrained.reach(clock)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - as in `_learn`
                self._fail(model, in_words(error), learning=True)
            if retrained.current is not fit:
                self._record_fit(model)
            if retrained.changed:
                self._changed.add(model.part)

    @property
    def due(self) -> int | None:
        """The clock of the target from which on `reach` changes a model; None where it never does."""
        fits = (model.retrained for model in self._retrained if not model.errors.aside)
        return min((fit.due for fit in fits if fit is not None and fit.due is not None), default=None)

    def _record_fit(self, model: ModelVersion) -> None:
        """Record that a model scores with another fit from now on."""
        self.events.append(("refit", model.label, str(cast("Retrained", model.retrained).current)))
        _log.info("model refit", target=self._target, model=model.label, why=self.events[-1][2])

    @staticmethod
    def _unlearned(model: ModelVersion, time: int, scores: Mapping[str, float | None]) -> bool:
        """Whether a model does not learn an example: it failed to score it, or begins after it."""
        return scores.get(model.label, 0.0) is None or (model.since is not None and time < model.since)

    def _fail(self, model: ModelVersion, why: str, *, learning: bool) -> None:
        """Count an error of a model; one that fails too often is set aside."""
        if not model.errors.total:
            _log.warning("a model failed at a record", target=self._target, model=model.label, why=why)
        if model.errors.fail(why, learning=learning):
            self._record_event("put_aside", model, why)

    def _try_again(self, model: ModelVersion) -> None:
        """Ask a model again that was set aside; one whose weights are not finite starts from nothing."""
        why = model.errors.why or ""
        if model.build is not None and model.is_broken():
            if model.calls.of_all_classes:
                model.estimator.rebuild()
            else:
                model.rebuild(model.build())
            self._share(model)
            self._record_event("rebuilt", model, f"its weights are not finite; {why}")
        else:
            self._record_event("tried_again", model, why)

    def _record_event(self, change: ModelEvent, model: ModelVersion, why: str) -> None:
        """Record that a model is set aside, tried again or rebuilt, and write the model in this epoch.

        The log of a big model is learned again after a resume, so it must not contain this change.
        """
        self.events.append((change, model.label, why))
        model.renew = True
        self._changed.add(model.part)
        _log.warning(
            {"put_aside": "model set aside", "rebuilt": "model rebuilt"}.get(change, "model tried again"),
            target=self._target,
            model=model.label,
            errors=model.errors.total,
            why=why,
        )

    def start_fresh(self, label: str, since: int, why: str, keep: Collection[str]) -> str:
        """Start a fresh version of a model, which learns examples from a time on; return its label.

        The models whose scores it sees start with it. Fresh versions of former drifts end.

        Args:
            label: of a configured model.
            since: microseconds of event time.
            why: for the rows of the changes.
            keep: labels of versions that must not end, since they serve.
        """
        for former in [of for of, model in self._versions.items() if model.since is not None]:
            if former not in keep and ":" in former:
                self._end(former, why)
        fresh = self._copy(self._versions[label], since, why)
        self._arrange()
        for name in (fresh, *self._versions[fresh].sees):
            self._share(self._versions[name])
        return fresh

    def _share(self, model: ModelVersion) -> None:
        """Let a new estimator that is fitted on kept examples see those."""
        if model.retrained is not None:
            model.retrained.share(self.kept, self._features, model.names)

    def _copy(self, of: ModelVersion, since: int, why: str) -> str:
        if of.build is None:
            msg = f"target {self._target!r}: model {of.label!r} is not configured, so it cannot start again"
            raise ValueError(msg)
        sees = tuple(self._copy(self._versions[below], since, why) for below in of.sees)
        version = 1 + max(model.version for model in self._versions.values() if model.name == of.name)
        label = f"{of.name}:{version}"
        part = self._free_part([model.part for model in self._versions.values()])
        build = of.build
        if of.calls.of_all_classes:
            # The world of this class drifted: the fresh version learns from it alone.
            build = of.estimator.of_one_class
        model = ModelVersion(of.name, of.spec, of.picks, sees, build(), part, version)
        model.label, model.build, model.since, model.pickled_at = label, build, since, self.learned
        model.errors = self.error_rate(None)
        self._versions[label] = model
        self._changed.add(part)
        self.events.append(("challenger", label, why))
        return label

    def _end(self, label: str, why: str) -> None:
        model = self._versions.pop(label)
        self._ended[label] = model.name, model.version
        self._changed.add(model.part)
        self.events.append(("removed", label, why))

    def reset(self, label: str, since: int, why: str) -> None:
        """Let a model begin with nothing, as a new version that learns examples from a time on."""
        model = self._versions[label]
        if model.build is None:
            msg = (
                f"target {self._target!r}: model {label!r} is not configured any more, so it cannot be reset"
            )
            raise ValueError(msg)
        model.rebuild(model.build())
        self._share(model)
        model.version += 1
        model.since, model.pickled_at, model.errors = since, self.learned, self.error_rate(None)
        self._changed.add(model.part)
        self.events.append(("reset", label, why))

    def errors(self) -> dict[str, int]:
        """Return the number of errors of each model that had any."""
        return {label: model.errors.total for label, model in self._versions.items() if model.errors.total}

    def set_aside(self) -> dict[str, str]:
        """Return the models that are set aside, each with the reason."""
        aside = {label: model for label, model in self._versions.items() if model.errors.aside}
        return {label: model.errors.why or "" for label, model in aside.items()}

    def recent_errors(self) -> dict[str, int]:
        """Return the errors of every model since `forget_recent_errors`."""
        return {label: model.errors.recent for label, model in self._versions.items()}

    def forget_recent_errors(self) -> None:
        """Count recent errors from 0 again."""
        for model in self._versions.values():
            model.errors.recent = 0

    def _due(self, model: ModelVersion) -> bool:
        if model.retrained is not None:
            return model.renew or model.retrained.changed
        since = self.learned - model.pickled_at
        if not self._is_logged(model) or model.renew:
            return since > 0
        return since >= (self._renew_after if model.big else min(self._renew_after, RENEW_MANY_AFTER))

    def _is_logged(self, model: ModelVersion) -> bool:
        """Whether a model is written rarely, with a log of learned examples in between."""
        return model.big or (self._many and model.replays and bool(model.pickled))

    def trim(self) -> list[Learned]:
        """Remove and return the lines of the log that no model needs."""
        logged = [model for model in self._versions.values() if self._is_logged(model)]
        needed = min((model.pickled_at for model in logged), default=self.learned)
        cut = needed - self.log_start
        trimmed, self.log = self.log[:cut], self.log[cut:]
        self.logged.difference_update((asset, time) for asset, time, *_ in trimmed)
        self.log_start = needed
        return trimmed

    def changed(self) -> Iterable[int]:
        """Return the parts to write, and begin to collect the next ones."""
        changed = sorted(self._changed)
        self._changed.clear()
        return changed

    def main_state(self) -> dict[str, Any]:
        """Return the plain data that is written in every epoch."""
        return {
            "learned": self.learned,
            "positives": self.positives,
            "models": {
                label: {
                    "name": model.name,
                    "spec": model.spec,
                    "picks": model.picks,
                    "sees": model.sees,
                    "version": model.version,
                    "part": model.part,
                    "learned": model.learned,
                    "positives": model.positives,
                    "errors": model.errors.state(),
                    "since": model.since,
                }
                for label, model in self._versions.items()
            },
        }

    def part(self, number: int) -> bytes:
        """Return the snapshot of one part, with the version of River that can read its models."""
        models = {}
        for name, model in self._versions.items():
            if model.part == number:
                if not model.pickled or self._due(model):
                    model.pickled = model.to_pickle(self._target)
                    model.pickled_at = self.learned
                    if model.retrained is not None:
                        model.retrained.changed = False
                model.renew = False
                models[name] = (model.pickled_at, RIVER, model.version, model.pickled)
                for at, kept in self._checkpoints.items():
                    if name in kept:
                        models[f"checkpoint {at} of {name}"] = (at, RIVER, *kept[name])
        return sealed_models(models, self._key)
