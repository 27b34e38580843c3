"""What a group keeps: the versions of its snapshots, and which stored champion goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflows.state.layouts import Refit
from dataflows.state.snapshots import seal, unseal
from dataflows.target.error_rate import ErrorRate
from dataflows.target.figures import with_ranking
from dataflows.target.models import can_go_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.fleet.fleet import AssetClass, Target
    from dataflows.state.layouts import StateHistory

__all__ = ["ChampionError", "between", "going_on", "layout_of", "seal_kept", "unseal_kept"]

_VERSION = 4


class ChampionError(RuntimeError):
    """The stored champion cannot go on, and nobody is named to follow it."""


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


_OLDER = {2: _with_labels, 3: _with_errors}


def seal_kept(kind: str, payload: object) -> bytes:
    """A snapshot of a group, of its log or of its figures."""
    return seal(kind, _VERSION, payload)


def unseal_kept(kind: str, sealed: bytes) -> Any:  # noqa: ANN401 - plain data of any shape
    """What `seal_kept` was given.

    Raises:
        SnapshotError: it is damaged, or of a version that cannot be read.
    """
    return unseal(kind, _VERSION, sealed, _OLDER)


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


def going_on(target: Target, features: tuple[str, ...], state: Mapping[str, Any]) -> str | None:
    """Label of the stored champion, which rules over the configured one; None where it has a successor.

    Args:
        target: as configured.
        features: names of all features of the class.
        state: what the group kept.

    Raises:
        ChampionError: it cannot go on, and nobody is named to follow it.
    """
    label: str = state["champion"]
    known = state["scorer"]["models"].get(label)
    name = label if known is None else known["name"]
    model = next((model for model in target.models if model.name == name), None)
    if model is not None and known is not None and can_go_on(model, features, known):
        return label
    if target.successor is not None:
        return None
    what = "is no longer configured" if model is None else "is configured otherwise now"
    msg = (
        f"target {target.name!r}: its champion {name!r} {what}. Put it back as it was, name who follows it "
        '(successor = "..." in the target), or begin anew with --fresh'
    )
    raise ChampionError(msg)
