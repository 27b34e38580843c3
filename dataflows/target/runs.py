"""Runs: rows of several assets in the order of effect, which a target scores together.

A target gets blocks of the rows of assets. `ScoredRows` merges them by (sequence, part). Nearly every row
only moves the label clock and is scored, so a run of them, in which no model can change, is scored with one
call of a model, and its predictions are made together. Where anything else may happen, a row is taken as an
observation of its own (`ScoredRows.item`).
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain
from typing import TYPE_CHECKING, cast

import numpy as np

from dataflows.items import ClockMoved, Item, Observation, ScoredTable, ScoreRequest, asset_part
from dataflows.outputs import Prediction, prediction_id, prediction_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataflows.items import Row, Scores
    from dataflows.outputs import Link
    from dataflows.target.models import Answer

    Order = tuple[int, int]

__all__ = ["ScoredRows"]


class ScoredRows:
    """The rows of some blocks for one target, in the order of effect.

    Args:
        target: its name.
        blocks: of the target; each is in order.

    Attributes:
        assets: name of the asset of each row.
        features: float64 (rows, features of the class).
    """

    def __init__(self, target: str, blocks: Sequence[Scores]) -> None:
        self._target = target
        self._shift = asset_part(0, blocks[0].index) if blocks else 0
        tables = [block.table for block in blocks]
        self._table = tables[0] if len(tables) == 1 else _merged(tables)
        self.assets, self.features = self._table.assets, self._table.features
        self._rows = self._table.rows

    def __len__(self) -> int:
        return len(self._rows)

    def order(self, row: int) -> Order:
        """Return the place of a row in the order of effect."""
        sequence, part = self._rows[row][:2]
        return sequence, part + self._shift

    def before(self, order: Order) -> int:
        """Return the number of rows before a place in the order of effect."""
        first, stop = 0, len(self._rows)
        while first < stop:
            middle = (first + stop) // 2
            if self.order(middle) < order:
                first = middle + 1
            else:
                stop = middle
        return first

    def item(self, row: int) -> Item:
        """Return a row as an observation."""
        found = self._rows[row]
        sequence, part, arrival, known, position, watermark, clock, resting, time, revision, example = found
        score = ScoreRequest(time, self.features[row].tobytes(), revision, example)
        effects = (score,) if clock is None else (ClockMoved(clock), score)
        body = Observation(self.assets[row], self._target, watermark, effects, resting)
        return Item(sequence, part + self._shift, arrival, known, position, body)

    def known(self, row: int) -> int:
        """Return the largest knowledge time up to a row."""
        return int(self._table.known[row])

    def clock(self, row: int) -> int | None:
        """Return the largest label clock up to a row, None where none has one."""
        return self._table.clock(row)

    def examples(self, first: int, stop: int) -> list[int]:
        """Return the rows from ``first`` to before ``stop`` that are examples."""
        found = self._table.examples
        return found[bisect_left(found, first) : bisect_left(found, stop)]

    def revisions(self, first: int, stop: int) -> list[int]:
        """Return the rows from ``first`` to before ``stop`` that are scored again."""
        found = self._table.revisions
        return found[bisect_left(found, first) : bisect_left(found, stop)]

    def before_example(self, first: int, stop: int) -> int:
        """Return the first example from a row on, or ``stop`` where there is none before it."""
        return min([stop, *self.examples(first, stop)[:1]])

    def pass_lanes(self, first: int, stop: int, lasts: list[Order]) -> int:
        """Move the last place of each lane to the rows from ``first`` to before ``stop``.

        Args:
            first: the first of these rows.
            stop: see ``first``.
            lasts: last place of each lane; it is changed.

        Returns:
            How many of the rows have no place after the last one of their lane.
        """
        lanes, out_of_order = len(lasts), 0
        lane_of = self._table.sequences[first:stop] % lanes
        for lane, last in enumerate(lasts):
            rows = first + np.flatnonzero(lane_of == lane)
            if len(rows):
                out_of_order += int(np.searchsorted(rows, self.before((last[0], last[1] + 1))))
                lasts[lane] = max(last, self.order(int(rows[-1])))
        return out_of_order

    def run(
        self, first: int, stop: int, after: Order | None, known: int, due: int | None, clock: int | None
    ) -> int:
        """Return the end of the run that begins with a row: up to there, rows are only scored.

        Args:
            first: the row; returned where it is no run.
            stop: the run ends before this row.
            after: place of the last observation of the target, None where no order is promised.
            known: knowledge time with which the period of the metrics ends.
            due: label clock beyond which a model changes; None where none does.
            clock: the target clock.
        """
        if not self._table.ascends or (after is not None and self.order(first) <= after):
            return first
        stop = min(stop, int(np.searchsorted(self._table.known, known, "right")))
        if due is not None:
            if clock is not None and clock > due:
                return first
            stop = min(stop, int(np.searchsorted(self._table.clocks, due, "right")))
        if self._table.rests:
            stop = self._until_resting(first, stop, clock)
        return max(first, stop)

    def _until_resting(self, first: int, stop: int, clock: int | None) -> int:
        """Return the first row at which resting assets move the target clock."""
        for row in range(first, stop):
            resting = self._rows[row][7]
            if resting is not None and (clock is None or resting > clock):
                return row
            its = self._rows[row][6]
            if its is not None and (clock is None or its > clock):
                clock = its
        return stop

    def predictions(
        self, rows: Sequence[int], answers: Sequence[Answer], first: int, champion: tuple[str, int]
    ) -> list[Prediction]:
        """Return the predictions of rows; all of them are published.

        Args:
            rows: their numbers.
            answers: scores and links from row ``first`` on; these rows have a score.
            first: see ``answers``.
            champion: name and version of the model.
        """
        chosen = [self._rows[row] for row in rows]
        assets = [self.assets[row] for row in rows]
        shown = self._table.shown
        target, (model, version) = self._target, champion
        revisions = [row[9] for row in chosen]
        ids = prediction_ids(assets, target, [row[8] for row in chosen], revisions)
        scored = cast("list[tuple[float, Link]]", [answers[row - first] for row in rows])
        return [
            Prediction(
                id=identity,
                asset=asset,
                target=target,
                time=shown[time],
                score=score,
                model=model,
                version=version,
                link=link,
                revision=revision,
                revises=prediction_id(asset, target, time, revision - 1) if revision else None,
                sequence=sequence,
                arrival=shown.get(arrival),
                watermark=shown.get(watermark),
            )
            for identity, asset, (score, link), (
                sequence,
                _,
                arrival,
                _,
                _,
                watermark,
                _,
                _,
                time,
                revision,
                _,
            ) in zip(ids, assets, scored, chosen, strict=True)
        ]

    def placed(self, rows: Sequence[int], bodies: Sequence[Row]) -> list[Item]:
        """Return what is written of some rows, one each, at their places."""
        shift = self._shift
        return [
            Item(sequence, part + shift, arrival, known, position, body)
            for (sequence, part, arrival, known, position, _, _, _, _, _, _), body in zip(
                [self._rows[row] for row in rows], bodies, strict=True
            )
        ]


def _merged(tables: Sequence[ScoredTable]) -> ScoredTable:
    return ScoredTable.merged(
        [*chain.from_iterable(table.assets for table in tables)],
        [*chain.from_iterable(table.rows for table in tables)],
        [table.features for table in tables],
    )
