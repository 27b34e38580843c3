"""Make a `Fleet` of a document of valid form: resolve names, build products, refuse the impossible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.fleet.ends import made_input, made_kafka, made_output
from dataflows.fleet.errors import listed, nearest, shown
from dataflows.fleet.layout import Layout
from dataflows.fleet.plan import AssetPolicy, ClockPolicy, Fleet
from dataflows.fleet.targets import Catalogue, targets
from dataflows.instants import MICROSECONDS, format_duration

if TYPE_CHECKING:
    from pathlib import Path

    from dataflows.fleet.draft import Draft

__all__ = ["expand"]

# One record after a long pause waits for all of them.
_MOST_EXPIRIES = 100_000


def expand(draft: Draft, path: Path) -> Fleet:
    """Expand a draft to a fleet, which is valid only if the draft has no problems afterwards.

    Args:
        draft: the document; unknown names and impossible combinations are added to its problems.
        path: the file; relative paths start at its folder.
    """
    document, folder = draft.document, path.parent
    layouts = {name: Layout(draft, name, table) for name, table in document.classes.items()}
    assets = _asset_policy(draft, folder)
    catalogue = Catalogue(draft)
    made = targets(draft, layouts, catalogue)
    catalogue.check_globs(list(layouts.values()))
    catalogue.check_scores()
    fleet = Fleet(
        name=document.name,
        path=path,
        figures_from=document.figures_from,
        metrics_every=document.metrics_every,
        input=made_input(draft, folder),
        output=made_output(draft, folder),
        assets=assets,
        classes={name: layout.asset_class(made) for name, layout in layouts.items()},
        targets=made,
        max_internal_errors=document.max_internal_errors,
        kafka=made_kafka(draft, folder),
    )
    _check_expiries(draft, fleet)
    return fleet


def _check_expiries(draft: Draft, fleet: Fleet) -> None:
    """Refuse an ``idle_timeout`` by which one record could cause too many expiries of one silent asset."""
    for name, found in fleet.classes.items():
        places = [("targets",), ("classes", name), ("assets", "max_future")]
        if found.idle_timeout is None or any(draft.is_broken(*place) for place in places):
            continue
        reach = fleet.reach(name)
        span = reach if found.asset_ttl is None else min(reach, found.asset_ttl)
        if span > _MOST_EXPIRIES * found.idle_timeout:
            # Whole seconds read better, and are never less than what is needed.
            second = MICROSECONDS["s"]
            least = -(-span // (_MOST_EXPIRIES * second)) * second
            expected = (
                f"at least {format_duration(least)}, since a silent asset is watched for "
                f"{format_duration(span)}, in up to {_MOST_EXPIRIES:,} steps"
            )
            got = format_duration(found.idle_timeout)
            draft.refuse(("classes", name, "idle_timeout"), expected, got)


def _asset_policy(draft: Draft, folder: Path) -> AssetPolicy:
    table, classes, loc = draft.document.assets, draft.names("classes"), ("assets", "adopt_as")
    adopt_as = table.adopt_as
    if adopt_as is not None:
        if adopt_as not in classes and not draft.is_refused("classes"):
            draft.refuse(loc, f"a class, {listed(classes)}", shown(adopt_as), nearest(adopt_as, classes))
    elif len(classes) == 1:
        adopt_as = classes[0]
    elif table.unknown == "adopt" and classes and not draft.is_broken("assets", "unknown"):
        draft.refuse(loc, f'the class of unknown assets, {listed(classes)}, or unknown = "reject"')
    return AssetPolicy(
        unknown=table.unknown,
        adopt_as=adopt_as if table.unknown == "adopt" else None,
        max_assets=table.max_assets,
        registry=tuple(str(folder / file) for file in table.registry),
        max_future=table.max_future,
        max_past=table.max_past,
        max_arrival_jump=table.max_arrival_jump,
        max_tombstones=table.max_tombstones,
        max_weather=table.max_weather,
        clock=None if table.clock is None else ClockPolicy(table.clock.tolerance, table.clock.quarantine),
    )
