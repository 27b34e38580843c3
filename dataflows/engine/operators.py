"""Operators added to Bytewax: keys for a batch, order, sealed state, and state in parts.

What flows between steps is a list of items for each key, not an item, since the engine's work for one value
costs as much as ours for one record. `keyed` makes such lists of a whole batch. `in_order` sorts one
activation by (sequence, part), and `Unlisted` hands its list to a sink. `stateful_sealed` runs a stage a key
that snapshots itself as versioned bytes. `stateful_in_parts` runs a stage whose snapshot is written part by
part.

The engine writes a key's whole snapshot at the end of every epoch in which the key was awake. A step that
holds many models and thousands of pending examples would write megabytes for a few changed bytes. So
`stateful_in_parts` splits it. The *main* step does the work and has a small snapshot. For each part that
changed it wakes one of a fixed number of *part* steps downstream, which only write that part.

At a resume the engine hands every snapshot of the store to every step with a state. So a part that this flow
cannot use, and of which the store holds nothing, has no step: see ``used``.

Main and part steps share a key, hence a worker, hence a process. The part steps read from a shelf in memory,
and put parts back on it at a resume. Two facts of the engine make this sound, and tests watch both: no source
reads on before the snapshots of an epoch are taken, so all of them see one instant; and every snapshot is
restored before the first item flows.

*Marks* are parts without content, written in every epoch in which the key was awake. Their names are chosen
so that each file of the recovery store holds one: where files are not of one moment, marks differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from threading import get_ident
from typing import Any, Protocol, cast

import bytewax.operators as op
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from typing_extensions import override

from dataflows.crossing import Items
from dataflows.items import Item, by_order
from dataflows.state.snapshots import Kind, SnapshotError

__all__ = [
    "MAIN",
    "MARK",
    "PART",
    "Outputs",
    "PartedStage",
    "SealedState",
    "Unlisted",
    "in_order",
    "keyed",
    "keyed_by_worker",
    "read_parted",
    "stateful_in_parts",
    "stateful_sealed",
]

# The decorator reads the annotations when it is applied, so these are needed at run time.


@operator
def keyed(
    step_id: str,  # noqa: ARG001 - the decorator uses it
    up: Stream[Any],
    key_of: Callable[[Item], str | None],
    made_of: Callable[[list[Any]], Iterable[Item]] = chain.from_iterable,
    only: str | None = None,
) -> KeyedStream[list[Item]]:
    """Group the items of each batch by key: one list a key, in the order in which they came.

    Args:
        step_id: unique id.
        up: lists of items, or inputs of ``made_of``.
        key_of: returns the key of an item; items with None are left out: they take another branch.
        made_of: makes items of a batch, in the same step, since each step costs every item something.
        only: the key to which all items go, whatever they are; None: ``key_of`` is asked.
    """

    def by_key(batch: list[Any]) -> Iterable[tuple[str, list[Item]]]:
        if only is None:
            return _to_send(made_of(batch), key_of)
        items = Items(made_of(batch))
        return ((only, items),) if items else ()

    return op.flat_map_batch("keys", up, by_key)


class _WithoutState(StatefulBatchLogic[list[Item], Any, None]):
    """A step that is keyed only for the place of its work: it keeps nothing."""

    @override
    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return (), StatefulBatchLogic.DISCARD

    @override
    def snapshot(self) -> None:
        return None


class _Passed(_WithoutState):
    """A step through which lists go to the worker of their key, as they are."""

    @override
    def on_batch(self, values: list[list[Item]]) -> tuple[Iterable[list[Item]], bool]:
        return values, StatefulBatchLogic.DISCARD


@operator
def keyed_by_worker(
    step_id: str,  # noqa: ARG001 - the decorator uses it
    up: Stream[list[Item]],
    worker_of: Callable[[Item], str | None],
    key_of: Callable[[Item], str | None],
) -> KeyedStream[list[Item]]:
    """Group the items of each batch by key, as `keyed`, where keys are on several workers.

    All items for the keys of one worker go to it in one list, so that what they share crosses once.

    Args:
        step_id: unique id.
        up: lists of items.
        worker_of: returns a key that belongs to the worker of the key of an item; None as of ``key_of``.
        key_of: returns the key of an item; items with None are left out.
    """

    def by_key(batch: list[tuple[str, list[Item]]]) -> Iterable[tuple[str, list[Item]]]:
        # What comes from several workers has no order: it stays apart, so that each list is in order.
        return chain.from_iterable(_to_send(items, key_of) for _, items in batch)

    sent = keyed("sent", up, worker_of)
    return op.flat_map_batch("keys", op.stateful_batch("arrived", sent, lambda _resume: _Passed()), by_key)


def _grouped(items: Iterable[Item], key_of: Callable[[Item], str | None]) -> dict[str, list[Item]]:
    """Return the items of each key, in the order in which they came; those without one are left out."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        key = key_of(item)
        if key is None:
            continue
        if key in groups:
            groups[key].append(item)
        else:
            groups[key] = [item]
    return groups


