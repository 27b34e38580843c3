"""What every test may use: the Hypothesis profiles, temporary files, the real recordings, a broker."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from dataflows.status import log_restored
from tests.broker import Broker, NoBrokerError, brokers
from tests.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

# Neither deadline nor speed check: no verdict may depend on how busy the machine is.
for name, examples in (("quick", 100), ("ci", 500), ("full", 10_000)):
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

#: Files in memory, and the free bytes there that a run of all tests needs.
_MEMORY, _ROOM = Path("/dev/shm"), 4_000_000_000  # noqa: S108 - for temporary files, in folders of their own


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Write temporary files to memory where there is room; TMPDIR or --basetemp names another place.

    A killed process leaves the same there as on a disk, and no store waits for the disk many times a second.
    """
    named = os.environ.get("TMPDIR") or config.getoption("basetemp")
    if not named and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """A program that a test calls may configure the log; the next test finds it as it was."""
    with log_restored():
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of the real recordings: HIGHWATER_DATA, else ``../shared/data`` from the repository's root."""
    folder = Path(os.environ.get("HIGHWATER_DATA") or ROOT / "../shared/data").resolve()
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; HIGHWATER_DATA names their folder")
    return folder


#: What the path of a module says whose tests need a broker.
_BROKER = "kafka"


class ByModule(LoadScopeScheduling):
    """A module has one worker, so that its fixtures are made once; so have all modules that need a broker."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return _BROKER if _BROKER in module else module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByModule:  # noqa: ANN401 - of pytest-xdist
    """Distribute the tests, whatever ``--dist`` says."""
    config.option.loadscopereorder = False
    return ByModule(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers begin with tests that wait for a broker, then come modules of long tests, at last small ones.

    While one waits the others compute, and at the end none waits for another.
    """
    if hasattr(config, "workerinput"):
        long = {item.path for item in items if item.get_closest_marker("ci") is not None}
        sizes = Counter(item.path for item in items)
        items.sort(key=lambda item: (_BROKER not in item.nodeid, item.path not in long, -sizes[item.path]))


_used: list[str] = []


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Kafka broker, which the output names at its end; HIGHWATER_BROKER=required lets a lack of it fail."""
    try:
        with brokers(tmp_path_factory.mktemp("broker")) as found:
            _used.append(found.what)
            yield found
    except NoBrokerError as error:
        if os.environ.get("HIGHWATER_BROKER") == "required":
            pytest.fail(str(error))
        pytest.skip(str(error))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells its controller which broker it ran with."""
    told: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["brokers"] = _used


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - a worker, of pytest-xdist
    """Take what a worker told."""
    _used.extend(getattr(node, "workeroutput", {}).get("brokers", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which broker the tests ran with."""
    for what in _used:
        terminalreporter.write_line(f"broker: {what}")
