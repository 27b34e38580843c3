"""Targets of several classes that share models: what one class has learned serves the others.

Targets of one mode and horizon that have a model with ``scope = "fleet"`` share a key of the group step. They
take the records of the key in the order of effect, one after the other, so the shared model learns the
examples of all classes at exact points of the stream, and every score depends on all learned before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from dataflows.estimators import from_stored, to_stored
from dataflows.state.snapshots import Kind
from dataflows.target.compiled import Calls, calls_of
from dataflows.target.horizons import AGREEING, SHARED, AgreeingTargets
from dataflows.target.models import RIVER, ModelError, read_models, sealed_models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dataflows.items import Item
    from dataflows.target.target import TargetStage

__all__ = ["SHARED_MODELS", "SharedModels", "SharingTargets"]

#: Main snapshots of `SharedModels`: examples and positives that each has learned, by key.
SHARED_MODELS: Kind[dict[str, tuple[int, int]]] = Kind("shared", 1, describe=lambda payload: payload)


@dataclass(slots=True)
class _Shared:
    """One estimator that classes share."""

    estimator: Any
    build: Callable[[], Any] | None
    learned: int = 0
    positives: int = 0
    calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        self.calls = calls_of(self.estimator)

    @property
    def is_ready(self) -> bool:
        """As `ModelVersion.is_ready`, over the examples of all classes."""
        if self.calls.pretrained:
            return True
        return 0 < self.positives < self.learned if self.calls.supervised else self.learned > 0


class SharedModels:
    """The estimators of the models that the targets of one key share.

    Args:
        key: signs them as they are stored; None: they are not signed.
        main: return value of `main_snapshot`, None for a new key.
        part: return value of `part_snapshot`.

    Raises:
        SnapshotError: a snapshot is damaged, not signed by the key, or of a version that cannot be read.
    """

    def __init__(
        self, key: bytes | None = None, main: bytes | None = None, part: bytes | None = None
    ) -> None:
        self._key = key
        self._models: dict[str, _Shared] = {}
        self._changed = False
        counts = {} if main is None else SHARED_MODELS.unseal(main)
        self._stored = {} if part is None else read_models({0: part}, key)
        self._counts: dict[str, tuple[int, int]] = {name: tuple(each) for name, each in counts.items()}

    def open(self, key: str, build: Callable[[], Any] | None) -> None:
        """Restore or build an estimator, unless a target has opened it already.

        Raises:
            ModelError: it is not stored, and nothing builds it.
        """
        known = self._models.get(key)
        if known is not None:
            known.build = known.build or build
        elif key in self._stored:
            learned, positives = self._counts[key]
            self._models[key] = _Shared(from_stored(self._stored[key][2]), build, learned, positives)
        elif build is not None:
            self._models[key] = _Shared(build(), build)
            self._changed = True
        else:
            msg = (
                f"the shared model {key!r} is not in the store; start over with --fresh, or restore a backup"
            )
            raise ModelError(msg)

    def learn(self, key: str, x: dict[str, float], label: bool) -> None:  # noqa: FBT001 - as River's
        """Let an estimator learn an example of any class."""
        model = self._models[key]
        self._changed = True
        model.calls.learn(x, label)
        model.learned += 1
        model.positives += label

    def probabilities(self, key: str, x: dict[str, float]) -> dict[Any, float]:
        """Ask an estimator for the probability of each label."""
        return self._models[key].calls.probabilities(x)

    def positives(self, key: str) -> int | None:
        """Positives that an estimator has learned, of all classes; None where it cannot score yet."""
        model = self._models[key]
        return model.positives if model.is_ready else None

    def rebuild(self, key: str) -> None:
        """Let an estimator start from nothing; without its configuration it stays as it is."""
        model = self._models[key]
        if model.build is not None:
            self._models[key] = _Shared(model.build(), model.build)
            self._changed = True

    def changed(self) -> bool:
        """Whether `part_snapshot` is to be written, and begin to collect the next changes."""
        changed, self._changed = self._changed, False
        return changed

    def main_snapshot(self) -> bytes:
        """Return the counts of all estimators."""
        return SHARED_MODELS.seal({key: (each.learned, each.positives) for key, each in self._models.items()})

    def part_snapshot(self) -> bytes:
        """Return all estimators that a target has.

        Raises:
            ModelError: one cannot be pickled.
        """
        return sealed_models(
            {
                key: (each.learned, RIVER, 1, _pickled(key, each.estimator))
                for key, each in self._models.items()
            },
            self._key,
        )


def _pickled(key: str, estimator: object) -> bytes:
    try:
        return to_stored(estimator)
    except Exception as error:
        msg = (
            f"the shared model {key!r} cannot be written to the recovery store, since it cannot be pickled "
            f"({type(error).__name__}: {error}); take it out of the fleet.toml"
        )
        raise ModelError(msg) from error


class SharingTargets(AgreeingTargets):
    """A stage in parts of the targets of several classes, see the module.

    Args:
        names: of the targets.
        build: makes the stage of a target of its name, main snapshot, parts and the shared models.
        main: return value of `main_snapshot`, None where they are new.
        parts: return values of `part_snapshot`, by number.
        key: see `SharedModels`.
    """

    def __init__(
        self,
        names: Sequence[str],
        build: Callable[[str, bytes | None, dict[int, bytes], SharedModels], TargetStage],
        main: bytes | None,
        parts: Mapping[int, bytes],
        key: bytes | None = None,
    ) -> None:
        own = None if main is None else AGREEING.describe(main).get(SHARED)
        part = None if main is None or _PART not in parts else AGREEING.describe(parts[_PART]).get(SHARED)
        shared = self._shared = SharedModels(key, own, part)
        super().__init__(names, lambda name, of, each: build(name, of, each, shared), main, parts)

    @override
    def process(self, items: list[Item]) -> list[Item]:
        return [row for item, stage in self._taken(items) for row in stage.process([item])]

    @override
    def changed(self) -> Iterable[int]:
        found = {*super().changed()}
        return sorted(found | {_PART} if self._shared.changed() else found)

    @override
    def _main_snapshots(self) -> dict[str, bytes]:
        return super()._main_snapshots() | {SHARED: self._shared.main_snapshot()}

    @override
    def _part_snapshots(self, part: int) -> dict[str, bytes]:
        found = super()._part_snapshots(part)
        return found | {SHARED: self._shared.part_snapshot()} if part == _PART else found


#: Number of the part with the shared models; targets have models there too.
_PART = 0
