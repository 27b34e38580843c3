"""What a running dataflow and the person who started it tell each other."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Intake", "Refused", "Watch"]

#: After so many records without a usable one a run ends: they are not what the fleet was made for.
_HOPELESS = 1_000
#: Kinds of refusals of which an example is kept.
_EXAMPLES = 32
_NUMBERS = re.compile(r"[\d.,]+|'[^']*'")


@dataclass
class Refused:
    """Records that a lane refused for one reason.

    Attributes:
        reason: the code.
        detail: of the first of them.
        position: of the first of them: source, line, byte.
        count: how many there were.
    """

    reason: str
    detail: str
    position: tuple[str, int, int]
    count: int = 0


@dataclass
class Intake:
    """What a lane used and refused in this process, registry rows apart.

    Attributes:
        before: whether runs before this one used a record.
        used: records that were accepted.
        registered: registry rows that were accepted.
        refused: records that were not.
    """

    before: bool = False
    used: int = 0
    registered: int = 0
    refused: int = 0
    _kinds: dict[tuple[str, str], Refused] = field(default_factory=dict)

    def refuse(self, reason: str, detail: str, position: tuple[str, int, int]) -> None:
        """Count a refused record; of each kind the first is kept as an example."""
        self.refused += 1
        kind = reason, _NUMBERS.sub("", detail)[:80]
        found = self._kinds.get(kind)
        if found is None and len(self._kinds) < _EXAMPLES:
            found = self._kinds[kind] = Refused(reason, detail, position)
        if found is not None:
            found.count += 1

    def commonest(self, most: int) -> list[Refused]:
        """The commonest kinds of refusals, the most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: -kind.count)[:most]

    def hopeless(self) -> bool:
        """Whether so many records were refused, and none was ever used, that the run should end."""
        return self.refused >= _HOPELESS and not self.used and not self.before


@dataclass
class Watch:
    """Shared by the steps of one process and whoever watches them.

    Attributes:
        stop: set it to end the input before its next batch, at an epoch boundary.
        records: read so far, also by earlier runs on the same store.
        began: those of them that earlier runs read.
        done: bytes read so far of the files as they lie on disk.
        epochs: snapshots taken by this process.
        intake: what the lane used and refused.
        rejected: rows of the rejects and late outputs that this process wrote, by reason.
        arrival: the last arrival, None without arrivals.
        pending: examples that wait for their label.
        behind: messages that are there and were not read; None where that is not known.
        at_epoch: called when all that was snapshotted so far, by whatever step, is committed.
    """

    stop: bool = False
    records: int = 0
    began: int = 0
    done: int = 0
    epochs: int = 0
    intake: Intake = field(default_factory=Intake)
    rejected: Counter[str] = field(default_factory=Counter)
    arrival: Callable[[], int | None] = lambda: None
    pending: Callable[[], int] = lambda: 0
    behind: Callable[[], int | None] = lambda: None
    at_epoch: list[Callable[[], None]] = field(default_factory=list)

    def committed(self) -> None:
        """All that was snapshotted so far is committed."""
        for told in self.at_epoch:
            told()
