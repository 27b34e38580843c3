"""Estimators that real ones are too small, or too well-behaved, to stand for."""

from __future__ import annotations

import asyncio
import math
import zlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Breaking", "Hashed", "Memory", "Named", "Picky", "Ready", "Undecided"]


class Hashed:
    """A logistic regression over hashed features, whose table alone makes its pickle big.

    Each value is a feature of its own beside its magnitude, so many places of the table are learned.
    """

    def __init__(self, size: int = 16_384, rate: float = 0.1) -> None:
        self.table = np.zeros(size)
        self.rate = rate

    def _places(self, x: Mapping[str, Any]) -> dict[int, float]:
        places: dict[int, float] = {0: 1.0}
        for name, value in sorted(x.items()):
            places[zlib.crc32(name.encode()) % len(self.table)] = math.tanh(value)
            places[zlib.crc32(f"{name} {round(value)}".encode()) % len(self.table)] = 1.0
        return places

    def _odds(self, places: Mapping[int, float]) -> float:
        return float(sum(self.table[place] * value for place, value in places.items()))

    def learn_one(self, x: Mapping[str, Any], y: bool) -> None:
        places = self._places(x)
        error = float(y) - 1 / (1 + math.exp(-self._odds(places)))
        for place, value in places.items():
            self.table[place] += self.rate * error * value

    def predict_proba_one(self, x: Mapping[str, Any]) -> dict[bool, float]:
        score = 1 / (1 + math.exp(-self._odds(self._places(x))))
        return {False: 1 - score, True: score}


class Memory:
    """Remembers ``full`` examples, and is big as long; then it forgets them and is small again."""

    def __init__(self, full: int = 5, size: int = 100_000) -> None:
        self.full = full
        self.size = size
        self.seen: list[tuple[float, bool]] = []
        self.ballast = b""
        self.sum = 0.0

    def learn_one(self, x: Mapping[str, Any], y: bool) -> None:
        self.seen.append((sum(x.values()), y))
        self.sum = 0.9 * self.sum + (0.1 if y else 0.0) + 0.01 * math.tanh(self.seen[-1][0])
        self.ballast = bytes(self.size)
        if len(self.seen) >= self.full:
            self.seen.clear()
            self.ballast = b""

    def predict_proba_one(self, x: Mapping[str, Any]) -> dict[bool, float]:  # noqa: ARG002 - the protocol
        score = min(max(self.sum + 0.01 * len(self.seen), 0.0), 1.0)
        return {False: 1 - score, True: score}


#: What is no `Exception` of Python, yet no wish of a person to end the run, and what is one.
ENDINGS: dict[str, BaseException] = {
    "exit": SystemExit(3),
    "cancelled": asyncio.CancelledError("no loop"),
    "interrupt": KeyboardInterrupt(),
}


class Breaking:
    """Works until it has learned ``after`` examples; then it throws, or has a score that is none."""

    def __init__(self, after: int = 3, how: str = "learn") -> None:
        self.after = after
        self.how = how
        self.learned = 0

    def learn_one(self, x: Mapping[str, Any], y: bool) -> None:  # noqa: ARG002 - the protocol
        if self.how == "learn" and self.learned >= self.after:
            msg = "cannot learn that"
            raise ArithmeticError(msg)
        self.learned += 1

    def predict_proba_one(self, x: Mapping[str, Any]) -> dict[bool, float]:  # noqa: ARG002 - the protocol
        if self.learned >= self.after and self.how in ENDINGS:
            raise ENDINGS[self.how]
        if self.learned >= self.after and self.how == "score":
            msg = "cannot score that"
            raise ArithmeticError(msg)
        score = (
            {"nan": math.nan, "inf": math.inf, "high": 1.7}.get(self.how, 0.5)
            if self.learned >= self.after
            else 0.5
        )
        return {False: 1 - score, True: score}


class Picky:
    """Cannot do without the feature x, as some of River's; it throws in the middle of an example."""

    def __init__(self, size: int = 0, error: type[BaseException] = KeyError) -> None:
        self.ballast = bytes(size)
        self.error = error
        self.examples = 0
        self.sum = 0.0

    def learn_one(self, x: Mapping[str, Any], y: bool) -> None:
        self.examples += 1
        if "x" not in x:
            raise self.error
        self.sum += x["x"] if y else -x["x"]

    def predict_proba_one(self, x: Mapping[str, Any]) -> dict[bool, float]:
        if x["x"] > 0.5:
            return {True: math.inf}
        score = 1 / (1 + math.exp(-self.sum / self.examples))
        return {False: 1 - score, True: score}


class Ready:
    """Was trained elsewhere."""

    pretrained = True

    def learn_one(self, x: Mapping[str, Any], y: bool) -> None:
        """Learn nothing more."""

    def predict_proba_one(self, x: Mapping[str, Any]) -> dict[bool, float]:  # noqa: ARG002 - the protocol
        return {False: 0.2, True: 0.8}


class Undecided:
    """Has no opinion before it saw a positive, as River's classifiers say it: an empty answer."""

    def __init__(self) -> None:
        self.positives = 0

    def learn_one(self, x: Mapping[str, Any], y: bool) -> None:  # noqa: ARG002 - the protocol
        self.positives += y

    def predict_proba_one(self, x: Mapping[str, Any]) -> dict[bool, float]:  # noqa: ARG002 - the protocol
        return {True: 0.75, False: 0.25} if self.positives else {}


class Named:
    """Its score follows from the names and values that it sees; it notes what it is taught."""

    pretrained = True
    taught: ClassVar[list[dict[str, float]]] = []

    def score(self, x: Mapping[str, float]) -> float:
        """Of the features that are not missing."""
        text = ",".join(f"{name}={value!r}" for name, value in sorted(x.items()))
        return zlib.crc32(text.encode()) / 2**32

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        score = self.score(x)
        return {False: 1.0 - score, True: score}

    def learn_one(self, x: Mapping[str, float], y: bool) -> None:  # noqa: ARG002 - the protocol
        self.taught.append(dict(x))
