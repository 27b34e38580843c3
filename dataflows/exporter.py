"""Metrics in Prometheus' form, and probes, over HTTP.

The endpoint listens on loopback unless its address says otherwise, since it has no login. Whoever can reach
it can read it, and no more: it answers GET on four paths, and a few requests at a time.

========== ========================================================================================
path       answer
========== ========================================================================================
/metrics   the metrics of this process, see docs/metrics.md
/startupz  200 as soon as the source is read: the store was checked and loaded
/readyz    200 while the source is read, and nobody asked the run to stop
/livez     503 once the source was not read for `STUCK` seconds: the process hangs, and may be killed
========== ========================================================================================

``python -m dataflows.exporter > docs/metrics.md`` writes the reference.
"""

from __future__ import annotations

import platform
import shutil
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar, cast

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from typing_extensions import override

import dataflows
from dataflows.instants import parse_instant
from dataflows.recovery.manifest import LAST_BACKUP
from dataflows.status import METRICS, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from prometheus_client import Metric as Family

    from dataflows.status import Metric, RunStatus, Value

__all__ = ["STUCK", "AddressError", "RunCollector", "address_of", "address_of_process", "assets_of", "served"]

#: Seconds without a request to the source after which the process counts as stuck.
STUCK = 600.0
#: Series of one metric; labels beyond are left out, and counted.
SERIES = 2_000
_PORTS = 65_535
_MOST_ASSETS = 1_000
_REQUESTS = 8
_PATIENCE = 5.0
#: Seconds for which sizes of folders are kept.
_SIZES = 10.0


class AddressError(ValueError):
    """The address of the endpoint cannot be used."""


