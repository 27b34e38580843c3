"""What the tests of alerts share: rows of outputs, committed step by step, and receivers on this machine."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from dataflows.connectors.committed import CommittedFiles
from dataflows.fleet import from_document
from dataflows.instants import format_instant
from dataflows.notify.delivery import Delivery, Queue, queue_file
from dataflows.notify.notices import OUTPUTS, Notices
from dataflows.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflows.fleet import Fleet
    from dataflows.notify.receivers import Sender

TARGET = "pump/seal/24h"
#: An instant, microseconds, around which the rows are.
NOW = 1_790_000_000_000_000
SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of a test


def fleet_of(folder: Path, **receivers: dict[str, Any]) -> Fleet:
    """A fleet with one target, and receivers by name."""
    document = {
        "name": "pumps",
        "input": {"files": ["events.jsonl"]},
        "output": {"folder": "out"},
        "classes": {"pump": {"sensors": ["pressure"]}},
        "targets": [{"class": "pump", "mode": "seal", "horizon": "24h", "champion": "linear"}],
        "models": {
            "linear": {"pipeline": [{"estimator": "river.linear_model.LogisticRegression"}]},
            "tree": {"pipeline": [{"estimator": "river.tree.HoeffdingTreeClassifier"}]},
        },
        "notify": receivers,
    }
    return from_document(document, folder / "fleet.toml")


def webhook(url: str = "http://127.0.0.1:1/", **more: object) -> dict[str, Any]:
    """A receiver by webhook."""
    return {"kind": "webhook", "url": url, "secret_env": "PAGER_SECRET", **more}


def alertmanager(url: str = "http://127.0.0.1:1", **more: object) -> dict[str, Any]:
    """A receiver that is an Alertmanager."""
    return {"kind": "alertmanager", "url": url, **more}


def alert(name: str, state: str, number: int = 0, asset: str | None = None, **more: object) -> dict[str, Any]:
    """A row of the alerts."""
    return {
        "id": name,
        "asset": asset or f"pump-{name}",
        "target": TARGET,
        "state": state,
        "why": "score" if state == "opened" else "maintenance",
        "opened": format_instant(NOW),
        "time": format_instant(NOW + number * 1_000_000),
        "score": 0.75,
        "threshold": 0.5,
        "sequence": number,
        "arrival": None,
        "watermark": None,
        **more,
    }


def change(what: str, number: int = 0, **more: object) -> dict[str, Any]:
    """A row of the changes."""
    fields = {"target": TARGET, "model": "tree", "version": 1, "why": "better by 0.02", "sequence": number}
    return {"change": what, **fields, "known": format_instant(NOW + number * 1_000_000), **more}


def drift(number: int = 0, **more: object) -> dict[str, Any]:
    """An alarm of drift."""
    found = {"series": "loss", "rank": "page", "side": "up", "value": 0.3, "reference": 0.1}
    found |= {"deviation": 4.5, "beside": ["score"], "cause": "world", "sensors": [], "answer": None}
    return change("drift", number, **{**found, "place": {"asset": None, "site": None, "share": 1.0}, **more})


def verdict(number: int = 0, found: str = "better", **more: object) -> dict[str, Any]:
    """A verdict on a challenger."""
    return change("verdict", number, verdict=found, next="a command accepts or refuses the proposal", **more)


def commit(fleet: Fleet, output: str, *rows: dict[str, Any], final: bool = True) -> None:
    """Append rows to an output, and let them be final."""
    path = fleet.output.folder / f"{output}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.writelines(orjson.dumps(row) + b"\n" for row in rows)
    if final:
        path.with_suffix(".committed").write_text(f"{path.stat().st_size}\n", encoding="ascii")


class World(NamedTuple):
    """A delivery to the first receiver of a fleet."""

    delivery: Delivery
    queue: Queue
    status: RunStatus

    def settle(self, now: float = NOW / 1e6) -> float:
        """Step until nothing is due; returns the wait after that."""
        while (wait := self.delivery.step(now)) == 0.0:
            pass
        return wait


def world(fleet: Fleet, sender: Sender | None = None, sites: dict[str, str] | None = None) -> World:
    """Of a fleet, as a run that starts makes it."""
    receiver = next(iter(fleet.notify.values()))
    status = RunStatus()
    rows = CommittedFiles(fleet.output.folder, OUTPUTS)
    notices = Notices(fleet, receiver.about, receiver.labels, sites or {})
    queue = Queue(queue_file(fleet, receiver.name))
    delivery = Delivery(receiver, notices, rows, queue, status, sender)
    delivery.begin()
    return World(delivery, queue, status)


class Post(NamedTuple):
    """A request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        return orjson.loads(self.body)


class Server:
    """A receiver on this machine; it answers with `codes`, then with 200."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.codes: list[int] = []
        self.headers: dict[str, str] = {}
        self.url = ""
        #: Cleared to let requests wait.
        self.open = threading.Event()
        self.open.set()


@contextmanager
def serving() -> Iterator[Server]:
    """A receiver while the block runs."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.open.wait(60)
            server.posts.append(Post(self.path, dict(self.headers), body))
            code = server.codes.pop(0) if server.codes else 200
            self.send_response(code)
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"heard\n\x1b[31m")

        do_GET = do_POST  # noqa: N815 - the name is the base class's

        def log_message(self, *_: object) -> None:
            """Nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.open.set()
        http.shutdown()
        thread.join()
        http.server_close()
