"""Which versions of models are at work: those configured, and former ones that the champion needs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from dataflows.estimators import FORMER_PATHS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataflows.fleet.plan import Model

__all__ = ["Lineup", "Member", "can_go_on", "spec_digest"]


@dataclass(frozen=True, slots=True)
class Member:
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


class Lineup:
    """The versions at work.

    Args:
        models: as configured.
        features: names of all features of the class.
        known: by label, what the store has of the versions that were at work.
        champion: label of the version that goes on in any case, None if there is none.

    Attributes:
        members: by label.
        labels: of the configured models, by name.
        news: what became of models: change, name, version, why.
    """

    def __init__(
        self,
        models: Sequence[Model],
        features: tuple[str, ...],
        known: Mapping[str, Mapping[str, Any]],
        champion: str | None,
    ) -> None:
        self.members: dict[str, Member] = {}
        self.labels: dict[str, str] = {}
        self.news: list[tuple[str, str, int, str]] = []
        kept = {*_needed(champion, known)}
        versions = {}
        for model in models:
            self.labels[model.name], versions[model.name] = self._label(model, features, known, kept)
        for model in models:
            label, version = self.labels[model.name], versions[model.name]
            spec, is_new = spec_digest(model, features), version != known.get(label, {}).get("version")
            sees = tuple(self.labels[name] for name in model.scores)
            self.members[label] = Member(model.name, version, spec, model.features, sees, model, is_new)
        for label in known:
            if label in kept and label not in self.members:
                self.members[label] = _former(known[label])
        gone = [found for label, found in known.items() if label not in self.members]
        configured = {model.name for model in models}
        self.news += [
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
            self.news.append(("challenger", model.name, 1, "added"))
            return model.name, 1
        version = 1 + max(found["version"] for found in versions.values())
        label = f"{model.name}:{version}" if any(of in kept for of in versions) else model.name
        self.news.append(("challenger", model.name, version, "configured otherwise"))
        return label, version


def _needed(champion: str | None, known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The champion and the models whose scores it sees."""
    if champion is not None and champion in known:
        yield champion
        yield from known[champion]["sees"]


def _former(known: Mapping[str, Any]) -> Member:
    picks = tuple(known["picks"] or ())
    return Member(
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
