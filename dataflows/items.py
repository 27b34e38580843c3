"""Items: what flows between the steps, each with its place in the one order of effect.

The place of an item is ``(sequence, part)``. The sequence is the number of its record in the lane; the part
numbers the items that one record becomes. A part is a path of three numbers: of the lane's items for a record
(31 bits: an outage may silence every asset many times over), of the asset's for one of those (12 bits: one a
target), of the target's (20 bits: a row an example). The order of parts as integers is the order of the
paths, so any step can sort its input.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from itertools import repeat
from operator import attrgetter, lt
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

import msgspec
import numpy as np
import orjson
from msgspec import UNSET

from dataflows.events import AssetEvent, Command, Event, Finding, Registration, Reject, Telemetry
from dataflows.instants import format_instant, format_instants
from dataflows.outputs import (
    IDENTIFIED,
    LATE_REASONS,
    LateRecord,
    OutputRow,
    RejectedRecord,
    UnusedRecord,
    encode,
    encode_rows,
    identity,
    time_or_none,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "Cleared",
    "ClockMoved",
    "Compared",
    "Counted",
    "Effect",
    "Expiry",
    "Forgotten",
    "Item",
    "Judged",
    "LanePeriod",
    "Late",
    "LateWeather",
    "Located",
    "Matured",
    "Observation",
    "Released",
    "Replaced",
    "ResolvedEvent",
    "Row",
    "ScoreRequest",
    "ScoredRow",
    "ScoredTable",
    "Scores",
    "Tick",
    "WeatherAsOf",
    "Withdrawn",
    "asset_part",
    "by_lane_item",
    "by_order",
    "in_words",
    "lane_part",
    "observations_of",
    "reject_row",
    "row_of",
    "rows_of",
    "summary_row",
    "supersedes",
    "target_part",
]

#: A row of the rejects or the late output is at most this long, so that a message can hold it.
_LONGEST_ROW = 900_000
#: Characters that are kept of what is too large for its row, and of a text in words.
_HEAD, _WORDS = 100_000, 1_000

_LANE_BITS, _ASSET_BITS, _TARGET_BITS = 31, 12, 20


class Matured(msgspec.Struct, frozen=True, gc=False):
    """An example whose label became known, or changed.

    Attributes:
        time: of the example.
        label: 1 positive, 0 negative, -1 censored; None where the failure that decided was withdrawn before
            the label clock had passed.
        why: the record or rule that decided.
        lead: microseconds to the failure, None without one.
        clock: the asset's label clock at this decision.
        correction: 0 for the first label, then counting.
    """

    time: int
    label: int | None
    why: str
    lead: int | None
    clock: int
    correction: int


class Compared(msgspec.Struct, frozen=True, gc=False):
    """An example whose features were computed again, from complete data.

    Attributes:
        time: of the example.
        features: float64 array (features of the class) as bytes; None where it was given up.
        why: it was given up; None where it was not.
    """

    time: int
    features: bytes | None
    why: str | None = None


class Tick(msgspec.Struct, frozen=True, gc=False):
    """Time that passed while nothing arrived, put into the sequence by a live source.

    It has no sequence of its own: its place is that of the last record, its part counts the ticks since.
    """

    arrival: int


class Expiry(msgspec.Struct, frozen=True, gc=False):
    """Time that passed for a silent asset.

    Attributes:
        asset: its name.
        due: instant of arrival time.
        what: ``silent`` (its label clock advances), ``ttl`` (and its state is dropped but for a tombstone),
            ``buried`` (the tombstone is dropped too).
    """

    asset: str
    due: int
    what: Literal["silent", "ttl", "buried"]


class WeatherAsOf(msgspec.Struct, frozen=True, gc=False):
    """The weather at a site as an asset's class sees it.

    Attributes:
        site: its name.
        time: when it was valid, microseconds; None where none is known that is young enough.
        issued: when it became known, microseconds; before ``time`` for a forecast.
        values: in the order of the class, NaN is missing.
    """

    site: str
    time: int | None
    issued: int
    values: tuple[float, ...]


class KnownWeather(Protocol):
    """A row of weather that is known; see `WeatherAsOf`."""

    @property
    def time(self) -> int | None: ...
    @property
    def issued(self) -> int: ...
    @property
    def values(self) -> tuple[float, ...]: ...


def supersedes(row: KnownWeather, held: KnownWeather) -> bool:
    """Whether a row takes the place of another, where an event could be joined with either.

    The later valid time wins, then the later issue; of one time and one issue, a row with other values.

    >>> old, new = WeatherAsOf("north", 3, 2, (1.0,)), WeatherAsOf("north", 3, 4, (1.0,))
    >>> supersedes(new, old), supersedes(old, new), supersedes(old, old)
    (True, False, False)
    """
    if held.time is None or row.time is None:
        return row.time is not None
    if (row.time, row.issued) != (held.time, held.issued):
        return (row.time, row.issued) > (held.time, held.issued)
    # A value missing in both is the same.
    pairs = zip(row.values, held.values, strict=True)
    return not all(new == old or (new != new and old != old) for new, old in pairs)  # noqa: PLR0124 - NaN


class LateWeather(msgspec.Struct, frozen=True, gc=False):
    """Weather that became known after an asset at its site was scored."""

    asset: str
    weather: WeatherAsOf


class ResolvedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event, or what the lane made of time or weather, whose asset the lane resolved.

    Attributes:
        weather: of telemetry, None where its class sees none or it has no site.
        resting: label clock of those assets of its class that have been silent for long, None where there are
            none.
        relative: readings of telemetry relative to the operating condition, in the order of the class; None
            where its class declares no conditions.
        withdrawn: a retraction already withdrew a record that had not been taken in yet.
    """

    event: AssetEvent | Expiry | LateWeather
    asset_class: str
    weather: WeatherAsOf | None = None
    resting: int | None = None
    withdrawn: bool = False
    relative: tuple[float, ...] | None = None


