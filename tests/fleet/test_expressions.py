"""Expressions: what they mean, and that nothing but the language is taken."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.fleet.expressions import ExpressionError, evaluator, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataflows.fleet import Fleet, Problem

PLACES = {"flow": 0, "oil temp": 1, "motor.load": 2, "weather.rain": 3}
WRITTEN = ("flow", '"oil temp"', "motor.load", "weather.rain")


def value(text: str, *operands: float) -> float:
    return evaluator([parse(text)], PLACES)(operands)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flow - weather.rain", -3.0),
        ("1 + flow * 2 / 4 - 5", -3.5),
        ("-(flow + +weather.rain)", -5.0),
        ("flow\n  * 2\n", 2.0),
        ('"oil temp" / motor.load', 2 / 3),
        ("'weather.rain' - 'motor.load'", 1.0),
        ("flow < weather.rain", 1.0),
        ("flow >= weather.rain", 0.0),
        ("1 <= flow < 1.5 != 7", 1.0),
        ("10 if flow > 3 else -weather.rain", -4.0),
        ("abs(-flow) + sqrt(weather.rain)", 3.0),
        ("min(weather.rain, flow, 7) + max(flow, 0.5)", 2.0),
        ("log(exp(flow))", 1.0),
        ("weather.rain / 0 if flow > 1 else 3", 3.0),
    ],
)
def test_an_expression_has_the_value_of_its_arithmetic(text: str, expected: float) -> None:
    """Of flow 1, oil temp 2, motor.load 3 and rain 4."""
    assert value(text, 1.0, 2.0, 3.0, 4.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "flow / (weather.rain - 4)",
        "sqrt(-flow)",
        "log(flow - 1)",
        "exp(flow * 1000)",
        "flow * 1e308 * 1e308",
        "flow + motor.load",
        "1 if flow > 0 else motor.load",
        "min(flow, motor.load)",
        "flow < motor.load",
    ],
)
def test_what_is_missing_or_not_finite_is_missing(text: str) -> None:
    """Anything missing that is named, on whichever branch; a division by zero; an overflow."""
    assert math.isnan(value(text, 1.0, 2.0, math.nan, 4.0))


Rendered = tuple[str, "Callable[[list[float]], float]"]


def _named(index: int) -> Rendered:
    return WRITTEN[index], lambda operands: operands[index]


def _number(number: float) -> Rendered:
    return repr(number), lambda _: number


def _pair(drawn: tuple[str, Rendered, Rendered]) -> Rendered:
    sign, (left, of_left), (right, of_right) = drawn
    if sign in {"min", "max"}:
        pick: Any = min if sign == "min" else max
        return f"{sign}({left}, {right})", lambda operands: pick(of_left(operands), of_right(operands))

    def work_out(operands: list[float]) -> float:
        one, other = of_left(operands), of_right(operands)
        match sign:
            case "+":
                return one + other
            case "-":
                return one - other
            case "*":
                return one * other
            case "<":
                return float(one < other)
        return one / other

    return f"({left} {sign} {right})", work_out


def _choice(drawn: tuple[Rendered, Rendered, Rendered]) -> Rendered:
    (test, of_test), (one, of_one), (other, of_other) = drawn
    return (
        f"({one} if {test} else {other})",
        lambda operands: of_one(operands) if of_test(operands) else of_other(operands),
    )


TREES: st.SearchStrategy[Rendered] = st.recursive(
    st.one_of(st.integers(0, 3).map(_named), st.integers(0, 9).map(float).map(_number)),
    lambda below: st.one_of(
        st.tuples(st.sampled_from(["+", "-", "*", "/", "<", "min", "max"]), below, below).map(_pair),
        st.tuples(below, below, below).map(_choice),
    ),
    max_leaves=12,
)


@given(
    st.lists(TREES, min_size=1, max_size=3), st.lists(st.integers(-5, 5).map(float), min_size=4, max_size=4)
)
def test_expressions_are_worked_out_as_they_are_written(trees: list[Rendered], operands: list[float]) -> None:
    """Against a tree that works itself out; several at once do not disturb each other."""
    # Every name is multiplied in, so that each expression names something.
    texts = [f"{text} + 0 * flow" for text, _ in trees]
    found = evaluator([parse(text) for text in texts], PLACES)(operands)
    for one, (_, work_out) in zip(found, trees, strict=True):
        try:
            expected = work_out(operands)
        except ZeroDivisionError:
            expected = math.nan
        assert one == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "expected", "hint"),
    [
        ("", "numbers, names", None),
        ("1 + 2", "at least one sensor", None),
        ("flow ** 2", "numbers, names", None),
        ("flow // 2", "numbers, names", None),
        ("flow and 1", "numbers, names", None),
        ("not flow", "numbers, names", None),
        ("flow is 1", "numbers, names", None),
        ("flow[0]", "numbers, names", None),
        ("[flow]", "numbers, names", None),
        ("lambda: flow", "numbers, names", None),
        ("(flow := 1)", "numbers, names", None),
        ("True + flow", "numbers, names", None),
        ("1j * flow", "numbers, names", None),
        ("flow(1).real", "numbers, names", None),
        ("abs(flow).real", "numbers, names", None),
        ("f'{flow}'", "numbers, names", None),
        ("min(*flow)", "min of 2 to 32 arguments", None),
        ("min(*flow, 1)", "numbers, names", None),
        ("abs(x=flow)", "numbers, names", None),
        ("flow\0", "numbers, names", None),
        ("flow; flow", "numbers, names", None),
        ("1if flow else(2", "numbers, names", None),
        ("__import__('os')", "a function, one of abs", None),
        ("sqr(flow)", "a function, one of abs", "sqrt"),
        ("abs(flow, 1)", "abs of 1 argument", None),
        ("min(flow)", "min of 2 to 32 arguments", None),
        ("1e999 * flow", "a number that is finite", None),
        (f"{10**400} * flow", "a number that is finite", None),
        ("-" * 500 + "flow", "at most 100 levels", None),
        ("(" * 300 + "flow" + ")" * 300, "numbers, names", None),
        ("flow + " * 200 + "flow", "at most 1000 characters", None),
    ],
)
def test_anything_else_is_refused(text: str, expected: str, hint: str | None) -> None:
    """With what may stand there, and the nearest function."""
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert expected in caught.value.expected
    assert caught.value.hint == hint


@given(st.text(max_size=60))
def test_no_text_does_anything_but_work_out_or_be_refused(text: str) -> None:
    """Whatever stands there is an expression of some names, or an ExpressionError."""
    try:
        expression = parse(text)
    except ExpressionError:
        return
    places = {name: place for place, name in enumerate(expression.names)}
    (found,) = evaluator([expression], places)([1.0] * len(places))
    assert isinstance(found, float)


def classes(**keys: object) -> dict[str, Any]:
    return {"classes": {"pump": keys}}


WEATHER = {"values": ["rain", "wind"], "max_age": "2h"}


def test_expressions_and_weather_make_features(expanded: Callable[..., Fleet]) -> None:
    """Expressions stand after the sensors, and in windows; the weather stands at the end."""
    overrides = classes(
        expressions={"wet": "flow * weather.rain"},
        weather=WEATHER,
        windows=[
            {"length": "1h", "statistics": ["mean"], "sensors": ["wet"]},
            {"length": "2h", "statistics": ["mean"]},
        ],
    )
    pump = expanded(overrides).classes["pump"]
    assert pump.channels == ("pressure", "flow", "vibration", "wet")
    assert pump.windows[0].sensors == (3,)
    assert pump.windows[1].sensors == (0, 1, 2, 3)
    assert pump.features == (
        *("pressure", "flow", "vibration", "wet", "wet:mean:1h"),
        *("pressure:mean:2h", "flow:mean:2h", "vibration:mean:2h", "wet:mean:2h"),
        *("weather:rain", "weather:wind", "weather:age", "weather:forecast"),
    )
    assert expanded(overrides).weather == ("rain", "wind")


# Each refusal: keys of the class, the key that is named, a part of what was expected, and the hint.
REFUSALS: list[tuple[dict[str, Any], str, str, str | None]] = [
    ({"expressions": {"x": "flwo + 1"}}, "expressions.x", "one of pressure", "flow"),
    ({"expressions": {"x": "flow -"}}, "expressions.x", "numbers, names", None),
    ({"expressions": {"x": "sqr(flow)"}}, "expressions.x", "a function", "sqrt"),
    ({"expressions": {"x": 3}}, "expressions.x", "text", None),
    ({"expressions": {"flow": "pressure + 1"}}, "expressions.flow", "a name that no sensor has", None),
    ({"expressions": {"x": "weather.rain"}}, "expressions.x", "names of sensors", None),
    (
        {"expressions": {"x": "weather.rian"}, "weather": WEATHER},
        "expressions.x",
        "weather.rain",
        "weather.rain",
    ),
    ({"weather": {"max_age": "2h"}}, "weather.values", "no default", None),
    ({"weather": {"values": ["rain"]}}, "weather.max_age", "no default", None),
    ({"weather": {"values": [], "max_age": "2h"}}, "weather.values", "at least one", None),
    ({"weather": {"values": ["rain", "rain"], "max_age": "2h"}}, "weather.values[1]", "each name once", None),
    ({"weather": {"values": ["rain"], "max_age": "0s"}}, "weather.max_age", "longer than zero", None),
    ({"weather": {"values": ["age"], "max_age": "2h"}}, "weather", "makes no feature of", None),
    ({"weather": {**WEATHER, "maxage": "2h"}}, "weather.maxage", "values, max_age", "max_age"),
    (
        {"expressions": {"x": "flow"}, "windows": [{"length": "1h", "sensors": ["y", "flow"]}]},
        "windows[0].sensors[0]",
        "a sensor or expression of the class",
        None,
    ),
]


@pytest.mark.parametrize(("keys", "key", "expected", "hint"), REFUSALS)
def test_what_cannot_be_is_refused(
    refused: Callable[..., dict[str, Problem]],
    keys: dict[str, Any],
    key: str,
    expected: str,
    hint: str | None,
) -> None:
    """One problem each, with its key, what was expected, and the nearest name."""
    problems = refused(classes(**keys))
    assert list(problems) == [f"classes.pump.{key}"]
    problem = problems[f"classes.pump.{key}"]
    assert expected in problem.expected
    assert problem.hint == hint
