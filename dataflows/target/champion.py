"""The champion of a target: which version of a model serves, since when, and what became champion before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dataflows.target.models import can_go_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.fleet import Target
    from dataflows.items import Item
    from dataflows.target.models import ModelSet

__all__ = ["Champion", "ChampionError", "Term"]


class ChampionError(RuntimeError):
    """The stored champion cannot serve any more, and no successor is named."""


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

    A new target starts with the configured champion. A resume keeps the stored one, even if another is
    configured now; where it cannot serve any more, the configured ``successor`` replaces it.

    Args:
        target: as configured.
        models: of the target, the stored champion among them.
        state: return value of `state`, None for a new target.
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
        """Label of the stored champion, which a resume keeps; None where a successor replaces it.

        Args:
            target: as configured.
            features: names of all features of the class.
            kept: the main snapshot of the target.

        Raises:
            ChampionError: it cannot serve any more, and no successor is named.
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

    def ask(self, features: bytes, asset: str) -> float | None:
        """Return the score of a vector of an asset, float64 (features of the class); None without one."""
        return self._models.answer(self.label, features, asset)[0]

    def labels(self) -> set[str]:
        """Labels that serve, will serve next, or whose scores these see."""
        serving = {self.label} | ({self._next[0]} if self._next is not None else set())
        return serving.union(*(self._models.sees(label) for label in serving))

    @property
    def change(self) -> Change | None:
        """The promotion that `begin` will carry out, as a row of the changes; None without one."""
        if self._next is None:
            return None
        label, why = self._next
        return "champion", *self._models.named(label), why

    def begin(self, item: Item) -> None:
        """Begin the term of the promoted version: it serves from this item on."""
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
        """Return plain data."""
        return {"label": self.label, "history": [tuple(term) for term in self.history], "next": self._next}