class LanePeriod(msgspec.Struct, frozen=True, gc=False):
    """What a lane counted in one period of the metrics.

    Attributes:
        lane: its name.
        start: of the period, in knowledge time; it covers (start, end].
        end: of the period.
        by_kind: accepted events.
        clocks: how many are wrong (ahead, behind) at its end, and how often one jumped in it; None where
            they are not checked.
    """

    lane: str
    start: int
    end: int
    by_kind: dict[str, int]
    clocks: dict[str, int] | None


class Late(msgspec.Struct, frozen=True, gc=False):
    """A late event was merged: only to be counted."""


class Counted(msgspec.Struct, frozen=True, gc=False):
    """Something that the summary counts.

    Attributes:
        what: ``corrections``: a record with the id of an earlier one, and other content.
        by: how many.
    """

    what: Literal["corrections"]
    by: int = 1


class ClockMoved(msgspec.Struct, frozen=True, gc=False):
    """The label clock of the asset stands here: what the target clock passes by it is learned and counted.

    Attributes:
        clock: microseconds.
    """

    clock: int


class Cleared(msgspec.Struct, frozen=True, gc=False):
    """A record ends any open alert of the asset.

    Attributes:
        why: ``failure``, ``maintenance``, ``silent``, ``retired``, ``class changed``, ``internal error``.
        time: event time of that.
    """

    why: str
    time: int


class Withdrawn(msgspec.Struct, frozen=True, gc=False):
    """A failure of the target's mode never was: it is retracted, or its record was corrected.

    Attributes:
        time: event time of that failure.
    """

    time: int


class Judged(msgspec.Struct, frozen=True, gc=False):
    """A person looked at the asset after an alert of this target.

    Attributes:
        verdict: what was found.
        time: of the finding.
    """

    verdict: Finding
    time: int


class ScoreRequest(msgspec.Struct, frozen=True, gc=False):
    """Telemetry to score.

    Attributes:
        time: event time.
        features: float64 array (features of the class) as bytes; NaN is missing.
        revision: 0 for a first prediction, counting where late or merged data publishes it again.
        example: whether this prediction is kept for learning.
    """

    time: int
    features: bytes
    revision: int = 0
    example: bool = False


class Released(msgspec.Struct, frozen=True, gc=False):
    """Examples that no record can change any more.

    Attributes:
        times: of the examples.
    """

    times: tuple[int, ...]


class Forgotten(msgspec.Struct, frozen=True, gc=False):
    """The state of the asset was dropped, and with it every example."""


class Located(msgspec.Struct, frozen=True, gc=False):
    """The asset is at a site: the first that is known of it, or another one than before.

    Attributes:
        site: its name.
    """

    site: str


class Replaced(msgspec.Struct, frozen=True, gc=False):
    """A sensor of the asset was replaced or calibrated: maintenance of ``sensor:NAME``.

    Attributes:
        sensor: its name.
    """

    sensor: str


