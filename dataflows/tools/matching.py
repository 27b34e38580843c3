"""Match served feature vectors with recomputed ones, and compare them bit by bit."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Difference", "Made", "Matching", "Served", "Share", "differing"]

#: Which of the vectors that are computed were served: every one, or some, in the same order by asset and
#: target; or some in any order.
Share = Literal["every", "some", "any"]

#: Number of remembered equal vectors of each asset and target.
_EQUAL = 8
#: Event time and revision of a prediction.
Key = tuple[int, int]


class Served(NamedTuple):
    """A feature vector in the outputs of a run.

    Attributes:
        sequence: of the record that the row followed, in the run.
        values: float64 array (features of the class), NaN is missing.
    """

    sequence: int
    asset: str
    target: str
    time: int
    revision: int
    values: NDArray[np.float64]


class Made(NamedTuple):
    """A recomputed feature vector.

    Attributes:
        sequence: of its record in the recording.
        features: float64 array (features of the class) as bytes.
    """

    sequence: int
    features: bytes


class Difference(NamedTuple):
    """A difference between served and recomputed vectors.

    Attributes:
        what: ``missing`` where nothing was computed for what was served, ``extra`` for the opposite.
        after: event time and sequence of the last vector of this asset and target that was equal.
        sequence: in the recording, up to where it was read when this showed.
    """

    what: Literal["differs", "missing", "extra"]
    asset: str
    target: str
    time: int
    revision: int
    sequence: int
    after: tuple[int, int] | None
    served: NDArray[np.float64] | None = None
    made: NDArray[np.float64] | None = None


@dataclass(slots=True)
class _Stream:
    """One asset and target."""

    made: OrderedDict[Key, Made] = field(default_factory=OrderedDict)
    #: The largest key that was computed.
    last: Key | None = None
    #: Served, and not computed yet.
    waiting: list[Served] = field(default_factory=list)
    #: Event time and sequence of the last vectors that were equal.
    equal: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_EQUAL))


class Matching:
    """Match vectors of both sides, each side in its own order, and find the differences.

    It holds only what has no counterpart yet.

    Args:
        share: which of the vectors that are computed were served.

    Attributes:
        compared: pairs that were compared.
        differences: what was found.
    """

    def __init__(self, share: Share) -> None:
        self._share = share
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._waiting: set[tuple[str, str]] = set()
        self.compared = 0
        self.differences: list[Difference] = []

    @property
    def waiting(self) -> bool:
        """Whether something was served that was not computed yet."""
        return bool(self._waiting)

    @property
    def assets(self) -> int:
        """Assets of which something was computed."""
        return len({asset for asset, _ in self._streams})

    def make(self, asset: str, target: str, key: Key, made: Made) -> None:
        """Add a computed vector."""
        stream = self._streams.get((asset, target))
        if stream is None:
            stream = self._streams[asset, target] = _Stream()
        stream.made[key] = made
        if stream.last is None or key > stream.last:
            stream.last = key

    def serve(self, served: Served, read: int) -> None:
        """Add a served vector.

        Args:
            served: the vector.
            read: sequence up to which the recording was computed.
        """
        place = served.asset, served.target
        stream = self._streams.get(place)
        if stream is None:
            stream = self._streams[place] = _Stream()
        if not self._settle(stream, served, read):
            stream.waiting.append(served)
            self._waiting.add(place)

    def settle(self, read: int, *, ended: bool = False) -> None:
        """Look again at what was served and not computed before; at the end, nothing more will be."""
        for place in sorted(self._waiting):
            stream = self._streams[place]
            stream.waiting = [one for one in stream.waiting if not self._settle(stream, one, read, ended)]
            if not stream.waiting:
                self._waiting.discard(place)

    def _settle(self, stream: _Stream, served: Served, read: int, ended: bool = False) -> bool:  # noqa: FBT001, FBT002
        """Compare what was served with what was computed; False if that may still come."""
        key = served.time, served.revision
        made = stream.made.pop(key, None)
        if made is None:
            if not ended and (stream.last is None or stream.last < key):
                return False
            self._differ("missing", served, read, stream, served.values)
            return True
        if self._share != "any":
            self._skip(stream, served, key)
        self.compared += 1
        values = np.frombuffer(made.features)
        if differing(served.values, values).any():
            self._differ("differs", served, made.sequence, stream, served.values, values)
        else:
            stream.equal.append((served.time, made.sequence))
        return True

    def _skip(self, stream: _Stream, served: Served, key: Key) -> None:
        """What was computed before this vector, and never served."""
        while stream.made and next(iter(stream.made)) < key:
            before, made = stream.made.popitem(last=False)
            if self._share == "every":
                self._extra(stream, (served.asset, served.target), before, made)

    def _extra(self, stream: _Stream, place: tuple[str, str], key: Key, made: Made) -> None:
        values = np.frombuffer(made.features)
        self._differ(
            "extra", Served(made.sequence, *place, *key, values), made.sequence, stream, None, values
        )

    def end(self, last: int) -> None:
        """Note the end of the served vectors.

        Args:
            last: the largest sequence of what was served; what was computed after it is of no interest.
        """
        for place, stream in self._streams.items():
            for key, made in stream.made.items() if self._share == "every" else ():
                if made.sequence <= last:
                    self._extra(stream, place, key, made)

    def _differ(
        self,
        what: Literal["differs", "missing", "extra"],
        of: Served,
        sequence: int,
        stream: _Stream,
        served: NDArray[np.float64] | None = None,
        made: NDArray[np.float64] | None = None,
    ) -> None:
        # What is served in no order may be older than what was equal before it.
        after = max((equal for equal in stream.equal if equal[0] <= of.time), default=None)
        place = of.asset, of.target, of.time, of.revision
        self.differences.append(Difference(what, *place, sequence, after, served, made))

    def forget(self, asset: str, target: str) -> None:
        """The examples of an asset were dropped: what was computed of them will not be served any more."""
        stream = self._streams.get((asset, target))
        if stream is not None:
            stream.made.clear()


def differing(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(features) where two vectors are not the same bits; all ways to write a missing value are one."""
    differs: NDArray[np.bool_] = (one.view(np.uint64) != other.view(np.uint64)) & ~(
        np.isnan(one) & np.isnan(other)
    )
    return differs
