"""Instants and durations: exact to the microsecond, and nothing that is unclear is guessed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.instants import (
    HOUR,
    MICROSECONDS,
    format_duration,
    format_instant,
    parse_duration,
    parse_instant,
    shown_instant,
)

EARLIEST, LATEST = -2_208_988_800, 7_258_118_400
CENTURY = 36_525 * MICROSECONDS["d"]

instants = st.integers(EARLIEST * 1_000_000, LATEST * 1_000_000)
offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59)


@given(instants)
def test_an_instant_survives_its_text(instant: int) -> None:
    """Every microsecond from 1900 to 2200 is written and read back exactly."""
    assert parse_instant(format_instant(instant)) == instant


@given(instants)
def test_a_text_has_one_form(instant: int) -> None:
    """The text has six digits after the point and ends in Z, also on a whole second."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", format_instant(instant))


@given(instants)
def test_a_person_sees_a_fraction_only_where_there_is_one(instant: int) -> None:
    """The shown text is the same instant, and has a decimal point only for parts of a second."""
    text = shown_instant(instant)
    assert parse_instant(text) == instant
    assert ("." in text) == (instant % 1_000_000 != 0)


@given(st.integers((EARLIEST + 90_000) * 1_000_000, (LATEST - 90_000) * 1_000_000), offsets)
def test_an_offset_names_the_same_instant(instant: int, minutes: int) -> None:
    """The text of an instant in any offset, in either case, with T or a blank, is that instant."""
    there = timezone(timedelta(minutes=minutes))
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)
    text = moment.astimezone(there).isoformat()
    assert (
        parse_instant(text) == parse_instant(text.lower()) == parse_instant(text.replace("T", " ")) == instant
    )


@given(st.integers(EARLIEST, LATEST))
def test_whole_epoch_seconds_are_exact(second: int) -> None:
    """Epoch seconds as a whole number, and as a float of the same value, are one instant."""
    assert parse_instant(second) == parse_instant(float(second)) == second * 1_000_000


@given(instants)
def test_epoch_seconds_with_a_fraction_are_rounded_to_the_microsecond(instant: int) -> None:
    """A float is off by no more than its own precision, half a microsecond in these years."""
    seconds = instant / 1_000_000
    assert abs(parse_instant(seconds) - instant) <= 1


def test_digits_beyond_microseconds_are_cut_off() -> None:
    """Nanoseconds are never rounded up, so an instant never moves into the next microsecond."""
    assert parse_instant("2020-01-01T00:00:00.123456999Z") == parse_instant("2020-01-01T00:00:00.123456Z")
    assert parse_instant("1969-12-31T23:59:59.9999999Z") == -1
    assert parse_instant("1970-01-01T00:00:00.5Z") == 500_000


def test_a_leap_second_is_the_second_after_it() -> None:
    """RFC 3339 knows them; POSIX counts a leap second as the first one of the next day, in any offset."""
    day = parse_instant("2017-01-01T00:00:00Z")
    assert parse_instant("2016-12-31T23:59:60Z") == day
    assert parse_instant("2017-01-01T00:59:60.25+01:00") == day + 250_000


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("1900-01-01T00:00:00Z", EARLIEST * 1_000_000),
        ("2200-01-01T00:00:00Z", LATEST * 1_000_000),
        ("2020-02-29T00:00:00z", 1_582_934_400_000_000),
        (0, 0),
        (-0.0, 0),
        (1.5, 1_500_000),
        (EARLIEST, EARLIEST * 1_000_000),
        (LATEST, LATEST * 1_000_000),
    ],
)
def test_borders_are_instants(value: object, instant: int) -> None:
    """The first and last instants, the epoch and a leap day are read."""
    assert parse_instant(value) == instant


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("2020-01-01T00:00:00", "offset"),
        ("2020-01-01", "offset"),
        ("2020-01-01T00:00Z", "offset"),
        ("2020-01-01T00:00:00.Z", "offset"),
        ("2020-01-01T00:00:00+0100", "offset"),
        ("2020-01-01T00:00:00Z ", "offset"),
        ("20200101T000000Z", "offset"),
        ("٢٠٢٠-01-01T00:00:00Z", "offset"),
        ("1577836800", "offset"),
        ("", "offset"),
        ("2021-02-29T00:00:00Z", "day"),
        ("2020-13-01T00:00:00Z", "month"),
        ("2020-01-01T25:00:00Z", "hour"),
        ("2020-01-01T00:00:60Z", "second"),
        ("2020-01-01T00:00:00+24:00", "offset"),
        ("0001-01-01T00:00:00+23:59", "1900 to 2200"),
        ("9999-12-31T23:59:59-23:59", "1900 to 2200"),
        ("1899-12-31T23:59:59.999999Z", "1900 to 2200"),
        ("2200-01-01T00:00:01Z", "1900 to 2200"),
        (EARLIEST - 1, "milliseconds"),
        (LATEST + 1, "milliseconds"),
        (1_577_836_800_000, "milliseconds"),
        (10**30, "milliseconds"),
        (float("nan"), "milliseconds"),
        (float("inf"), "milliseconds"),
        (float("-inf"), "milliseconds"),
        ("2020-01-01T00:00:00+01:60", "offset"),
        ("2016-12-31T22:59:60Z", "no leap second"),
        ("2016-12-31T23:59:60+01:00", "no leap second"),
        ("2016-12-31T23:59:61Z", "no time of the calendar"),
        (True, "got true or false"),
        (None, "got nothing"),
        ([], "got an array"),
        ({}, "got an object"),
    ],
)
def test_what_is_no_instant_is_refused(value: object, why: str) -> None:
    """Texts without offset, impossible dates, milliseconds and other types raise ValueError and say why."""
    with pytest.raises(ValueError, match=why):
        parse_instant(value)


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none()))
def test_whatever_comes_is_an_instant_or_a_value_error(value: object) -> None:
    """No input raises anything but ValueError, and what is read lies between 1900 and 2200."""
    try:
        instant = parse_instant(value)
    except ValueError:
        return
    assert EARLIEST * 1_000_000 <= instant < (LATEST + 1) * 1_000_000


@given(st.integers(0, CENTURY))
def test_a_duration_survives_its_text(duration: int) -> None:
    """Every duration up to a century is written and read back exactly."""
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0s", 0),
        ("250ms", 250_000),
        ("90s", 90_000_000),
        ("15m", 900_000_000),
        ("24h", 24 * HOUR),
        ("30h", 30 * HOUR),
        ("2d", 48 * HOUR),
        ("7d", 168 * HOUR),
        ("14d", 336 * HOUR),
        ("7us", 7),
    ],
)
def test_a_duration_is_written_in_its_largest_unit(text: str, duration: int) -> None:
    """The largest unit that divides it, days from two days on; and it is read back."""
    assert format_duration(duration) == text
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    ("text", "duration"), [("1w", 168 * HOUR), ("1.5h", HOUR * 3 // 2), (" 1d ", 24 * HOUR)]
)
def test_weeks_fractions_and_blanks_are_read(text: str, duration: int) -> None:
    """People write weeks and parts of an hour too."""
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    ["", "h", "30", "-1h", "1 h", "1e3s", "30H", "1h30m", "٣h", "nanh", "infd", "36526d", "9" * 400 + "s"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """No unit, a sign, a blank inside, several units, or longer than a century."""
    with pytest.raises(ValueError, match=r"duration|century"):
        parse_duration(text)
