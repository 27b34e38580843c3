"""Instants and durations: integer microseconds inside, RFC 3339 and ``30h`` outside.

Integers make window borders and label horizons exact: no instant is ever rounded by arithmetic.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "HOUR",
    "MICROSECONDS",
    "format_duration",
    "format_instant",
    "format_instants",
    "parse_duration",
    "parse_instant",
    "period_end",
    "shown_instant",
]

MICROSECONDS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
HOUR = MICROSECONDS["h"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:(\d{2})(?:\.(\d+))?(?:[Zz]|[+-]\d{2}:[0-5]\d)", re.ASCII
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)", re.ASCII)
# Parsed texts are remembered, so none may be as long as a record.
_LONGEST = 64
#: So many instants are formatted one by one.
_FEW = 8
_WORDS = {type(None): "nothing", bool: "true or false", dict: "an object", list: "an array"}
# 1900 to 2200. Epoch values beyond it are nearly always milliseconds read as seconds.
_EARLIEST_SECOND = -2_208_988_800
_LATEST_SECOND = 7_258_118_400


def parse_instant(value: object) -> int:
    """Microseconds since 1970-01-01T00:00Z of an RFC 3339 text with offset, or of epoch seconds.

    Digits beyond microseconds are cut off. A leap second, ``23:59:60Z``, is the second after it, as in POSIX.

    Raises:
        ValueError: no offset, not RFC 3339, not finite, or a number outside 1900 to 2200 (milliseconds?).
    """
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        found = _WORDS.get(type(value), type(value).__name__)
        msg = f"an instant is RFC 3339 text with offset or epoch seconds, got {found}"
        raise ValueError(msg)  # noqa: TRY004 - callers turn every bad instant into one reject reason
    if not _EARLIEST_SECOND <= value <= _LATEST_SECOND:  # NaN fails this comparison too
        msg = f"epoch seconds {value!r} lie outside 1900 to 2200; are these milliseconds?"
        raise ValueError(msg)
    if isinstance(value, int):
        return value * 1_000_000
    return round(value * 1_000_000)


@lru_cache(maxsize=8192)
def _parse_text(text: str) -> int:
    match = _RFC3339.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        msg = f"{text[:40]!r} is not an RFC 3339 time with offset, such as 2020-01-02T14:00:00Z"
        raise ValueError(msg)
    second, fraction = match.groups()
    leap = second == "60"
    if leap:
        text = f"{text[: match.start(1)]}59{text[match.end(1) :]}"
    if fraction is not None and len(fraction) > 6:  # noqa: PLR2004 - microseconds have six digits
        text = text.replace("." + fraction, "." + fraction[:6])
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        msg = f"{match.string!r} is no time of the calendar: {error}"
        raise ValueError(msg) from None
    instant = (moment - _EPOCH) // _MICROSECOND
    if leap:
        instant += 1_000_000
        if instant // 1_000_000 % 86_400:
            msg = f"{match.string!r} is no leap second: those come before midnight UTC"
            raise ValueError(msg)
    if not _EARLIEST_SECOND <= instant // 1_000_000 <= _LATEST_SECOND:
        msg = f"{text[:40]!r} lies outside 1900 to 2200"
        raise ValueError(msg)
    return instant


@lru_cache(maxsize=8192)
def format_instant(instant: int) -> str:
    """RFC 3339 in UTC, always to the microsecond: ``2020-01-02T14:00:00.000000Z``.

    One form, since readers such as pandas and Arrow take the form of a column from its first row.
    """
    return (_EPOCH + timedelta(microseconds=instant)).isoformat(timespec="microseconds")[:-6] + "Z"


def format_instants(instants: Iterable[int]) -> dict[int, str]:
    """`format_instant` of each distinct instant, much faster for many that were not asked for before.

    >>> format_instants([1_577_973_600_000_000])
    {1577973600000000: '2020-01-02T14:00:00.000000Z'}
    """
    distinct = list(dict.fromkeys(instants))
    if len(distinct) < _FEW:
        return {instant: format_instant(instant) for instant in distinct}
    texts = np.datetime_as_string(np.array(distinct, dtype="M8[us]"), timezone="UTC")
    return dict(zip(distinct, texts.tolist(), strict=True))


def shown_instant(instant: int) -> str:
    """RFC 3339 in UTC for a person, with a fraction only when there is one: ``2020-01-02T14:00:00Z``."""
    return (_EPOCH + timedelta(microseconds=instant)).isoformat()[:-6] + "Z"


def period_end(instant: int, every: int) -> int:
    """End of the period in which an instant lies; periods (end - every, end] end at multiples of ``every``.

    >>> period_end(6, 4), period_end(8, 4), period_end(9, 4)
    (8, 8, 12)
    """
    return -(-instant // every) * every


def parse_duration(text: str) -> int:
    """Microseconds of a duration such as ``90s``, ``15m``, ``30h``, ``7d`` or ``1.5h``.

    Raises:
        ValueError: not a number followed by one of us, ms, s, m, h, d, w.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        msg = f"{text!r} is not a duration such as '90s', '15m', '30h' or '7d'"
        raise ValueError(msg)
    duration = float(match.group(1)) * MICROSECONDS[match.group(2)]
    if not math.isfinite(duration) or duration > MICROSECONDS["d"] * 36_525:
        msg = f"{text!r} is longer than a century"
        raise ValueError(msg)
    return round(duration)


def format_duration(duration: int) -> str:
    """The shortest whole form: ``0s``, ``90s``, ``30h``; days from two days on: ``24h``, ``7d``."""
    if duration == 0:
        return "0s"
    for unit in ("d", "h", "m", "s", "ms"):
        size = MICROSECONDS[unit]
        if duration % size == 0 and (unit != "d" or duration >= 2 * size):
            return f"{duration // size}{unit}"
    return f"{duration}us"
