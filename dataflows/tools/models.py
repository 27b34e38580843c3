"""``python -m dataflows models``: champions, challengers and the evidence for them, from a recovery store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflows.instants import format_instant, shown_instant
from dataflows.tools.inspect import stored_targets
from dataflows.tools.tables import plain_table, show_either

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from dataflows.target.champion import Term

__all__ = ["models"]


def models(
    store: Path,
    fleet_file: Path | None,
    console: Console,
    at: int | None = None,
    *,
    as_json: bool = False,
) -> None:
    """Print which model serves each target, since when, and how its challengers compare.

    Args:
        store: folder of the store or of a backup; a run may be writing to it.
        fleet_file: the fleet.toml, None for that of the latest run.
        console: where to print.
        at: an instant of knowledge time; then only who served at it is printed.
        as_json: print one JSON object a target.

    Raises:
        ChampionError: the stored champion of a target cannot serve any more.
        FleetError: the fleet.toml cannot be read.
        StoreError: it is no store, or damaged, incomplete or mixed.
    """
    targets = stored_targets(store, fleet_file)
    if at is not None:
        rows = ({"target": name, **_term(_last(target, at))} for name, target in targets.items())
        show_either(console, rows, lambda: console.print(_served(targets, at)), as_json=as_json)
        return
    show_either(console, _rows(targets), lambda: _show(targets, console), as_json=as_json)


def _rows(targets: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for name, target in targets.items():
        promotion = target["promotion"]
        yield {
            "target": name,
            "champion": target["champion"],
            "learned": target["learned"],
            "positives": target["positives"],
            "challengers": promotion.get("challengers", {}),
            "frozen_by": promotion.get("frozen") or None,
            "proposed": promotion.get("proposal") or None,
            "served": [_term(term) for term in target["history"]],
        }


def _term(term: Term | None) -> dict[str, Any]:
    """One reign for a program; null throughout where nothing served."""
    if term is None:
        return dict.fromkeys(("model", "version", "since", "why"))
    since = None if term.known is None else format_instant(term.known)
    return {"model": term.model, "version": term.version, "since": since, "why": term.why}


def _show(targets: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    console.print(_champions(targets))
    console.print(_challengers(targets))
    console.print(_history(targets))
    for name, target in targets.items():
        promotion = target["promotion"]
        if promotion.get("frozen"):
            console.print(f"{name}: {promotion['frozen']} froze the champion.", highlight=False)
        if promotion.get("proposal"):
            console.print(f"{name}: {promotion['proposal']} is proposed.", highlight=False)


def _since(term: Term | None) -> str:
    return "-" if term is None or term.known is None else shown_instant(term.known)


def _champions(targets: Mapping[str, Mapping[str, Any]]) -> Table:
    table = plain_table("Champions", "target", "model", "since", "learned", "positive", text=3)
    for name, target in targets.items():
        last = target["history"][-1] if target["history"] else None
        table.add_row(
            name, target["champion"], _since(last), f"{target['learned']:,}", f"{target['positives']:,}"
        )
    return table


def _challengers(targets: Mapping[str, Mapping[str, Any]]) -> Table:
    table = plain_table(
        "Challengers: loss of the champion minus theirs, and evidence",
        "target",
        "model",
        "difference",
        "evidence",
        "blocks",
        "verdict",
        "horizons\nleft",
        text=2,
    )
    for name, target in targets.items():
        for model, found in target["promotion"].get("challengers", {}).items():
            left = found["horizons_left"]
            table.add_row(
                name,
                model,
                f"{found['difference']:+.4f}",
                f"{max(found['e_values']):.3g} of {found['needed']:.0f}",
                f"{sum(found['blocks']):,}",
                found["verdict"] or "-",
                "-" if left is None else f"{left:.0f}",
            )
    return table


def _history(targets: Mapping[str, Mapping[str, Any]]) -> Table:
    table = plain_table("Who served", "target", "from", "model", "version", "why", text=5)
    for name, target in targets.items():
        for term in target["history"]:
            table.add_row(name, _since(term), term.model, str(term.version), term.why)
    return table


def _last(target: Mapping[str, Any], at: int) -> Term | None:
    """The term of the champion that served at an instant."""
    terms = [term for term in target["history"] if term.known is None or term.known <= at]
    return terms[-1] if terms else None


def _served(targets: Mapping[str, Mapping[str, Any]], at: int) -> Table:
    table = plain_table(f"Who served at {shown_instant(at)}", "target", "model", "version", "since", text=4)
    for name, target in targets.items():
        last = _last(target, at)
        model, version = ("-", "-") if last is None else (last.model, str(last.version))
        table.add_row(name, model, version, _since(last))
    return table
