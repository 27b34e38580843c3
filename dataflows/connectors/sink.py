"""Base of every sink: a part for each output, and ``summary.json``."""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, Self, cast

import orjson
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from typing_extensions import override

from dataflows.disk import replace_file
from dataflows.items import Item
from dataflows.outputs import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dataflows.fleet.fleet import Fleet
    from dataflows.items import Row
    from dataflows.state.snapshots import Kind
    from dataflows.status import RunStatus

__all__ = ["SUMMARY", "Sink", "SummaryPartition", "delete_lineage", "lineage_of", "names_of_lanes"]

SUMMARY = "summary"


class SummaryPartition(StatefulSinkPartition[Item, None]):
    """``summary.json``: replaced at each end of the input."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._summary: dict[str, Any] = {}

    @override
    def write_batch(self, values: list[Item]) -> None:
        for item in values:
            _add(self._summary, orjson.loads(cast("Row", item.body).data))
        ordered = {key: self._summary[key] for key in sorted(self._summary)}
        if isinstance(ordered.get("input", {}).get("names"), dict):
            ordered["input"] = _of_all_lanes(ordered["input"])
        replace_file(self._path, orjson.dumps(ordered, option=orjson.OPT_INDENT_2) + b"\n")

    @override
    def snapshot(self) -> None:
        return None


def _add(summary: dict[str, Any], said: dict[str, Any]) -> None:
    """Join tables, and add up the counts of several stages."""
    for key, value in said.items():
        before = summary.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            _add(before, value)
        elif isinstance(before, int) and isinstance(value, int):
            summary[key] = before + value
        else:
            summary[key] = value


def _of_all_lanes(counts: dict[str, Any]) -> dict[str, Any]:
    """Join what each lane says of its input: an asset that came in several lanes counts once."""
    assets = len(set().union(*counts["assets"].values()))
    return {**counts, "assets": assets, "names": names_of_lanes(counts["names"])}


def names_of_lanes(lanes: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join what lanes report of names that match nothing.

    A name that several lanes count is one row. A declared name that came in one lane is not missing.

    Args:
        lanes: by lane, its ``rows``, and the ``classes`` of which it has telemetry.
    """
    joined: dict[tuple[str, str | None, str | None], dict[str, Any]] = {}
    missing: Counter[tuple[str, str | None, str | None]] = Counter()
    for name in sorted(lanes):
        for row in lanes[name]["rows"]:
            key = row["what"], row["class"], row["name"]
            missing[key] += row["what"].startswith("missing_")
            before = joined.setdefault(key, {**row, "count": 0})
            before["count"] += row["count"]
            before["nearest"] = before["nearest"] or row["nearest"]
    heard = Counter(each for lane in lanes.values() for each in lane["classes"])
    return [row for key, row in joined.items() if missing[key] in (0, heard[key[1]])]


class Sink(FixedPartitionedSink[Item, Any]):
    """Base of every sink: a part for each output, and one for the summary; items are keyed by output.

    A subclass has the `kind` of its snapshots, opens its outputs, and makes itself of a fleet (`of`). A line
    in `dataflows.connectors.ends.SINKS` names it.

    Attributes:
        kind: kind of the snapshots of an output.
        takes_lines: whether `Row.data` may be several rows, a line each: the sink needs nothing else of them.
    """

    kind: Kind[Any]
    takes_lines = False

    def __init__(self) -> None:
        # The engine numbers the parts in the order of their names, and calls this for every row.
        self._numbers = {name: number for number, name in enumerate(sorted([*OUTPUTS, SUMMARY]))}

    @classmethod
    @abstractmethod
    def of(cls, fleet: Fleet, status: RunStatus, store: Path | None, *, alone: bool) -> Self:
        """Make the sink of a fleet's output.

        Args:
            fleet: the fleet.
            status: of the run; counts rejected rows, and calls when an epoch is committed.
            store: folder of the recovery store, None without one.
            alone: whether one worker writes every output.
        """

    @abstractmethod
    def open(self, output: str, state: Any) -> StatefulSinkPartition[Item, Any]:  # noqa: ANN401 - plain data
        """Open an output at a snapshot, None for a new output; take back rows written after the snapshot.

        The partition writes `Row.data` in order, and counts the reasons of rejects in `RunStatus.rejected`.
        Its `snapshot` returns only when all rows before it are safe.

        Raises:
            InputError: rows of the snapshot are gone.
        """

    @abstractmethod
    def open_summary(self) -> SummaryPartition:
        """Open ``summary.json``; called at the end of the input."""

    @override
    def list_parts(self) -> list[str]:
        return [*OUTPUTS, SUMMARY]

    @override
    def part_fn(self, item_key: str) -> int:
        return self._numbers[item_key]

    @override
    def build_part(
        self,
        step_id: str,
        for_part: str,
        resume_state: Any,
    ) -> StatefulSinkPartition[Item, Any]:
        return self.open_summary() if for_part == SUMMARY else self.open(for_part, resume_state)


def delete_lineage(store: Path) -> None:
    """Delete the lineage, so that later rows of a store are unrelated to its earlier rows."""
    (store / "lineage").unlink(missing_ok=True)


def lineage_of(store: Path | None) -> str:
    """Name of all runs on one store, which identifies their own rows in a topic."""
    made = uuid.uuid4().hex
    if store is None:
        return made
    path, own = store / "lineage", store / f"lineage.{made}"
    own.write_text(made, encoding="ascii")
    try:
        # Atomic, and only once: several processes may run on one store.
        path.hardlink_to(own)
    except FileExistsError:
        return path.read_text(encoding="ascii")
    finally:
        own.unlink()
    return made
