"""Labels that come late: which examples wait, which are decided, which were decided wrongly.

An example at t of a target with horizon H is positive if a failure of the target's mode lies in (t, t + H].
That is known as soon as the failure arrives. That there is none is known when the asset's label clock passes
t + H + label_delay; maintenance of the target's component in (t, t + H] then makes it censored, since
nobody knows what would have happened. Records have no lateness bound while an example is remembered: one
that comes after the decision corrects it.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dataflows.items import Matured

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataflows.fleet.plan import Target

__all__ = ["CENSORED", "NEGATIVE", "POSITIVE", "Labels"]

POSITIVE, NEGATIVE, CENSORED = 1, 0, -1
_NEVER = 2**63


@dataclass(slots=True)
class _Example:
    time: int
    label: int | None = None
    lead: int | None = None
    correction: int = -1


class _TargetLabels:
    """Examples of one target, in order of time."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.examples: deque[_Example] = deque()
        #: How many examples from the left have been decided for good by the clock.
        self.passed = 0
        #: Microseconds after its time at which an example's label is decided by the clock, and is forgotten.
        self.wait = target.horizon + target.label_delay
        self.keep = self.wait + target.label_memory


class Labels:
    """The pending and the remembered examples of one asset, for all targets of its class.

    Args:
        targets: of the class.
        state: what `state` returned, None for a new asset.
    """

    def __init__(self, targets: tuple[Target, ...], state: dict[str, Any] | None = None) -> None:
        self._targets = {target.name: _TargetLabels(target) for target in targets}
        self._failures: dict[str, list[int]] = {}
        self._maintenance: dict[str, list[int]] = {}
        self._seen: dict[str, int] = {}
        self._oldest = 0
        #: Up to these label clocks nothing is decided, and nothing forgotten: for nearly every event.
        self._due = self._stale = _NEVER
        self.clock: int | None = None
        self._memory = max(
            (t.horizon + t.label_delay + t.label_memory for t in targets),
            default=0,
        )
        if state is not None:
            self._restore(state)

    def advance(self, clock: int | None) -> dict[str, list[Matured]]:
        """Move the label clock forward, never back; return what it decides, by target."""
        if clock is None or (self.clock is not None and clock <= self.clock):
            return {}
        self.clock = clock
        if clock <= self._due:
            return {}
        decided = {name: self._pass(labels, clock) for name, labels in self._targets.items()}
        self._look_ahead()
        return {name: found for name, found in decided.items() if found}

    def _look_ahead(self) -> None:
        """Find the label clocks up to which nothing happens."""
        held = [labels for labels in self._targets.values() if labels.examples]
        waiting = [labels for labels in held if labels.passed < len(labels.examples)]
        self._stale = min((labels.examples[0].time + labels.keep for labels in held), default=_NEVER)
        self._due = min(
            (labels.examples[labels.passed].time + labels.wait for labels in waiting), default=_NEVER
        )

    def _pass(self, labels: _TargetLabels, clock: int) -> list[Matured]:
        decided = []
        examples = labels.examples
        while labels.passed < len(examples):
            example = examples[labels.passed]
            if not example.time + labels.wait < clock:
                break
            labels.passed += 1
            if example.label is None:
                decided.append(self._decide(labels.target, example))
        return decided

    def failure(self, time: int, mode: str, identity: str | None) -> dict[str, list[Matured]] | None:
        """Take a failure record; None for one that was seen before, else what it decides or corrects."""
        if not self._new("failure", time, mode, identity):
            return None
        moved = self.advance(time)
        insort(self._failures.setdefault(mode, []), time)
        return self._revise(
            (labels for labels in self._targets.values() if labels.target.mode == mode), time, moved
        )

    def maintenance(
        self, time: int, component: str | None, identity: str | None
    ) -> dict[str, list[Matured]] | None:
        """Take a maintenance record, of the whole asset where component is None; as `failure`."""
        if not self._new("maintenance", time, component or "", identity):
            return None
        moved = self.advance(time)
        insort(self._maintenance.setdefault(component or "", []), time)
        affected = (
            labels
            for labels in self._targets.values()
            if component is None or labels.target.component == component
        )
        return self._revise(affected, time, moved)

    def add(self, time: int) -> dict[str, Matured]:
        """Take a new example at a time after all others; return the targets whose label is known already."""
        at_once = {}
        for name, labels in self._targets.items():
            example = _Example(time)
            labels.examples.append(example)
            passed = self.clock is not None and time + labels.wait < self.clock
            if passed:
                labels.passed = len(labels.examples)
            if passed or self._verdict(labels.target, time)[0] == POSITIVE:
                at_once[name] = self._decide(labels.target, example)
        self._look_ahead()
        return at_once

    def release(self, largest: int | None) -> dict[str, list[int]]:
        """Forget what no record can change any more; return the times of forgotten examples, by target.

        Args:
            largest: the largest telemetry time; records that its examples may need are kept.
        """
        if self.clock is None:
            return {}
        released: dict[str, list[int]] = {}
        if self.clock > self._stale:
            for name, labels in self._targets.items():
                keep = self.clock - labels.keep
                while labels.examples and labels.examples[0].time < keep:
                    released.setdefault(name, []).append(labels.examples.popleft().time)
                    labels.passed -= 1
            self._look_ahead()
        if self._seen and largest is not None:
            self._forget_records(min(self.clock, largest) - self._memory)
        return released

    def remembers(self, time: int) -> bool:
        """Whether a record of this time can still change a label."""
        return self.clock is None or time > self.clock - self._memory

    def pending(self) -> int:
        """Examples that wait for their label, over all targets."""
        return sum(example.label is None for labels in self._targets.values() for example in labels.examples)

    def _revise(
        self, affected: Iterable[_TargetLabels], time: int, decided: dict[str, list[Matured]]
    ) -> dict[str, list[Matured]]:
        """Decide anew every example that a record of this time can touch; add that to what is decided."""
        for labels in affected:
            target = labels.target
            for index, example in enumerate(labels.examples):
                if example.time >= time:
                    break
                if time > example.time + target.horizon:
                    continue
                label = self._verdict(target, example.time)[0]
                due = index < labels.passed or label == POSITIVE
                if example.label is None and not due:
                    continue
                if label != example.label:
                    decided.setdefault(target.name, []).append(self._decide(target, example))
        for found in decided.values():
            found.sort(key=lambda matured: matured.time)
        return decided

    def _verdict(self, target: Target, time: int) -> tuple[int, int | None, str]:
        """Label, lead and reason of an example by the records that stand now."""
        until = time + target.horizon
        failures = self._failures.get(target.mode, [])
        index = bisect_right(failures, time)
        if index < len(failures) and failures[index] <= until:
            return POSITIVE, failures[index] - time, "failure"
        for component in ("", target.component):
            work = self._maintenance.get(component, [])
            index = bisect_right(work, time)
            if index < len(work) and work[index] <= until:
                return CENSORED, None, "maintenance"
        return NEGATIVE, None, "horizon passed"

    def _decide(self, target: Target, example: _Example) -> Matured:
        example.label, example.lead, why = self._verdict(target, example.time)
        example.correction += 1
        clock = self.clock if self.clock is not None else example.time
        return Matured(example.time, example.label, why, example.lead, clock, example.correction)

    def _new(
        self, kind: Literal["failure", "maintenance"], time: int, what: str, identity: str | None
    ) -> bool:
        key = f"{kind} id {identity}" if identity is not None else f"{kind} of {what} {time}"
        if key in self._seen:
            return False
        self._oldest = min(self._oldest, time) if self._seen else time
        self._seen[key] = time
        return True

    def _forget_records(self, before: int) -> None:
        if self._oldest >= before:
            return
        for times in (*self._failures.values(), *self._maintenance.values()):
            while times and times[0] < before:
                del times[0]
        for key in [key for key, time in self._seen.items() if time < before]:
            del self._seen[key]
        self._oldest = min(self._seen.values(), default=before)

    def state(self) -> dict[str, Any]:
        """Plain data: records, and examples as parallel lists."""
        return {
            "clock": self.clock,
            "failures": self._failures,
            "maintenance": self._maintenance,
            "seen": self._seen,
            "targets": {
                name: {
                    "passed": labels.passed,
                    "times": [example.time for example in labels.examples],
                    "labels": [example.label for example in labels.examples],
                    "leads": [example.lead for example in labels.examples],
                    "corrections": [example.correction for example in labels.examples],
                }
                for name, labels in self._targets.items()
            },
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.clock = state["clock"]
        self._failures = state["failures"]
        self._maintenance = state["maintenance"]
        self._seen = state["seen"]
        self._oldest = min(self._seen.values(), default=0)
        for name, kept in state["targets"].items():
            labels = self._targets.get(name)
            if labels is None:
                continue
            labels.passed = kept["passed"]
            columns = (kept["times"], kept["labels"], kept["leads"], kept["corrections"])
            labels.examples.extend(_Example(*row) for row in zip(*columns, strict=True))
        self._look_ahead()
