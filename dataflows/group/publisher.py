"""What is published of an asset: which scores are written, and the alerts that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from dataflows.buckets import Buckets
from dataflows.group.alerts import AlertBook, Move

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.plan import Output, Target

__all__ = ["Publisher"]

_KIND = "published"
_Value = TypeVar("_Value")
#: Last score, last time and revision written, and alert of an asset.
Entry: TypeAlias = "tuple[float | None, tuple[int, int] | None, list[Any] | None]"


class Publisher:
    """Decides which predictions of a target are written, and keeps its alerts.

    Args:
        target: the target.
        output: which predictions are published.
        parts: what `part` returned, by bucket; empty for a new target.
    """

    def __init__(self, target: Target, output: Output, parts: Mapping[int, bytes]) -> None:
        self._policy = output.publish
        self._changed_by = output.changed_by
        table = Buckets.read(_KIND, parts)
        #: Last score written, by asset; kept only where the policy asks for it.
        self._last: dict[str, float] = {asset: row[0] for asset, row in table.items() if row[0] is not None}
        #: Time and revision of the last prediction written, by asset; kept only where some are not written.
        self._written: dict[str, tuple[int, int]] = {
            asset: tuple(row[1]) for asset, row in table.items() if row[1] is not None
        }
        kept = {asset: row[2] for asset, row in table.items() if row[2] is not None}
        self._book: AlertBook | None = None
        if target.alert is not None:
            self._book = AlertBook(target.name, target.alert, kept, target.horizon)
        self._buckets = Buckets(_KIND, self.entry)
        self._buckets.restore(table)

    def publishes(self, asset: str, score: float, *, example: bool, moved: bool = False) -> bool:
        """Whether a score is written: by the policy, or because it moved an alert."""
        if self._policy == "all":
            return True
        if self._policy == "grid":
            return example or moved
        last = self._last.get(asset)
        if not moved and last is not None and abs(score - last) < self._changed_by:
            return False
        self._last[asset] = score
        self._buckets.touch(asset)
        return True

    def written(self, asset: str, time: int, revision: int) -> int | None:
        """Note that a prediction is written; return which revision of it was before, None if none was."""
        if self._policy == "all":
            return revision - 1 if revision else None
        before = self._written.get(asset)
        self._written[asset] = (time, revision)
        self._buckets.touch(asset)
        return None if before is None or before[0] != time else before[1]

    def score(self, asset: str, time: int, score: float, revision: int = 0) -> list[Move]:
        """What a score does to the asset's alert."""
        if self._book is None:
            return []
        before = self._book.entry(asset)
        moves = self._book.score(asset, time, score, revision)
        if self._book.entry(asset) != before:
            self._buckets.touch(asset)
        return moves

    def end(self, asset: str, time: int, why: str) -> list[Move]:
        """What a record does to the asset's alert."""
        if self._book is None or self._book.entry(asset) is None:
            return []
        self._buckets.touch(asset)
        return self._book.end(asset, time, why)

    def put_back(self, asset: str, entry: Entry | None) -> None:
        """Set what is known of an asset to what `entry` returned."""
        last, written, alert = entry or (None, None, None)
        _set(self._last, asset, last)
        _set(self._written, asset, written)
        if self._book is not None:
            self._book.put_back(asset, alert)
        self._buckets.touch(asset)

    def forget(self, asset: str) -> None:
        """Let go of an asset whose state was dropped."""
        last, written = self._last.pop(asset, None), self._written.pop(asset, None)
        if last is not None or written is not None:
            self._buckets.touch(asset)

    def open_alerts(self) -> int:
        """How many alerts are open."""
        return 0 if self._book is None else self._book.open_count()

    def entry(self, asset: str) -> Entry | None:
        """Plain data of an asset, None where nothing is known of it."""
        last, written = self._last.get(asset), self._written.get(asset)
        alert = None if self._book is None else self._book.entry(asset)
        known = last is not None or written is not None or alert is not None
        return (last, written, alert) if known else None

    def changed(self) -> list[int]:
        """Buckets to write."""
        return self._buckets.changed()

    def part(self, bucket: int) -> bytes:
        """One bucket, sealed."""
        return self._buckets.bucket(bucket)


def _set(table: dict[str, _Value], key: str, value: _Value | None) -> None:
    """Set what a table holds for a key, None for nothing."""
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