def _to_send(items: Iterable[Item], key_of: Callable[[Item], str | None]) -> Iterator[tuple[str, Items]]:
    """Group items by key, to be sent to the step of the key, perhaps in another process."""
    return ((key, Items(group)) for key, group in _grouped(items, key_of).items())


class _Sorter(_WithoutState):
    @override
    def on_batch(self, values: list[list[Item]]) -> tuple[Iterable[list[Item]], bool]:
        return (sorted(chain.from_iterable(values), key=by_order),), StatefulBatchLogic.DISCARD


@operator
def in_order(
    step_id: str,  # noqa: ARG001 - the decorator uses it
    up: KeyedStream[list[Item]],
) -> KeyedStream[list[Item]]:
    """Sort the items of one activation and key by (sequence, part), into one list.

    The engine runs the keys of one activation in the order of their names, so the items that several keys
    made of one source batch arrive grouped by key. With one worker a source batch is one activation of each
    step, and sorting it restores the global order.
    """
    return op.stateful_batch("sort", up, lambda _resume: _Sorter())


class Unlisted(FixedPartitionedSink[list[Item], Any]):
    """A sink of items that gets them in lists, so that the engine looks for a part once a list.

    Args:
        sink: of items.
    """

    def __init__(self, sink: FixedPartitionedSink[Item, Any]) -> None:
        self._sink = sink

    @override
    def list_parts(self) -> list[str]:
        return self._sink.list_parts()

    @override
    def part_fn(self, item_key: str) -> int:
        return self._sink.part_fn(item_key)

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> _UnlistedPart:
        return _UnlistedPart(self._sink.build_part(step_id, for_part, resume_state))


class _UnlistedPart(StatefulSinkPartition[list[Item], Any]):
    def __init__(self, part: StatefulSinkPartition[Item, Any]) -> None:
        self._part = part

    @override
    def write_batch(self, values: list[list[Item]]) -> None:
        self._part.write_batch([*chain.from_iterable(values)])

    @override
    def snapshot(self) -> Any:
        return self._part.snapshot()

    @override
    def close(self) -> None:
        self._part.close()


class Outputs(Protocol):
    """Collects the outputs of stages, which may finish their work in it, many at once."""

    def settle(self) -> None:
        """Finish the work of all stages: what they processed is in their state then."""
        ...

    def items(self) -> list[Item]:
        """Settle, and return what was collected, in no order."""
        ...


class SealedState(Protocol):
    """A stage that can be written as bytes."""

    def process_into(self, items: list[Item], made: Any) -> None:  # noqa: ANN401 - some `Outputs`
        """Process items of its key, in the order of effect; add the outputs to what is made."""
        ...

    def to_bytes(self) -> bytes:
        """Return the sealed state: a pickled stage would tie the store to this release's classes."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the state can be discarded."""
        ...

    @property
    def dormant(self) -> bool:
        """Whether the state is so small that only its bytes are kept until the next item."""
        ...


class _Awake:
    """The stages of one process that had items in this epoch.

    The engine writes the snapshot of a key that was awake, and only the step of the key knows its stored
    bytes. So the first items of a key in an epoch go to that step, which puts the stage here until its
    snapshot is taken. All later items find the stage here. None of them belongs to the next epoch: the engine
    reads no input of it until all snapshots of this one are written.
    """

    def __init__(self) -> None:
        self.stages: dict[str, SealedState] = {}
        #: By key, how many lists are on their way to its step: until it has them, more have to follow them.
        self._sent: dict[str, int] = {}

    def send(self, key: str, items: list[Item]) -> tuple[str, list[Item]]:
        """Send items to the step of their key."""
        self._sent[key] = self._sent.get(key, 0) + 1
        return key, items

    def arrived(self, key: str, stage: SealedState | None) -> None:
        """Note that the step of a key has processed a list, and what its stage is after it."""
        left = self._sent.pop(key, 1) - 1
        if left > 0:
            self._sent[key] = left
        elif stage is not None:
            self.stages[key] = stage


