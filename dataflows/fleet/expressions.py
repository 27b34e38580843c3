"""Small language for features across streams: ``coolant_temperature - weather.air_temperature``.

It knows numbers, names, ``+ - * /``, comparisons (1 or 0), ``a if b else c`` and the functions `FUNCTIONS`.
A name is that of a sensor, or ``weather.`` and that of a weather value. A name that is not a Python name
is quoted: ``"oil temp" / 2``. Python's parser reads a text, the nodes are checked one by one, and the
function that runs is generated from the checked nodes alone.
"""

from __future__ import annotations

import ast
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataflows.fleet.problems import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FUNCTIONS", "Expression", "ExpressionError", "evaluator", "parse"]

#: By name: the Python function, with the least and the largest number of arguments.
FUNCTIONS: dict[str, tuple[Callable[..., float], int, int]] = {
    "abs": (abs, 1, 1),
    "min": (min, 2, 32),
    "max": (max, 2, 32),
    "sqrt": (math.sqrt, 1, 1),
    "log": (math.log, 1, 1),
    "exp": (math.exp, 1, 1),
}
_LONGEST = 1_000
_DEEPEST = 100
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_SIGNS = (ast.USub, ast.UAdd)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_LANGUAGE = (
    f"numbers, names, + - * /, comparisons, `a if b else c` and the functions {', '.join(FUNCTIONS)}; "
    "a name with characters other than letters, digits and _ is quoted"
)


class ExpressionError(ValueError):
    """A text that is not a valid expression.

    Attributes:
        expected: the valid forms.
        got: the invalid part.
        hint: the nearest valid name.
    """

    def __init__(self, expected: str, got: str, hint: str | None = None) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected = expected
        self.got = got
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression.

    Attributes:
        source: as Python, with each name replaced by ``{name}`` of ``names``: ``({0} - {1})``.
        names: of its sensors and weather values, each once.
    """

    source: str
    names: tuple[str, ...]


def parse(text: str) -> Expression:
    """Parse and check an expression.

    Raises:
        ExpressionError: the text is not in the language, names nothing, or is too long or too deep.
    """
    if len(text) > _LONGEST:
        msg = f"an expression of at most {_LONGEST} characters"
        raise ExpressionError(msg, f"{len(text):,}")
    try:
        with warnings.catch_warnings(action="ignore"):  # such as of `1if`
            tree = ast.parse(" ".join(text.split()), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ExpressionError(_LANGUAGE, shown(text)) from None
    names: dict[str, int] = {}
    source = _written(tree, names, 0)
    if not names:
        msg = "an expression that names at least one sensor or weather value"
        raise ExpressionError(msg, shown(text))
    return Expression(source, tuple(names))


def _written(node: ast.expr, names: dict[str, int], depth: int) -> str:  # noqa: PLR0911 - a case a node
    """Write a node as Python text; refuse what is not in the language; number names as they come."""
    if depth > _DEEPEST:
        msg = f"an expression at most {_DEEPEST} levels deep"
        raise ExpressionError(msg, "a deeper one")

    def inner(below: ast.expr) -> str:
        return _written(below, names, depth + 1)

    name = _name(node)
    if name is not None:
        return f"{{{names.setdefault(name, len(names))}}}"
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _number(value)
        case ast.BinOp(left, operator, right) if isinstance(operator, _OPERATORS):
            return f"({inner(left)} {_SIGN[type(operator)]} {inner(right)})"
        case ast.UnaryOp(operator, operand) if isinstance(operator, _SIGNS):
            return f"({_SIGN[type(operator)]}{inner(operand)})"
        case ast.Compare(left, operators, others) if all(
            isinstance(found, _COMPARISONS) for found in operators
        ):
            pairs = zip(operators, others, strict=True)
            return (
                f"({inner(left)}{''.join(f' {_SIGN[type(sign)]} {inner(other)}' for sign, other in pairs)})"
            )
        case ast.IfExp(test, body, orelse):
            return f"({inner(body)} if {inner(test)} else {inner(orelse)})"
        case ast.Call(ast.Name(function), arguments, []):
            return f"{_function(function, len(arguments))}({', '.join(map(inner, arguments))})"
        case _:
            raise ExpressionError(_LANGUAGE, shown(ast.unparse(node)))


_SIGN: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.USub: "-",
    ast.UAdd: "+",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


def _name(node: ast.expr) -> str | None:
    """Name in a node: ``x``, ``weather.rain``, ``"oil temp"``; None if the node is not a name."""
    match node:
        case ast.Name(name):
            return name
        case ast.Constant(value=str() as name):
            return name
        case ast.Attribute(below, name):
            before = _name(below)
            return None if before is None else f"{before}.{name}"
        case _:
            return None


def _number(value: float) -> str:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        msg = "a number that is finite"
        raise ExpressionError(msg, "one beyond 1.8e308")
    return repr(number)


def _function(name: str, arguments: int) -> str:
    if name not in FUNCTIONS:
        msg = f"a function, one of {', '.join(FUNCTIONS)}"
        raise ExpressionError(msg, name, nearest(name, FUNCTIONS))
    _, least, most = FUNCTIONS[name]
    if not least <= arguments <= most:
        count = f"{least}" if least == most else f"{least} to {most}"
        msg = f"{name} of {count} argument{'' if most == 1 else 's'}"
        raise ExpressionError(msg, f"{arguments}")
    return name


def evaluator(
    expressions: Sequence[Expression], places: Mapping[str, int]
) -> Callable[[Sequence[float]], list[float]]:
    """Compile expressions to one function from operands, NaN where missing, to the value of each.

    A value is NaN if any of its operands is missing, whichever branch is taken, or if it is not finite.

    Args:
        expressions: the expressions to evaluate.
        places: index among the operands of each name.
    """
    lines = ["def evaluate(operands):"]
    used = {places[name] for expression in expressions for name in expression.names}
    lines += [f"    v{place} = operands[{place}]" for place in sorted(used)]
    for number, expression in enumerate(expressions):
        operands = [f"v{places[name]}" for name in expression.names]
        given = " and ".join(f"{operand} == {operand}" for operand in operands)
        lines += [
            f"    e{number} = nan",
            f"    if {given}:",
            "        try:",
            f"            value = {expression.source.format(*operands)}",
            f"            e{number} = float(value) if isfinite(value) else nan",
            "        except (ArithmeticError, ValueError):",
            "            pass",
        ]
    lines.append(f"    return [{', '.join(f'e{number}' for number in range(len(expressions)))}]")
    namespace: dict[str, Any] = {name: function for name, (function, _, _) in FUNCTIONS.items()}
    namespace |= {
        "__builtins__": {"ArithmeticError": ArithmeticError, "ValueError": ValueError},
        "nan": math.nan,
        "isfinite": math.isfinite,
        "float": float,
    }
    exec("\n".join(lines), namespace)  # noqa: S102 - generated above, from checked nodes
    function: Callable[[Sequence[float]], list[float]] = namespace["evaluate"]
    return function
