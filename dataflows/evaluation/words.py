"""Features, targets, times and amounts in words, for people who read a report."""

from __future__ import annotations

import math

from dataflows.instants import HOUR, MICROSECONDS, parse_duration, shown_instant

__all__ = [
    "NARROW",
    "day",
    "feature_in_words",
    "mode_in_words",
    "moment",
    "number",
    "percent",
    "plain",
    "sensor_of",
    "span",
    "span_of",
    "target_in_words",
]

_UNITS = (("d", "day"), ("h", "hour"), ("m", "minute"), ("s", "second"))
#: A space at which a line does not break.
NARROW = "\u00a0"
_FEW = 10
#: A usual movement below this share of the present one is none to speak of.
_STEADY = 0.05
#: From this number of hours on, an age is given in days.
_HOURS = 72


def plain(name: str) -> str:
    """Return a name as words.

    >>> plain("coolant_level")
    'coolant level'
    """
    return name.replace("_", " ").strip()


def number(value: float | None) -> str:
    """Return a number with three significant digits, as a person writes it.

    >>> number(0.7049), number(-291.8), number(12345.6), number(None)
    ('0.705', '-292', '12,346', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if value and not 1e-3 <= abs(value) < 1e6:  # noqa: PLR2004 - beyond it, a power of ten is shorter
        return f"{value:.2g}"
    digits = 0 if not value else max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: float | None) -> str:
    """Return a share in per cent: small shares with two digits, and only all as 100.

    >>> [percent(share).replace(NARROW, " ") for share in (0.82, 0.043, 0.0004, 0.996, 0.9999, 1)]
    ['82 %', '4.3 %', '0.04 %', '99.6 %', 'over 99.9 %', '100 %']
    """
    if share is None or not math.isfinite(share):
        return "-"
    if 0.9995 <= share < 1:  # noqa: PLR2004 - it would be rounded to all
        return f"over 99.9{NARROW}%"
    digits = 2 if 0 < share < 0.01 else 1 if 0 < share < 0.1 or 0.99 < share < 1 else 0  # noqa: PLR2004
    return f"{share * 100:.{digits}f}{NARROW}%"


def span(duration: float) -> str:
    """Return a duration in its largest unit.

    Args:
        duration: microseconds.

    >>> span(2 * 86_400_000_000), span(90 * 60_000_000), span(500_000)
    ('2 days', '1.5 hours', '0.5 seconds')
    """
    sign, size = ("-", -duration) if duration < 0 else ("", duration)
    for unit, name in _UNITS:
        # A day and a half reads better in hours.
        least = MICROSECONDS[unit] * (2 if unit == "d" else 1)
        if size >= least or unit == "s":
            count = size / MICROSECONDS[unit]
            shown = f"{count:.1f}".removesuffix(".0") if count < _FEW else f"{count:,.0f}"
            return f"{sign}{shown} {name}{'' if shown == '1' else 's'}"
    raise AssertionError


def span_of(text: str) -> str:
    """Return the duration of a name, such as ``2d``, in words; a text that is none stays.

    >>> span_of("2d"), span_of("30h"), span_of("long")
    ('2 days', '30 hours', 'long')
    """
    try:
        return span(parse_duration(text))
    except ValueError:
        return text


def moment(instant: int) -> str:
    """Return an instant to the minute, in UTC.

    >>> moment(1_753_807_921_000_000)
    '2025-07-29 16:52'
    """
    return shown_instant(instant)[:16].replace("T", " ")


def day(instant: int) -> str:
    """Return the day of an instant, in UTC.

    >>> day(1_753_807_921_000_000)
    '2025-07-29'
    """
    return shown_instant(instant)[:10]


def target_in_words(name: str) -> str:
    """Return what a target predicts.

    >>> target_in_words("truck/coolant_leak/2d"), target_in_words("machine/comp4/24h")
    ('coolant leak within 2 days', 'failure of comp4 within 24 hours')
    """
    horizon = name.split("/")[2] if name.count("/") == 2 else ""  # noqa: PLR2004
    return f"{mode_in_words(name)} within {span_of(horizon)}" if horizon else mode_in_words(name)


def mode_in_words(name: str) -> str:
    """Return the failure mode of a target; a mode with a number is the name of a part.

    >>> mode_in_words("truck/coolant_leak/2d"), mode_in_words("machine/comp4/24h")
    ('coolant leak', 'failure of comp4')
    """
    mode = plain(name.split("/")[1] if name.count("/") == 2 else name)  # noqa: PLR2004
    return f"failure of {mode}" if any(map(str.isdigit, mode)) else mode


def sensor_of(feature: str) -> str:
    """Return the sensor, code, component or attribute from which a feature is made.

    >>> sensor_of("coolant_level:delta:2d"), sensor_of("age")
    ('coolant_level', 'age')
    """
    return feature.partition(":")[0]


def feature_in_words(feature: str, value: float | None, usual: float | None = None) -> str:
    """Return the value of a feature as a person would say it.

    Args:
        feature: its name.
        value: as served; None where it is missing.
        usual: mean over healthy examples; None where it is not known.

    >>> feature_in_words("coolant_level:mean:6h", 0.7, 0.93)
    'coolant level 0.7 on average over 6 hours, usually 0.93'
    >>> feature_in_words("coolant_level:slope:2d", -0.0085, 0.0001)
    'coolant level falling by 0.408 in 2 days, usually steady'
    >>> feature_in_words("low_coolant:count:2d", 3.0, 0.2)
    'low coolant 3 times in 2 days, usually 0.2'
    >>> feature_in_words("low_coolant:count:2d", 1.0, 0.01)
    'low coolant once in 2 days, otherwise rare'
    """
    base, _, rest = feature.partition(":")
    kind, _, window = rest.partition(":")
    said = _value(plain(base), kind, window, value)
    if usual is None or value is None:
        return said
    if kind == "count" and usual < _STEADY * value:
        return f"{said}, otherwise rare"
    if kind in {"slope", "delta"}:
        if abs(usual) < _STEADY * abs(value):
            return f"{said}, usually steady"
        return f"{said}, usually {_moving(kind, window, usual)}"
    return f"{said}, usually {_hours(usual) if kind in {'age', 'since'} else number(usual)}"


def _value(name: str, kind: str, window: str, value: float | None) -> str:
    over = span_of(window)
    if value is None:
        return f"{name} ({kind} over {over}) missing" if kind else f"{name} missing"
    shown = number(value)
    forms = {
        "mean": f"{name} {shown} on average over {over}",
        "min": f"{name} down to {shown} within {over}",
        "max": f"{name} up to {shown} within {over}",
        "std": f"{name} varying by {shown} within {over}",
        "last": f"{name} {shown} at last",
        "count": f"{name} {'once' if value == 1 else shown + ' times'} in {over}",
        "missing": f"{name} missing {shown} times in {over}",
        "slope": f"{name} {_moving(kind, window, value)}",
        "delta": f"{name} {_moving(kind, window, value)}",
        "age": f"{name} last {_hours(value)} ago",
        "since": f"{_hours(value)} since work on {name}",
        "times": f"work on {name} {shown} times",
    }
    if not kind and "=" in name:
        return name.replace("=", " ") if value else f"not {name.replace('=', ' ')}"
    return forms.get(kind, f"{name} {plain(kind.replace(':', ' '))} {shown}".replace("  ", " "))


def _moving(kind: str, window: str, value: float) -> str:
    """Say how far a reading moves within its window; a slope is per hour."""
    try:
        moved = value * parse_duration(window) / HOUR if kind == "slope" else value
    except ValueError:
        moved = value
    return f"{'falling' if moved < 0 else 'rising'} by {number(abs(moved))} in {span_of(window)}"


def _hours(value: float) -> str:
    return f"{number(value / 24)} days" if abs(value) >= _HOURS else f"{number(value)} hours"
