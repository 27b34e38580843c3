"""The models of one target at work, and examples for them to learn."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from dataflows.state.snapshots import seal
from dataflows.target.models import RENEW_AFTER, Learned, ModelSet
from tests.target.fleets import FEATURES, vector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataflows.fleet.fleet import Model


class Bench:
    """A scorer with what the ledger and the engine do around it: features are kept, parts are written."""

    def __init__(
        self,
        models: Iterable[Model],
        renew_after: int = RENEW_AFTER,
        kind: type[ModelSet] = ModelSet,
    ) -> None:
        self.models = tuple(models)
        self.renew_after = renew_after
        self.kind = kind
        self.features: dict[tuple[str, int], bytes] = {}
        self.served: dict[tuple[str, int], dict[str, float | None]] = {}
        self.parts: dict[int, bytes] = {}
        self.main: dict[str, Any] | None = None
        self.log: tuple[list[Learned], int] | None = None
        self.awake: set[int] = set()
        self.learned = 0
        self.open()

    def open(self, models: Iterable[Model] | None = None) -> None:
        """A new process, from what is written."""
        self.models = self.models if models is None else tuple(models)
        self.scorer = self.kind(
            "pump/leak/4h",
            self.models,
            FEATURES,
            self.main,
            self.parts,
            renew_after=self.renew_after,
        )
        if self.log is not None:
            log, start = self.log
            served = {key: (features, self.served.get(key, {})) for key, features in self.features.items()}
            self.scorer.replay(list(log), start, served)
        assert self.scorer.log_start + len(self.scorer.log) == self.scorer.learned
        self.awake.clear()
        self.learned = self.scorer.learned

    def learn(self, number: int, scores: dict[str, float | None] | None = None) -> None:
        """Learn the example of this number, and cut the log, as the group does."""
        features, label = example(number)
        self.features["a", number] = features
        self.served["a", number] = scores or {}
        self.scorer.learn("a", number, features, label, scores or {})
        for asset, time, *_ in self.scorer.trim():
            del self.features[asset, time]
        self.awake.update(self.scorer.changed())

    def end_epoch(self) -> dict[int, int]:
        """Write what changed; return the bytes by part, the log under -1."""
        self.awake.update(self.scorer.changed())
        written = {part: self.scorer.part(part) for part in self.awake}
        self.awake.clear()
        self.parts.update(written)
        self.main = self.scorer.main_state()
        sizes = {part: len(data) for part, data in written.items()}
        if self.scorer.learned != self.learned and self.scorer.log:
            self.log = (list(self.scorer.log), self.scorer.log_start)
            sizes[-1] = len(seal("log", 1, self.log))
        self.learned = self.scorer.learned
        return sizes

    def scores(self, count: int = 5) -> list[dict[str, tuple[float | None, str]]]:
        return [self.scorer.answers(example(-1 - number)[0]) for number in range(count)]


def example(number: int) -> tuple[bytes, int]:
    """Features and label of the example of a number, the same in every run."""
    draw = random.Random(number)
    label = int(draw.random() < 0.3)
    values = [draw.gauss(2.0 * label, 1) if draw.random() < 0.9 else math.nan for _ in FEATURES]
    return vector(*values), label
