"""Processes of one run: how process 0 learns that a helper ended, and why."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from dataflows.engine.cluster import Cluster, ProcessError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.ci


class PanicException(BaseException):
    """As the engine raises it in process 0 when a helper is gone."""


class UnfitError(Exception):
    """A helper cannot do its work."""


def returns(number: int, addresses: list[str]) -> int:
    time.sleep(0.5)
    return number * len(addresses)


def refuses(number: int, addresses: list[str]) -> None:
    raise UnfitError(number, len(addresses))


def refuses_once_the_first_has_ended(number: int, addresses: list[str]) -> None:
    if number == 2:
        time.sleep(0.5)
        refuses(number, addresses)


@pytest.fixture
def slow_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that gets an exit code is slow to note it; the main thread asks in between."""
    ask = os.waitpid

    def slow(pid: int, options: int) -> tuple[int, int]:
        of_main = threading.current_thread() is threading.main_thread()
        time.sleep(0.2 if of_main else 0.1)
        found = ask(pid, options)
        time.sleep(0.0 if of_main else 0.3)
        return found

    monkeypatch.setattr(os, "waitpid", slow)


@pytest.fixture
def late_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has just ended has no exit code yet for one who does not wait for it."""
    ask = os.waitpid
    monkeypatch.setattr(
        os, "waitpid", lambda pid, options: (0, 0) if options & os.WNOHANG else ask(pid, options)
    )


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[int]]:
    """Wait until process 0 is ended, at most so many seconds; return with which codes."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)

    def wait(limit: float) -> list[int]:
        end = time.monotonic() + limit
        while not codes and time.monotonic() < end:
            time.sleep(0.05)
        return codes

    return wait


@pytest.mark.usefixtures("slow_codes")
def test_a_helper_that_ended_is_not_taken_for_one_that_did_not() -> None:
    """Two threads of process 0 notice the end of a helper at once; the system gives its code only once."""
    with Cluster(3, returns) as cluster:
        assert cluster.results() == [3, 6]


@pytest.mark.usefixtures("late_codes")
def test_the_reason_is_that_of_the_helper_that_failed() -> None:
    """The engine's panic names no reason; the helper has one, though its exit code comes late."""
    with (
        pytest.raises(ProcessError, match=r"^process 1 of 2: exit code 1: \S*UnfitError: \(1, 2\)\. "),
        Cluster(2, refuses),
    ):
        raise PanicException


@pytest.mark.usefixtures("late_codes")
@pytest.mark.parametrize(
    ("processes", "work"), [(2, refuses), (3, refuses_once_the_first_has_ended)], ids=["first", "second"]
)
def test_process_0_is_ended_if_the_engine_does_not_notice(
    processes: int, work: Callable[..., None], ended: Callable[[float], list[int]]
) -> None:
    """A helper failed and process 0 goes on: it is ended, also if another helper ended well before."""
    with Cluster(processes, work, grace=0.2):
        assert ended(30.0) == [1]
