"""What a running dataflow and the person who started it tell each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Watch"]


@dataclass
class Watch:
    """Shared by the steps of one process and whoever watches them.

    Attributes:
        stop: set it to end the input before its next batch, at an epoch boundary.
        records: read so far, also by earlier runs on the same store.
        done: bytes read so far of the files as they lie on disk.
        epochs: snapshots taken by this process.
        rejected: rows of the rejects and late outputs that this process wrote, by reason.
        arrival: the last arrival, None without arrivals.
        pending: examples that wait for their label.
        behind: messages that are there and were not read; None where that is not known.
        at_epoch: called when all that was snapshotted so far, by whatever step, is committed.
    """

    stop: bool = False
    records: int = 0
    done: int = 0
    epochs: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    arrival: Callable[[], int | None] = lambda: None
    pending: Callable[[], int] = lambda: 0
    behind: Callable[[], int | None] = lambda: None
    at_epoch: list[Callable[[], None]] = field(default_factory=list)

    def committed(self) -> None:
        """All that was snapshotted so far is committed."""
        for told in self.at_epoch:
            told()