#: Items for the step of a key.
_Sent = tuple[str, list[Item]]


class _Together(_WithoutState):
    """Processes the items of all awake keys of a worker in one call; others go to the step of their key."""

    def __init__(
        self, awake: _Awake, key_of: Callable[[Item], str | None], outputs: Callable[[], Outputs]
    ) -> None:
        self._awake = awake
        self._key_of = key_of
        self._outputs = outputs

    @override
    def on_batch(self, values: list[list[Item]]) -> tuple[Iterable[list[Item] | _Sent], bool]:
        awake, stages = self._awake, self._awake.stages
        made = self._outputs()
        out: list[list[Item] | _Sent] = []
        for key, items in _grouped(chain.from_iterable(values), self._key_of).items():
            stage = stages.get(key)
            if stage is None:
                out.append(awake.send(key, items))
                continue
            stage.process_into(items, made)
            if stage.finished or stage.dormant:
                # Its step discards it, or keeps its bytes.
                del stages[key]
                out.append(awake.send(key, []))
        out.append(made.items())
        return out, StatefulBatchLogic.DISCARD


class _Kept:
    """The stage of one key as the state of `stateful_map`.

    `stateful_map` deep-copies its state at the end of an epoch in which the key was awake, and pickles the
    copy into the recovery store. So the deep copy of a stage is its bytes, and takes it out of those awake.
    """

    def __init__(self, awake: _Awake, collected: _Collected, key: str, stage: SealedState) -> None:
        self._awake = awake
        self._collected = collected
        self.key = key
        self.stage = stage

    def __deepcopy__(self, memo: dict[int, Any]) -> bytes:
        # The engine may ask for it before the next step takes what was collected.
        self._collected.settle()
        self._awake.stages.pop(self.key, None)
        return self.stage.to_bytes()


class _Collected:
    """Outputs of many keys in one activation of a worker.

    The engine calls the mapper of `stateful_map` for one key after the other, and then the next step. No item
    of another epoch comes between: no source reads on before the snapshots of an epoch are written.
    """

    def __init__(self, outputs: Callable[[], Outputs]) -> None:
        self._outputs = outputs
        #: By thread, since each worker of a process has one. What Python keeps for a thread itself would be
        #: lost: to Python, the engine's threads end whenever they let others run.
        self._made: dict[int, Outputs] = {}

    def made(self) -> Outputs:
        """Return what collects them."""
        thread = get_ident()
        if thread not in self._made:
            self._made[thread] = self._outputs()
        return self._made[thread]

    def settle(self) -> None:
        """Finish the work of all stages that is not finished yet."""
        made = self._made.get(get_ident())
        if made is not None:
            made.settle()

    def take(self) -> list[Item]:
        """Return the outputs since the last call."""
        made = self._made.pop(get_ident(), None)
        return [] if made is None else made.items()


def _as_state(
    awake: _Awake,
    build: Callable[[Item, bytes | None], SealedState],
    key_of: Callable[[Item], str | None],
    collected: _Collected,
) -> Callable[[Any, list[Item]], tuple[Any, None]]:
    """Make the mapper of `stateful_map` that runs the stage of a key; while dormant, its state is bytes."""

    def mapper(state: _Kept | bytes | None, items: list[Item]) -> tuple[_Kept | bytes | None, None]:
        if not isinstance(state, _Kept):
            state = _Kept(awake, collected, cast("str", key_of(items[0])), build(items[0], state))
        stage = state.stage
        # There are none where `_Together` has found the stage finished or dormant.
        if items:
            stage.process_into(items, collected.made())
        ends = stage.finished or stage.dormant
        awake.arrived(state.key, None if ends else stage)
        if ends:
            return None if stage.finished else stage.to_bytes(), None
        return state, None

    return mapper


def _sent(batch: list[tuple[str, list[Item] | _Sent]]) -> list[_Sent]:
    return [value for _, value in batch if isinstance(value, tuple)]


