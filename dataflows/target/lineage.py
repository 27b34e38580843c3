"""Lineage: what a version of a model is made of, and the thresholds on its scores; what it has learned.

A prediction names its model and version. The row `lineage` of that version says what it is: estimator,
parameters, features, digest of the configuration and versions of the libraries. It is written when the
version begins, and again when one of these changes under it, as after an upgrade. So it outlives changes of
the configuration, and costs nothing for each prediction. A row `learned` of the metrics says what
the versions had learned by the end of a period. A row `threshold` says since when thresholds stand.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import orjson
from typing_extensions import override

from dataflows.instants import format_instant
from dataflows.items import row_of
from dataflows.outputs import LearnedMetrics, ModelLineage, ThresholdChange, time_or_none
from dataflows.target.models import spec_digest
from dataflows.target.monitors import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dataflows.fleet.fleet import Model
    from dataflows.items import Item
    from dataflows.target.examples import Example
    from dataflows.target.models import ModelVersion
    from dataflows.target.monitors import Context, Period, Rows, Served

__all__ = ["Lineage", "libraries_of"]

#: Distributions whose package has another name.
_DISTRIBUTIONS = {"dataflows": "highwater-ml", "sklearn": "scikit-learn"}


def libraries_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the version of each library that a model is made of, by distribution; ascending.

    Args:
        spec: of a `Model`: the pipeline as configured.

    >>> sorted(libraries_of({"pipeline": [{"estimator": "river.linear_model.LogisticRegression"}]}))
    ['highwater-ml', 'numpy', 'river']
    """
    packages = {"dataflows", "numpy", *(path.partition(".")[0] for path in _paths(spec))}
    return dict(sorted(map(_distribution, packages)))


@cache
def _distribution(package: str) -> tuple[str, str]:
    name = _DISTRIBUTIONS.get(package, package)
    try:
        return name, importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return name, "unknown"  # a module of the user's own


