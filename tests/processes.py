"""Processes that tests start and kill: forked from one that has imported the program already.

A start of Python with all that a run imports takes 2 s of a processor, a fork 0.1 s. A child is a process
like any other: it has its own memory and files, and kill -9 ends it at any instant. What a fork cannot show
are the start of the interpreter and its end; tests that start a command with `subprocess` show them.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.context import ForkServerProcess

__all__ = ["PATIENCE", "ROOT", "Forked", "Process", "environment", "run", "start"]

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120.0  # seconds, after which a process that should have ended or moved is a failure

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """A child, with the methods of `subprocess.Popen`."""

    def __init__(self, process: ForkServerProcess, command: list[str]) -> None:
        self._process = process
        self._command = command

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._command, timeout or 0.0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            # It may be gone already, and its exit code not told yet.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Process = Forked | subprocess.Popen[bytes]


def environment(**extra: str) -> dict[str, str]:
    """Of a child: this project importable, and no FLEET_ or BYTEWAX_ variable of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FLEET_", "BYTEWAX_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **extra}


def start(
    module: str,
    *arguments: str,
    env: Mapping[str, str],
    out: Path,
    errors: Path | None = None,
    cwd: Path = ROOT,
    trace: int | None = None,
) -> Process:
    """Start ``python -m module arguments ...``, by a fork wherever that shows what is asked for.

    Args:
        module: what is run.
        arguments: of the command.
        env: environment variables, all of them.
        out: file to which standard output and, without ``errors``, standard error are appended.
        errors: file of standard error.
        cwd: folder in which it runs.
        trace: descriptor that it gets; its number is in the variable ``CHAOS_TRACE``.
    """
    command = [sys.executable, "-m", module, *arguments]
    if "LD_PRELOAD" in env:
        # The dynamic linker reads it when an interpreter starts.
        assert errors is None
        assert trace is None
        with out.open("ab") as file:
            return subprocess.Popen(command, env=env, cwd=cwd, stdout=file, stderr=file)
    _begin_server()
    # The connection closes its own copy of the descriptor; that of the caller stays.
    given = None if trace is None else Connection(os.dup(trace), readable=False)
    files = (str(out), str(errors or out))
    child = _CONTEXT.Process(
        target=_child, args=(module, arguments, dict(env), str(cwd), files, given), daemon=True
    )
    child.start()
    if given is not None:
        given.close()
    return Forked(child, command)


def run(
    module: str, *arguments: str, env: Mapping[str, str], limit: float = PATIENCE, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m module arguments ...`` to its end, which has to come within so many seconds."""
    with tempfile.TemporaryDirectory() as name:
        out, errors = Path(name) / "out", Path(name) / "errors"
        process = start(module, *arguments, env=env, out=out, errors=errors, cwd=cwd)
        try:
            code = process.wait(limit)
        finally:
            process.kill()
            process.wait()
        said = (path.read_text(encoding="utf-8", errors="replace") for path in (out, errors))
        return subprocess.CompletedProcess([module, *arguments], code, *said)


def _begin_server() -> None:
    """Begin the process that children are forked from, where the project is importable."""
    own = {name: os.environ.get(name) for name in ("PYTHONPATH", "OPENBLAS_NUM_THREADS")}
    # A process is forked safely as long as it has one thread.
    os.environ |= {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    try:
        forkserver.ensure_running()
    finally:
        for name, value in own.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _child(
    module: str,
    arguments: tuple[str, ...],
    env: dict[str, str],
    cwd: str,
    files: tuple[str, str],
    trace: Connection | None,
) -> None:
    """Run a module as ``python -m`` does."""
    os.environ.clear()
    os.environ.update(env)
    if trace is not None:
        os.environ["CHAOS_TRACE"] = str(trace.fileno())
    os.chdir(cwd)
    for number, path in zip((1, 2), files, strict=True):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout, sys.stderr = _stream(1), _stream(2, line_buffering=True)
    sys.argv = [module, *arguments]
    sys.modules.pop(module, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _stream(number: int, **how: Any) -> io.TextIOWrapper:  # noqa: ANN401 - of TextIOWrapper
    file = io.FileIO(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(file), encoding="utf-8", errors="backslashreplace", **how)