def stateful_sealed(
    step_id: str,
    together_id: str,
    up: KeyedStream[list[Item]],
    build: Callable[[Item, bytes | None], SealedState],
    key_of: Callable[[Item], str | None],
    outputs: Callable[[], Outputs],
) -> Stream[list[Item]]:
    """Run a `SealedState` for each key as `stateful_map` does, those of many keys in one call.

    What the engine does for one key costs as much as what a stage does for one record. So `stateful_map` has
    the first items of a key in each epoch, and writes its snapshot; the stages of a worker that it has woken
    take all later items of the epoch together.

    Args:
        step_id: unique id; recovery finds the state by it, so it never changes.
        together_id: unique id of the step that has no state of its own.
        up: keyed by the worker that the engine chooses for the keys. If it is keyed otherwise, nothing is
            wrong, but all items go key by key.
        build: builds the stage for the key of an item, from its bytes after a resume.
        key_of: returns the key of an item.
        outputs: makes what collects the outputs of one call.

    Returns:
        Outputs of the stages, in no order: a list for each call, and one for all keys of an activation that
        went to their steps.
    """
    awake, collected = _Awake(), _Collected(outputs)

    def of_keys(_: list[Any]) -> list[list[Item]]:
        made = collected.take()
        return [made] if made else []

    together = op.stateful_batch(together_id, up, lambda _resume: _Together(awake, key_of, outputs))
    sent = op.flat_map_batch(f"{step_id}_sent", together, _sent)
    by_key = op.stateful_map(step_id, sent, _as_state(awake, build, key_of, collected))
    made = op.flat_map_batch(f"{step_id}_made", by_key, of_keys)
    return op.merge(f"{step_id}_all", op.flat_map_batch(f"{together_id}_made", together, _items), made)


def _without_marks(payload: list[Any]) -> list[Any]:
    """Upgrade version 1 of the main snapshot, which had no marks."""
    return [*payload, 0]


#: Snapshots of the main step of a key: key, versions of the parts, the stage's own snapshot, number of marks.
MAIN: Kind[str] = Kind(
    "main", 2, {1: _without_marks}, describe=lambda payload: payload[0], inner=lambda payload: payload[2]
)
#: Snapshots of one part of a key: key, version, the stage's own snapshot.
PART: Kind[str] = Kind("part", 1, describe=lambda payload: payload[0], inner=lambda payload: payload[2])
#: Snapshots of a mark: key, number of marks.
MARK: Kind[str] = Kind("mark", 1, describe=lambda payload: payload[0])


def read_parted(main: bytes, parts: Mapping[int, bytes]) -> tuple[str, bytes, dict[int, bytes]]:
    """Read a key, and the main snapshot and parts of its stage, from the store.

    Raises:
        SnapshotError: it is damaged, or of a version that cannot be read.
    """
    key, _, state, _ = MAIN.unseal(main)
    return key, state, {part: PART.unseal(sealed)[2] for part, sealed in parts.items()}


class PartedStage(Protocol):
    """A plain class whose state is one small main snapshot and numbered parts.

    It is built by ``build(key, main, parts)``: None and an empty dict for a new key, else the results of the
    methods below at the snapshot.
    """

    def process(self, items: list[Item]) -> list[Item]:
        """Process items that arrived together, in any order; return the outputs."""
        ...

    def changed(self) -> Iterable[int]:
        """Numbers of the parts that changed since the last call."""
        ...

    def main_snapshot(self) -> bytes:
        """Small state, written whenever the key was active."""
        ...

    def part_snapshot(self, part: int) -> bytes:
        """State of one part."""
        ...

    def finish(self) -> list[Item]:
        """Outputs at the end of the input; must not change state."""
        ...


Build = Callable[[str, bytes | None, dict[int, bytes]], PartedStage]
_Wake = tuple[str, int]
#: All marks, in place of a part's number.
_MARKS = -1


