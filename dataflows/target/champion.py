"""The champion of a target: which version of a model serves, since when, and which may follow it.

The versions of what a target keeps are here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dataflows.state.layouts import Refit
from dataflows.state.snapshots import Kind
from dataflows.target.error_rate import ErrorRate
from dataflows.target.figures import with_final_bounds, with_ranking
from dataflows.target.models import can_go_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.fleet import AssetClass, Target
    from dataflows.items import Item
    from dataflows.state.layouts import StateHistory
    from dataflows.target.models import ModelSet

__all__ = [
    "FIGURES",
    "LOG",
    "TARGET",
    "Champion",
    "ChampionError",
    "StoredTarget",
    "Term",
    "between",
    "layout_of",
]


class ChampionError(RuntimeError):
    """The stored champion cannot go on, and no successor is named."""


def _with_labels(kept: Any) -> Any:  # noqa: ANN401 - plain data of any shape
    """Version 2 of a group knew neither layouts nor labels: each model had its name, and saw what it was to.

    Logs and figures bear the same version, and are as they were.
    """
    if not isinstance(kept, dict) or "scorer" not in kept:
        return kept
    models = {
        name: {"name": name, "picks": None, "sees": (), **model}
        for name, model in kept["scorer"]["models"].items()
    }
    scorer = {**kept["scorer"], "models": models}
    return {**kept, "scorer": scorer, "layout": None, "begun": 0, "news": []}


def _with_errors(kept: Any) -> Any:  # noqa: ANN401 - as above
    """Version 3 set a model aside for ever at its first error, and counted none.

    Its figures held a histogram, and no leads.
    """
    if isinstance(kept, dict) and "tallies" in kept:
        tallies = {**kept["tallies"], "tallies": with_ranking(kept["tallies"]["tallies"])}
        return {**kept, "tallies": tallies, "leads": None}
    if not isinstance(kept, dict) or "scorer" not in kept:
        return kept
    models = {
        label: {
            **{key: value for key, value in model.items() if key != "failed"},
            "errors": None if model["failed"] is None else ErrorRate.set_aside_for(model["failed"]).state(),
        }
        for label, model in kept["scorer"]["models"].items()
    }
    return {**kept, "scorer": {**kept["scorer"], "models": models}}


def _with_history(kept: Any) -> Any:  # noqa: ANN401 - as above
    """Version 4 kept the label of the champion alone."""
    if not isinstance(kept, dict) or "scorer" not in kept:
        return kept
    return {**kept, "champion": {"label": kept["champion"], "history": [], "next": None}}


def _with_bounds(kept: dict[str, Any]) -> dict[str, Any]:
    """Version 4 had no bounds of precision and recall under final labels."""
    return {**kept, "tallies": with_final_bounds(kept["tallies"])}


class StoredTarget(NamedTuple):
    """What a store holds of a target.

    Attributes:
        begun: how often its examples started from nothing.
        champion: name of its champion.
        learned: number of examples that its models learned.
        positives: number of positive ones among them.
    """

    begun: int
    champion: str
    learned: int
    positives: int


def _stored(state: Mapping[str, Any]) -> StoredTarget:
    label, scorer = state["champion"]["label"], state["scorer"]
    champion = scorer["models"].get(label, {}).get("name", label)
    return StoredTarget(state["begun"], champion, scorer["learned"], scorer["positives"])


_OLDER = {2: _with_labels, 3: _with_errors}
_OF_TARGET = {**_OLDER, 4: _with_history}
#: Snapshots of a target, of the log of what its models learned since they were written, and of its monitors.
TARGET: Kind[StoredTarget] = Kind("group", 5, _OF_TARGET, describe=_stored)
LOG: Kind[None] = Kind("log", 4, _OLDER)
FIGURES: Kind[None] = Kind("figures", 5, {**_OLDER, 4: _with_bounds})


def between(parts: Mapping[int, bytes], first: int, stop: int) -> dict[int, bytes]:
    """The parts of one thing, numbered from 0."""
    return {part - first: sealed for part, sealed in parts.items() if first <= part < stop}


def layout_of(
    past: StateHistory | None, asset_class: AssetClass, state: Mapping[str, Any] | None
) -> tuple[int, Refit | None]:
    """The layout of a class by number, and what makes stored features those of it; None if it is the same."""
    numbers = () if past is None else past.numbers(asset_class.name)
    if past is None or not numbers:
        return 0, None
    if state is None:
        return numbers[-1], None
    # A snapshot of a release that named no layout is of the first.
    before = numbers[0] if state["layout"] is None else state["layout"]
    if before == numbers[-1]:
        return before, None
    return numbers[-1], Refit(past.layouts[before].features, asset_class.features)


class Term(NamedTuple):
    """The time in which one version of a model is the champion; it ends where the next one begins.

    Attributes:
        label: of the version, see `ModelSet`.
        model: its name in the catalogue.
        version: counts changes of its configuration.
        known: knowledge time from which on its scores are published; None where a former release, which kept
            no history, made it champion.
        sequence: number of the record from which on they are; 0 as above.
        part: place within this record.
        why: it became champion.
    """

    label: str
    model: str
    version: int
    known: int | None
    sequence: int
    part: int
    why: str


#: A row of the changes: change, model, version, why.
Change = tuple[str, str, int, str]


class Champion:
    """The version of a model whose scores a target publishes, and the versions before it.

    Who rules: the configured champion in a new target; after that the stored one, whatever is configured. A
    stored one that cannot go on gives way to the configured ``successor``.

    Args:
        target: as configured.
        models: of the target, the stored champion among them.
        state: what `state` returned, None for a new target.
        stored: what `stored` returned.

    Attributes:
        label: of the version, see `ModelSet`.
        history: terms, the present one last.
    """

    def __init__(
        self,
        target: Target,
        models: ModelSet,
        state: Mapping[str, Any] | None = None,
        stored: str | None = None,
    ) -> None:
        self._models = models
        self.label: str = target.champion if stored is None else stored
        self.history: list[Term] = []
        #: Label and reason of the version whose term begins next.
        self._next: tuple[str, str] | None = (self.label, "configured")
        if state is None:
            return
        self.history = [Term(*term) for term in state["history"]]
        if state["next"] is None or state["next"][0] not in models.names():
            self._next = None  # nobody was promoted, or one that is no longer configured
        else:
            self._next = tuple(state["next"])
        if stored is None and target.successor is not None:
            self.label = models.label(target.successor)
            self._next = self.label, f"successor of {state['label']}, which is no longer configured"
        elif not self.history and self._next is None:
            why = "champion of a release that kept no history"
            self.history.append(Term(self.label, *models.named(self.label), None, 0, 0, why))

    @staticmethod
    def stored(target: Target, features: tuple[str, ...], kept: Mapping[str, Any]) -> str | None:
        """Label of the stored champion, which rules over the configured one; None where it has a successor.

        Args:
            target: as configured.
            features: names of all features of the class.
            kept: the main snapshot of the target.

        Raises:
            ChampionError: it cannot go on, and no successor is named.
        """
        label: str = kept["champion"]["label"]
        known = kept["scorer"]["models"].get(label)
        name = label if known is None else known["name"]
        model = next((model for model in target.models if model.name == name), None)
        if model is not None and known is not None and can_go_on(model, features, known):
            return label
        if target.successor is not None:
            return None
        what = "is no longer configured" if model is None else "is configured otherwise now"
        msg = (
            f"target {target.name!r}: its champion {name!r} {what}. Put it back as it was, name its "
            'successor (successor = "..." in the target), or start over with --fresh'
        )
        raise ChampionError(msg)

    def ask(self, features: bytes) -> float | None:
        """Score of a vector, float64 (features of the class) as bytes; None where the model has none."""
        return self._models.answer(self.label, features)[0]

    @property
    def change(self) -> Change | None:
        """The term that `begin` will begin, as a row of the changes; None where there is none."""
        if self._next is None:
            return None
        label, why = self._next
        return "champion", *self._models.named(label), why

    def begin(self, item: Item) -> None:
        """Begin the term of the version that was promoted: all that this item becomes is based on it."""
        if self._next is not None:
            self.label, why = self._next
            place = item.known, item.sequence, item.part
            self.history.append(Term(self.label, *self._models.named(self.label), *place, why))
            self._next = None

    def promote(self, label: str, why: str) -> None:
        """Let another version serve from the next observation of the target on.

        Raises:
            KeyError: no version has this label.
        """
        self._models.named(label)
        self._next = label, why

    def at(self, known: int) -> Term | None:
        """The latest term at a knowledge time: which version served then; None before the first one."""
        terms = [term for term in self.history if term.known is None or term.known <= known]
        return terms[-1] if terms else None

    def state(self) -> dict[str, Any]:
        """Plain data."""
        return {"label": self.label, "history": [tuple(term) for term in self.history], "next": self._next}
