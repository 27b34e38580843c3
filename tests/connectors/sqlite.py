"""A source and a sink of a database: all that an author writes, in one file, to add the two."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack, cast

from bytewax.inputs import AbortExecution
from bytewax.outputs import StatefulSinkPartition
from typing_extensions import override

from dataflows.connectors.lines import InputError
from dataflows.connectors.sink import Sink, SummaryPartition
from dataflows.connectors.source import LaneSource, Reading, StoredInput
from dataflows.items import Item
from dataflows.state.snapshots import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.connectors.order_journal import Run
    from dataflows.connectors.source import LaneOptions
    from dataflows.fleet.fleet import Fleet
    from dataflows.items import Row
    from dataflows.status import RunStatus

#: Snapshots of the source: the last row read; and of an output: the number of its rows.
TABLE: Kind[StoredInput] = Kind(
    "sqlite",
    1,
    describe=lambda payload: StoredInput(payload[0], payload[1], [("records", payload[2])], {}, []),
)
ROWS: Kind[int] = Kind("sqlite_rows", 1, describe=lambda count: count)


class TableReading(Reading):
    """Rows of the table ``records`` of a database, in order."""

    def __init__(self, path: Path, at: int, crashes: set[int]) -> None:
        self.names = [str(path)]
        self._database = sqlite3.connect(path)
        self._at = at
        self._crashes = crashes

    @property
    @override
    def read(self) -> int:
        return self._at

    @override
    def read_batch(self, batch: int, sequence: int, until: int | None = None) -> tuple[list[Item], list[Run]]:
        if self._at in self._crashes:
            self._crashes.discard(self._at)
            raise AbortExecution
        query = "SELECT rowid, event FROM records WHERE rowid > ? ORDER BY rowid LIMIT ?"
        rows = self._database.execute(query, (self._at, batch)).fetchall()
        items = [
            Item(sequence + number, 0, None, 0, (self.names[0], row, 0), event)
            for number, (row, event) in enumerate(rows, start=1)
        ]
        self._at = rows[-1][0] if rows else self._at
        return items, []

    @override
    def ended(self) -> bool:
        return True

    @override
    def state(self) -> int:
        return self._at

    @override
    def close(self) -> None:
        self._database.close()


class TableSource(LaneSource):
    """The table of the database that `[input.connector]` names."""

    kind = TABLE
    #: Rows after which a run crashes once, for the test.
    crashes: ClassVar[set[int]] = set()

    def __init__(self, fleet: Fleet, status: RunStatus, **lane: Unpack[LaneOptions]) -> None:
        super().__init__(fleet.input, status, **lane)
        assert fleet.input.connector is not None
        self._path = fleet.path.parent / fleet.input.connector.settings["database"]
        if not self._path.exists():
            msg = f"there is no database {self._path}; set `database` under [input.connector]"
            raise InputError(msg)

    @classmethod
    @override
    def of(cls, fleet: Fleet, status: RunStatus, **lane: Unpack[LaneOptions]) -> Self:
        return cls(fleet, status, **lane)

    @override
    def open(self, state: Any) -> Reading:
        return TableReading(self._path, state or 0, self.crashes)


class TablePartition(StatefulSinkPartition[Item, bytes]):
    """One table of rows; those after the snapshot are deleted when it is opened."""

    def __init__(self, path: Path, output: str, state: bytes | None, status: RunStatus) -> None:
        self._database = sqlite3.connect(path, timeout=60)
        self._insert = f"INSERT INTO {output} VALUES (?)"  # noqa: S608 - our own names, like below
        self._status = status
        self._count = 0 if state is None else ROWS.describe(state)
        with self._database:
            self._database.execute(f"CREATE TABLE IF NOT EXISTS {output} (data BLOB)")
            self._database.execute(f"DELETE FROM {output} WHERE rowid > ?", (self._count,))  # noqa: S608

    @override
    def write_batch(self, values: list[Item]) -> None:
        rows = [cast("Row", item.body) for item in values]
        self._status.rejected.update(row.reason for row in rows if row.reason is not None)
        self._count += len(rows)
        with self._database:
            self._database.executemany(self._insert, [(row.data,) for row in rows])

    @override
    def snapshot(self) -> bytes:
        return ROWS.seal(self._count)

    @override
    def close(self) -> None:
        self._database.close()


class TableSink(Sink):
    """A table for each output, in the database that `[output.connector]` names."""

    kind = ROWS

    def __init__(self, fleet: Fleet, status: RunStatus) -> None:
        super().__init__()
        assert fleet.output.connector is not None
        self._folder, self._status = fleet.output.folder, status
        self._path = fleet.output.folder / fleet.output.connector.settings["database"]

    @classmethod
    @override
    def of(cls, fleet: Fleet, status: RunStatus, store: Path | None, *, alone: bool) -> Self:
        return cls(fleet, status)

    @override
    def open(self, output: str, state: bytes | None) -> StatefulSinkPartition[Item, Any]:
        self._folder.mkdir(exist_ok=True)
        return TablePartition(self._path, output, state, self._status)

    @override
    def open_summary(self) -> SummaryPartition:
        return SummaryPartition(self._folder / "summary.json")