class _Shelf:
    """State shared by main and part steps of one process."""

    def __init__(self) -> None:
        self.stages: dict[str, PartedStage] = {}
        self.versions: dict[str, list[int]] = {}
        self.resumed: dict[str, dict[int, tuple[int, bytes]]] = {}
        #: Number of times that a key was marked; and the number in its marks, after a resume.
        self.marked: dict[str, int] = {}
        self.marks: dict[str, set[int]] = {}

    def restore(self, step_id: str, key: str, versions: list[int], marked: int) -> dict[int, bytes]:
        """Parts of a resumed key, which must be exactly those of its main snapshot."""
        marks = self.marks.pop(key, {marked})
        if marks != {marked}:
            msg = (
                f"step {step_id!r}, key {key!r}: the files of the recovery store are not of one moment "
                f"(marks {sorted(marks)}, expected {marked}); restore all of them from one backup"
            )
            raise SnapshotError(msg)
        parts = self.resumed.pop(key, {})
        found = [parts[part][0] if part in parts else 0 for part in range(len(versions))]
        if found != versions:
            wrong = [
                part for part, (has, wants) in enumerate(zip(found, versions, strict=True)) if has != wants
            ]
            msg = (
                f"step {step_id!r}, key {key!r}: parts {wrong} of the recovery store are not of the same "
                "epoch as the rest; restore all recovery partitions from one backup"
            )
            raise SnapshotError(msg)
        return {part: data for part, (_, data) in parts.items()}


class _Main(StatefulBatchLogic[list[Item], list[Item] | _Wake, bytes]):
    def __init__(
        self,
        step_id: str,
        shelf: _Shelf,
        build: Build,
        key_of: Callable[[Item], str | None],
        parts: int,
        *,
        used: Collection[int],
        marks: bool,
        apart: bool,
    ) -> None:
        self._step_id = step_id
        self._shelf = shelf
        self._build = build
        self._key_of = key_of
        self._key: str | None = None
        self._main: bytes | None = None
        self._stage: PartedStage | None = None
        self._versions = [0] * parts
        self._awake: set[int] = set()
        self._used = used
        self._marks = marks
        self._apart = apart
        self._marked = 0

    def resume(self, sealed: bytes) -> None:
        self._key, versions, self._main, self._marked = MAIN.unseal(sealed)
        if len(versions) > len(self._versions) and any(versions[len(self._versions) :]):
            msg = (
                f"step {self._step_id!r} has state in {len(versions)} parts, this release knows "
                f"{len(self._versions)}; resume with the release that wrote the store"
            )
            raise SnapshotError(msg)
        for part, version in enumerate(versions[: len(self._versions)]):
            self._versions[part] = version

    def _open(self, key: str) -> PartedStage:
        self._key = key
        parts = self._shelf.restore(self._step_id, key, self._versions, self._marked)
        stage = self._build(key, self._main, parts)
        self._main = None
        self._shelf.stages[key] = self._stage = stage
        self._shelf.versions[key] = self._versions
        return stage

    @override
    def on_batch(self, values: list[list[Item]]) -> tuple[Iterable[list[Item] | _Wake], bool]:
        lists = values if self._apart or len(values) == 1 else [[*chain.from_iterable(values)]]
        stage = self._stage or self._open(cast("str", self._key_of(lists[0][0])))
        made = [stage.process(items) for items in lists]
        return [*made, *self._wakes(stage)], StatefulBatchLogic.RETAIN

    @override
    def on_eof(self) -> tuple[Iterable[list[Item] | _Wake], bool]:
        # Opening a stage may change it (another layout, a new version of a model): write its parts too.
        stage = self._stage or self._open(cast("str", self._key))
        return [stage.finish(), *self._wakes(stage)], StatefulBatchLogic.RETAIN

    def _wakes(self, stage: PartedStage) -> Iterator[_Wake]:
        """Wake the steps of changed parts, and the marks, once an epoch."""
        key = cast("str", self._key)
        for part in stage.changed():
            if part not in self._awake:
                if part not in self._used:
                    msg = (
                        f"step {self._step_id!r}, key {key!r}: part {part} changed, and has no step that "
                        "writes it. Please report it"
                    )
                    raise LookupError(msg)
                self._awake.add(part)
                self._versions[part] += 1
                yield key, part
        if self._marks and _MARKS not in self._awake:
            self._awake.add(_MARKS)
            self._marked += 1
            self._shelf.marked[key] = self._marked
            yield key, _MARKS

    @override
    def snapshot(self) -> bytes:
        self._awake.clear()
        main = self._main if self._stage is None else self._stage.main_snapshot()
        return MAIN.seal((self._key, self._versions, main, self._marked))


class _Woken(StatefulBatchLogic[_Wake, list[Item], bytes]):
    """A step that only writes its snapshot: its input is its key, and it emits nothing."""

    def __init__(self, shelf: _Shelf) -> None:
        self._shelf = shelf
        self._key = ""

    @override
    def on_batch(self, values: list[_Wake]) -> tuple[Iterable[list[Item]], bool]:
        self._key = values[0][0]
        return (), StatefulBatchLogic.RETAIN

    @override
    def on_eof(self) -> tuple[Iterable[list[Item]], bool]:
        return (), StatefulBatchLogic.RETAIN


