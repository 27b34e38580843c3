"""Processes of one run on this machine: the first starts the others, and all end together.

They share the folder of the recovery store, since its partitions can be compared only as a whole, and they
exchange items over loopback, since the engine's connections have neither encryption nor login.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import traceback
from contextlib import contextmanager, suppress
from ctypes import c_ulonglong
from multiprocessing import connection, get_context, parent_process
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from types import TracebackType
    from typing import Self

__all__ = ["Cluster", "Counter", "ProcessError", "counter", "followed", "repeated"]

#: Seconds between two looks at a counter.
_LOOK = 0.1
Counter = c_ulonglong
_log = structlog.get_logger()


class ProcessError(RuntimeError):
    """A process of the run ended before its work was done."""


class Cluster:
    """Helper processes of a run, started at the beginning of the block and ended with it.

    The caller is process 0. Each helper calls ``work(number, addresses, *arguments)``, which has to be a
    function of a module, with arguments that can be pickled. It ignores Ctrl-C and SIGTERM, since process 0
    ends the input for all, and ends at once if process 0 is gone.

    Args:
        processes: number of processes, process 0 included; 1 starts none.
        work: what a helper does.
        arguments: of ``work``.
        grace: seconds for a process to end by itself after another one ended.

    Attributes:
        addresses: address of each process, None where there is one process.
    """

    def __init__(
        self, processes: int, work: Callable[..., Any], *arguments: object, grace: float = 10.0
    ) -> None:
        self.addresses = _free_addresses(processes) if processes > 1 else None
        self._work, self._arguments, self._grace = work, arguments, grace
        self._helpers: dict[int, tuple[SpawnProcess, Connection]] = {}
        self._over = threading.Event()
        self._asking = threading.Lock()

    def __enter__(self) -> Self:
        context = get_context("spawn")
        for number in range(1, len(self.addresses or ())):
            receiver, sender = context.Pipe(duplex=False)
            arguments = (sender, self._work, number, self.addresses, self._arguments)
            helper = context.Process(target=_help, args=arguments, name=f"process-{number}", daemon=True)
            helper.start()
            sender.close()
            self._helpers[number] = helper, receiver
        if self._helpers:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def results(self) -> list[Any]:
        """What each helper returned, in order; call it when the work of process 0 is done.

        Raises:
            ProcessError: a helper failed, or did not end.
        """
        found = []
        for number, (_, receiver) in self._helpers.items():
            code = self._code(number, self._grace)
            if code != 0:
                raise ProcessError(self._why(number, code))
            with suppress(EOFError):
                found.append(receiver.recv()[1])
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        why = None
        # The engine panics in all processes as soon as one is gone; the cause is what that one says.
        if error is not None and type(error).__name__ == "PanicException":
            connection.wait([helper.sentinel for helper, _ in self._helpers.values()], self._grace)
            codes = {number: self._code(number) for number in self._helpers}
            why = next((self._why(number, code) for number, code in codes.items() if code), None)
        for helper, _ in self._helpers.values():
            with self._asking:
                helper.kill()
                helper.join()
        if why is not None:
            raise ProcessError(why) from error

    def _code(self, number: int, patience: float = 0.0) -> int | None:
        """Return the exit code of a helper, None if it does not end within so many seconds."""
        helper, _ = self._helpers[number]
        if not connection.wait([helper.sentinel], patience):
            return None
        # The system gives the code a moment after this sign, and only to the first thread that asks.
        with self._asking:
            helper.join()
            return helper.exitcode

    def _why(self, number: int, code: int | None) -> str:
        _, receiver = self._helpers[number]
        how = (
            "did not end" if code is None else f"ended by signal {-code}" if code < 0 else f"exit code {code}"
        )
        said = ""
        with suppress(EOFError, OSError):
            while receiver.poll():
                failed, text = receiver.recv()
                said = f": {text}" if failed else said
        return (
            f"process {number} of {len(self._helpers) + 1}: {how}{said}. All processes have ended; run "
            "the same command again: with a store it goes on from its last epoch, and no row is lost or twice"
        )

    def _watch(self) -> None:
        """End process 0 if a helper is gone and the engine does not notice, as before all are connected."""
        running = {helper.sentinel: number for number, (helper, _) in self._helpers.items()}
        while running:
            for sentinel in connection.wait([*running]):
                number = running.pop(sentinel)  # type: ignore[arg-type] # of processes: numbers
                code = self._code(number)
                if code == 0:
                    continue
                if not self._over.wait(self._grace):
                    _log.error("process_ended", why=self._why(number, code))
                    os._exit(1)
                return


@contextmanager
def followed(counter: Counter, call: Callable[[], None]) -> Iterator[None]:
    """Call a function, in a thread, whenever another process has raised a counter, while the block runs."""
    seen = counter.value

    def look() -> None:
        nonlocal seen
        if counter.value != seen:
            seen = counter.value
            call()

    with repeated(look):
        yield


@contextmanager
def repeated(call: Callable[[], None]) -> Iterator[None]:
    """Call a function, in a thread, some times a second while the block runs."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(_LOOK):
            call()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def counter() -> Counter:
    """Make a counter that one process of a cluster raises, and the others read."""
    return get_context("spawn").RawValue(Counter, 0)


def _help(
    sender: Connection,
    work: Callable[..., Any],
    number: int,
    addresses: list[str],
    arguments: tuple[object, ...],
) -> None:
    """Do the work of a helper, and send what it returned, or why it failed."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        sender.send((False, work(number, addresses, *arguments)))
    except BaseException as error:
        sender.send((True, "".join(traceback.format_exception_only(error)).strip()))
        raise


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _free_addresses(count: int) -> list[str]:
    """Addresses on loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses
