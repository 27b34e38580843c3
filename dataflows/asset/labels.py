"""Labels of examples: those that wait, those that are decided, and corrections of them.

An example at t of a target with horizon H is positive if a failure of the target's mode lies in (t, t + H].
That is known as soon as the failure arrives. That there is none is known when the asset's label clock passes
t + H + label_delay; maintenance of the target's component in (t, t + H] then makes it censored, since
nobody knows what would have happened, and so does silence or retirement before t + H. Records have no
lateness bound while an example is remembered: one that comes after the decision corrects it. A positive whose
failure is withdrawn before the label clock has passed is undecided again.

Failures of one mode, each at most `downtime` after the one before it, are one failure: the machine is down,
and its state is reported again. An example of the time from a failure to `downtime` after it is censored.

A verdict is what a person found who looked at the asset. It gives a label to examples that maintenance would
censor, if it lies in (t, t + H] too: *healthy* makes them negative, and *confirmed* makes those positive that
were taken since the target warned. With the time at which it would have failed, *confirmed* makes an example
positive if that lies in (t, t + H], else negative. Of several verdicts that are not unclear the earliest
counts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from dataflows.items import Matured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dataflows.events import Finding, Verdict
    from dataflows.fleet.fleet import Target

__all__ = [
    "CENSORED",
    "NEGATIVE",
    "POSITIVE",
    "AssetRecords",
    "Decisions",
    "Labels",
    "RecordKind",
    "Replaced",
    "WithdrawnKind",
    "from_version_4",
    "pending_in",
]

POSITIVE, NEGATIVE, CENSORED = 1, 0, -1
RecordKind = Literal["failure", "maintenance"]
#: A record that can be withdrawn.
WithdrawnKind = Literal["failure", "maintenance", "verdict"]
#: Shared by the many assets without a record, so it cannot be written to.
_NONE = cast("dict[str, Any]", MappingProxyType({}))
#: Number of records that are kept for later telemetry, however old they are.
_MOST = 256
#: Maintenance of the whole asset.
_WHOLE = ""
#: No name contains it.
_SEPARATOR = "\x1f"
#: Later than any time.
_NEVER = 2**63


class Replaced(NamedTuple):
    """A record that a correction replaced."""

    time: int


class Found(NamedTuple):
    """What a person found.

    Attributes:
        time: of the finding.
        since: from when on the target warned; None: for a whole horizon.
        verdict: the finding.
        fails: when it would have failed; None where nobody said. A store has it only where somebody did.
    """

    time: int
    since: int | None
    verdict: Finding
    fails: int | None = None


class AssetRecords:
    """The valid records of one asset, by time: those that no correction or retraction removed.

    Args:
        state: what `state` returned, None for a new asset.

    Attributes:
        oldest: no record is before this time; later than any time where there is none.
    """

    __slots__ = ("_failures", "_maintenance", "_seen", "_verdicts", "oldest")

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self._failures: Mapping[str, list[int]] = (state and state["failures"]) or _NONE
        self._maintenance: Mapping[str, list[int]] = (state and state["maintenance"]) or _NONE
        #: By identity: time, and mode or component.
        self._seen: dict[str, tuple[int, str]] = _NONE
        if state and state["seen"]:
            self._seen = {key: (time, what) for key, (time, what) in state["seen"].items()}
        #: By target, then by identity: time, since when it warned, and what was found.
        self._verdicts: dict[str, dict[str, Found]] = _NONE
        if state and "verdicts" in state:
            self._verdicts = {
                target: {key: Found(*found) for key, found in of.items()}
                for target, of in state["verdicts"].items()
            }
        self.oldest = self._first()

    def _first(self) -> int:
        """Return the time of the earliest record."""
        times = [time for time, _ in self._seen.values()]
        times += [found.time for of in self._verdicts.values() for found in of.values()]
        return min(times, default=_NEVER)

    def __bool__(self) -> bool:
        """Whether any record is known."""
        return bool(self._seen or self._verdicts)

    def judge(self, event: Verdict) -> tuple[int, ...] | None:
        """Add a verdict; one of the same id, or without ids of the same time, is replaced.

        Returns:
            The times at which labels may change: its own, and that of the one that it replaces. None where it
            was seen before.
        """
        key = str(event.time) if event.id is None else f"{_SEPARATOR}{event.id}"
        new = Found(event.time, event.since, event.verdict, event.fails)
        before = self._verdicts.get(event.target, {}).get(key)
        if before == new:
            return None
        self.oldest = min(self.oldest, event.time)
        self._verdicts = {**self._verdicts, event.target: {**self._verdicts.get(event.target, {}), key: new}}
        return (event.time,) if before is None else (before.time, event.time)

    def _found(
        self, target: Target, time: int, until: int
    ) -> tuple[int, Literal["confirmed", "healthy"]] | None:
        """Return the label that a verdict gives an example, and why; None where none says it."""
        every = self._verdicts.get(target.name)
        if not every:
            return None
        clear = [found for found in every.values() if found.verdict != "unclear"]
        clear = [found for found in clear if time < found.time <= until]
        if not clear:
            return None
        first = min(clear, key=lambda found: found.time)
        if first.verdict == "healthy":
            return NEGATIVE, "healthy"
        if first.fails is not None:
            return POSITIVE if first.fails <= until else NEGATIVE, "confirmed"
        since = first.time - target.horizon if first.since is None else first.since
        return (POSITIVE, "confirmed") if time >= since else None

    def add(
        self, kind: RecordKind, time: int, what: str | None, identity: str | None, expired: int | None = None
    ) -> Replaced | bool:
        """Add a record, unless it was seen before.

        One order may name several modes or components, so a record is identified by its id and its mode or
        component.

        Args:
            kind: failure or maintenance.
            time: microseconds.
            what: mode of the failure; component of the maintenance, None for the whole asset.
            identity: its own id, if it has one.
            expired: ids of records before this instant are free again; None: of none.

        Returns:
            True for a new record, False for a copy; of a correction, the record that it replaced.
        """
        named = what or _WHOLE
        key = _key(kind, time, named, identity)
        found = self._seen.get(key)
        if found is not None and found[0] == time:
            return False
        replaced = None
        if found is not None and (expired is None or found[0] >= expired):
            replaced = Replaced(found[0])
            self._times(kind, named).remove(found[0])
        elif found is not None:
            self._free(kind, found[0], named)
        self.oldest = min(self.oldest, time)
        self._seen = {} if self._seen is _NONE else self._seen
        self._seen[key] = (time, named)
        insort(self._times(kind, named), time)
        return True if replaced is None else replaced

    def _free(self, kind: RecordKind, time: int, named: str) -> None:
        """Keep a record without its identity, since another record has its id now."""
        key = _key(kind, time, named, None) + _SEPARATOR
        if key in self._seen:
            self._times(kind, named).remove(time)
        self._seen[key] = (time, named)

    def withdraw(self, identity: str) -> list[tuple[WithdrawnKind, int, str | None]]:
        """Remove the records of an id, which is free again.

        Returns:
            Of each its kind, its time, and its mode, component or target.
        """
        withdrawn: list[tuple[WithdrawnKind, int, str | None]] = []
        kinds: tuple[RecordKind, ...] = ("failure", "maintenance")
        for kind in kinds:
            begin = _SEPARATOR.join((kind, identity, ""))
            for key in sorted(key for key in self._seen if key.startswith(begin)):
                time, what = self._seen.pop(key)
                self._times(kind, what).remove(time)
                withdrawn.append((kind, time, what or None))
        for target, of in self._verdicts.items():
            found = of.get(f"{_SEPARATOR}{identity}")
            if found is not None:
                withdrawn.append(("verdict", found.time, target))
        self._keep_verdicts(lambda key, _: key != f"{_SEPARATOR}{identity}")
        return withdrawn

    def _keep_verdicts(self, keeps: Callable[[str, Found], bool]) -> None:
        kept = {
            target: {key: found for key, found in of.items() if keeps(key, found)}
            for target, of in self._verdicts.items()
        }
        self._verdicts = {target: of for target, of in kept.items() if of} or _NONE

    def verdict(self, target: Target, time: int) -> tuple[int, int | None, str]:
        """Return label, lead and reason of an example whose horizon has passed."""
        until = time + target.horizon
        failures = self._failures.get(target.mode)
        failure = _first_after(failures, time, until, target.downtime)
        if failure is not None:
            return POSITIVE, failure - time, "failure"
        if target.downtime and self._is_down(time, target.downtime):
            return CENSORED, None, "down"
        for component in (_WHOLE, target.component):
            if _first_after(self._maintenance.get(component), time, until) is not None:
                found = self._found(target, time, until)
                if found is None:
                    return CENSORED, None, "maintenance"
                return found[0], None, found[1]
        return NEGATIVE, None, "horizon passed"

    def _is_down(self, time: int, downtime: int) -> bool:
        """Whether any failure lies in [time - downtime, time]."""
        return any(
            bisect_right(times, time) > bisect_left(times, time - downtime)
            for times in self._failures.values()
        )

    def forget(self, before: int) -> None:
        """Drop records before an instant."""
        if self.oldest < before:
            self._drop(before)

    def forget_surplus(self, before: int) -> None:
        """Drop records before an instant, but keep the latest few hundred of them.

        Args:
            before: microseconds; records before it are not accepted any more.
        """
        if len(self._seen) <= 2 * _MOST or self.oldest >= before:
            return
        times = sorted(time for time, _ in self._seen.values())
        self._drop(min(before, times[-_MOST]))

    def _drop(self, before: int) -> None:
        for times in (*self._failures.values(), *self._maintenance.values()):
            while times and times[0] < before:
                del times[0]
        self._seen = {key: found for key, found in self._seen.items() if found[0] >= before}
        self._keep_verdicts(lambda _, found: found.time >= before)
        self.oldest = self._first()

    def _times(self, kind: RecordKind, named: str) -> list[int]:
        """Return the times of the records of one mode or component, as a list to change."""
        table = self._failures if kind == "failure" else self._maintenance
        if named not in table:
            table = {**table, named: []}
            if kind == "failure":
                self._failures = table
            else:
                self._maintenance = table
        return table[named]

    def state(self) -> dict[str, Any]:
        """Plain data."""
        state: dict[str, Any] = {
            "failures": dict(self._failures),
            "maintenance": dict(self._maintenance),
            "seen": dict(self._seen),
        }
        if self._verdicts:
            state["verdicts"] = {
                target: {
                    key: tuple(found if found.fails is not None else found[:3]) for key, found in of.items()
                }
                for target, of in self._verdicts.items()
            }
        return state


def _first_after(times: list[int] | None, after: int, until: int, downtime: int = 0) -> int | None:
    """Return the first of some ascending times in (after, until].

    A time at most ``downtime`` after the one before it is skipped: it is the same failure.
    """
    if not times:
        return None
    index = bisect_right(times, after)
    if downtime:
        while 0 < index < len(times) and times[index] - times[index - 1] <= downtime:
            index += 1
    return times[index] if index < len(times) and times[index] <= until else None


def _key(kind: RecordKind, time: int, named: str, identity: str | None) -> str:
    """Identity of a record. An id is not empty, so records with and without one differ."""
    parts = (kind, "", named, str(time)) if identity is None else (kind, identity, named)
    return _SEPARATOR.join(parts)


def pending_in(state: dict[str, Any]) -> dict[str, int]:
    """Number of examples that wait for their label, by target, in what `Labels.state` returned."""
    return {
        name: sum(label is None for label in target["labels"]) for name, target in state["targets"].items()
    }


def from_version_4(state: dict[str, Any]) -> dict[str, Any]:
    """Upgrade the state of older assets, where an id stood for one record, and a withdrawn one kept it."""
    seen: dict[str, tuple[int, str]] = {}
    for old, (time, what) in state["seen"].items():
        if what is None:
            continue
        kind, _, rest = old.partition(" ")
        identity = rest.removeprefix("id ") if rest.startswith("id ") else None
        seen[_key("failure" if kind == "failure" else "maintenance", time, what, identity)] = (time, what)
    return {**state, "seen": seen}


_time = attrgetter("time")

#: What a record decides or corrects: by target, in order of time.
Decisions = dict[str, list[Matured]]


@dataclass(slots=True)
class _Example:
    """One example of one target.

    Attributes:
        cut: why nobody could see its whole horizon, ``silent`` or ``retired``; None where that was seen.
    """

    time: int
    label: int | None = None
    lead: int | None = None
    correction: int = -1
    cut: str | None = None


class _TargetLabels:
    """Examples of one target, in order of time."""

    __slots__ = ("examples", "memory", "passed", "target", "wait")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.wait = target.horizon + target.label_delay
        self.memory = self.wait + target.label_memory
        self.examples: list[_Example] = []
        #: Number of examples, the earliest ones, that the label clock has passed.
        self.passed = 0


class Labels:
    """The pending and the remembered examples of one asset, for all targets of its class.

    Args:
        targets: of the class.
        state: what `state` returned, None for a new asset.
        known: every target of the fleet, for the examples of former targets.

    Attributes:
        clock: the label clock, None before anything moved it.
        quiet_until: label clock up to which nothing is decided, no example and no record is forgotten, and no
            former target is left; before all times where that is never so. The clock may be beyond it where
            something waits for `release`.
    """

    __slots__ = (
        "_active",
        "_downtime",
        "_due",
        "_memory",
        "_own_clock",
        "_records",
        "_stale",
        "_targets",
        "clock",
        "quiet_until",
    )

    def __init__(
        self,
        targets: tuple[Target, ...],
        state: dict[str, Any] | None = None,
        known: Mapping[str, Target] | None = None,
    ) -> None:
        self._active = tuple(target.name for target in targets)
        self._targets = {target.name: _TargetLabels(target) for target in targets}
        self._records = AssetRecords(None if state is None else state["records"])
        #: Label clock that only the asset's own events and records move.
        self._own_clock: int | None = None
        #: Label clock, which silence moves too.
        self.clock: int | None = None
        if state is not None:
            self._restore(state, known or {})
        self._measure()
        #: Nothing is decided, or forgotten, up to these label clocks: so nearly every event is quick.
        self._due = self._stale = self.quiet_until = _NEVER
        self._schedule()

    def _schedule(self) -> None:
        """Find the label clocks up to which nothing is decided or forgotten."""
        held = [labels for labels in self._targets.values() if labels.examples]
        waiting = [labels for labels in held if labels.passed < len(labels.examples)]
        self._stale = min((labels.examples[0].time + labels.memory for labels in held), default=_NEVER)
        self._due = min(
            (labels.examples[labels.passed].time + labels.wait for labels in waiting), default=_NEVER
        )
        records = self._records.oldest + self._memory + self._downtime
        former = len(self._targets) > len(self._active)
        self.quiet_until = -_NEVER if former else min(self._due, self._stale, records)

    def retarget(self, targets: tuple[Target, ...]) -> None:
        """Change the class: examples of former targets stay pending, new ones are of these targets."""
        self._active = tuple(target.name for target in targets)
        active = {target.name: self._targets.pop(target.name, _TargetLabels(target)) for target in targets}
        self._targets = active | self._targets
        self._drop_former()

    def _drop_former(self) -> None:
        """Forget former targets without examples, as a resume does."""
        self._targets = {
            name: labels for name, labels in self._targets.items() if labels.examples or name in self._active
        }
        self._measure()
        self._schedule()

    def _measure(self) -> None:
        """Find how long a record can change a label of any target."""
        held = self._targets.values()
        self._memory = max((labels.memory for labels in held), default=0)
        self._downtime = max((labels.target.downtime for labels in held), default=0)

    def advance(self, clock: int | None) -> Decisions:
        """Move the label clock forward by the asset's own events, never back; return what it decides."""
        if clock is None or (self._own_clock is not None and clock <= self._own_clock):
            return {}
        self._own_clock = clock
        if self.clock is None or clock > self.clock:
            self.clock = clock
        return self._pass_all(clock, None) if clock > self._due else {}

    def expire(self, due: int, last_event: int | None) -> Decisions:
        """Move the label clock forward by silence; examples whose horizon was not seen whole are censored.

        Args:
            due: where to.
            last_event: event time of the asset's last accepted event of any kind.
        """
        if self.clock is None or due > self.clock:
            self.clock = due
        return self._pass_all(due, last_event)

    def retire(self, time: int) -> Decisions:
        """End the asset: waiting examples whose horizon reaches beyond are censored."""
        decided: Decisions = {}
        for name, labels in self._targets.items():
            for index, example in enumerate(labels.examples):
                if index >= labels.passed and example.time + labels.target.horizon > time:
                    example.cut = "retired"
                    if self._changes(labels, example):
                        decided.setdefault(name, []).append(self._decide(labels, example))
        return decided

    def _pass_all(self, clock: int, last_event: int | None) -> Decisions:
        """Pass the examples of every target; ``last_event`` is given where silence moved the clock."""
        if clock <= self._due:
            return {}
        decided = {name: self._pass(labels, clock, last_event) for name, labels in self._targets.items()}
        self._schedule()
        return {name: found for name, found in decided.items() if found}

    def _pass(self, labels: _TargetLabels, clock: int, last_event: int | None) -> list[Matured]:
        decided = []
        examples = labels.examples
        while labels.passed < len(examples):
            example = examples[labels.passed]
            if not example.time + labels.wait < clock:
                break
            labels.passed += 1
            if last_event is not None and example.time + labels.target.horizon > last_event:
                example.cut = example.cut or "silent"
            if self._changes(labels, example):
                decided.append(self._decide(labels, example))
        return decided

    def record(
        self, kind: RecordKind, time: int, what: str | None, identity: str | None
    ) -> tuple[Decisions, Replaced | None] | None:
        """Add a failure (of a mode) or maintenance (of a component; None: of the whole asset).

        Returns:
            What it decides or corrects, and the record of the same id that it replaced, if it has other
            content; None for a record that was seen before.
        """
        # The clock without silence: a record moves no clock of a resting asset.
        clock = time if self._own_clock is None else max(time, self._own_clock)
        taken = self._records.add(kind, time, what, identity, clock - self._memory)
        if not taken:
            return None
        self._schedule()
        decided = self.advance(time)
        replaced = taken if isinstance(taken, Replaced) else None
        if replaced is not None:
            self._revise(kind, what, replaced.time, decided)
        return self._revise(kind, what, time, decided), replaced

    def judge(self, event: Verdict) -> Decisions | None:
        """Add a verdict; return what it decides or corrects, None for one that was seen before."""
        times = self._records.judge(event)
        if times is None:
            return None
        self._schedule()
        decided: Decisions = {}
        for time in times:
            self._revise("verdict", event.target, time, decided)
        return decided

    def retract(self, identity: str) -> tuple[Decisions, list[tuple[WithdrawnKind, int, str | None]]]:
        """Withdraw the records of an id; return what that corrects, and the records (none if unknown)."""
        withdrawn = self._records.withdraw(identity)
        decided: Decisions = {}
        for kind, time, what in withdrawn:
            self._revise(kind, what, time, decided)
        return decided, withdrawn

    def affected(self, kind: WithdrawnKind, what: str | None) -> list[str]:
        """Names of the targets that a record concerns."""
        return [labels.target.name for labels in self._affected(kind, what)]

    def _affected(self, kind: WithdrawnKind, what: str | None) -> list[_TargetLabels]:
        if kind == "verdict":
            return [labels for name, labels in self._targets.items() if name == what]
        return [
            labels
            for labels in self._targets.values()
            if (labels.target.mode == what if kind == "failure" else what in (None, labels.target.component))
        ]

    def add(self, time: int) -> dict[str, Matured]:
        """Add an example at a time after all others; return the labels that are known already, by target."""
        at_once = {}
        for name in self._active:
            labels = self._targets[name]
            example = _Example(time)
            labels.examples.append(example)
            passed = self._own_clock is not None and time + labels.wait < self._own_clock
            if passed:
                labels.passed = len(labels.examples)
            if passed or self._verdict(labels, example)[0] == POSITIVE:
                at_once[name] = self._decide(labels, example)
        self._schedule()
        return at_once

    def release(self, largest: int | None) -> dict[str, list[int]]:
        """Forget examples that no record can change any more; return their times, by target.

        Args:
            largest: the largest telemetry time; records that its examples may need are kept.
        """
        if self.clock is None or self.clock <= self.quiet_until:
            return {}
        released: dict[str, list[int]] = {}
        if self.clock > self._stale:
            for name, labels in self._targets.items():
                keep = self.clock - labels.memory
                gone = bisect_left(labels.examples, keep, hi=labels.passed, key=_time)
                if gone:
                    released[name] = [example.time for example in labels.examples[:gone]]
                    del labels.examples[:gone]
                    labels.passed -= gone
            if len(self._targets) > len(self._active):
                self._drop_former()
        if largest is not None:
            self._records.forget(min(self.clock, largest) - self._memory - self._downtime)
        if self._own_clock is not None:
            # Records may come without telemetry; those that are this old are not accepted again.
            self._records.forget_surplus(self._own_clock - self._memory - self._downtime)
        self._schedule()
        return released

    @property
    def is_quiet(self) -> bool:
        """Whether `release` would change nothing, and no former target has an example."""
        return self.clock is None or self.clock <= self.quiet_until

    def remembers(self, time: int, largest: int | None) -> bool:
        """Whether a record of this time can still change a label.

        Args:
            time: of the record.
            largest: the largest telemetry time; a record may come before the telemetry that it labels.
        """
        # Silence makes neither the records nor the telemetry of an outage late.
        if self._own_clock is None or largest is None:
            return True
        return time > min(self._own_clock, largest) - self._memory

    def targets(self) -> tuple[str, ...]:
        """The targets of the class, then former ones that still have examples."""
        if len(self._targets) == len(self._active):
            return self._active
        former = tuple(
            name for name, labels in self._targets.items() if name not in self._active and labels.examples
        )
        return self._active + former if former else self._active

    @property
    def is_empty(self) -> bool:
        """Whether there is no record, no example, and no label clock."""
        return (
            self.clock is None
            and not self._records
            and not any(labels.examples for labels in self._targets.values())
        )

    def pending(self) -> int:
        """Examples that wait for their label, over all targets."""
        return sum(example.label is None for labels in self._targets.values() for example in labels.examples)

    def _revise(self, kind: WithdrawnKind, what: str | None, time: int, decided: Decisions) -> Decisions:
        """Decide every example again that a record of this time can change; add the results."""
        affected: Iterable[_TargetLabels] = self._affected(kind, what)
        if self._downtime and kind == "failure":
            # A machine that is down is down for all its modes.
            affected = self._targets.values()
        for labels in affected:
            until = time + labels.target.downtime if kind == "failure" else time - 1
            for index, example in enumerate(labels.examples):
                if example.time > until:
                    break
                if time > example.time + labels.target.horizon:
                    continue
                due = index < labels.passed or example.cut is not None
                if self._changes(labels, example, due=due):
                    decided.setdefault(labels.target.name, []).append(self._decide(labels, example, due=due))
        for found in decided.values():
            found.sort(key=lambda matured: matured.time)
        return decided

    def _verdict(
        self, labels: _TargetLabels, example: _Example, *, due: bool = True
    ) -> tuple[int | None, int | None, str]:
        """Return label, lead and reason by the present records.

        Args:
            labels: of its target.
            example: the example.
            due: whether its horizon has passed; before that only a failure decides.
        """
        label, lead, why = self._records.verdict(labels.target, example.time)
        if label == POSITIVE and (due or why == "failure"):
            return label, lead, why
        if not due:
            return None, None, "withdrawn"
        if label == NEGATIVE and example.cut is not None:
            return CENSORED, None, example.cut
        return label, lead, why

    def _changes(self, labels: _TargetLabels, example: _Example, *, due: bool = True) -> bool:
        """Whether the present records give the example another label, or another lead."""
        return self._verdict(labels, example, due=due)[:2] != (example.label, example.lead)

    def _decide(self, labels: _TargetLabels, example: _Example, *, due: bool = True) -> Matured:
        example.label, example.lead, why = self._verdict(labels, example, due=due)
        example.correction += 1
        clock = self.clock if self.clock is not None else example.time
        return Matured(example.time, example.label, why, example.lead, clock, example.correction)

    def state(self) -> dict[str, Any]:
        """Plain data: records, and examples as parallel lists."""
        return {
            "clock": self.clock,
            "heard": self._own_clock,
            "records": self._records.state(),
            "targets": {
                name: {
                    "passed": labels.passed,
                    "times": [example.time for example in labels.examples],
                    "labels": [example.label for example in labels.examples],
                    "leads": [example.lead for example in labels.examples],
                    "corrections": [example.correction for example in labels.examples],
                    "cuts": [example.cut for example in labels.examples],
                }
                for name, labels in self._targets.items()
                if labels.examples
            },
        }

    def _restore(self, state: dict[str, Any], known: Mapping[str, Target]) -> None:
        self.clock = state["clock"]
        self._own_clock = state["heard"]
        for name, kept in state["targets"].items():
            if name not in self._targets and name not in known:
                continue  # a target that the fleet no longer has
            labels = self._targets.get(name) or _TargetLabels(known[name])
            self._targets[name] = labels
            labels.passed = kept["passed"]
            columns = (kept["times"], kept["labels"], kept["leads"], kept["corrections"], kept["cuts"])
            labels.examples.extend(_Example(*row) for row in zip(*columns, strict=True))
