"""A stage that throws does not stop the run: the record is rejected, and the asset starts anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
import structlog

from dataflows.asset.asset import Asset, ClassPlan
from dataflows.events import Event, Reject, kind_of
from dataflows.items import (
    Expiry,
    Item,
    Known,
    LateWeather,
    Observation,
    Row,
    asset_part,
    encode,
    in_words,
    reject_row,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows.asset.asset import Before

__all__ = ["GuardedAsset", "InternalErrors", "TooManyErrors"]

_log = structlog.get_logger()


class TooManyErrors(RuntimeError):  # noqa: N818 - says what it is
    """More internal errors than ``max_internal_errors``."""


class InternalErrors:
    """Counts the internal errors of a process.

    Args:
        most: how many are borne.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.count = 0

    def note(self, item: Item, error: Exception, stage: str) -> Row:
        """Log an error with its traceback; return the row that rejects the record.

        Raises:
            TooManyErrors: there were more than are borne.
        """
        self.count += 1
        source, line, _ = item.position
        _log.error("internal error", stage=stage, source=source, line=line, exc_info=error)
        if self.count > self._most:
            msg = (
                f"{self.count} internal errors, more than max_internal_errors = {self._most}; the last one: "
                f"{type(error).__name__}: {error}. The log has the tracebacks"
            )
            raise TooManyErrors(msg) from error
        body = item.body
        asset = None
        event: Event | None = None
        if isinstance(body, Known):
            asset = body.event.asset
            event = None if isinstance(body.event, Expiry | LateWeather) else body.event
        elif isinstance(body, Observation):
            asset = body.asset
        elif isinstance(body, Event):
            asset, event = getattr(body, "asset", None), body
        rejected = Reject("internal_error", in_words(error), asset)
        return cast("Row", reject_row(item, rejected, event).body)


class GuardedAsset:
    """An asset that starts anew where it threw.

    Args:
        name: of the asset.
        plans: of every class.
        asset_class: name of its class.
        sealed: its snapshot, None for a new asset.
        errors: where errors are counted.
    """

    __slots__ = ("_asset", "_errors", "_name", "_plans")

    def __init__(
        self,
        name: str,
        plans: Mapping[str, ClassPlan],
        asset_class: str,
        sealed: bytes | None,
        errors: InternalErrors,
    ) -> None:
        self._name = name
        self._plans = plans
        self._errors = errors
        self._asset = Asset(name, plans, asset_class, sealed)

    def process(self, item: Item) -> list[Item]:
        """As `Asset.process`; an error rejects the record, and is written to the changes."""
        before = self._asset.before()
        try:
            return self._asset.process(item)
        except Exception as error:  # noqa: BLE001 - whatever it is, the rest of the fleet goes on
            return self._start_anew(item, error, before)

    def _start_anew(self, item: Item, error: Exception, before: Before) -> list[Item]:
        rejected = self._errors.note(item, error, "asset")
        if isinstance(item.body, Known) and not isinstance(item.body.event, Expiry | LateWeather):
            rejected = msgspec.structs.replace(rejected, kind=kind_of(item.body.event))
        asset_class = item.body.asset_class if isinstance(item.body, Known) else next(iter(self._plans))
        held = self._asset.targets()
        dropped = self._asset.give_up("internal error")
        self._asset = self._asset.anew(asset_class, before, item.body)
        row = {
            "change": "asset_reset",
            "asset": self._name,
            "why": f"internal error: {in_words(error)}",
            "sequence": item.sequence,
        }
        bodies: list[Row | Observation] = [rejected, Row("changes", encode(row))]
        bodies += [
            Observation(
                self._name,
                target,
                None,
                None,
                cleared="internal error",
                cleared_at=item.known,
                forgotten=True,
                compared=dropped,
            )
            for target in dict.fromkeys((*self._asset.targets(), *held))
        ]
        return [
            Item(item.sequence, asset_part(item.part, index), item.arrival, item.known, item.position, body)
            for index, body in enumerate(bodies)
        ]

    @property
    def finished(self) -> bool:
        """As `Asset.finished`."""
        return self._asset.finished

    @property
    def dormant(self) -> bool:
        """As `Asset.dormant`."""
        return self._asset.dormant

    def to_bytes(self) -> bytes:
        """As `Asset.to_bytes`."""
        return self._asset.to_bytes()

    def __deepcopy__(self, memo: dict[int, Any]) -> bytes:
        """The state, sealed: what the engine's `stateful_map` keeps of it."""
        return self._asset.to_bytes()
