"""Receivers of alerts: an Alertmanager, by its API v2, or a webhook, signed as standardwebhooks.com says."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ssl
import urllib.request
from abc import ABC, abstractmethod
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError

import orjson
from typing_extensions import override

import dataflows
from dataflows.fleet.fleet import SecretError
from dataflows.fleet.values import url_problem
from dataflows.instants import format_instant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from http.client import HTTPMessage
    from typing import IO

    from dataflows.fleet.fleet import Receiver
    from dataflows.notify.notices import Notice

__all__ = [
    "Alertmanager",
    "Posted",
    "RefusedError",
    "Sender",
    "UnreachedError",
    "Webhook",
    "sender_of",
    "signature",
]

#: Seconds that a receiver may take for one step of an answer.
_PATIENCE = 10.0
#: Alerts in one post to an Alertmanager.
_TOGETHER = 100
#: Codes by which a receiver says that these alerts, and not this moment or this login, are wrong.
_REFUSED = {400, 413, 422}
_WORDS = 200
_SHORTEST_KEY = 16


class UnreachedError(RuntimeError):
    """A receiver did not take what was sent, and may take it later."""


class RefusedError(RuntimeError):
    """A receiver will never take what was sent."""


class Posted(NamedTuple):
    """An alert in the state in which it is posted.

    Attributes:
        notice: the alert.
        state: ``firing``, ``resolved`` or ``event``.
        time: RFC 3339; of the change, by its row.
        ends: seconds since 1970 at which an Alertmanager takes it for resolved.
        why: it is over; empty while it is not.
    """

    notice: Notice
    state: str
    time: str
    ends: float
    why: str = ""


class Sender(ABC):
    """Sends alerts to one receiver.

    Args:
        receiver: as configured.

    Attributes:
        together: alerts in one post.
        reposts: whether it has to be reminded of alerts that are open.

    Raises:
        SecretError: a secret is not there, or cannot be used.
    """

    together = 1
    reposts = False

    def __init__(self, receiver: Receiver) -> None:
        self.name = receiver.name
        url = receiver.url
        if receiver.url_secret is not None:
            url = _read(receiver, "url")
            if problem := url_problem(url, secret=receiver.token is not None):
                msg = f"the URL of [notify.{receiver.name}] cannot be used: expected {problem}"
                raise SecretError(msg)
        self._url = url or ""
        token = _read(receiver, "token")
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": f"highwater/{dataflows.__version__}",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        }
        context = ssl.create_default_context(cafile=receiver.ca_file)
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))

    @abstractmethod
    def post(self, alerts: Sequence[Posted], now: float) -> None:
        """Post alerts, at most `together`.

        Args:
            alerts: in any order; no two of one slot.
            now: seconds since 1970.

        Raises:
            UnreachedError: try again later.
            RefusedError: one of them will never be taken.
        """

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        request = urllib.request.Request(  # noqa: S310 - http or https, see `url_problem`
            self._url + path, data=body, headers={**self._headers, **headers}, method="POST"
        )
        try:
            with self._opener.open(request, timeout=_PATIENCE) as answer:
                answer.read(_WORDS)
        except HTTPError as error:
            said = _words(error)
            error.close()
            msg = f"it answered {error.code}{f': {said}' if said else ''}"
            raise (RefusedError if error.code in _REFUSED else UnreachedError)(msg) from None
        except (OSError, HTTPException, ValueError) as error:
            # Neither the URL nor a header is shown: both may be secrets.
            why = getattr(error, "reason", None) or error
            msg = f"it cannot be reached: {type(error).__name__}: {getattr(why, 'strerror', None) or why}"
            raise UnreachedError(msg[:_WORDS]) from None


class Alertmanager(Sender):
    """Posts alerts to an Alertmanager; it groups them, and sends them on once."""

    together = _TOGETHER
    reposts = True

    @override
    def post(self, alerts: Sequence[Posted], now: float) -> None:
        self._post("/api/v2/alerts", orjson.dumps([self._form(each, now) for each in alerts]), {})

    @staticmethod
    def _form(each: Posted, now: float) -> dict[str, Any]:
        # An alert of a recording may begin in the future, which an Alertmanager refuses.
        starts = min(each.notice.starts, _rfc3339(min(now, each.ends)))
        notes = each.notice.annotations
        return {
            "labels": each.notice.labels,
            "annotations": {**notes, "ended": each.why} if each.why else notes,
            "startsAt": starts,
            "endsAt": _rfc3339(each.ends),
        }


class Webhook(Sender):
    """Posts one alert at a time, signed, with an id by which a receiver knows what it has already got.

    Raises:
        SecretError: the key is missing or too short.
    """

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver)
        self._key = _key(receiver)

    @override
    def post(self, alerts: Sequence[Posted], now: float) -> None:
        for each in alerts:
            over = each.state == "resolved"
            found = f"{each.notice.id}.{each.state}"
            body = orjson.dumps(
                {
                    "type": f"alert.{each.state}",
                    "timestamp": each.time,
                    "data": {
                        "id": each.notice.id,
                        "state": each.state,
                        "labels": each.notice.labels,
                        "annotations": each.notice.annotations,
                        "starts": each.notice.starts,
                        "ended": each.time if over else None,
                        "why": each.why if over else None,
                    },
                }
            )
            sent = int(now)
            headers = {
                "Webhook-Id": found,
                "Webhook-Timestamp": str(sent),
                "Webhook-Signature": signature(self._key, found, sent, body),
            }
            self._post("", body, headers)


def signature(key: bytes, identity: str, sent: int, body: bytes) -> str:
    """Sign a webhook: HMAC-SHA256 over its id, the time at which it is sent, and its body.

    Args:
        key: of the receiver.
        identity: header ``Webhook-Id``.
        sent: header ``Webhook-Timestamp``, seconds since 1970.
        body: as sent.

    Returns:
        Header ``Webhook-Signature``, by https://www.standardwebhooks.com.

    >>> signature(b"0123456789abcdef", "42.firing", 1_800_000_000, b"{}")
    'v1,aU/8CrE8qab4bSVhldMfVxzfsbVwtzZTBxjWPBKzP6w='
    """
    digest = hmac.new(key, f"{identity}.{sent}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def sender_of(receiver: Receiver) -> Sender:
    """Make the sender of a receiver.

    Raises:
        SecretError: a secret is not there, or cannot be used.
    """
    return (Alertmanager if receiver.kind == "alertmanager" else Webhook)(receiver)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it could lead secrets elsewhere, and would turn a POST into a GET."""

    @override
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


def _read(receiver: Receiver, what: str) -> str:
    secret = {"url": receiver.url_secret, "token": receiver.token, "secret": receiver.secret}[what]
    return "" if secret is None else secret.read(what, f"notify.{receiver.name}")


def _key(receiver: Receiver) -> bytes:
    text = _read(receiver, "secret")
    try:
        key = base64.b64decode(text[6:], validate=True) if text.startswith("whsec_") else text.encode()
    except binascii.Error:
        key = b""
    if len(key) < _SHORTEST_KEY:
        msg = (
            f"the secret of [notify.{receiver.name}] cannot be used: expected {_SHORTEST_KEY} bytes or more, "
            "or whsec_ and base64; `openssl rand -hex 32` makes one"
        )
        raise SecretError(msg)
    return key


def _rfc3339(seconds: float) -> str:
    return format_instant(round(seconds * 1e6))


def _words(error: HTTPError) -> str:
    """Beginning of what a receiver says of an error, in one line."""
    try:
        said = error.read(_WORDS).decode("utf-8", "replace")
    except (OSError, HTTPException):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in said).split())
