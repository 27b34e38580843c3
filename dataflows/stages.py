"""The stages by key: what each step of the dataflow builds, and how it finds the key of an item.

The dataflow and the offline tools build their stages here, so that both run the very same code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows.asset.asset import ClassPlan
from dataflows.events import decode
from dataflows.fleet.shape import Past, going_on
from dataflows.group import Group
from dataflows.group.passing import Gone, Passing
from dataflows.guard import GuardedAsset, InternalErrors
from dataflows.items import Item, Known, Observation, Row
from dataflows.lane import Lane
from dataflows.watch import Watch

if TYPE_CHECKING:
    from dataflows.fleet.plan import Fleet

__all__ = ["LANE", "Stages", "asset_of", "decoded", "fanned_out", "group_of", "lane_of", "output_of"]

LANE = "lane-0"
#: Key of rows that pass a step untouched; no asset and no target has an empty name.
PASSING = ""


def lane_of(item: Item) -> str:  # noqa: ARG001 - one lane
    """Key of the lane step."""
    return LANE


def asset_of(item: Item) -> str:
    """Key of the asset step."""
    body = item.body
    return body.event.asset if isinstance(body, Known) else PASSING


def group_of(item: Item) -> str:
    """Key of the group step."""
    body = item.body
    return body.target if isinstance(body, Observation) else PASSING


def output_of(item: Item) -> str:
    """Key of the output step."""
    body = item.body
    if not isinstance(body, Row):
        msg = f"{type(body).__name__} reached the outputs; only rows may"
        raise TypeError(msg)
    return body.output


def decoded(batch: list[Item]) -> list[Item]:
    """The decode step: raw bytes into an event or a reject."""
    for item in batch:
        if isinstance(item.body, bytes):
            item.body = decode(item.body)
    return batch


def fanned_out(batch: list[tuple[str, list[Item]]]) -> list[Item]:
    """The fan-out step: what assets made of their records, one by one."""
    return [item for _, items in batch for item in items]


class Stages:
    """Builds the stages of a fleet.

    Args:
        fleet: the fleet.
        strict: whether one worker runs it, so that order is promised.
        watch: told how to find out how far the stages are.
        past: what the recovery store has seen, this fleet included; None without a store.
    """

    def __init__(
        self, fleet: Fleet, *, strict: bool, watch: Watch | None = None, past: Past | None = None
    ) -> None:
        self._fleet = fleet
        self._past = going_on(Past(), fleet)[0] if past is None else past
        self._strict = strict
        self._watch = watch or Watch()
        self._groups: list[Group] = []
        self._watch.pending = lambda: sum(group.pending() for group in self._groups)
        self._errors = InternalErrors(fleet.max_internal_errors)
        self._plans = {
            name: ClassPlan(
                asset_class,
                fleet.targets,
                self._past.number(name),
                {number: self._past.layouts[number] for number in self._past.numbers(name)[:-1]},
            )
            for name, asset_class in fleet.classes.items()
        }

    def lane(self, key: str, main: bytes | None, parts: dict[int, bytes]) -> Lane:
        """A lane, new or resumed."""
        lane = Lane(self._fleet, main, parts, key, self._past.migrated, self._errors.note, self._watch.intake)
        self._watch.arrival = lambda: lane.arrival
        return lane

    def asset(self, item: Item, sealed: bytes | None) -> GuardedAsset | None:
        """The asset of an item, new or resumed; None for an item that belongs to no asset."""
        body = item.body
        if not isinstance(body, Known):
            return None
        return GuardedAsset(body.event.asset, self._plans, body.asset_class, sealed, self._errors)

    def group(self, key: str, main: bytes | None, parts: dict[int, bytes]) -> Group | Passing | Gone:
        """A group, new or resumed."""
        if key == PASSING:
            return Passing(main)
        if key not in self._fleet.targets:
            return Gone(main)
        group = Group(
            self._fleet,
            key,
            strict=self._strict,
            on_error=self._errors.note,
            main=main,
            parts=parts,
            past=self._past,
        )
        self._groups.append(group)
        return group
