"""What was finished before the groups, on its way to the outputs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import structlog

from dataflows.instants import format_instant
from dataflows.items import Counted, Item, LanePeriod, Late, Row, by_order, encode
from dataflows.state.snapshots import seal, unseal
from dataflows.target.rows import basis

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Gone", "Passing"]

_VERSION = 3
#: Version 2 counted no corrections, and not by kind what assets could not use.
_OLDER = {2: lambda state: {**state, "counted": {}, "refused": {}, "refused_lately": {}}}
_log = structlog.get_logger()


class Passing:
    """A stage that hands on rows, and counts what lane and assets could not use or merged late.

    Args:
        main: what `main_snapshot` returned, None for a new stage.
    """

    def __init__(self, main: bytes | None) -> None:
        state: dict[str, Any] = {} if main is None else unseal("passing", _VERSION, main, _OLDER)
        #: By reason, in all and in the open period of the metrics.
        self._rejected: Counter[str] = Counter(state.get("rejected"))
        self._lately: Counter[str] = Counter(state.get("lately"))
        #: Events that came late and were merged, likewise.
        self._late: int = state.get("late", 0)
        self._late_lately: int = state.get("late_lately", 0)
        self._counted: Counter[str] = Counter(state.get("counted"))
        #: By kind: what the lane accepted and an asset could not use, in all and in the open period.
        self._refused: Counter[str] = Counter(state.get("refused"))
        self._refused_lately: Counter[str] = Counter(state.get("refused_lately"))

    def process(self, items: list[Item]) -> list[Item]:
        """The same rows, with one of the metrics for each period of the lane."""
        items.sort(key=by_order)
        out = []
        for item in items:
            body = item.body
            if isinstance(body, Late):
                self._late += 1
                self._late_lately += 1
                continue
            if isinstance(body, Counted):
                self._counted[body.what] += body.by
                continue
            if isinstance(body, LanePeriod):
                item.body = self._metrics(item, body)
            elif isinstance(body, Row) and body.reason is not None:
                self._rejected[body.reason] += 1
                self._lately[body.reason] += 1
                if body.kind is not None:
                    self._refused[body.kind] += 1
                    self._refused_lately[body.kind] += 1
            out.append(item)
        return out

    def _metrics(self, item: Item, period: LanePeriod) -> Row:
        """The row of a period; what several workers reject at its very end may count in the next."""
        lately = self._refused_lately
        row = {
            "kind": "lane",
            "lane": period.lane,
            "from": format_instant(period.start),
            "to": format_instant(period.end),
            "by_kind": {kind: count - lately[kind] for kind, count in period.by_kind.items()},
            "late": self._late_lately,
            "rejected": dict(sorted(self._lately.items())),
            **({} if period.clocks is None else {"clocks": period.clocks}),
            "known": format_instant(item.known),
            **basis(item, None),
        }
        self._late_lately = 0
        self._lately.clear()
        lately.clear()
        _log.info("metrics", **row)
        return Row("metrics", encode(row))

    def changed(self) -> Iterable[int]:
        """Nothing ever: there are no parts."""
        return ()

    def main_snapshot(self) -> bytes:
        """The counts."""
        state = {
            "rejected": self._rejected,
            "lately": self._lately,
            "late": self._late,
            "late_lately": self._late_lately,
            "counted": self._counted,
            "refused": self._refused,
            "refused_lately": self._refused_lately,
        }
        return seal("passing", _VERSION, state)

    def part_snapshot(self, part: int) -> bytes:  # noqa: ARG002 - the protocol of a stage in parts
        """Nothing."""
        return b""

    def finish(self) -> list[Item]:
        """What could not be used, and what came late, for the summary."""
        told = {
            "rejected": dict(sorted(self._rejected.items())),
            "late": self._late,
            "corrections": self._counted["corrections"],
            # Added to what the lane accepted.
            "by_kind": {kind: -count for kind, count in sorted(self._refused.items())},
        }
        body = Row("summary", encode({"input": told}))
        return [Item(0, 0, None, 0, ("", 0, 0), body)]


class Gone:
    """A target that is no longer configured: what is stored of it stays, and is believed no more.

    Args:
        main: what `TargetStage.main_snapshot` returned.
    """

    def __init__(self, main: bytes | None) -> None:
        self._main = main or b""

    def process(self, items: list[Item]) -> list[Item]:  # noqa: ARG002 - the protocol of a stage in parts
        """Nothing comes of it."""
        return []

    def changed(self) -> Iterable[int]:
        """Nothing ever."""
        return ()

    def main_snapshot(self) -> bytes:
        """As it was."""
        return self._main

    def part_snapshot(self, part: int) -> bytes:  # noqa: ARG002 - as above
        """Nothing."""
        return b""

    def finish(self) -> list[Item]:
        """Nothing to say."""
        return []
