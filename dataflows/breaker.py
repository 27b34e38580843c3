"""The breaker: a champion that scores too slowly is replaced by the former one, through a command.

How long a call takes is not the same in two runs, so it may not change what the dataflow does. The breaker is
therefore no stage. A thread of the running program looks at the measured times, and writes a command to the
input, as a person would. That record has its place in the order, and is resumed and replayed as any other.

The command is ``promote`` with the name of the former champion, not ``rollback``: a program that was killed
after it wrote one may write it twice, and the second is refused since that model is champion by then.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from dataflows.fleet.problems import FleetError, Problem, listed, shown
from dataflows.tools.command import append, command_of, send_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dataflows.fleet.fleet import Breaker, Fleet
    from dataflows.status import RunStatus, ScoreTimes, Serving

    #: Writes a command: target, model that becomes champion, why.
    Send = Callable[[str, str, str], None]

__all__ = ["SlowChampion", "Watched", "check_commands", "watched"]

#: Seconds between two looks.
_LOOK = 1.0
#: So many blocks of rows one after the other have to be slow.
_BLOCKS = 2
_log = structlog.get_logger()


class SlowChampion:
    """Finds out whether a champion is slow: two blocks of rows, one after the other, above the limit.

    Args:
        limit: seconds that a row may take, on average.
        rows: of a block, at least.

    >>> rule = SlowChampion(limit=0.005, rows=100)
    >>> asked = ("tree",)
    >>> [rule.look(asked, {"tree": (n, n * 0.08)}) for n in (0, 60, 100)]  # the first block
    [None, None, None]
    >>> rule.look(asked, {"tree": (200, 16.0)})
    0.08
    """

    def __init__(self, limit: float, rows: int) -> None:
        self._limit = limit
        self._rows = rows
        self._asked: tuple[str, ...] = ()
        #: Totals where the block began, and how many slow blocks ended there.
        self._began: dict[str, tuple[int, float]] = {}
        self._slow = 0

    def look(self, asked: tuple[str, ...], totals: Mapping[str, tuple[int, float]]) -> float | None:
        """Return the seconds that a row took in the block that ended now, if the champion is slow; else None.

        Args:
            asked: the champion, and the models whose scores it sees; another champion begins another block.
            totals: rows and seconds of each model since the program started.
        """
        if asked != self._asked:
            self._asked, self._began, self._slow = asked, dict(totals), 0
            return None
        gone = {label: self._since(label, totals) for label in asked}
        if gone[asked[0]][0] < self._rows:
            return None
        mean = sum(seconds / rows for rows, seconds in gone.values() if rows)
        self._began = dict(totals)
        self._slow = self._slow + 1 if mean > self._limit else 0
        return mean if self._slow >= _BLOCKS else None

    def _since(self, label: str, totals: Mapping[str, tuple[int, float]]) -> tuple[int, float]:
        """Rows and seconds of a model since the block began."""
        (rows, seconds), (before, spent) = totals.get(label, (0, 0.0)), self._began.get(label, (0, 0.0))
        return rows - before, seconds - spent


class Watched:
    """The breaker of one target, which is driven by `look`.

    Args:
        target: its name.
        breaker: as configured.
        send: writes a command.
        status: of the run; counts what is sent.
    """

    def __init__(self, target: str, breaker: Breaker, send: Send, status: RunStatus) -> None:
        self._target = target
        self._breaker = breaker
        self._rule = SlowChampion(breaker.latency / 1e6, breaker.rows)
        self._send = send
        self._status = status
        #: Champions that were slow in this process. None of them is named as a successor, and whoever makes
        #: one champion again wants it in spite of that.
        self._slow: set[str] = set()

    def look(self, times: ScoreTimes, serving: Serving) -> None:
        """Write a command if the champion is slow; at most one for each champion."""
        mean = self._rule.look(serving.asked, times.totals)
        if mean is None or serving.champion in self._slow or serving.frozen is not None:
            return
        why = (
            f"scoring took {mean * 1e3:.3g} ms a row, above {self._breaker.latency / 1e3:g} ms, "
            f"over {self._breaker.rows:,} rows twice"
        )
        former = None if serving.former in self._slow else serving.former
        if former is None:
            self._count("no_former", serving.champion)
            _log.warning(
                "the champion is slow, and there is no former one", **self._who(serving.champion), why=why
            )
            return
        try:
            self._send(self._target, former, why)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again, and the run goes on
            self._status.breakers[self._target, "failed"] += 1
            who = self._who(serving.champion)
            _log.warning("the command against a slow champion was not written", **who, error=str(error))
            return
        self._count("sent", serving.champion)
        _log.warning("the champion is slow", **self._who(serving.champion), former=former, why=why)

    def _count(self, result: str, champion: str) -> None:
        self._slow.add(champion)
        self._status.breakers[self._target, result] += 1

    def _who(self, champion: str) -> dict[str, str]:
        return {"target": self._target, "champion": champion}


def check_commands(fleet: Fleet) -> None:
    """Refuse a breaker whose commands no run would read.

    Raises:
        FleetError: with one problem for each target.
    """
    given, problems = fleet.input, []
    for name, target in fleet.targets.items():
        if target.breaker is None:
            continue
        key, place = f"targets: breaker.commands of {name}", target.breaker.commands
        if given.rules:
            problems.append(Problem(key, "an input of events: no `map`, whose rules would read the commands"))
        elif given.kafka is not None:
            if place not in given.kafka.topics:
                expected = f"a topic of the input, {listed(given.kafka.topics)}"
                problems.append(Problem(key, expected, shown(place)))
        elif str(_file(fleet, place)) not in given.files:
            files = [str(Path(each)) for each in given.files]
            expected = f"one of the files of the input by its path, {listed(files)}"
            problems.append(Problem(key, expected, shown(place)))
        if not given.follow:
            problems.append(Problem(key, "`follow = true` in the input: else nobody reads it"))
    if problems:
        raise FleetError(str(fleet.path), problems)


def _file(fleet: Fleet, name: str) -> Path:
    return fleet.path.parent / name


@contextmanager
def watched(fleet: Fleet, status: RunStatus) -> Iterator[None]:
    """Watch the champions of the targets with a breaker while the block runs, in a thread.

    Args:
        fleet: see `check_commands`.
        status: of the run.
    """
    breakers = {name: each.breaker for name, each in fleet.targets.items() if each.breaker is not None}
    if not breakers:
        yield
        return

    def send(target: str, model: str, why: str) -> None:
        record = command_of(fleet, "promote", target, "breaker", model, why)
        place = breakers[target].commands
        if fleet.input.kafka is not None:
            send_command(record, fleet, place)
        else:
            append({**record, "arrived": datetime.now(UTC).isoformat()}, _file(fleet, place))

    targets = {name: Watched(name, breaker, send, status) for name, breaker in breakers.items()}
    ending = threading.Event()
    thread = threading.Thread(target=_watch, args=(targets, status, ending), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(_LOOK)


def _watch(targets: Mapping[str, Watched], status: RunStatus, ending: threading.Event) -> None:
    while not ending.wait(_LOOK):
        for name, (times, serving) in [*status.scoring.items()]:
            try:
                targets[name].look(times, serving())
            except RuntimeError as error:  # a dict of the target changed while it was read
                _log.debug("the breaker looks again", target=name, error=str(error))