def address_of(text: str) -> tuple[str, int]:
    """Read the address of the endpoint, ``[HOST:]PORT``.

    Raises:
        AddressError: it is none.

    >>> address_of("9464"), address_of("0.0.0.0:9464"), address_of("[::1]:9464")
    (('127.0.0.1', 9464), ('0.0.0.0', 9464), ('::1', 9464))
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > _PORTS:
        msg = f"--metrics (or FLEET_METRICS): {text!r} is no address; expected [HOST:]PORT, such as 9464"
        raise AddressError(msg)
    return host.strip("[]") or "127.0.0.1", int(port)


def assets_of(text: str) -> int:
    """Read the number of assets that may be a label, ``FLEET_METRICS_ASSETS``; 0 of an empty text.

    Raises:
        AddressError: it is none.
    """
    if not text or (text.isdecimal() and int(text) <= _MOST_ASSETS):
        return int(text or 0)
    msg = f"FLEET_METRICS_ASSETS: {text!r} is no number of assets; expected 0 to {_MOST_ASSETS:,}"
    raise AddressError(msg)


def address_of_process(address: tuple[str, int], number: int) -> tuple[str, int]:
    """Return the address of a process of a run by its number; port 0, any free one, stays 0.

    >>> address_of_process(("127.0.0.1", 9464), 2), address_of_process(("127.0.0.1", 0), 2)
    (('127.0.0.1', 9466), ('127.0.0.1', 0))
    """
    host, port = address
    return host, port and port + number


class RunCollector(Collector):
    """Collects the metrics of a run when they are asked for.

    Args:
        status: of the run.
        store: folder of the recovery store, None without one.
        outputs: folder of the outputs.
        assets: number of assets that may be a label.
    """

    def __init__(self, status: RunStatus, store: Path | None, outputs: Path, assets: int = 0) -> None:
        self._status, self._store, self._outputs, self._assets = status, store, outputs, assets
        self._sizes: tuple[float, dict[str, int]] = (float("-inf"), {})

    @override
    def collect(self) -> Iterable[Family]:
        left_out = 0
        yield InfoMetricFamily("highwater_build", "Versions of the program and its engine.", _build())
        for name, metric in METRICS.items():
            value = self._read(name)
            if "asset" in metric.labels:
                value = _largest(value, self._assets)
            if isinstance(value, Mapping) and len(value) > SERIES:
                left_out += len(value) - SERIES
            if value is not None:
                yield _family(metric, value)
        yield CounterMetricFamily(
            "highwater_series_left_out", "Series beyond the bound of a metric, at this scrape.", left_out
        )
        yield from self._disks()

    def _read(self, name: str) -> Value:
        """Read a metric while the run goes on: what changes meanwhile is read again, a few times."""
        for _ in range(5):
            try:
                return self._status.read(name)
            except RuntimeError:
                continue
        return None

    def _disks(self) -> Iterator[Family]:
        for name, size in self._measured().items():
            yield GaugeMetricFamily(f"highwater_{name}_bytes", _SIZE_HELP[name], size)
        if self._store is not None and (taken := _last_backup(self._store)) is not None:
            yield GaugeMetricFamily(
                "highwater_last_backup_timestamp_seconds", "Time of the last backup of the store.", taken
            )

    def _measured(self) -> dict[str, int]:
        now = time.monotonic()
        if now - self._sizes[0] > _SIZES:
            found: dict[str, int] = {}
            if self._store is not None:
                found["store"] = _size(self._store.glob("part-*.sqlite3*"))
                found["journal"] = _size((self._store / "journal").rglob("order-*.log"))
                found["store_free"] = _free(self._store)
            found["outputs_free"] = _free(self._outputs)
            self._sizes = now, found
        return self._sizes[1]


_SIZE_HELP = {
    "store": "Size of the partitions of the recovery store, with SQLite's logs.",
    "journal": "Size of the order journal.",
    "store_free": "Free space on the disk of the recovery store.",
    "outputs_free": "Free space on the disk of the outputs.",
}


def _largest(value: Value, most: int) -> Value:
    """The largest values of a metric; None where none may be there."""
    if not most or not isinstance(value, Mapping):
        return None
    values = cast("Mapping[tuple[str, ...], float]", value)
    found = sorted(values.items(), key=lambda each: (-each[1], each[0]))
    return dict(found[: min(most, SERIES)])


def _build() -> dict[str, str]:
    return {
        "version": dataflows.__version__,
        "bytewax": version("bytewax"),
        "river": version("river"),
        "python": platform.python_version(),
    }


def _family(metric: Metric, value: Value) -> Family:
    name = f"highwater_{metric.exported}"
    if isinstance(value, Histogram):
        family = HistogramMetricFamily(name, metric.help)
        total, buckets = 0, []
        for bound, count in zip((*value.bounds, "+Inf"), value.counts, strict=True):
            total += count
            buckets.append((str(bound), total))
        family.add_metric([], buckets=buckets, sum_value=value.sum)
        return family
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    simple = kind(name, metric.help, labels=list(metric.labels))
    values = value if isinstance(value, Mapping) else {(): value or 0}
    for label, number in list(values.items())[:SERIES]:
        simple.add_metric([label] if isinstance(label, str) else list(label), number * metric.scale)
    return simple


def _size(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            # Deleted since it was listed.
            continue
    return total


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _last_backup(store: Path) -> float | None:
    path = store / LAST_BACKUP
    try:
        return parse_instant(path.read_text(encoding="ascii").strip()) / 1e6
    except (FileNotFoundError, ValueError):
        return None


class _Handler(BaseHTTPRequestHandler):
    """Answers GET on the paths of the endpoint."""

    registry: ClassVar[CollectorRegistry]
    status: ClassVar[RunStatus]
    timeout = _PATIENCE
    server_version = "highwater"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with metrics or a probe."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content = choose_encoder(self.headers.get("Accept") or "")
            self._answer(200, encode(self.registry), content)
        elif path in {"/startupz", "/readyz", "/livez"}:
            said = _probed(path, self.status)
            self._answer(503 if said else 200, f"{said or 'ok'}\n".encode(), "text/plain; charset=utf-8")
        else:
            self._answer(404, b"/metrics /startupz /readyz /livez\n", "text/plain; charset=utf-8")

    def _answer(self, code: int, body: bytes, content: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


def _probed(path: str, status: RunStatus) -> str | None:
    """Why a probe fails, None if it does not."""
    if status.alive is None:
        return None if path == "/livez" else "starting: the store is checked and loaded"
    silent = time.monotonic() - status.alive
    if path != "/startupz" and silent > STUCK:
        return f"stuck: the source was not read for {silent:.0f} s"
    return "stopping" if path == "/readyz" and status.stop else None


class _Server(ThreadingHTTPServer):
    """A server that answers a bounded number of requests at a time, and drops those beyond."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        self._free = threading.BoundedSemaphore(_REQUESTS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    @override
    def process_request(self, request: object, client_address: object) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[arg-type]
            return
        super().process_request(request, client_address)  # type: ignore[arg-type]

    @override
    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._free.release()

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error of ours."""


@contextmanager
def served(
    address: tuple[str, int] | None, status: RunStatus, store: Path | None, outputs: Path, assets: int = 0
) -> Iterator[int | None]:
    """Serve metrics and probes of a run while the block runs.

    Args:
        address: host and port; port 0 for a free one; None serves nothing.
        status: of the run.
        store: folder of the recovery store, None without one.
        outputs: folder of the outputs.
        assets: number of assets that may be a label; 0 keeps names of assets out of the metrics.

    Yields:
        The port.

    Raises:
        AddressError: nothing can listen there.
    """
    if address is None:
        yield None
        return
    registry = CollectorRegistry()
    registry.register(RunCollector(status, store, outputs, assets))
    ProcessCollector(registry=registry)
    handler = type("Handler", (_Handler,), {"registry": registry, "status": status})
    try:
        server = _Server(address, handler)
    except OSError as error:
        msg = (
            f"--metrics (or FLEET_METRICS): cannot listen on {address[0]}:{address[1]} ({error.strerror}); "
            "choose another port"
        )
        raise AddressError(msg) from error
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def reference() -> str:
    """The page docs/metrics.md."""
    rows: list[tuple[str, str, str, str]] = [
        (f"highwater_{metric.exported}", metric.kind, ", ".join(metric.labels), metric.help)
        for metric in METRICS.values()
    ]
    rows += [(f"highwater_{name}_bytes", "gauge", "", text) for name, text in _SIZE_HELP.items()]
    rows += [
        (
            "highwater_last_backup_timestamp_seconds",
            "gauge",
            "",
            "Time of the last backup of the store; absent without one.",
        ),
        (
            "highwater_series_left_out_total",
            "counter",
            "",
            f"Series beyond {SERIES:,} of one metric, at this scrape.",
        ),
        (
            "highwater_build_info",
            "gauge",
            "version, bytewax, river, python",
            "Versions of the program and its engine; always 1.",
        ),
        (
            "process_*",
            "",
            "",
            "CPU time, memory and open files of the process, as every Prometheus client has.",
        ),
    ]
    table = "\n".join(f"| `{n}` | {k} | {f'`{x}`' if x else ''} | {h} |" for n, k, x, h in sorted(rows))
    return _PAGE.replace("TABLE", table)


_PAGE = """\
# Metrics

