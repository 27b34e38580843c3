"""Runs: rows of several assets in the order of effect, which a target scores together.

A target gets blocks of the rows of assets. `ScoredRows` merges them by (sequence, part). Nearly every row
only moves the label clock and is scored, so a run of them, in which no model can change, is scored with one
call of a model, and its predictions are made together. Where anything else may happen, a row is taken as an
observation of its own (`ScoredRows.item`).
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dataflows.instants import format_instants
from dataflows.items import ClockMoved, Item, Observation, ScoreRequest, asset_part, merged
from dataflows.outputs import Prediction, prediction_id, prediction_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataflows.items import Row, ScoredRow, Scores
    from dataflows.target.models import Answer

    Order = tuple[int, int]

__all__ = ["ScoredRows"]

#: Before every instant.
_NEVER = np.iinfo(np.int64).min


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
        shift = asset_part(0, blocks[0].index) if blocks else 0
        assets, rows, self.features = merged(
            [*chain.from_iterable(block.assets for block in blocks)],
            [*chain.from_iterable(block.rows for block in blocks)],
            [block.features for block in blocks] or [np.empty((0, 0))],
        )
        parts = np.array([row[1] for row in rows], dtype=np.int64) + shift
        sequences = np.array([row[0] for row in rows], dtype=np.int64)
        self.assets = assets
        self._rows: list[ScoredRow] = rows
        self._parts: list[int] = parts.tolist()
        self._sequences: list[int] = sequences.tolist()
        columns: list[tuple[Any, ...]] = [*zip(*rows, strict=True)] or [()] * 11
        #: Largest knowledge time and label clock up to each row.
        self._known = np.maximum.accumulate(np.array(columns[3], dtype=np.int64))
        clocks = columns[6]
        if None in clocks:
            clocks = tuple(_NEVER if clock is None else clock for clock in clocks)
        self._clocks = np.maximum.accumulate(np.array(clocks, dtype=np.int64))
        self._rests = columns[7].count(None) < len(rows)
        self._revisions: list[int] = np.flatnonzero(columns[9]).tolist()
        self._examples: list[int] = np.flatnonzero(columns[10]).tolist()
        ascends = (np.diff(sequences) > 0) | ((np.diff(sequences) == 0) & (np.diff(parts) > 0))
        self._ascends = bool(ascends.all())

    def __len__(self) -> int:
        return len(self._rows)

    def order(self, row: int) -> Order:
        """Return the place of a row in the order of effect."""
        return self._sequences[row], self._parts[row]

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
        _, _, arrival, known, position, watermark, clock, resting, time, revision, example = self._rows[row]
        score = ScoreRequest(time, self.features[row].tobytes(), revision, example)
        effects = (score,) if clock is None else (ClockMoved(clock), score)
        body = Observation(self.assets[row], self._target, watermark, effects, resting)
        return Item(self._sequences[row], self._parts[row], arrival, known, position, body)

    def known(self, row: int) -> int:
        """Return the largest knowledge time up to a row."""
        return int(self._known[row])

    def clock(self, row: int) -> int | None:
        """Return the largest label clock up to a row, None where none has one."""
        clock = int(self._clocks[row])
        return None if clock == _NEVER else clock

    def examples(self, first: int, stop: int) -> list[int]:
        """Return the rows from ``first`` to before ``stop`` that are examples."""
        return self._examples[bisect_left(self._examples, first) : bisect_left(self._examples, stop)]

    def revisions(self, first: int, stop: int) -> list[int]:
        """Return the rows from ``first`` to before ``stop`` that are scored again."""
        return self._revisions[bisect_left(self._revisions, first) : bisect_left(self._revisions, stop)]

    def before_example(self, first: int, stop: int) -> int:
        """Return the first example from a row on, or ``stop`` where there is none before it."""
        return min([stop, *self.examples(first, stop)[:1]])

    def run(self, first: int, stop: int, after: Order, known: int, due: int | None, clock: int | None) -> int:
        """Return the end of the run that begins with a row: up to there, rows are only scored.

        Args:
            first: the row; returned where it is no run.
            stop: the run ends before this row.
            after: place of the last observation of the target.
            known: knowledge time with which the period of the metrics ends.
            due: label clock beyond which a model changes; None where none does.
            clock: the target clock.
        """
        if not self._ascends or self.order(first) <= after:
            return first
        stop = min(stop, int(np.searchsorted(self._known, known, "right")))
        if due is not None:
            if clock is not None and clock > due:
                return first
            stop = min(stop, int(np.searchsorted(self._clocks, due, "right")))
        if self._rests:
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
        instants = {row[8] for row in chosen} | {row[5] for row in chosen} | {row[2] for row in chosen}
        shown = cast("dict[int | None, str]", format_instants(each for each in instants if each is not None))
        target, (model, version) = self._target, champion
        revisions = [row[9] for row in chosen]
        ids = prediction_ids(assets, target, [row[8] for row in chosen], revisions)
        return [
            Prediction(
                id=identity,
                asset=asset,
                target=target,
                time=shown[time],
                score=cast("float", score),
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
            ) in zip(ids, assets, [answers[row - first] for row in rows], chosen, strict=True)
        ]

    def placed(self, rows: Sequence[int], bodies: Sequence[Row]) -> list[Item]:
        """Return what is written of some rows, one each, at their places."""
        sequences, parts = self._sequences, self._parts
        based = [self._rows[row] for row in rows]
        return [
            Item(sequences[row], parts[row], each[2], each[3], each[4], body)
            for row, each, body in zip(rows, based, bodies, strict=True)
        ]
