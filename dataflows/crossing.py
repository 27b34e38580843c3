"""What goes from one process to another: lists of items, each as a few large objects.

Between processes an object a row would cost more than the row itself. So a list makes bytes of itself
(`Items`): of telemetry on its usual path, and of rows to score, msgpack makes them in one call, the features
go as they lie in memory, and pickle makes the rest, which is rare. Rows for a sink that needs only their
lines are lines of one row (`in_lines`).
"""

from __future__ import annotations

import pickle
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
import numpy as np

from dataflows.events import Telemetry
from dataflows.items import Item, ResolvedEvent, Row, ScoredRow, ScoredTable, Scores, by_order
from dataflows.outputs import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Packed = tuple[Callable[..., "Items"], tuple[Any, ...]]

__all__ = ["Items", "in_lines"]

#: Telemetry up to its site; a whole number stays one.
_Telemetry = tuple[str, int, dict[str, int | float | None], str | None, int | None, str | None]
#: An item with telemetry: sequence, part, arrival, knowledge time and position; class, label clock of resting
#: assets and withdrawn (as of `ResolvedEvent`); the event.
_Record = tuple[int, int, int | None, int, tuple[str, int, int], str, int | None, bool, _Telemetry]
_encode = msgspec.msgpack.Encoder().encode
_decode_records = msgspec.msgpack.Decoder(list[_Record]).decode
_decode_rows = msgspec.msgpack.Decoder(tuple[list[str], list[ScoredRow]]).decode


class Items(list[Item]):
    """Items that travel together.

    Example:
        >>> import pickle
        >>> items = Items([Item(1, 0, None, 7, ("a", 1, 0), Row("late", b"{}"))])
        >>> pickle.loads(pickle.dumps(items)) == items
        True
    """

    __slots__ = ("_packed",)

    def __reduce__(self) -> Packed:
        """Return what `pickle` makes the items of: bytes that are made once.

        The engine pickles a list twice: for the length of its bytes, then for the bytes.
        """
        packed: Packed | None = getattr(self, "_packed", None)
        if packed is None:
            try:
                packed = _pack(self)
            except (OverflowError, UnicodeEncodeError):
                # Msgpack has no numbers beyond 64 bits, and no names of files that are not UTF-8.
                packed = _unpack, (_pickled(self), [])
            self._packed = packed
        return packed


def _pack(items: Items) -> Packed:
    """Return a function that makes the items again, and its arguments."""
    kinds = {type(item.body) for item in items}
    if kinds == {ResolvedEvent} and all(map(_is_usual, items)):
        return _unpack_records, (_pack_records(items),)
    if kinds == {Row}:
        bodies = [item.body for item in items]
        rows = [[getattr(body, name) for body in bodies] for name in Row.__struct_fields__]
        return _unpack_rows, (_pickled(items, rows),)
    tables = {id(item.body.table): item.body.table for item in items if isinstance(item.body, Scores)}
    numbers = {table: number for number, table in enumerate(tables)}
    sent = [
        _Block(body.target, body.index, numbers[id(body.table)]) if isinstance(body, Scores) else body
        for body in [item.body for item in items]
    ]
    packed = [(_encode((table.assets, table.rows)), table.features.tobytes()) for table in tables.values()]
    return _unpack, (_pickled(items, sent), packed)


def _pickled(items: Items, bodies: Sequence[Any] | None = None) -> bytes:
    """Pickle the columns of items, with other bodies if there are any."""
    *columns, own = ([getattr(item, name) for item in items] for name in Item.__struct_fields__)
    return pickle.dumps((columns, own if bodies is None else bodies), pickle.HIGHEST_PROTOCOL)


class _Block(NamedTuple):
    """`Scores` with the number of its table."""

    target: str
    place: int
    table: int


def _unpack(packed: bytes, packed_tables: Sequence[tuple[bytes, bytes]]) -> Items:
    columns, bodies = pickle.loads(packed)  # noqa: S301 - of a process of this run
    tables = [_unpack_table(*table) for table in packed_tables]
    made = [Scores(*body[:2], tables[body.table]) if isinstance(body, _Block) else body for body in bodies]
    return Items(map(Item, *columns, made))


def _unpack_rows(packed: bytes) -> Items:
    columns, rows = pickle.loads(packed)  # noqa: S301 - as above
    return Items(map(Item, *columns, map(Row, *rows)))


def _unpack_table(packed: bytes, features: bytes) -> ScoredTable:
    assets, rows = _decode_rows(packed)
    # The compiled parts know only arrays that can be written to.
    return ScoredTable(assets, rows, np.frombuffer(features).reshape(len(rows), -1).copy())


def _is_usual(item: Item) -> bool:
    """Whether an event is telemetry without weather, and without what is rare."""
    body = cast("ResolvedEvent", item.body)
    event = body.event
    return (
        type(event) is Telemetry
        and body.weather is None
        and body.relative is None
        and event.unusable is None
        and event.raw is None
    )


def _pack_records(items: Items) -> bytes:
    return _encode(
        [
            (
                item.sequence,
                item.part,
                item.arrival,
                item.known,
                item.position,
                (body := cast("ResolvedEvent", item.body)).asset_class,
                body.resting,
                body.withdrawn,
                (
                    (event := cast("Telemetry", body.event)).asset,
                    event.time,
                    event.readings,
                    event.id,
                    event.arrived,
                    event.site,
                ),
            )
            for item in items
        ]
    )


def _unpack_records(packed: bytes) -> Items:
    return Items(
        [
            Item(
                sequence,
                part,
                arrival,
                known,
                position,
                ResolvedEvent(Telemetry(*event), asset_class, None, resting, withdrawn),
            )
            for (
                sequence,
                part,
                arrival,
                known,
                position,
                asset_class,
                resting,
                withdrawn,
                event,
            ) in _decode_records(packed)
        ]
    )


def in_lines(batch: Iterable[list[Item]]) -> Iterator[Item]:
    """Put the rows of each output into one row of many lines, in the order of effect.

    Rows with a reason, which the sink counts, and those of the summary stay as they are.
    """
    rows: dict[str, list[Item]] = {}
    for item in chain.from_iterable(batch):
        body = item.body
        if type(body) is Row and body.reason is None and body.output in OUTPUTS:
            rows.setdefault(body.output, []).append(item)
        else:
            yield item
    for output, of_output in rows.items():
        of_output.sort(key=by_order)
        lines = b"\n".join([cast("Row", item.body).data for item in of_output])
        yield msgspec.structs.replace(of_output[0], body=Row(output, lines))