#: What a record does to one target of one asset.
Effect = (
    Matured
    | ClockMoved
    | Command
    | Compared
    | Withdrawn
    | Judged
    | Cleared
    | ScoreRequest
    | Released
    | Forgotten
    | Located
    | Replaced
)
_Kind = TypeVar("_Kind", bound=Effect)


class Observation(msgspec.Struct, frozen=True, gc=False):
    """What one record means for one target of one asset: its effects, in the order in which they take place.

    Attributes:
        asset: its name; empty for a command, which is to the target as a whole.
        target: its name, which is the key of the target step.
        watermark: the asset's watermark after this record, None before its first telemetry.
        effects: labels first, then the clock that learns them, then comparisons, a failure that is withdrawn
            and the end of an alert; then a site or a replaced sensor, and the score, and a label of that very
            example; at last what is forgotten.
        resting: label clock of those assets of the target that have been silent for long: their silence moves
            the clock of the target before this record, without observations of their own. None where there
            are none.
    """

    asset: str
    target: str
    watermark: int | None
    effects: tuple[Effect, ...] = ()
    resting: int | None = None

    def of(self, kind: type[_Kind]) -> tuple[_Kind, ...]:
        """Effects of one kind, in order."""
        return tuple(effect for effect in self.effects if isinstance(effect, kind))

    @property
    def score(self) -> ScoreRequest | None:
        """What is to be scored, None where nothing is."""
        return next(iter(self.of(ScoreRequest)), None)


#: One telemetry record to score, on its usual path: sequence; part, of the first target of its asset;
#: arrival; knowledge time; position (these five as of `Item`); watermark (as of `Observation`); label clock,
#: None before anything moved it; resting (as of `Observation`); event time; revision; example (these three as
#: of `ScoreRequest`). A plain tuple, since every event makes one: rows sort by (sequence, part), and
#: ``zip(*rows)`` gives their columns.
ScoredRow = tuple[
    int, int, int | None, int, tuple[str, int, int], int | None, int | None, int | None, int, int, bool
]


#: Before every instant.
_NEVER = np.iinfo(np.int64).min


