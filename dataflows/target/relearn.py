"""Corrected labels reach the models: a checkpoint of the models, and the examples since, learned again.

A failure that is withdrawn, or reported late, changes labels that models have learned. With ``relearn`` the
models go back to a checkpoint and learn the examples since again, with the labels that stand. They are then
what they would be if the wrong label had never come: each example is learned at the place in the order at
which its label would have been known. A failure is known before the target clock passes the example, so a
positive is learned there (`AT_TARGET`); a negative is known when the clock of its own asset passes it
(`AT_ASSET`). So both places of every example are noted, whatever its label is; and where a failure was
reported later still (`AT_REPORT`).

Checkpoints are taken where the target clock passes a multiple of ``relearn``, and the last two are kept. So
a correction reaches back by one to two times ``relearn``; earlier examples keep the label that was learned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dataflows.target.examples import Example, Key

__all__ = ["AT_ASSET", "AT_REPORT", "AT_TARGET", "Checkpoint", "Passed", "Relearning"]

#: The target clock passed an example; the label clock of its own asset did.
AT_TARGET, AT_ASSET = 1, 2
#: A first label came later than both clocks would have it: a failure that was reported late.
AT_REPORT = 4
#: So many checkpoints are kept.
_KEPT = 2


class Passed(NamedTuple):
    """A place in the order of learning at which an example may be learned.

    Attributes:
        asset: of the example.
        time: of the example.
        places: `AT_TARGET`, `AT_ASSET`, the sum of both, or `AT_REPORT`.
    """

    asset: str
    time: int
    places: int

    @property
    def key(self) -> Key:
        """Of the example."""
        return self.asset, self.time


class Checkpoint(NamedTuple):
    """What the models were before a place in the order.

    Attributes:
        number: how many `Passed` came before it, ever; the models are stored under this number.
        clock: of the target, to which it moved then.
        learned: examples that the target had learned.
        positives: positive ones among them.
        models: by label: version, examples learned, and positive ones among them.
    """

    number: int
    clock: int
    learned: int
    positives: int
    models: dict[str, tuple[int, int, int]]


class Relearning:
    """Places at which examples since the checkpoints were or may be learned, and what has to be put right.

    Args:
        every: microseconds of the target clock from one checkpoint to the next.
        wait: microseconds from an example to where it is due: horizon and label delay.
        state: return value of `state`; None for a target that begins to relearn.

    Attributes:
        checkpoints: the oldest first; empty until the first one is taken.
        changed: it changed since it was last written; whoever writes it resets this.
    """

    def __init__(self, every: int, wait: int, state: Mapping[str, Any] | None = None) -> None:
        self._every = every
        self._wait = wait
        self._base = 0
        self._passed: list[Passed] = []
        self.checkpoints: list[Checkpoint] = []
        #: Examples whose own asset has passed them, before this is noted.
        self._own: set[Key] = set()
        if state is not None:
            self._base = state["base"]
            self._passed = [Passed(*each) for each in state["passed"]]
            self.checkpoints = [_checkpoint(*each) for each in state["checkpoints"]]
            self._own = {(asset, time) for asset, time in state["own"]}
        #: Places of each example that are noted, as a sum.
        self._noted: dict[Key, int] = {}
        for each in self._passed:
            # One whose first place is gone cannot be put right.
            if each.places & AT_TARGET or each.key in self._noted:
                self._noted[each.key] = self._noted.get(each.key, 0) | each.places
        #: By asset: times of positives that its own clock has not passed.
        self._ahead: dict[str, set[int]] = {}
        #: Examples whose label is another one than that which was learned.
        self._wrong: set[Key] = set()
        self.changed = False

    def __contains__(self, key: object) -> bool:
        """Whether an example is needed to learn again."""
        return key in self._noted

    def restore(self, examples: Iterable[Example], clock: int | None) -> list[tuple[int, str]]:
        """Find out after a resume which examples wait to be passed; return (time, asset) of each.

        Args:
            examples: every one that is stored.
            clock: of the target.
        """
        places = []
        for example in examples:
            if not self._is_passed(example.time, clock) or example.key in self._own:
                places.append((example.time, example.asset))
            self.note_label(example, clock)
        return places

    def _is_passed(self, time: int, clock: int | None) -> bool:
        return clock is not None and time + self._wait < clock

    def note_label(self, example: Example, clock: int | None) -> bool:
        """Note the label that stands; return whether the clock of its own asset has passed the example now.

        Args:
            example: as it is now.
            clock: of the target.
        """
        noted = self._noted.get(example.key, 0)
        if noted & AT_ASSET or (not noted and self._is_passed(example.time, clock)):
            return False
        if example.label == 1:
            self._ahead.setdefault(example.asset, set()).add(example.time)
            return False
        self._ahead.get(example.asset, set()).discard(example.time)
        # Only the clock of the asset makes a negative, or censors.
        return example.label is not None and self._own_passed(example.key)

    def _own_passed(self, key: Key) -> bool:
        self._own.add(key)
        self.changed = True
        return True

    @property
    def looks_ahead(self) -> bool:
        """Whether the clocks of single assets matter now: a positive waits until its own asset passes it."""
        return any(self._ahead.values())

    def reached(self, asset: str, clock: int) -> list[int]:
        """Return the times of positives that the clock of their asset passes, ascending."""
        times = self._ahead.get(asset, set())
        passed = sorted(time for time in times if time + self._wait < clock)
        for time in passed:
            times.discard(time)
            self._own_passed((asset, time))
        return passed

    def note_passed(self, example: Example, before: int | None) -> None:
        """Note that the order of learning reached an example, before it is learned there.

        Args:
            example: that is passed.
            before: the target clock before it was moved to where it is.
        """
        key, noted = example.key, self._noted.get(example.key, 0)
        if not noted and self._is_passed(example.time, before):
            self._own.discard(key)  # its first place is before the checkpoints
            return
        places = 0 if noted & AT_TARGET else AT_TARGET
        if key in self._own:
            self._own.discard(key)
            places |= AT_ASSET & ~noted
        if not places and example.label == 1 and not (example.learned and example.correction):
            places = AT_REPORT & ~noted
        if places:
            self._noted[key] = noted | places
            self._passed.append(Passed(*key, places))
            self.changed = True

    def note_correction(self, key: Key) -> None:
        """Note that another label than the learned one stands; beyond the checkpoints it stays as it is."""
        if key in self._noted:
            self._wrong.add(key)

    @property
    def wrong(self) -> int:
        """Number of examples to put right."""
        return len(self._wrong)

    def begin(self) -> tuple[Checkpoint, list[Passed], list[int]]:
        """Begin to put right; return the checkpoint to go back to, what was passed since, and what ends.

        Later checkpoints end, since they hold what is to put right: the last value has their numbers.
        """
        first = next(number for number, each in enumerate(self._passed) if each.key in self._wrong)
        self._wrong.clear()
        self.changed = True
        found = [each for each in self.checkpoints if each.number <= self._base + first][-1]
        ended = [each.number for each in self.checkpoints if each.number > found.number]
        self.checkpoints = [each for each in self.checkpoints if each.number <= found.number]
        return found, self._passed[found.number - self._base :], ended

    def places(self, passed: Iterable[Passed], label: Mapping[Key, int | None]) -> Iterator[Key]:
        """Yield the examples to learn, in order: a positive at its first place, a negative at its asset's."""
        passed = list(passed)
        done: set[Key] = set()
        late = {each.key for each in passed if each.places & AT_REPORT}
        for each in passed:
            stands = label.get(each.key)
            known = stands == 0 and each.places & AT_ASSET
            if stands == 1:
                known = each.key not in late or each.places & AT_REPORT
            if known and each.key in self._noted and each.key not in done:
                done.add(each.key)
                yield each.key

    def due(self, clock: int) -> bool:
        """Whether a checkpoint is to be taken before the target clock moves to here."""
        if not self.checkpoints:
            return True
        return clock // self._every > self.checkpoints[-1].clock // self._every

    @property
    def number(self) -> int:
        """Number of the next checkpoint."""
        return self._base + len(self._passed)

    def take(self, checkpoint: Checkpoint, *, alone: bool) -> tuple[list[int], list[Key]]:
        """Add a checkpoint; return the numbers of those that end, and examples that are not needed any more.

        Args:
            checkpoint: with the number `number`.
            alone: earlier ones end, since models began that they do not have.
        """
        former = [each for each in self.checkpoints if each.number != checkpoint.number]
        self.checkpoints = [*former, checkpoint][-1 if alone else -_KEPT :]
        ended = [each.number for each in former if each not in self.checkpoints]
        cut = self.checkpoints[0].number - self._base
        dropped, self._passed = self._passed[:cut], self._passed[cut:]
        self._base += cut
        for each in dropped:
            self._noted.pop(each.key, None)
        self.changed = True
        return ended, [each.key for each in dropped]

    def state(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "base": self._base,
            "passed": self._passed,
            "checkpoints": self.checkpoints,
            "own": sorted(self._own),
        }


def _checkpoint(
    number: int, clock: int, learned: int, positives: int, models: Mapping[str, Sequence[int]]
) -> Checkpoint:
    known = {label: (version, of, positive) for label, (version, of, positive) in models.items()}
    return Checkpoint(number, clock, learned, positives, known)
