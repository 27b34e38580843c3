"""The life cycle of alerts (opened, updated, cleared), and which scores are published.

An alert opens when the score has stayed at or above one threshold for a dwell of event time. It clears when
the score has stayed below a lower threshold for as long. A failure of that mode, maintenance of that
component, retirement or silence clears it at once. One alert is open per asset and target.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from dataflows.outputs import AlertState
from dataflows.state.snapshots import Kind
from dataflows.state.tables import Buckets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dataflows.fleet.fleet import Alert, Output, Target

__all__ = ["PUBLISHED", "REPORTS", "AlertBook", "AlertChange", "Publisher"]

#: Buckets of `Publisher.entry`.
PUBLISHED: Kind[None] = Kind("published", 2)

#: Records with an event time of their own: one from long before the alert does not clear it.
REPORTS = frozenset({"failure", "maintenance"})


class _State(msgspec.Struct):
    """State of one asset.

    Attributes:
        above: event time since when the score has been at or above ``open``.
        below: event time since when it has been below ``clear``, while an alert is open.
        id: of the open alert.
        opened: event time at which it opened.
        last: score in the last row.
    """

    above: int | None = None
    below: int | None = None
    id: str | None = None
    opened: int | None = None
    last: float = 0.0


class AlertChange(msgspec.Struct, frozen=True):
    """One change in the life of an alert.

    Attributes:
        state: ``opened``, ``updated`` or ``cleared``.
        id: the same over the whole life.
        why: the reason: ``score``, ``score rose``, ``score fell``, or the record that cleared it.
        opened: event time at which it opened.
        time: event time of this change.
        score: the score that changed it; the last one where a record cleared it.
        threshold: the one that was crossed, None where a record cleared it.
    """

    state: AlertState
    id: str
    why: str
    opened: int
    time: int
    score: float
    threshold: float | None


class AlertBook:
    """The alerts of one target.

    Args:
        target: its name.
        alert: thresholds and dwell.
        stored: return values of `entry`, by asset; empty for a new book.
        horizon: microseconds; a failure or maintenance at most this long before an alert clears it too, since
            the scores that opened it may have predicted that record.
    """

    def __init__(self, target: str, alert: Alert, stored: dict[str, list[Any]], horizon: int = 0) -> None:
        self._target = target
        self._alert = alert
        self._horizon = horizon
        self._states = {asset: _State(*state) for asset, state in stored.items()}

    def score(self, asset: str, time: int, score: float, revision: int = 0) -> list[AlertChange]:
        """Update the alert of an asset by a score at an event time, the first of that time or a revision."""
        state = self._states.get(asset)
        if state is None:
            if score < self._alert.open:
                return []
            state = self._states[asset] = _State()
        if state.id is None:
            return self._closed(asset, state, time, score, revision)
        return self._opened(asset, state, time, score)

    def _closed(self, asset: str, state: _State, time: int, score: float, revision: int) -> list[AlertChange]:
        if score < self._alert.open:
            del self._states[asset]
            return []
        if state.above is None:
            state.above = time
        if time - state.above < self._alert.dwell:
            return []
        state.id = _alert_id(asset, self._target, time, revision)
        state.opened, state.above, state.below, state.last = time, None, None, score
        return [self._change(state, "opened", "score", time, score, self._alert.open)]

    def _opened(self, asset: str, state: _State, time: int, score: float) -> list[AlertChange]:
        if score < self._alert.clear:
            if state.below is None:
                state.below = time
            if time - state.below >= self._alert.dwell:
                del self._states[asset]
                return [self._change(state, "cleared", "score", time, score, self._alert.clear)]
            return []
        state.below = None
        if abs(score - state.last) < self._alert.update_by:
            return []
        why = "score rose" if score > state.last else "score fell"
        state.last = score
        return [self._change(state, "updated", why, time, score, self._alert.open)]

    def clear(self, asset: str, time: int, why: str) -> list[AlertChange]:
        """Clear the alert of an asset, open or in its dwell; a report from a horizon before it does not."""
        state = self._states.get(asset)
        if state is None:
            return []
        since = state.above if state.opened is None else state.opened
        if since is not None and time < since:
            if why in REPORTS and time <= since - self._horizon:
                return []
            # The report came late, or the asset's clock is ahead of the arrival time at which it was retired,
            # changed its class or fell silent.
            time = since
        del self._states[asset]
        if state.id is None:
            return []
        return [self._change(state, "cleared", why, time, state.last, None)]

    def watches(self, assets: Sequence[str], scores: Sequence[float | None]) -> list[int]:
        """Return which scores of a run, given to `score` one after the other, may change anything.

        Args:
            assets: of each score.
            scores: None where there is none.
        """
        least, states = self._alert.open, self._states
        warned: set[str] = set()
        found = []
        for number, (asset, score) in enumerate(zip(assets, scores, strict=True)):
            if score is not None and (score >= least or asset in states or asset in warned):
                warned.add(asset)
                found.append(number)
        return found

    def is_open(self, asset: str) -> bool:
        """Whether an alert is open for the asset."""
        state = self._states.get(asset)
        return state is not None and state.id is not None

    def open_count(self) -> int:
        """Number of open alerts."""
        return sum(state.id is not None for state in self._states.values())

    def open_scores(self) -> dict[str, float]:
        """Score in the last row of each open alert, by asset."""
        return {asset: state.last for asset, state in self._states.items() if state.id is not None}

    def entry(self, asset: str) -> list[Any] | None:
        """Return the state of one asset as plain data, None where it has none."""
        state = self._states.get(asset)
        return None if state is None else list(msgspec.structs.astuple(state))

    def restore(self, asset: str, entry: list[Any] | None) -> None:
        """Set the state of one asset to a return value of `entry`."""
        if entry is None:
            self._states.pop(asset, None)
        else:
            self._states[asset] = _State(*entry)

    @staticmethod
    def _change(
        state: _State, what: AlertState, why: str, time: int, score: float, threshold: float | None
    ) -> AlertChange:
        return AlertChange(what, state.id or "", why, state.opened or 0, time, score, threshold)


def _alert_id(asset: str, target: str, opened: int, revision: int) -> str:
    # With its revision: revisions of one time can clear an alert, and open another.
    text = f"alert\x1f{asset}\x1f{target}\x1f{opened}\x1f{revision}"
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


_Value = TypeVar("_Value")
#: Last score, last time and revision written, and alert of an asset.
Entry: TypeAlias = "tuple[float | None, tuple[int, int] | None, list[Any] | None]"


class Publisher:
    """Decides which predictions of a target are written, and holds its alerts.

    Args:
        target: the target.
        output: which predictions are published.
        parts: return values of `part`, by bucket; empty for a new target.
    """

    def __init__(self, target: Target, output: Output, parts: Mapping[int, bytes]) -> None:
        self._policy = output.publish
        self._changed_by = output.changed_by
        table = Buckets.read(PUBLISHED, parts)
        #: Last score written, by asset; only under a policy that needs it.
        self._last: dict[str, float] = {asset: row[0] for asset, row in table.items() if row[0] is not None}
        #: Time and revision of the last prediction written, by asset; only where some are not written.
        self._written: dict[str, tuple[int, int]] = {
            asset: tuple(row[1]) for asset, row in table.items() if row[1] is not None
        }
        stored = {asset: row[2] for asset, row in table.items() if row[2] is not None}
        self._book: AlertBook | None = None
        if target.alert is not None:
            self._book = AlertBook(target.name, target.alert, stored, target.horizon)
        self._buckets = Buckets(PUBLISHED, self.entry)
        self._buckets.restore(table)

    def publishes(self, asset: str, score: float, *, example: bool, alerts: bool = False) -> bool:
        """Whether a score is written: by the policy, or because it changes an alert."""
        if self._policy == "all":
            return True
        if self._policy == "grid":
            return example or alerts
        last = self._last.get(asset)
        if not alerts and last is not None and abs(score - last) < self._changed_by:
            return False
        self._last[asset] = score
        self._buckets.touch(asset)
        return True

    def written(self, asset: str, time: int, revision: int) -> int | None:
        """Record a prediction as written; return its revision that was written before, None if none was."""
        if self._policy == "all":
            return revision - 1 if revision else None
        before = self._written.get(asset)
        self._written[asset] = (time, revision)
        self._buckets.touch(asset)
        return None if before is None or before[0] != time else before[1]

    def score(self, asset: str, time: int, score: float, revision: int = 0) -> list[AlertChange]:
        """Update the alert of an asset by a score; see `AlertBook.score`."""
        if self._book is None:
            return []
        before = self._book.entry(asset)
        changes = self._book.score(asset, time, score, revision)
        if self._book.entry(asset) != before:
            self._buckets.touch(asset)
        return changes

    def watches(self, assets: Sequence[str], scores: Sequence[float | None]) -> Iterable[int]:
        """Return which scores of a run are not just written: they may change an alert, or what is written.

        Args:
            assets: of each score.
            scores: None where the prior answered.
        """
        if self._policy != "all":
            return range(len(assets))
        return () if self._book is None else self._book.watches(assets, scores)

    def clear(self, asset: str, time: int, why: str) -> list[AlertChange]:
        """Clear the alert of an asset; see `AlertBook.clear`."""
        if self._book is None or self._book.entry(asset) is None:
            return []
        self._buckets.touch(asset)
        return self._book.clear(asset, time, why)

    def restore(self, asset: str, entry: Entry | None) -> None:
        """Set the state of an asset to a return value of `entry`."""
        last, written, alert = entry or (None, None, None)
        _set(self._last, asset, last)
        _set(self._written, asset, written)
        if self._book is not None:
            self._book.restore(asset, alert)
        self._buckets.touch(asset)

    def forget(self, asset: str) -> None:
        """Drop the state of an asset, except for its alert."""
        last, written = self._last.pop(asset, None), self._written.pop(asset, None)
        if last is not None or written is not None:
            self._buckets.touch(asset)

    def open_alerts(self) -> int:
        """Number of open alerts."""
        return 0 if self._book is None else self._book.open_count()

    def open_scores(self) -> dict[str, float]:
        """Score in the last row of each open alert, by asset."""
        return {} if self._book is None else self._book.open_scores()

    def entry(self, asset: str) -> Entry | None:
        """Return the state of an asset as plain data, None where it has none."""
        last, written = self._last.get(asset), self._written.get(asset)
        alert = None if self._book is None else self._book.entry(asset)
        known = last is not None or written is not None or alert is not None
        return (last, written, alert) if known else None

    def changed(self) -> list[int]:
        """Return the buckets to write."""
        return self._buckets.changed()

    def part(self, bucket: int) -> bytes:
        """Return the snapshot of one bucket."""
        return self._buckets.bucket(bucket)


def _set(table: dict[str, _Value], key: str, value: _Value | None) -> None:
    """Set the value of a key; None removes it."""
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
