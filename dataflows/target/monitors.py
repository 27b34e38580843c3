"""Monitors: they watch the models of a target, and report in metrics, changes and the summary.

A monitor is a class in a file of its own. It overrides the hooks of `Monitor` that it needs, and stands in
the list ``MONITORS`` of `dataflows.target.target`; nothing else knows of it. Figures, lead times, attribution
and lateness skew are monitors.

The target calls the hooks in the order of effect:

=================  =======================================================================================
hook               when
=================  =======================================================================================
``served``         the champion scored telemetry, or a revision of it; an example comes with all scores
``watches``        a run of scores was made: at which of them ``served`` has to be called
``matured``        the label of an example became known, changed, or was withdrawn
``learned``        the models learned an example: in order of (time, asset), once each
``settled``        the target clock passed a labelled example that was not censored first: once each
``compared``       an example was computed again from complete data, or can not be
``cleared``        a record ended the alerts of an asset: failure, maintenance, silence, retirement
``withdrawn``      a failure of an asset is withdrawn: it never was
``judged``         a person looked at an asset after an alert
``forgotten``      the state of an asset was dropped
``model_changed``  a model was set aside for its errors, or tried again; or a drift started, ended or reset it
``commanded``      a person decided about the champion
``located``        an asset is at a site: the first that is known, or another one than before
``replaced``       maintenance of ``sensor:NAME``: the readings of a sensor are not what they were
``period_rows``    a period of the metrics ends; ``begin_period`` follows once its rows are written
``summary``        the input ended
=================  =======================================================================================

A hook returns the rows to write at this place of the order, usually none. It reads no clock and no unseeded
chance. Where a hook raises, the record is rejected, and the target and the other monitors go on; so a hook
changes its state at its end, or undoes its changes.

The state of a monitor is plain data. It is written in the epochs in which ``changed`` was set, under the name
of the monitor. A resume passes it to `Monitor.open`. What a monitor holds of single assets is not part of it,
since a fleet may have thousands: it is the `entry` of each asset, written in buckets of assets, and only the
buckets of `touched` assets. A resume finds the entries in `Context.entries`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from dataflows.state.snapshots import Kind
from dataflows.state.tables import Buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dataflows.events import Command
    from dataflows.fleet.fleet import Target
    from dataflows.items import Compared, Item, Judged, Row
    from dataflows.outputs import OutputRow, PeriodFields
    from dataflows.state.layouts import Refit
    from dataflows.target.champion import Champion
    from dataflows.target.examples import Example, ExampleStore, LabelChange
    from dataflows.target.models import ModelSet

    Rows = Sequence[Row]

__all__ = ["WATCHED", "Context", "Monitor", "Monitors", "Period", "Served"]

#: Snapshots of a bucket of assets: by asset, the entry of each monitor by its name.
WATCHED: Kind[None] = Kind("watched", 1)


class Context(NamedTuple):
    """What a monitor may read.

    Attributes:
        target: as configured.
        features: names of all features of the class, in the order of a feature vector.
        figures_from: examples before it count in no summary; None: all count.
        compares: whether assets of the class compute features again from complete data.
        models: every model of the target; to ask one for a score counts as a call of it.
        champion: the version whose scores are published.
        unsettled: examples with a label that the target clock has not passed, by (time, asset).
        examples: every example that is stored.
        entries: by the name of a monitor, its stored entries by asset.
        sensors: names of the sensors of the class.
        store_key: signs what a monitor stores as a pickle; None: nothing is signed.
    """

    target: Target
    features: tuple[str, ...]
    figures_from: int | None
    compares: bool
    models: ModelSet
    champion: Champion
    unsettled: Sequence[Example]
    examples: ExampleStore
    entries: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    sensors: tuple[str, ...] = ()
    store_key: bytes | None = None


class Served(NamedTuple):
    """One score of the champion.

    Attributes:
        asset: its name.
        time: event time of the telemetry.
        revision: 0 for the first score of that time.
        features: float64 array (features of the class) as bytes; NaN is missing.
        score: of the champion; None where it gave none.
        link: source of the published score: ``class`` is the model, ``prior`` the prior.
        champion: label of the model.
        example: with the score of every model; None where this score is no example.
    """

    asset: str
    time: int
    revision: int
    features: bytes
    score: float | None
    link: str
    champion: str
    example: Example | None


class Period(NamedTuple):
    """A period of the metrics that ends.

    Attributes:
        target: its name.
        champion: label of the model whose scores are published.
        pending: examples that wait for their label.
        fields: of its rows: start and end of the period, and what the rows are based on.
    """

    target: str
    champion: str
    pending: int
    fields: PeriodFields


class Monitor:
    """Watches the models of one target; see the module for its hooks. Each does nothing unless overridden.

    Attributes:
        name: of its state in the store; frozen.
        changed: its state may have changed since it was last written; whoever changes it sets this.
    """

    name: ClassVar[str]
    changed: bool = False

    @classmethod
    def open(cls, context: Context, state: Any) -> Monitor | None:  # noqa: ANN401 - plain data of any shape
        """Build the monitor of a target; None where the target needs none.

        Args:
            context: what it may read.
            state: return value of `state`, None for a new monitor.
        """
        raise NotImplementedError

    @staticmethod
    def refitted(state: Any, refit: Refit) -> Any:  # noqa: ANN401, ARG004 - as above
        """Return a state under another layout of the class."""
        return state

    @staticmethod
    def refitted_entry(entry: Any, refit: Refit) -> Any:  # noqa: ANN401, ARG004 - as above
        """Return the entry of an asset under another layout of the class; None drops it."""
        return entry

    def served(self, item: Item, served: Served) -> Rows:  # noqa: ARG002 - a hook
        """Watch a score of the champion."""
        return ()

    def watches(self, assets: Sequence[str], scores: Sequence[float | None]) -> Iterable[int]:  # noqa: ARG002 - a hook
        """Return at which scores of a run `served` has to be called; at the others it changes nothing.

        A target scores many records together. For a score that is no example it calls `served` only here,
        which costs little where a monitor needs few of them. It is called at every example and every
        revision anyway.

        Args:
            assets: of each score, in the order of effect.
            scores: of the champion; None where the prior answered.
        """
        return range(len(assets))

    def matured(self, item: Item, change: LabelChange) -> Rows:  # noqa: ARG002 - a hook
        """Watch a label that became known or changed."""
        return ()

    def learned(self, item: Item, example: Example) -> Rows:  # noqa: ARG002 - a hook
        """Watch an example, label 1 or 0, that the models just learned."""
        return ()

    def settled(self, item: Item, example: Example) -> Rows:  # noqa: ARG002 - a hook
        """Watch an example, first labelled 1 or 0, that the target clock just passed."""
        return ()

    def compared(self, item: Item, example: Example | None, compared: Compared) -> Rows:  # noqa: ARG002 - a hook
        """Watch a comparison with complete data; ``example`` is None where it is not remembered."""
        return ()

    def cleared(self, item: Item, asset: str, why: str, time: int, opened: int | None) -> Rows:  # noqa: ARG002 - a hook
        """Watch a record at an event time that clears alerts; one was open since ``opened``, or none was."""
        return ()

    def withdrawn(self, item: Item, asset: str, time: int) -> Rows:  # noqa: ARG002 - a hook
        """Watch the withdrawal of a failure of an asset at an event time."""
        return ()

    def judged(self, item: Item, judged: Judged) -> Rows:  # noqa: ARG002 - a hook
        """Watch a person's verdict on an asset."""
        return ()

    def forgotten(self, item: Item, asset: str) -> Rows:  # noqa: ARG002 - a hook
        """Watch an asset whose state was dropped."""
        return ()

    def model_changed(self, item: Item, change: str, label: str, why: str) -> Rows:  # noqa: ARG002 - a hook
        """Watch a model that is set aside for its errors or tried again, or that a drift started or reset."""
        return ()

    def commanded(self, item: Item, command: Command) -> Rows:  # noqa: ARG002 - a hook
        """Watch a command to the target."""
        return ()

    def located(self, item: Item, asset: str, site: str) -> Rows:  # noqa: ARG002 - a hook
        """Watch the site of an asset, where that became known or another one."""
        return ()

    def replaced(self, item: Item, asset: str, sensor: str) -> Rows:  # noqa: ARG002 - a hook
        """Watch maintenance of one sensor of an asset: it was replaced or calibrated."""
        return ()

    def period_rows(self, period: Period) -> Sequence[OutputRow]:  # noqa: ARG002 - a hook
        """Return rows of the metrics for a period that ends; change nothing."""
        return []

    def begin_period(self) -> None:
        """Begin to count the next period: the rows of the last one are written."""

    def summary(self) -> dict[str, Any]:
        """Return what the target's section of the summary holds of it; change nothing."""
        return {}

    def state(self) -> Any:  # noqa: ANN401 - plain data of any shape
        """Return plain data, None for a monitor without state."""
        return None

    def entry(self, asset: str) -> Any:  # noqa: ANN401, ARG002 - plain data of any shape
        """Return plain data of one asset, None where there is none."""
        return None

    def touched(self) -> AbstractSet[str]:
        """Return the assets whose entry changed since this was last called."""
        return frozenset()


