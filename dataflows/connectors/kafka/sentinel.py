"""RunStatus topics in the background: their existence, new partitions, and whether all was read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dataflows.connectors.clocks import now
from dataflows.connectors.kafka.client import KafkaInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataflows.connectors.kafka.part import Part
    from dataflows.connectors.kafka.topics import Asked, Topic, Topics

__all__ = ["Sentinel", "refuse_change"]

#: Seconds after which a missing topic is looked up again.
_AGAIN = 2.0


def refuse_change(name: str, before: Topic, found: Topic | None) -> None:
    """Refuse a topic that is gone or was replaced.

    Raises:
        KafkaInputError: it names the remedy.
    """
    if found is None:
        msg = f"the topic {name} does not exist (any more); make it again and start over (--fresh)"
        raise KafkaInputError(msg)
    if found.id != before.id:
        msg = (
            f"the topic {name} was deleted and made anew: its offsets mean other messages than those that "
            "the recovery store knows; start over (--fresh)"
        )
        raise KafkaInputError(msg)


class Sentinel:
    """Ask the cluster now and then, without waiting for an answer.

    Args:
        topics: client for questions.
        expected: the topics at the start of the run.
        tick_every: microseconds between questions whether all was read.
        every: seconds between checks of the topics.
    """

    def __init__(
        self, topics: Topics, expected: dict[str, Topic], tick_every: int, every: float = 5.0
    ) -> None:
        self._topics = topics
        self._expected = expected
        self._every = every
        self._next = time.monotonic() + every
        self._looked: Asked | None = None
        self._missing: set[str] = set()
        self._probe_every = max(tick_every // 2, 20_000)
        self._probed_at = 0
        self._probe: Asked | None = None

    def check(self) -> None:
        """Process the answer to the last question, or ask the next.

        Raises:
            KafkaInputError: a topic is gone, was created again, or has more partitions.
        """
        if self._looked is None:
            if time.monotonic() >= self._next:
                self._looked = self._topics.ask(self._expected)
            return
        if not self._looked.done():
            return
        found, self._looked = self._looked.topics(), None
        missing = {name for name, topic in found.items() if topic is None}
        # A broker that has just returned may not know a topic yet.
        doubted, self._missing = missing - self._missing, missing
        self._next = time.monotonic() + (min(self._every, _AGAIN) if doubted else self._every)
        for name, topic in found.items():
            before = self._expected[name]
            if name in doubted:
                continue
            refuse_change(name, before, topic)
            if topic is not None and topic.partitions != before.partitions:
                msg = (
                    f"the topic {name} has {topic.partitions} partitions, this run reads "
                    f"{before.partitions}: records of one asset may now lie in two. See `new_partitions` "
                    'under [input.kafka]; set it to "read" and run again'
                )
                raise KafkaInputError(msg)

    def silent_since(self, asked: int, parts: Sequence[Part]) -> int | None:
        """See `Reading`: an instant at which all partitions ended at the read position."""
        if self._probe is None:
            if asked - self._probed_at >= self._probe_every:
                self._probed_at = now()
                self._probe = self._topics.ask_ends(part.name for part in parts)
            return None
        if not self._probe.done():
            return None
        ends, self._probe = self._probe.offsets(), None
        if ends is None or any(
            part.buffer or max(part.fetched, part.end) < ends[part.name] for part in parts
        ):
            return None
        return self._probed_at
