"""How a champion is replaced: by a verdict of the judge, by a command, or because it fails.

`Promotions` is a monitor that gives the judge its examples. A decision takes effect with the next
observation of the target, so at an exact place of the stream, and is a row of the changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from dataflows.instants import format_instant
from dataflows.items import row_of
from dataflows.outputs import Commanded, Judgement, time_or_none
from dataflows.status import Serving
from dataflows.target.judge import Comparison, Judge, Rule
from dataflows.target.monitors import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dataflows.events import Command
    from dataflows.fleet.fleet import Promotion, Target
    from dataflows.items import Item, Row
    from dataflows.target.examples import Example, LabelChange
    from dataflows.target.monitors import Context, Served

__all__ = ["Promotions", "described"]

#: What has to happen before a challenger with enough evidence is promoted.
_NEXT = {
    "positives": "more positive examples have to be compared",
    "margin": "the mean difference has to reach the margin",
    "recall": "the challenger has to find as many failures with as many alerts",
    "calibration": "the mean score of the challenger has to come closer to the share of positives",
    "cool_down": "the cool-down has to pass",
}


class Promotions(Monitor):
    """Gives the judge its examples, and replaces the champion.

    Args:
        context: what it may read, and the champion that it replaces.
        state: what `state` returned, None for a new target.

    Attributes:
        judge: compares the models; None where promotion is off.
        frozen: who froze the champion, None while it is not frozen.
        proposal: label of the challenger that is proposed, None without one.
    """

    name: ClassVar[str] = "judge"

    def __init__(self, context: Context, state: Mapping[str, Any] | None) -> None:
        self._target, self._models, self._champion = context.target, context.models, context.champion
        self._policy = context.target.promotion
        self._wait = context.target.horizon + context.target.label_delay
        kept: Mapping[str, Any] = state or {}
        self.frozen: str | None = kept.get("frozen")
        self.proposal: str | None = kept.get("proposal")
        self.judge: Judge | None = None
        if self._policy is not None:
            entries = context.entries.get(self.name)
            self.judge = Judge(_rule(context.target, self._policy), kept.get("judge"), entries)
        #: Whether the judge knows the models as they are configured now.
        self._began = False

    @classmethod
    def open(cls, context: Context, state: Any) -> Promotions:  # noqa: ANN401 - plain data of any shape
        """The promotions of a target."""
        return cls(context, state)

    def watches(self, assets: Sequence[str], scores: Sequence[float | None]) -> Iterable[int]:  # noqa: ARG002 - a hook
        """Watch examples only."""
        return ()

    def served(self, item: Item, served: Served) -> Sequence[Row]:
        """Wait for the label of an example."""
        if served.example is None or self.judge is None:
            return ()
        if not self._began or served.champion != self.judge.champion:
            self._begin(self.judge, served.champion, item.known)
        self.judge.served(served.asset, served.time)
        self.changed = True
        return ()

    def _begin(self, judge: Judge, champion: str, known: int) -> None:
        """Compare this champion with every other version that scores examples."""
        names = [name for name in self._models.names() if name != champion]
        versions = {name: self._models.named(name)[1] for name in names}
        judge.begin(champion, versions, known)
        if self.proposal is not None and judge.verdict(self.proposal) != "better":
            self.proposal = None
        self._began = True

    def matured(self, item: Item, change: LabelChange) -> Sequence[Row]:  # noqa: ARG002 - a hook
        """Stop waiting for the label of an example that is censored."""
        if self.judge is not None and change.before is None and change.matured.label == -1:
            self.judge.dropped(change.example.asset, change.example.time)
            self.changed = True
        return ()

    def settled(self, item: Item, example: Example) -> Sequence[Row]:
        """Enter the blocks that the target clock passed, then compare the scores of an example."""
        judge, label = self.judge, example.label
        if judge is None or label is None:
            return ()
        self.changed = True
        moved = judge.look(example.time + self._wait)
        if label < 0:
            judge.dropped(example.asset, example.time)
        else:
            judge.settled(example.asset, example.time, label, example.scores, self._models.prior)
        return self._follow(item, moved)

    def forgotten(self, item: Item, asset: str) -> Sequence[Row]:  # noqa: ARG002 - a hook
        """Stop waiting for labels of an asset whose state was dropped."""
        if self.judge is not None:
            self.judge.forgotten(asset)
            self.changed = True
        return ()

    def _follow(self, item: Item, moved: Iterable[Comparison]) -> list[Row]:
        """Promote or propose a challenger that the judge found better; return a row for each new verdict."""
        if self.judge is None or self.judge.champion != self._champion.label:
            return []  # these models have changed places already
        rows = []
        for comparison in moved:
            then = self._consequence(comparison)
            if then is not None:
                rows.append(self._verdict(item, comparison, then))
        return rows

    def _consequence(self, comparison: Comparison) -> str | None:
        """Act on a verdict; return the next step for the row, None where the verdict needs no row."""
        name = comparison.challenger
        if comparison.verdict != "better":
            withdrawn = self.proposal == name
            if withdrawn:
                self.proposal = None
            if comparison.verdict is None:
                return (
                    "nothing: the proposal is withdrawn, since its evidence has gone" if withdrawn else None
                )
            return _NEXT[comparison.verdict]
        if self._champion.change is not None:
            return "nothing: another model becomes champion"
        if self.frozen is None and self._policy is not None and self._policy.auto:
            self._promote(name, f"judge: {comparison.reason()}")
            return "nothing: it becomes champion"
        self.proposal = name
        if self.frozen is None:
            return "a command accepts or refuses the proposal"
        return f"a command accepts the proposal, or thaws the champion, which {self.frozen} froze"

    def _promote(self, label: str, why: str) -> None:
        self._champion.promote(label, why)
        self.proposal = None

    def model_changed(self, item: Item, change: str, label: str, why: str) -> Sequence[Row]:  # noqa: ARG002 - a hook
        """Promote the former champion at once where the present one is set aside for its errors.

        Models that a drift started, ended or reset are compared from the next example on.
        """
        if change in {"challenger", "removed", "reset"}:
            self._began = False
        former = self.former()
        if change != "put_aside" or label != self._champion.label or self._champion.change is not None:
            return ()
        if self._policy is None or not self._policy.auto or self.frozen is not None or former is None:
            return ()
        if former not in self._models.set_aside():
            self._promote(former, f"{label} was set aside: {why}")
            self.changed = True
        return ()

    def former(self) -> str | None:
        """Label of the latest former champion among the active versions, None without one."""
        others = {*self._models.names()} - {self._champion.label}
        return next((term.label for term in reversed(self._champion.history) if term.label in others), None)

    def serving(self) -> Serving:
        """Who serves, and who would take its place: a former champion as it is configured, and at work."""
        label, former = self._champion.label, self.former()
        if former is not None:
            name, configured = self._models.named(former)[0], {each.name for each in self._target.models}
            usable = name in configured and self._models.label(name) == former
            former = name if usable and former not in self._models.set_aside() else None
        return Serving(label, (label, *self._models.sees(label)), former, self.frozen)

    def commanded(self, item: Item, command: Command) -> Sequence[Row]:
        """Carry out a command; its row has the reason where it is refused."""
        stands = self.frozen is not None and command.action == "thaw"
        refused = self._obey(item, command)
        self.changed = True
        row = Commanded(
            target=self._target.name,
            action=command.action,
            model=command.model,
            by=command.by,
            why=command.why,
            refused=refused,
            known=format_instant(item.known),
            sequence=item.sequence,
            arrival=time_or_none(item.arrival),
            watermark=None,
        )
        rows = [row_of(row)]
        if stands and self.judge is not None:
            rows += self._follow(item, self.judge.better())
        return rows

    def _obey(self, item: Item, command: Command) -> str | None:
        """Carry out a command; return why that is impossible, None where it was done."""
        why = f"{command.action} by {command.by}" + (f": {command.why}" if command.why else "")
        if command.action == "promote":
            return self._force(command.model or "", why)
        if command.action == "rollback":
            former = self.former()
            return "there is no former champion at work" if former is None else self._force(former, why)
        if command.action in {"freeze", "thaw"}:
            self.frozen = command.by if command.action == "freeze" else None
            return None
        return self._settle_proposal(item, command, why)

    def _settle_proposal(self, item: Item, command: Command, why: str) -> str | None:
        if self.proposal is None:
            return "nothing is proposed"
        if command.model not in {None, self.proposal}:
            return f"the proposal is {self.proposal}"
        if command.action == "accept":
            return self._force(self.proposal, why)
        if self.judge is not None:
            self.judge.restart(self.proposal, item.known)
        self.proposal = None
        return None

    def _force(self, label: str, why: str) -> str | None:
        names = self._models.names()
        if label not in names:
            return f"there is no model {label!r}, only {', '.join(names)}"
        if label == self._champion.label and self._champion.change is None:
            return f"{label} is champion"
        self._promote(label, why)
        return None

    def _verdict(self, item: Item, comparison: Comparison, then: str) -> Row:
        model, version = self._models.named(comparison.challenger)
        row = Judgement(
            target=self._target.name,
            model=model,
            version=version,
            verdict=comparison.verdict or "undecided",
            why=comparison.reason(),
            next=then,
            evidence=comparison.evidence(),
            known=format_instant(item.known),
            sequence=item.sequence,
            arrival=time_or_none(item.arrival),
            watermark=None,
        )
        return row_of(row)

    def best(self) -> tuple[str, float, float] | None:
        """Name of the challenger with the most evidence, its share of what is needed, and its advantage.

        The advantage is the mean difference of the losses. None without a comparison.
        """
        if self.judge is None or not self.judge.comparisons:
            return None
        shares = [(each.log_e / each.needed, each) for each in self.judge.comparisons.values()]
        share, best = max(shares, key=lambda found: found[0])
        return self._models.named(best.challenger)[0], max(0.0, share), best.difference

    def summary(self) -> dict[str, Any]:
        """The evidence for each challenger, the proposal, and who froze the champion."""
        if self.judge is None:
            return {}
        challengers = {name: found.evidence() for name, found in self.judge.comparisons.items()}
        return {
            "promotion": {"frozen": self.frozen, "proposal": self.proposal, "challengers": challengers},
        }

    def touched(self) -> set[str]:
        """Assets whose blocks changed since this was last called."""
        if self.judge is None:
            return set()
        touched, self.judge.touched = self.judge.touched, set()
        return touched

    def entry(self, asset: str) -> list[tuple[Any, ...]] | None:
        """The blocks of one asset, that the judge waits for."""
        return None if self.judge is None else self.judge.entry(asset)

    def state(self) -> dict[str, Any]:
        """Plain data."""
        judge = None if self.judge is None else self.judge.state()
        return {"frozen": self.frozen, "proposal": self.proposal, "judge": judge}


def described(target: Target, kept: Mapping[str, Any] | None) -> dict[str, Any]:
    """Stored promotions of a target: as in the summary, with the verdict and start of each comparison.

    Args:
        target: as configured.
        kept: what `Promotions.state` returned, None where there is nothing.
    """
    if target.promotion is None or kept is None or kept["judge"] is None:
        return {}
    judge = Judge(_rule(target, target.promotion), kept["judge"])
    return {
        "frozen": kept["frozen"],
        "proposal": kept["proposal"],
        "challengers": {
            name: {
                **found.evidence(),
                "verdict": found.verdict,
                "since": format_instant(found.since * target.horizon),
            }
            for name, found in judge.comparisons.items()
        },
    }


def _rule(target: Target, policy: Promotion) -> Rule:
    """The judge's rule."""
    return Rule(
        horizon=target.horizon,
        wait=target.horizon + target.label_delay,
        threshold=target.threshold,
        level=policy.level,
        blocks=policy.judge,
        loss=policy.loss,
        least_positives=policy.positives,
        margin=policy.margin,
        cool_down=policy.cool_down,
    )