class _Part(_Woken):
    def __init__(self, shelf: _Shelf, part: int, resume: bytes | None) -> None:
        super().__init__(shelf)
        self._part = part
        if resume is not None:
            self._key, version, data = PART.unseal(resume)
            shelf.resumed.setdefault(self._key, {})[part] = (version, data)

    @override
    def snapshot(self) -> bytes:
        version, data = self._current()
        return PART.seal((self._key, version, data))

    def _current(self) -> tuple[int, bytes]:
        stage = self._shelf.stages.get(self._key)
        if stage is None:
            return self._shelf.resumed[self._key][self._part]
        return self._shelf.versions[self._key][self._part], stage.part_snapshot(self._part)


class _Mark(_Woken):
    def __init__(self, shelf: _Shelf, resume: bytes | None) -> None:
        super().__init__(shelf)
        self._marked = 0
        if resume is not None:
            self._key, self._marked = MARK.unseal(resume)
            shelf.marks.setdefault(self._key, set()).add(self._marked)

    @override
    def snapshot(self) -> bytes:
        marked = self._shelf.marked.get(self._key, self._marked)
        return MARK.seal((self._key, marked))


def _items(batch: Iterable[tuple[str, object]]) -> list[list[Item]]:
    return [value for _, value in batch if isinstance(value, list) and value]


def _wakes(batch: list[tuple[str, list[Item] | _Wake]]) -> list[tuple[str, _Wake]]:
    return [(key, value) for key, value in batch if isinstance(value, tuple)]


@operator
def stateful_in_parts(
    step_id: str,
    up: KeyedStream[list[Item]],
    build: Build,
    key_of: Callable[[Item], str | None],
    parts: int,
    marks: tuple[int, ...] = (),
    *,
    used: Collection[int] | None = None,
    apart: bool = False,
) -> Stream[list[Item]]:
    """Run a `PartedStage` for each key, and write its state part by part.

    Args:
        step_id: unique id; recovery finds the state by it, so it never changes.
        up: stream keyed by ``key_of``.
        build: builds or restores the stage of a key.
        key_of: returns the key of an item, as ``up`` is keyed; the engine does not pass it to the logic.
        parts: number of parts of a stage; may grow from release to release, never shrink.
        marks: numbers of its marks; they never change.
        used: the parts that a stage may write, and those of which the store holds a snapshot; the others have
            no step. None: all.
        apart: whether each list of an activation is processed by itself.

    Returns:
        Outputs of the stages, a list for each activation of a key.
    """
    shelf = _Shelf()
    having_steps = frozenset(range(parts) if used is None else used)

    def build_main(resume: bytes | None) -> _Main:
        main = _Main(step_id, shelf, build, key_of, parts, used=having_steps, marks=bool(marks), apart=apart)
        if resume is not None:
            main.resume(resume)
        return main

    worked: KeyedStream[list[Item] | _Wake] = op.stateful_batch("main", up, build_main)
    items = op.flat_map_batch("items", worked, _items)
    wakes = op.flat_map_batch("wakes", worked, _wakes)
    kept = [_keep(part, wakes, shelf) for part in sorted(having_steps)]
    kept += [_mark(mark, wakes, shelf) for mark in marks]
    return op.merge("merge", items, *kept)


def _keep(part: int, wakes: KeyedStream[_Wake], shelf: _Shelf) -> Stream[list[Item]]:
    """One part step: it emits nothing, and is merged so that the engine runs it."""
    mine = op.filter(f"part_{part:02}_only", wakes, lambda keyed: keyed[1][1] == part)
    kept = op.stateful_batch(f"part_{part:02}", mine, lambda resume: _Part(shelf, part, resume))
    return cast("Stream[list[Item]]", kept)


def _mark(mark: int, wakes: KeyedStream[_Wake], shelf: _Shelf) -> Stream[list[Item]]:
    """One mark, woken together with all others."""
    mine = op.filter(f"mark_{mark:02}_only", wakes, lambda keyed: keyed[1][1] == _MARKS)
    kept = op.stateful_batch(f"mark_{mark:02}", mine, lambda resume: _Mark(shelf, resume))
    return cast("Stream[list[Item]]", kept)
