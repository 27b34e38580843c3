"""Source of a lane that reads Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

from typing_extensions import override

from dataflows.connectors.arrivals import NEVER
from dataflows.connectors.kafka.client import PATIENCE, Clients, KafkaInputError, Patience
from dataflows.connectors.kafka.partitions import (
    KAFKA,
    KafkaReading,
    PartitionBuffer,
    TopicMonitor,
    refuse_change,
)
from dataflows.connectors.kafka.topics import Topic, Topics
from dataflows.connectors.lines import InputError, expand
from dataflows.connectors.merge import FilePosition, Merge
from dataflows.connectors.order_journal import entries_of, partitions_of
from dataflows.connectors.source import LaneSource
from dataflows.mapping.live import rows_of_topic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataflows.connectors.kafka.topics import Name
    from dataflows.connectors.source import LaneOptions, Reading
    from dataflows.fleet.fleet import Fleet, KafkaInput
    from dataflows.status import RunStatus

__all__ = ["KafkaSource"]


class KafkaSource(LaneSource):
    """Lanes of topics: registry files first, then all partitions of all topics merged by timestamp.

    Of several lanes each has every so many-th partition of each topic, and all partitions of shared topics.

    Args:
        fleet: with topics as its input.
        status: of the run; counts what is read, and requests the stop.
        ticks: put ticks into the sequence while nothing arrives.
        journal: folder of the order journal; None writes none.
        replayed: folder of an order journal to repeat; the input ends with it.
        speed: multiple of real time for playing messages, by their timestamps; None for as fast as
            possible.
        patience: with the brokers.

    Raises:
        InputError: a registry file does not exist.
        KafkaInputError: a secret is missing.
    """

    kind = KAFKA

    def __init__(
        self,
        fleet: Fleet,
        status: RunStatus,
        *,
        ticks: bool = False,
        journal: Path | None = None,
        replayed: Path | None = None,
        speed: float | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        if fleet.input.kafka is None:
            msg = "the fleet's input is not Kafka"
            raise ValueError(msg)
        super().__init__(fleet.input, status, ticks=ticks, journal=journal, replayed=replayed, speed=speed)
        self._kafka: KafkaInput = fleet.input.kafka
        self._paths = expand(fleet.assets.registry) if fleet.assets.registry else []
        self._clients = Clients(fleet.kafka, patience)
        self._max_jump = fleet.assets.max_arrival_jump

    @classmethod
    @override
    def of(cls, fleet: Fleet, status: RunStatus, **lane: Unpack[LaneOptions]) -> Self:
        return cls(fleet, status, **lane)

    @property
    @override
    def journaled(self) -> bool:
        return self.journal is not None

    @override
    def open(self, state: Any) -> Reading:
        topics = Topics(self._clients, KafkaInputError)
        expected = self._found(topics, {} if state is None else state[1])
        parts = self._parts(topics, expected, state)
        places = self._places([] if state is None else state[0])
        rules = self.input.rules
        reading = KafkaReading(
            self._clients.consumer(self._kafka.group),
            parts,
            Merge([[path] for path in self._paths] or [[]], places, plain=False, registry=len(self._paths)),
            self._paths,
            {name: topic.id for name, topic in expected.items()},
            TopicMonitor(topics, expected, self.input.tick_every, self._clients.patience.check),
            follow=self.follow,
            rows={name: rows_of_topic(name, rules) for name in expected} if rules else {},
        )
        self.status.register_part("behind", self.lane, reading.lag)
        if rules:
            self.status.register_part("unmatched", self.lane, reading.unmatched)
        return reading

    def _places(self, begun: list[Any]) -> list[FilePosition]:
        read = [path for path, _ in begun]
        if read and read != self._paths:
            msg = (
                f"the recovery store has read the registry files {read}, they are now {self._paths}; they "
                "must stay as they are, or start over (--fresh)"
            )
            raise InputError(msg)
        return [FilePosition(*place) for _, place in begun]

    def _found(self, topics: Topics, known: dict[str, str]) -> dict[str, Topic]:
        """Find the configured topics, and check that they are those of the store."""
        gone = known.keys() - set(self._kafka.topics)
        if gone:
            msg = (
                f"the recovery store has read {', '.join(sorted(gone))}, which `topics` under "
                "[input.kafka] lacks; topics already read must stay (new ones may follow), or start over "
                "(--fresh)"
            )
            raise KafkaInputError(msg)
        found: dict[str, Topic] = {}
        for name, topic in topics.find(self._kafka.topics).items():
            if topic is None:
                msg = f"there is no topic {name} at {self._clients.bootstrap}; make it, or set `topics` right"
                raise KafkaInputError(msg)
            if name in known:
                refuse_change(name, Topic(known[name], 0), topic)
            self._check_divided(name, topic)
            found[name] = topic
        return found

    def _has(self, topic: str, number: int) -> bool:
        """Whether a partition belongs to the lane."""
        return topic in self._kafka.shared or number % self.input.lanes == self.lane

    def _check_divided(self, name: str, topic: Topic) -> None:
        lanes = self.input.lanes
        if name not in self._kafka.shared and topic.partitions % lanes:
            msg = (
                f"the topic {name} has {topic.partitions} partitions, which {lanes} lanes cannot share: "
                "records of one asset could lie in different lanes in different topics. Set `lanes` under "
                "[input] to a number that divides the partitions of every topic; or, if the topic holds "
                "weather, registry rows or commands alone, name it in `shared` under [input.kafka]"
            )
            raise KafkaInputError(msg)

    def _parts(self, topics: Topics, expected: dict[str, Topic], state: Any) -> list[PartitionBuffer]:  # noqa: ANN401
        """All partitions: those of the store first, then new ones, each at its position."""
        names = [
            (name, number)
            for name in self._kafka.topics
            for number in range(expected[name].partitions)
            if self._has(name, number)
        ]
        bounds = topics.bounds(names)
        stops = {name: None if self.follow else end for name, (_, end) in bounds.items()}
        begun = [] if state is None else state[2]
        if self.replayed is not None:
            return self._replayed_parts(self.replayed, bounds)
        parts = []
        for topic, number, offset, latest in begun:
            name = (topic, number)
            if name not in bounds:
                msg = f"the topic {topic} lost its partition {number}, which was read; start over (--fresh)"
                raise KafkaInputError(msg)
            self._check_bounds(name, offset, bounds[name])
            parts.append(self._part(name, offset, latest, stop=stops[name], known=True))
        if not begun and self.journal is not None and partitions_of(self.journal):
            # Killed before the first snapshot: repeat its choices from the first offsets.
            starts = self._starts(self.journal, bounds)
            parts = [
                self._part(name, offset, stop=stops[name], known=True) for name, offset in starts.items()
            ]
        new = [name for name in names if name not in {part.name for part in parts}]
        self._check_new(new, {part.name[0] for part in parts})
        at_end = self._kafka.start == "end" and not parts and self.follow
        return parts + [self._part(name, bounds[name][at_end], stop=stops[name]) for name in new]

    def _part(
        self, name: Name, offset: int, latest: int = NEVER, *, stop: int | None = None, known: bool = False
    ) -> PartitionBuffer:
        return PartitionBuffer(name, offset, latest, max_jump=self._max_jump, stop=stop, known=known)

    def _check_new(self, new: Sequence[Name], known: set[str]) -> None:
        grown = sorted({topic for topic, _ in new} & known)
        if grown and self._kafka.new_partitions == "refuse":
            msg = (
                f"{', '.join(grown)} has more partitions than the recovery store knows, so records of one "
                "asset may lie in two, and overtake each other. If that was seen to, or does not matter, set "
                '`new_partitions = "read"` under [input.kafka] and run again'
            )
            raise KafkaInputError(msg)

    @staticmethod
    def _check_bounds(name: Name, offset: int, bounds: tuple[int, int]) -> None:
        first, end = bounds
        if first <= offset <= end:
            return
        where = f"{name[0]}/{name[1]}"
        if offset < first:
            msg = (
                f"{where}: {first - offset:,} messages from offset {offset:,} on were deleted before they "
                "were read; start over with what is left (--fresh), and keep messages for longer than any "
                "stop lasts"
            )
        else:
            msg = (
                f"{where} ends at offset {end:,}, the recovery store has read up to {offset:,}: the topic "
                "is not what it was; restore it, or start over (--fresh)"
            )
        raise KafkaInputError(msg)

    def _replayed_parts(self, journal: Path, bounds: dict[Name, tuple[int, int]]) -> list[PartitionBuffer]:
        """Partitions of a journal, in its order, at their first offsets."""
        return [
            self._part(name, offset, known=True) for name, offset in self._starts(journal, bounds).items()
        ]

    def _starts(self, journal: Path, bounds: dict[Name, tuple[int, int]]) -> dict[Name, int]:
        files = len(self._paths)
        labels = {f"{topic}/{number}": (topic, number) for topic, number in bounds}
        recorded = partitions_of(journal)
        missing = [label for label in recorded[files:] if label not in labels]
        if list(recorded[:files]) != self._paths or missing:
            msg = (
                f"{journal} is of {list(recorded)}, the input is {[*self._paths, *labels]}; give it the same"
            )
            raise KafkaInputError(msg)
        starts: dict[Name, int] = {}
        for found in entries_of(journal, len(recorded)):
            for run in () if isinstance(found.chosen, int) else found.chosen:
                if run.partition >= files:
                    starts.setdefault(labels[recorded[run.partition]], run.start)
            if len(starts) == len(recorded) - files:
                break
        for name, offset in starts.items():
            self._check_bounds(name, offset, bounds[name])
        # In the order of the journal, in which its partitions began.
        return {labels[label]: starts[labels[label]] for label in recorded[files:] if labels[label] in starts}