class ScoredTable:
    """Rows to score in the order of effect; the columns are made once for all targets that score them.

    Args:
        assets: name of the asset of each row.
        rows: ascending by (sequence, part).
        features: float64 (rows, features of the class), C-contiguous, never written to again; NaN is missing.
    """

    def __init__(self, assets: list[str], rows: list[ScoredRow], features: NDArray[np.float64]) -> None:
        self.assets = assets
        self.rows = rows
        self.features = features

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what `pickle` makes it of: another process makes its own columns."""
        return ScoredTable, (self.assets, self.rows, self.features)

    @classmethod
    def merged(
        cls, assets: list[str], rows: list[ScoredRow], features: Sequence[NDArray[np.float64]]
    ) -> ScoredTable:
        """Put the rows of several tables into the order of effect.

        Args:
            assets: of each row.
            rows: of all tables.
            features: (rows, features) of each table.
        """
        if _ascend(rows):
            every = features[0] if len(features) == 1 else np.concatenate(features or [np.empty((0, 0))])
            table = cls(assets, rows, every)
            table.ascends = True
            return table
        parts = np.array([row[1] for row in rows], dtype=np.int64)
        order = np.lexsort((parts, np.array([row[0] for row in rows], dtype=np.int64)))
        places = order.tolist()
        # Tables of one row each are put into order before they are copied, not after that.
        alone = len(rows) == len(features)
        vectors = np.concatenate([features[place] for place in places] if alone else features)
        in_order = [assets[place] for place in places], [rows[place] for place in places]
        return cls(*in_order, vectors if alone else vectors[order])

    @cached_property
    def _columns(self) -> list[tuple[Any, ...]]:
        return [*zip(*self.rows, strict=True)] or [()] * 11

    @cached_property
    def sequences(self) -> NDArray[np.int64]:
        """Sequence of each row."""
        return np.array(self._columns[0], dtype=np.int64)

    @cached_property
    def known(self) -> NDArray[np.int64]:
        """Largest knowledge time up to each row."""
        return np.maximum.accumulate(np.array(self._columns[3], dtype=np.int64))

    @cached_property
    def clocks(self) -> NDArray[np.int64]:
        """Largest label clock up to each row; before all times where there is none."""
        clocks = [_NEVER if clock is None else clock for clock in self._columns[6]]
        return np.maximum.accumulate(np.array(clocks, dtype=np.int64))

    def clock(self, row: int) -> int | None:
        """Return the largest label clock up to a row, None where none has one."""
        clock = int(self.clocks[row])
        return None if clock == _NEVER else clock

    @cached_property
    def rests(self) -> bool:
        """Whether any row knows of resting assets."""
        return self._columns[7].count(None) < len(self.rows)

    @cached_property
    def revisions(self) -> list[int]:
        """Numbers of the rows that are scored again."""
        return np.flatnonzero(self._columns[9]).tolist()

    @cached_property
    def examples(self) -> list[int]:
        """Numbers of the rows that are examples."""
        return np.flatnonzero(self._columns[10]).tolist()

    @cached_property
    def ascends(self) -> bool:
        """Whether each row has a place after that of the row before it."""
        return _ascend(self.rows)

    @cached_property
    def shown(self) -> dict[int | None, str]:
        """Event time, watermark and arrival of all rows in the form of the outputs."""
        columns = self._columns
        instants = {*columns[8], *columns[5], *columns[2]} - {None}
        return cast("dict[int | None, str]", format_instants(instants))


def _ascend(rows: Sequence[ScoredRow]) -> bool:
    places = [row[:2] for row in rows]
    return all(map(lt, places, places[1:]))


class Scores(msgspec.Struct, frozen=True, gc=False):
    """A block: what the records of assets in one activation mean for one target, on the usual path.

    A row moves the label clock, then is scored: it means the `Observation` with the effects `ClockMoved`
    (unless its clock is None) and `ScoreRequest`. A record with any other effect on this target is not here:
    it is an `Observation` of its own, with its own place. So the target merges the rows of all blocks, and
    the observations, by (sequence, part). `observations_of` takes a block apart.

    Attributes:
        target: its name, which is the key of the target step.
        index: number of the target among those of its class; the part of row r is
            ``asset_part(r[1], index)``.
        table: at least one row; targets share it.
    """

    target: str
    index: int
    table: ScoredTable


class Row(msgspec.Struct, frozen=True, gc=False):
    """A finished row on its way to an output.

    Attributes:
        output: its name.
        data: JSON; on their way between processes several rows may be lines of one.
        reason: why a record could not be used; None of other rows.
        kind: of that record, where the lane had counted it as accepted.
        id: its ``id``; None of rows without one.
        key: of its message, see `OutputRow.key_field`.
        correction: its ``correction``; 0 of rows without one.
    """

    output: str
    data: bytes
    reason: str | None = None
    kind: str | None = None
    id: str | None = None
    key: str | None = None
    correction: int = 0

    @property
    def identity(self) -> str | None:
        """Identity within its output; None where that is its place, see `OutputRow.identified`."""
        return identity(self.id or "", self.correction) if self.output in IDENTIFIED else None


class Item(msgspec.Struct, gc=False):
    """One thing on the path from source to sink, with its place in the order of effect.

    Attributes:
        sequence: number of its record in the lane, from 1.
        part: see the module; 0 until the lane.
        arrival: when the dataflow received the record, None in recordings without arrivals.
        known: knowledge time: the arrival, or without arrivals the largest event time so far.
        position: where the record stands: (source, line or offset, byte offset).
        body: what it is at this step.
    """

    sequence: int
    part: int
    arrival: int | None
    known: int
    position: tuple[str, int, int]
    body: (
        bytes
        | Event
        | Reject
        | Tick
        | ResolvedEvent
        | LanePeriod
        | Late
        | Counted
        | Observation
        | Scores
        | Row
    )


#: Sort key: the order of effect.
by_order = attrgetter("sequence", "part")


def by_lane_item(item: Item) -> tuple[int, int]:
    """Sort key: the item of the lane that an item was made of, in the order of effect."""
    return item.sequence, item.part >> (_ASSET_BITS + _TARGET_BITS)


def lane_part(index: int) -> int:
    """Part of the index-th item that the lane makes of a record."""
    return _checked(index, _LANE_BITS) << (_ASSET_BITS + _TARGET_BITS)


def asset_part(part: int, index: int) -> int:
    """Part of the index-th item that the asset makes of an item of the lane."""
    return part + (_checked(index, _ASSET_BITS) << _TARGET_BITS)


def target_part(part: int, index: int) -> int:
    """Part of the index-th row that the target makes of an item of the asset."""
    return part + _checked(index, _TARGET_BITS)


def _checked(index: int, bits: int) -> int:
    if index >> bits:
        msg = f"one record became more than {1 << bits:,} items in one step"
        raise OverflowError(msg)
    return index


def observations_of(item: Item) -> list[Item]:
    """Return the observations that the rows of a block mean, each with its place."""
    block = item.body
    if not isinstance(block, Scores):
        return [item]
    return [
        Item(
            sequence,
            asset_part(part, block.index),
            arrival,
            known,
            position,
            Observation(
                asset,
                block.target,
                watermark,
                (
                    *(() if clock is None else (ClockMoved(clock),)),
                    ScoreRequest(time, features.tobytes(), revision, example),
                ),
                resting,
            ),
        )
        for asset, features, (
            sequence,
            part,
            arrival,
            known,
            position,
            watermark,
            clock,
            resting,
            time,
            revision,
            example,
        ) in zip(block.table.assets, block.table.features, block.table.rows, strict=True)
    ]


def row_of(row: OutputRow) -> Row:
    """Encode a row; from here on nobody looks into it."""
    key = None if row.key_field is None else getattr(row, row.key_field)
    named, correction = getattr(row, "id", None), getattr(row, "correction", 0)
    return Row(row.output, encode(row), None, None, named, key, correction)


def rows_of(rows: Sequence[OutputRow]) -> list[Row]:
    """`row_of` of each of some rows of one kind with an id and a key, and no correction, encoded together."""
    key = None if not rows else rows[0].key_field
    if key is None:
        return [row_of(row) for row in rows]
    ids, keys, none = map(attrgetter("id"), rows), map(attrgetter(key), rows), repeat(None)
    return [*map(Row, repeat(rows[0].output), encode_rows(rows), none, none, ids, keys)]


def summary_row(sections: dict[str, Any]) -> Row:
    """A row of the summary: the sections of a stage, by name."""
    return Row("summary", orjson.dumps(sections))


def _sent(event: Event) -> dict[str, Any]:
    """An event in the form in which it came in, so that it can be sent again."""
    content = msgspec.structs.asdict(event)
    for field in ("time", "issued", "since", "arrived"):
        if content.get(field) is not None:
            content[field] = format_instant(content[field])
    if isinstance(event, Telemetry) and event.site is None:
        del content["site"]
    for ours in ("unusable", "raw"):
        content.pop(ours, None)
    if isinstance(event, Registration):
        return {"kind": "asset", "class": content.pop("asset_class"), **content}
    return {"kind": type(event).__name__.lower(), **content}


def reject_row(item: Item, reject: Reject, event: Event | None = None) -> Item:
    """The row of the rejects or the late output for what could not be used, with the event if decoded.

    A row that would be too long for a message keeps the head of its record, the length and the digest.
    """
    source, line, offset = item.position
    row = (LateRecord if reject.reason in LATE_REASONS else RejectedRecord)(
        reason=reject.reason,
        detail=reject.detail,
        source=source,
        line=line,
        offset=offset,
        sequence=item.sequence,
        arrival=time_or_none(item.arrival),
        asset=reject.asset,
        raw=UNSET if reject.raw is None else reject.raw.decode("utf-8", "backslashreplace"),
        event=UNSET if event is None else _sent(event),
    )
    data = encode(row)
    if len(data) > _LONGEST_ROW:
        data = encode(_shortened(row))
    body = Row(row.output, data, reject.reason, key=row.asset)
    return Item(item.sequence, item.part, item.arrival, item.known, item.position, body)


def in_words(error: BaseException) -> str:
    """An error in at most 1,000 characters: some hold the whole record on which they were raised."""
    return f"{type(error).__name__}: {error}"[:_WORDS]


def _shortened(row: UnusedRecord) -> UnusedRecord:
    """A row without what is too large for it: its head, its length in bytes and its digest stay."""
    field: Literal["event", "raw"] = "raw" if row.event is UNSET else "event"
    whole = row.raw or "" if row.event is UNSET else orjson.dumps(row.event).decode()
    content = whole.encode()
    return msgspec.structs.replace(
        row,
        detail=row.detail[:_WORDS],
        raw=whole[:_HEAD],
        event=UNSET,
        cut={
            "field": field,
            "bytes": len(content),
            "blake2b": hashlib.blake2b(content, digest_size=16).hexdigest(),
        },
    )
