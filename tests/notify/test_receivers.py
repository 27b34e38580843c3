"""Requests to receivers: signed, without redirects, and without a secret in any error."""

from __future__ import annotations

import base64
import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from dataflows.fleet import FleetError
from dataflows.fleet.fleet import SecretError
from dataflows.notify.notices import Notice
from dataflows.notify.receivers import Posted, RefusedError, UnreachedError, sender_of
from tests.notify.worlds import NOW, SECRET, alertmanager, fleet_of, serving, webhook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflows.notify.receivers import Sender
    from tests.notify.worlds import Server

TIME = "2026-09-21T14:13:20.000000Z"
NOTICE = Notice("a", {"alertname": "Test", "id": "a"}, {"summary": "It is."}, TIME)
POSTED = Posted(NOTICE, "firing", TIME, NOW / 1e6 + 60)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PAGER_SECRET", SECRET)
    monkeypatch.setenv("PAGER_TOKEN", "hunter2-hunter2")
    with serving() as found:
        yield found


def sender(folder: Path, **keys: object) -> Sender:
    return sender_of(fleet_of(folder, it=keys).notify["it"])


def test_a_webhook_is_signed_over_id_time_and_body(server: Server, tmp_path: Path) -> None:
    """HMAC-SHA256 as standardwebhooks.com has it, with the key as it is or, after `whsec_`, in base64."""
    (tmp_path / "key").write_text("whsec_" + base64.b64encode(SECRET.encode()).decode() + "\n")
    in_file = {"kind": "webhook", "url": server.url, "secret_file": "key"}
    for keys in (webhook(server.url), in_file):
        sender(tmp_path, **keys).post([POSTED], NOW / 1e6)
    for post in server.posts:
        told = f"{post.headers['Webhook-Id']}.{post.headers['Webhook-Timestamp']}.".encode() + post.body
        expected = base64.b64encode(hmac.new(SECRET.encode(), told, sha256).digest()).decode()
        assert post.headers["Webhook-Signature"] == f"v1,{expected}"
        assert post.headers["Webhook-Timestamp"] == str(NOW // 1_000_000)
        assert post.json()["data"]["labels"] == NOTICE.labels


def test_an_alertmanager_gets_instants_that_it_takes(server: Server, tmp_path: Path) -> None:
    """An alert of a recording may begin after now: its beginning is then now."""
    found = sender(tmp_path, **alertmanager(server.url + "/prefix", token_env="PAGER_TOKEN"))  # noqa: S106
    late = Posted(NOTICE, "resolved", TIME, NOW / 1e6 - 3_600, "failure")
    found.post([POSTED, late], NOW / 1e6)
    (post,) = server.posts
    assert post.path == "/prefix/api/v2/alerts"
    assert post.headers["Authorization"] == "Bearer hunter2-hunter2"
    first, second = post.json()
    assert first["startsAt"] == TIME
    assert first["endsAt"] > first["startsAt"]
    assert second["startsAt"] == second["endsAt"]
    assert second["annotations"]["ended"] == "failure"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, RefusedError),
        (422, RefusedError),
        (401, UnreachedError),
        (404, UnreachedError),
        (429, UnreachedError),
        (503, UnreachedError),
    ],
)
def test_only_what_is_wrong_with_an_alert_is_final(
    server: Server, tmp_path: Path, code: int, error: type[Exception]
) -> None:
    """A wrong login or a busy receiver can be set right; its words are shown without control codes."""
    server.codes.append(code)
    with pytest.raises(error, match=f"^it answered {code}: heard \\[31m$"):
        sender(tmp_path, **webhook(server.url)).post([POSTED], NOW / 1e6)


def test_no_redirect_is_followed(server: Server, tmp_path: Path) -> None:
    """It could take a token elsewhere, and would make a GET of the post."""
    server.codes.append(302)
    server.headers["Location"] = f"{server.url}/elsewhere"
    with pytest.raises(UnreachedError, match="302"):
        sender(tmp_path, **webhook(server.url)).post([POSTED], NOW / 1e6)
    assert [post.path for post in server.posts] == ["/"]


@pytest.mark.parametrize("port", [1, 65_000])
@pytest.mark.usefixtures("server")
def test_errors_hold_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Neither the URL, which may be one, nor token nor key."""
    monkeypatch.setenv("PAGER_URL", f"http://127.0.0.1:{port}/T0KEN-IN-A-PATH")
    keys = {
        "kind": "webhook",
        "url_env": "PAGER_URL",
        "token_env": "PAGER_TOKEN",
        "secret_env": "PAGER_SECRET",
    }
    with pytest.raises(UnreachedError) as failed:
        sender(tmp_path, **keys).post([POSTED], NOW / 1e6)
    for secret in ("T0KEN", "hunter2", SECRET):
        assert secret not in str(failed.value)
    assert failed.value.__cause__ is None


def test_a_missing_or_short_secret_is_told_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the key that names it, with what to do."""
    monkeypatch.delenv("PAGER_SECRET", raising=False)
    with pytest.raises(SecretError, match=r"PAGER_SECRET \(secret_env under \[notify.it\]\) is not set"):
        sender(tmp_path, **webhook())
    monkeypatch.setenv("PAGER_SECRET", "short")
    with pytest.raises(SecretError, match="expected 16 bytes or more"):
        sender(tmp_path, **webhook())
    monkeypatch.setenv("PAGER_URL", "file:///etc/passwd")
    with pytest.raises(SecretError, match="expected a URL"):
        sender(tmp_path, kind="alertmanager", url_env="PAGER_URL")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"kind": "webhook", "url": "http://127.0.0.1/"}, "every webhook is signed"),
        (alertmanager(secret_env="X"), 'no such key unless kind is "webhook"'),  # noqa: S106
        ({"kind": "alertmanager"}, "exactly one of url, url_env and url_file"),
        (alertmanager(url_env="X"), "exactly one of url, url_env and url_file"),
        (alertmanager("ftp://x"), "a URL, such as"),
        (alertmanager("http://ann:pass@x/"), "a URL without user and password"),
        (alertmanager("http://pager.example", token_env="X"), "https, since a token is sent there"),  # noqa: S106
        (alertmanager(repost_every="20m"), "at least three times repost_every"),
        (alertmanager(about=[]), "at least one"),
        (alertmanager(labels={"a-b": "c"}), "the name of a label"),
        (alertmanager(tokn_env="X"), "unknown key"),
    ],
)
def test_what_cannot_be_a_receiver_is_refused(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    """Before anything runs, by its key."""
    with pytest.raises(FleetError) as refused:
        fleet_of(tmp_path, it=keys)
    assert said in str(refused.value)
    assert "notify.it" in str(refused.value)
