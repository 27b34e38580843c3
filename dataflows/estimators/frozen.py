"""Models that were fitted elsewhere: they score from the first record on, and learn nothing.

A file is named together with its digest, and refused if that differs. ONNX and skops files hold a model as
data. A pickle (``.pkl``, ``.pickle``, ``.joblib``) is a program: to load it runs whatever it says, with the
rights of the run. So load only pickles of those whom you would let run code, and prefer the other two.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dataflows.estimators.fitted import fitted
from dataflows.estimators.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Frozen", "FrozenError"]

_PICKLES = (".pkl", ".pickle", ".joblib")
_KINDS = ("a file with one of the endings .onnx, .skops", *_PICKLES)
#: Rows on which the arrays of a model are compared with its library.
_COMPARED = 64


class FrozenError(ValueError):
    """A file holds no model that can be used, or another than its digest says."""


class _Scorer(Protocol):
    """A model that was read."""

    def score_rows(self, rows: Floats) -> Floats:
        """Return the probability of the positive label of each row (n, features)."""
        ...


class Frozen(Stored):
    """A classifier of a file: scikit-learn's or LightGBM's (skops, pickle), or any in ONNX.

    When to use it: for a model that was fitted offline, as the first champion of a new fleet, or as what the
    models that learn here have to beat. It never learns.

    Features are matched by name, in whatever order the fleet has them: by ``columns``; else by the names that
    the model was fitted with (``feature_names_in_`` of scikit-learn; of ONNX the entry ``features`` of its
    metadata, a list in JSON, or the names of its inputs where each is one feature). Every row is scored
    alone, so a score does not depend on how many rows are scored together (in single precision, ONNX models
    give other last digits in other batches).

    Args:
        file: of the model; in a ``fleet.toml`` relative to it.
        digest: ``sha256:`` and the SHA-256 of the file in hexadecimal digits, as ``sha256sum`` prints it.
        columns: names of the features, in the order of the model's columns.
        positive: index of the failure among the model's classes.
        trusted: for skops, names of types beyond its own that may be built.

    Raises:
        FrozenError: the file cannot be read, has another digest, or holds no classifier with known features.
    """

    _STATE = ("file", "digest", "columns", "positive", "trusted")
    #: It scores before it has learned anything.
    pretrained = True
    #: It sees exactly its `features`.
    names_features = True

    def __init__(
        self,
        file: str,
        digest: str,
        columns: Sequence[str] = (),
        positive: int = 1,
        trusted: Sequence[str] = (),
    ) -> None:
        self.file = file
        self.digest = digest
        self.columns = list(columns)
        self.positive = positive
        self.trusted = list(trusted)
        self._read()

    @property
    def features(self) -> tuple[str, ...]:
        """Names of its features, in the order of its columns."""
        return self._loaded()[1]

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:  # noqa: FBT001 - River's signature
        """Learn nothing."""

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Probability of either label; missing features are NaN."""
        scorer, names = self._loaded()
        row = np.array([[x.get(name, np.nan) for name in names]], dtype=np.float64)
        positive = float(scorer.score_rows(row)[0])
        return {False: 1.0 - positive, True: positive}

    def score_rows(self, rows: Floats, names: tuple[str, ...]) -> Floats:
        """Probability of True of each row.

        Args:
            rows: (n, features), NaN where missing.
            names: of their columns.
        """
        scorer, mine = self._loaded()
        if names != mine:
            places = {name: place for place, name in enumerate(names)}
            absent = np.full((len(rows), 1), np.nan)
            rows = np.hstack([rows, absent])[:, [places.get(name, -1) for name in mine]]
        return scorer.score_rows(np.ascontiguousarray(rows))

    def _loaded(self) -> tuple[_Scorer, tuple[str, ...]]:
        if not hasattr(self, "_scorer"):  # read from bytes
            self._read()
        return self._scorer, self._names

    def _read(self) -> None:
        path = Path(self.file)
        try:
            data = path.read_bytes()
        except OSError as error:
            msg = f"{path}: {error.strerror or error}"
            raise FrozenError(msg) from error
        found = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if found != self.digest:
            msg = f"{path} has the digest {found}, expected {self.digest}: it is not the file that was meant"
            raise FrozenError(msg)
        if path.suffix == ".onnx":
            model: _Scorer = _Onnx(data, self.positive)
            known = model.names  # type: ignore[attr-defined]
        elif path.suffix == ".skops" or path.suffix in _PICKLES:
            found_model = self._skops(data) if path.suffix == ".skops" else pickle.loads(data)  # noqa: S301 - see the module
            known = tuple(map(str, getattr(found_model, "feature_names_in_", ())))
            width = len(self.columns or known)
            rows = np.random.default_rng(0).normal(scale=10.0, size=(_COMPARED, width))
            model = fitted(found_model, rows, self.positive)
        else:
            msg = f"expected {', '.join(_KINDS)}, got {path.name}"
            raise FrozenError(msg)
        self._names: tuple[str, ...] = tuple(self.columns) or known
        if not self._names:
            msg = f"{path} does not name its features; give them as columns, in their order"
            raise FrozenError(msg)
        self._scorer = model

    def _skops(self, data: bytes) -> Any:  # noqa: ANN401 - of scikit-learn
        from skops import io  # noqa: PLC0415 - an extra

        unknown = sorted({*io.get_untrusted_types(data=data)} - {*self.trusted})
        if unknown:
            msg = f"{self.file} holds types that are not trusted: {', '.join(unknown)}; name them in trusted"
            raise FrozenError(msg)
        return io.loads(data, trusted=self.trusted)


class _Onnx:
    """A model in ONNX, whose rows are scored one by one on one thread."""

    def __init__(self, data: bytes, positive: int) -> None:
        import onnxruntime  # noqa: PLC0415 - an extra

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._positive = positive
        inputs = self._session.get_inputs()
        self._inputs = [each.name for each in inputs]
        self._type = np.float64 if "double" in inputs[0].type else np.float32
        said = self._session.get_modelmeta().custom_metadata_map.get("features")
        self.names: tuple[str, ...] = tuple(json.loads(said)) if said else ()
        if not self.names and len(inputs) > 1:
            self.names = tuple(self._inputs)
        #: The output that holds probabilities: the last one; a classifier's first are labels.
        self._output = self._session.get_outputs()[-1].name

    def score_rows(self, rows: Floats) -> Floats:
        """As `_Scorer.score_rows`."""
        return np.array([self._score(row.astype(self._type)) for row in rows], dtype=np.float64)

    def _score(self, row: NDArray[Any]) -> float:
        if len(self._inputs) == 1:
            given = {self._inputs[0]: row[np.newaxis]}
        else:
            given = {name: row[[place], np.newaxis] for place, name in enumerate(self._inputs)}
        (found,) = self._session.run([self._output], given)
        if isinstance(found, list):  # a table of probabilities by class
            return float([*found[0].values()][self._positive])
        last = np.ravel(found)
        return float(last[0] if len(last) == 1 else last[self._positive])
