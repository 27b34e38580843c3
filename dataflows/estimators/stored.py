"""How an estimator is stored: ours as versioned plain data, all others pickled.

An estimator of ours derives from `Stored` and names the attributes that are its state. Files of users and
recovery stores may name estimators by former paths, see `FORMER_PATHS`.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, ClassVar, Self

import numpy as np

from dataflows.state.snapshots import Kind, SnapshotError

__all__ = ["ESTIMATOR", "FORMER_PATHS", "Stored", "from_stored", "to_stored"]

#: Paths by which files of users and pickles in stores may name an estimator, and its path today.
FORMER_PATHS = {
    "dataflows.group.bayes.BayesianLogistic": "dataflows.estimators.BayesianLogistic",
    "dataflows.group.bayes.Calibration": "dataflows.estimators.Calibration",
    "dataflows.group.estimators.Prior": "dataflows.estimators.Prior",
}
#: Snapshots of one estimator of ours: the name of its class, and its state.
ESTIMATOR: Kind[str] = Kind("estimator", 1, describe=lambda payload: payload[0])


#: By the name under which it is stored.
_OURS: dict[str, type[Any]] = {}


class Stored:
    """Reads and writes an estimator as plain data."""

    #: Names of the attributes that are its state.
    _STATE: ClassVar[tuple[str, ...]]
    #: River's pipelines ask it of every step.
    _supervised = True

    def __init_subclass__(cls) -> None:
        """Make its bytes readable by `from_stored`."""
        super().__init_subclass__()
        _OURS[cls.__name__] = cls

    def to_bytes(self) -> bytes:
        """The estimator as a sealed snapshot of plain data, with a version."""
        state = {name: _plain(getattr(self, name)) for name in self._STATE}
        return ESTIMATOR.seal((type(self).__name__, state))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled inside a pipeline, it is its bytes and no class of ours."""
        return from_stored, (self.to_bytes(),)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The estimator that `to_bytes` wrote; it learns on and scores as that one, to the last bit.

        Raises:
            SnapshotError: the bytes are damaged, of another estimator, or of a version that cannot be read.
        """
        name, state = ESTIMATOR.unseal(data)
        if name != cls.__name__:
            msg = f"expected the bytes of a {cls.__name__}, got those of a {name}; use {name}.from_bytes"
            raise SnapshotError(msg)
        estimator = cls.__new__(cls)
        for key in cls._STATE:
            setattr(estimator, key, _from_plain(state[key]))
        return estimator


#: Values that a snapshot holds as they are.
_PLAIN = (type(None), bool, int, float, str, bytes, list, tuple, dict)


def _plain(value: Any) -> Any:  # noqa: ANN401 - plain data of any shape
    if isinstance(value, np.ndarray):
        if value.dtype == np.float64:
            return {"shape": value.shape, "float64": value.tobytes()}
        return {"shape": value.shape, "dtype": value.dtype.str, "bytes": value.tobytes()}
    return value if type(value) in _PLAIN else {"estimator": to_stored(value)}


def _from_plain(value: Any) -> Any:  # noqa: ANN401 - as above
    if isinstance(value, dict) and value.keys() == {"shape", "float64"}:
        return np.frombuffer(value["float64"]).reshape(value["shape"]).copy()
    if isinstance(value, dict) and value.keys() == {"shape", "dtype", "bytes"}:
        return np.frombuffer(value["bytes"], value["dtype"]).reshape(value["shape"]).copy()
    if isinstance(value, dict) and value.keys() == {"estimator"}:
        return from_stored(value["estimator"])
    return value


class _Unpickler(pickle.Unpickler):
    """Finds estimators of former releases by where they are today."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - whatever was pickled
        today = FORMER_PATHS.get(f"{module}.{name}")
        if today is not None:
            module, _, name = today.rpartition(".")
        return super().find_class(module, name)


def to_stored(estimator: object) -> bytes:
    """An estimator as it is written into the recovery store: ours as plain data, all others pickled."""
    if type(estimator) in _OURS.values():
        return estimator.to_bytes()  # type: ignore[attr-defined,no-any-return]
    return pickle.dumps(estimator, protocol=5)


def from_stored(data: bytes) -> Any:  # noqa: ANN401 - River's protocol is by method names
    """The estimator that `to_stored` wrote, or that a former release pickled.

    Raises:
        SnapshotError: the bytes of one of our estimators are damaged, or of a version that cannot be read.
    """
    if data[:1] == pickle.PROTO:
        return _Unpickler(io.BytesIO(data)).load()
    name = ESTIMATOR.describe(data)
    if name not in _OURS:
        msg = f"an estimator {name!r} was stored, which this release does not know; use that which wrote it"
        raise SnapshotError(msg)
    return _OURS[name].from_bytes(data)