def _paths(value: object) -> Iterator[str]:
    """Yield the dotted paths of classes in a configured value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in {"estimator", "class"} and isinstance(inner, str):
                yield inner
            yield from _paths(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _paths(inner)


class Lineage(Monitor):
    """Rows of the versions of the models of a target.

    Args:
        context: of the target.
        state: return value of `state`, None for a new target.
    """

    name: ClassVar[str] = "lineage"
    #: Versions of the libraries of a model, by its spec.
    libraries = staticmethod(libraries_of)

    def __init__(self, context: Context, state: Mapping[str, Any] | None) -> None:
        self._target = context.target
        self._features = context.features
        self._models = context.models
        #: By label: digest of the content of the row that was last written.
        self._written: dict[str, str] = {} if state is None else dict(state["written"])
        #: Asset and time of the last learned example.
        self._last: tuple[str, int] | None = None
        if state is not None and state["last"] is not None:
            self._last = tuple(state["last"])
        #: Number of examples in the last row of a period.
        self._reported = 0 if state is None else state["reported"]
        #: Thresholds in the row that was last written.
        self._set = None if state is None else tuple(state["set"] or ()) or None
        #: Versions may have begun or changed since rows were written.
        self._due = True

    @classmethod
    @override
    def open(cls, context: Context, state: Any) -> Lineage:
        return cls(context, state)

    @override
    def watches(self, assets: Sequence[str], scores: Sequence[float | None]) -> Iterable[int]:
        return range(1) if self._due else ()

    @override
    def served(self, item: Item, served: Served) -> Rows:
        if not self._due:
            return ()
        rows, written = [], {}
        for label in self._models.names():
            version = self._models.version(label)
            model = self._configured(version)
            if model is None and label in self._written:
                written[label] = self._written[label]  # its row is from when it was configured
                continue
            row = self._row(item, version, model)
            written[label] = _digest(row)
            if written[label] != self._written.get(label):
                rows.append(row_of(row))
        thresholds = self._thresholds()
        if thresholds != self._set:
            rows.append(row_of(self._threshold_row(item, *thresholds)))
        self._due, self._written, self._set = False, written, thresholds
        self.changed = self.changed or bool(rows)
        return rows

    def _thresholds(self) -> tuple[float, float | None, float | None]:
        """Scores that count as a predicted failure, that open an alert, and that clear it."""
        alert = self._target.alert
        return (self._target.threshold, *((None, None) if alert is None else (alert.open, alert.clear)))

    def _threshold_row(
        self, item: Item, threshold: float, opens: float | None, clears: float | None
    ) -> ThresholdChange:
        return ThresholdChange(
            target=self._target.name,
            threshold=threshold,
            open=opens,
            clear=clears,
            known=format_instant(item.known),
            sequence=item.sequence,
            arrival=time_or_none(item.arrival),
            watermark=None,
        )

    @override
    def model_changed(self, item: Item, change: str, label: str, why: str) -> Rows:
        self._due = True
        return ()

    @override
    def learned(self, item: Item, example: Example) -> Rows:
        self._last, self.changed = (example.asset, example.time), True
        return ()

    @override
    def period_rows(self, period: Period) -> Sequence[LearnedMetrics]:
        if self._models.learned == self._reported:
            return ()
        versions = map(self._models.version, self._models.names())
        asset, time = self._last or (None, None)
        row = LearnedMetrics(
            target=period.target,
            examples=self._models.learned,
            positives=self._models.positives,
            models={version.label: version.learned for version in versions},
            last_asset=asset,
            last_time=time_or_none(time),
            **period.fields,
        )
        return [row]

    @override
    def begin_period(self) -> None:
        if self._reported != self._models.learned:
            self._reported, self.changed = self._models.learned, True

    @override
    def state(self) -> dict[str, Any]:
        return {"written": self._written, "last": self._last, "reported": self._reported, "set": self._set}

    def _row(self, item: Item, version: ModelVersion, model: Model | None) -> ModelLineage:
        spec = {} if model is None else model.spec
        pipeline = spec.get("pipeline")
        fitted = {key: spec[key] for key in ("every", "keep", "lag") if key in spec}
        asset, time = self._last or (None, None)
        return ModelLineage(
            target=self._target.name,
            model=version.name,
            version=version.version,
            digest=version.spec,
            estimator=next(_paths(pipeline[-1])) if pipeline else _path_of(version),
            pipeline=orjson.loads(orjson.dumps(pipeline)) if pipeline else None,
            refit=fitted or None,
            scores=[self._models.named(label)[0] for label in version.sees],
            features=[] if version.sees else [self._features[index] for index in version.picks],
            libraries=self.libraries(spec),
            learns_from=time_or_none(version.since),
            learned=version.learned,
            last_asset=asset if version.learned else None,
            last_time=time_or_none(time) if version.learned else None,
            known=format_instant(item.known),
            sequence=item.sequence,
            arrival=time_or_none(item.arrival),
            watermark=None,
        )

    def _configured(self, version: ModelVersion) -> Model | None:
        """The configuration of a version; None of a former one, which the fleet does not have any more."""
        for model in self._target.models:
            if model.name == version.name and version.build is not None:
                return model
            if model.name == version.name and spec_digest(model, self._features) == version.spec:
                return model
        return None


def _path_of(version: ModelVersion) -> str:
    """Return the dotted path of the class that gives the score."""
    last = version.estimator
    steps = getattr(last, "steps", None)
    if isinstance(steps, dict) and steps:
        last = [*steps.values()][-1]
    return f"{type(last).__module__}.{type(last).__qualname__}"


def _digest(row: ModelLineage) -> str:
    """Return the digest of what a version is made of, without what it has learned and when."""
    same = msgspec.structs.replace(row, learned=0, last_asset=None, last_time=None, known="", sequence=0)
    content = orjson.dumps(msgspec.structs.asdict(msgspec.structs.replace(same, arrival=None)))
    return hashlib.blake2b(content, digest_size=12).hexdigest()
