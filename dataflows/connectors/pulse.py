"""Log the progress of a run every minute. It reads clocks; nothing of that reaches an output."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from dataflows.watch import Watch

__all__ = ["Pulse"]

_EVERY = 60.0
_log = structlog.get_logger()


class Pulse:
    """Log, at most once a minute, lag, rejects by reason, pending examples and the last epoch.

    Args:
        watch: status of the run.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._last = self._epoch = time.monotonic()

    def epoch(self) -> None:
        """Note a snapshot of the source: the epoch before this one is committed, this one is about to be."""
        self._watch.committed()
        self._watch.epochs += 1
        self._epoch = time.monotonic()

    def beat(self) -> None:
        """Write the line if a minute has passed."""
        now = time.monotonic()
        if now - self._last < _EVERY:
            return
        self._last = now
        watch = self._watch
        arrival = watch.arrival()
        _log.info(
            "progress",
            records=watch.records,
            lag_seconds=None if arrival is None else round(time.time() - arrival / 1e6, 1),
            behind=watch.behind(),
            rejected=dict(sorted(watch.rejected.items())),
            pending=watch.pending(),
            epochs=watch.epochs,
            seconds_since_epoch=round(now - self._epoch, 1),
        )