_Kind = TypeVar("_Kind", bound=Monitor)


class Monitors:
    """The monitors of one target, called one after the other.

    Args:
        kinds: of monitors, in the order in which they are called.
        context: what they may read.
        states: return value of `state`; empty for a new target.
        buckets: return values of `bucket`, by number.
        refit: converts these states to the present layout; None where that is the same.
        rejected: makes the row that rejects a record at which a hook raised.
    """

    def __init__(
        self,
        kinds: Iterable[type[Monitor]],
        context: Context,
        states: Mapping[str, Any],
        buckets: Mapping[int, bytes],
        refit: Refit | None,
        rejected: Callable[[Item, Exception], Row],
    ) -> None:
        opened = []
        kinds = list(kinds)
        table = Buckets.read(WATCHED, buckets)
        self._buckets = Buckets(WATCHED, self._entry)
        self._buckets.restore(table)
        if refit is not None:
            self._buckets.touch_all()
        context = context._replace(entries=_by_monitor(kinds, table, refit))
        for kind in kinds:
            state = states.get(kind.name)
            if state is not None and refit is not None:
                state = kind.refitted(state, refit)
            opened.append(kind.open(context, state))
        self._monitors = [monitor for monitor in opened if monitor is not None]
        self._rejected = rejected
        self._served = [each.served for each in self._monitors if _overrides(each, "served")]
        self._watches = [each.watches for each in self._monitors if _overrides(each, "served")]
        self._matured = [each.matured for each in self._monitors if _overrides(each, "matured")]
        self._learned = [each.learned for each in self._monitors if _overrides(each, "learned")]
        self._settled = [each.settled for each in self._monitors if _overrides(each, "settled")]
        self._compared = [each.compared for each in self._monitors if _overrides(each, "compared")]
        self._cleared = [each.cleared for each in self._monitors if _overrides(each, "cleared")]
        self._withdrawn = [each.withdrawn for each in self._monitors if _overrides(each, "withdrawn")]
        self._judged = [each.judged for each in self._monitors if _overrides(each, "judged")]
        self._forgotten = [each.forgotten for each in self._monitors if _overrides(each, "forgotten")]
        self._model_changed = [
            each.model_changed for each in self._monitors if _overrides(each, "model_changed")
        ]
        self._commanded = [each.commanded for each in self._monitors if _overrides(each, "commanded")]
        self._located = [each.located for each in self._monitors if _overrides(each, "located")]
        self._replaced = [each.replaced for each in self._monitors if _overrides(each, "replaced")]

    def of(self, kind: type[_Kind]) -> _Kind | None:
        """Return the monitor of a kind, None where the target has none."""
        return next((each for each in self._monitors if isinstance(each, kind)), None)

    def served(self, item: Item, served: Served) -> list[Row]:
        """Call `Monitor.served` of each."""
        return self._call(self._served, item, served)

    def watches(self, assets: Sequence[str], scores: Sequence[float | None]) -> set[int]:
        """Return at which scores of a run `served` has to be called; see `Monitor.watches`."""
        return {number for watches in self._watches for number in watches(assets, scores)}

    def matured(self, item: Item, change: LabelChange) -> list[Row]:
        """Call `Monitor.matured` of each."""
        return self._call(self._matured, item, change)

    def learned(self, item: Item, example: Example) -> list[Row]:
        """Call `Monitor.learned` of each."""
        return self._call(self._learned, item, example)

    def settled(self, item: Item, example: Example) -> list[Row]:
        """Call `Monitor.settled` of each."""
        return self._call(self._settled, item, example)

    def compared(self, item: Item, example: Example | None, compared: Compared) -> list[Row]:
        """Call `Monitor.compared` of each."""
        return self._call(self._compared, item, example, compared)

    def cleared(self, item: Item, asset: str, why: str, time: int, opened: int | None) -> list[Row]:
        """Call `Monitor.cleared` of each."""
        return self._call(self._cleared, item, asset, why, time, opened)

    def withdrawn(self, item: Item, asset: str, time: int) -> list[Row]:
        """Call `Monitor.withdrawn` of each."""
        return self._call(self._withdrawn, item, asset, time)

    def judged(self, item: Item, judged: Judged) -> list[Row]:
        """Call `Monitor.judged` of each."""
        return self._call(self._judged, item, judged)

    def forgotten(self, item: Item, asset: str) -> list[Row]:
        """Call `Monitor.forgotten` of each."""
        return self._call(self._forgotten, item, asset)

    def model_changed(self, item: Item, change: str, label: str, why: str) -> list[Row]:
        """Call `Monitor.model_changed` of each."""
        return self._call(self._model_changed, item, change, label, why)

    def commanded(self, item: Item, command: Command) -> list[Row]:
        """Call `Monitor.commanded` of each."""
        return self._call(self._commanded, item, command)

    def located(self, item: Item, asset: str, site: str) -> list[Row]:
        """Call `Monitor.located` of each."""
        return self._call(self._located, item, asset, site)

    def replaced(self, item: Item, asset: str, sensor: str) -> list[Row]:
        """Call `Monitor.replaced` of each."""
        return self._call(self._replaced, item, asset, sensor)

    def close_period(self, item: Item, period: Period, written: Callable[[OutputRow], Row]) -> list[Row]:
        """Close the period of each monitor, with its rows.

        Without its rows the period of a monitor does not end: what it counted counts in the next one.

        Args:
            item: after which the period ends.
            period: that ends.
            written: makes a row of the metrics.
        """
        rows: list[Row] = []
        for monitor in self._monitors:
            try:
                rows += [written(row) for row in monitor.period_rows(period)]
                monitor.begin_period()
            except Exception as error:  # noqa: BLE001 - a monitor only watches; the rest goes on
                rows.append(self._rejected(item, error))
        return rows

    def summary(self) -> dict[str, Any]:
        """What the target's section of the summary holds of all; see `Monitor.summary`."""
        return {key: value for each in self._monitors for key, value in each.summary().items()}

    def changed(self) -> bool:
        """Whether the state of any monitor changed since the last call."""
        changed = False
        for each in self._monitors:
            changed |= each.changed
            each.changed = False
        return changed

    def changed_buckets(self) -> list[int]:
        """Return the buckets of assets to write."""
        for each in self._monitors:
            for asset in each.touched():
                self._buckets.touch(asset)
        return self._buckets.changed()

    def bucket(self, number: int) -> bytes:
        """Return the snapshot of one bucket of assets."""
        return self._buckets.bucket(number)

    def _entry(self, asset: str) -> dict[str, Any] | None:
        entries = {each.name: each.entry(asset) for each in self._monitors}
        return {name: entry for name, entry in entries.items() if entry is not None} or None

    def state(self) -> dict[str, Any]:
        """Return the state of each monitor by its name."""
        states = {each.name: each.state() for each in self._monitors}
        return {name: state for name, state in states.items() if state is not None}

    def _call(self, hooks: Iterable[Callable[..., Rows]], item: Item, *what: object) -> list[Row]:
        rows: list[Row] = []
        for hook in hooks:
            try:
                rows += hook(item, *what)
            except Exception as error:  # noqa: BLE001 - as above
                rows.append(self._rejected(item, error))
        return rows


def _by_monitor(
    kinds: Iterable[type[Monitor]], table: Mapping[str, Mapping[str, Any]], refit: Refit | None
) -> dict[str, dict[str, Any]]:
    """Sort the entries of a table of assets by monitor."""
    found: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        entries = {asset: entry[kind.name] for asset, entry in table.items() if kind.name in entry}
        if refit is not None:
            fitted = {asset: kind.refitted_entry(entry, refit) for asset, entry in entries.items()}
            entries = {asset: entry for asset, entry in fitted.items() if entry is not None}
        found[kind.name] = entries
    return found


def _overrides(monitor: Monitor, hook: str) -> bool:
    return getattr(type(monitor), hook) is not getattr(Monitor, hook)