`python -m dataflows run fleet.toml --metrics 9464` serves metrics at `http://127.0.0.1:9464/metrics`, in
Prometheus' form. So does `FLEET_METRICS=9464`, also under Bytewax's own command. Without them nothing
listens.

The endpoint has no login. It listens on loopback unless the address names a host (`--metrics 0.0.0.0:9464`);
then a network policy, or a proxy with a login, has to protect it. Do not open Bytewax's own web server
(`BYTEWAX_DATAFLOW_API_ENABLED`): it listens on every address, without a login.

With several processes each serves its own metrics, process *i* at port + *i*. Counters add up over them; a
gauge is served by the process that knows it.

| path | answer |
| --- | --- |
| `/metrics` | the metrics below |
| `/startupz` | 200 as soon as the source is read: the store was checked and loaded |
| `/readyz` | 200 while the source is read, and nobody asked the run to stop |
| `/livez` | 503 once the source was not read for 600 s: the process hangs, and may be killed |

The rates of `highwater_log_loss_total` and `highwater_examples_total` give the log loss over any time. A
champion above the prior is worse than no model; one far above what it expects of itself is not calibrated.

```
sum by (target, role) (increase(highwater_log_loss_total[7d]))
  / on (target) group_left sum by (target) (increase(highwater_examples_total[7d]))
```

No metric has an asset as label, unless `run --metrics-assets 10` (or `FLEET_METRICS_ASSETS`) asks for the ten
assets whose open alerts have the highest scores. The lag of the watermark is
`time() - highwater_last_event_timestamp_seconds`, that of arrivals
`time() - highwater_last_arrival_timestamp_seconds`. Counters start at 0 with the process, but
`highwater_records_total`, which goes on from the store. [runbooks.md](runbooks.md) says what to do when an
alert on them fires. This page is generated by `python -m dataflows.exporter > docs/metrics.md`.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
TABLE
"""


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201
