"""Metrics of a lane by period: accepted events by kind, late ones, and rejects by reason."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import structlog
from msgspec import UNSET

from dataflows.instants import format_instant
from dataflows.items import Counted, Item, LanePeriod, Late, Row, by_order, row_of, summary_row
from dataflows.outputs import IntakeMetrics, fields_of, time_or_none
from dataflows.state.snapshots import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LANE_METRICS", "LaneMetrics"]

#: Snapshots of `LaneMetrics`; their name is that of the stage that held these counts in former releases.
#: Version 2 counted no corrections, and not by kind what assets could not use.
LANE_METRICS: Kind[None] = Kind(
    "passing", 3, {2: lambda state: {**state, "counted": {}, "refused": {}, "refused_lately": {}}}
)
_log = structlog.get_logger()


class LaneMetrics:
    """Counts what lane and assets rejected or merged late, and writes the metrics of each period of the lane.

    The lane counts the events that it accepts. Only the assets know which of them are late or rejected. So
    the row of a period is made here, from both.

    Args:
        main: result of `main_snapshot`, None for a new stage.
    """

    def __init__(self, main: bytes | None) -> None:
        state: dict[str, Any] = {} if main is None else LANE_METRICS.unseal(main)
        #: Rejects by reason, in all and in the open period.
        self._rejected: Counter[str] = Counter(state.get("rejected"))
        self._rejected_lately: Counter[str] = Counter(state.get("lately"))
        #: Late events that were merged, likewise.
        self._late: int = state.get("late", 0)
        self._late_lately: int = state.get("late_lately", 0)
        self._counted: Counter[str] = Counter(state.get("counted"))
        #: Events by kind that the lane accepted and an asset rejected, likewise.
        self._refused: Counter[str] = Counter(state.get("refused"))
        self._refused_lately: Counter[str] = Counter(state.get("refused_lately"))

    def process(self, items: list[Item]) -> list[Item]:
        """Count items of lane and assets; return a row of the metrics for each period that ended."""
        items.sort(key=by_order)
        out = []
        for item in items:
            body = item.body
            if isinstance(body, Late):
                self._late += 1
                self._late_lately += 1
            elif isinstance(body, Counted):
                self._counted[body.what] += body.by
            elif isinstance(body, LanePeriod):
                row = self._close(item, body)
                out.append(Item(item.sequence, item.part, item.arrival, item.known, item.position, row))
            elif isinstance(body, Row) and body.reason is not None:
                self._rejected[body.reason] += 1
                self._rejected_lately[body.reason] += 1
                if body.kind is not None:
                    self._refused[body.kind] += 1
                    self._refused_lately[body.kind] += 1
        return out

    def _close(self, item: Item, period: LanePeriod) -> Row:
        """Make the row of a period; with several workers, rejects at its end may count in the next."""
        lately = self._refused_lately
        row = IntakeMetrics(
            lane=period.lane,
            start=format_instant(period.start),
            end=format_instant(period.end),
            by_kind={kind: count - lately[kind] for kind, count in period.by_kind.items()},
            late=self._late_lately,
            rejected=dict(sorted(self._rejected_lately.items())),
            clocks=UNSET if period.clocks is None else period.clocks,
            known=format_instant(item.known),
            sequence=item.sequence,
            arrival=time_or_none(item.arrival),
            watermark=None,
        )
        self._late_lately = 0
        self._rejected_lately.clear()
        lately.clear()
        _log.info("metrics", **fields_of(row))
        return row_of(row)

    def changed(self) -> Iterable[int]:
        """Return no parts: all of the state is in the main snapshot."""
        return ()

    def main_snapshot(self) -> bytes:
        """Counts, in all and in the open period."""
        state = {
            "rejected": self._rejected,
            "lately": self._rejected_lately,
            "late": self._late,
            "late_lately": self._late_lately,
            "counted": self._counted,
            "refused": self._refused,
            "refused_lately": self._refused_lately,
        }
        return LANE_METRICS.seal(state)

    def part_snapshot(self, part: int) -> bytes:  # noqa: ARG002 - the protocol of a stage in parts
        """Return nothing: there are no parts."""
        return b""

    def finish(self) -> list[Item]:
        """Counts for the summary."""
        counts = {
            "rejected": dict(sorted(self._rejected.items())),
            "late": self._late,
            "corrections": self._counted["corrections"],
            # Added to what the lane accepted.
            "by_kind": {kind: -count for kind, count in sorted(self._refused.items())},
        }
        body = summary_row({"input": counts})
        return [Item(0, 0, None, 0, ("", 0, 0), body)]
