"""The expressions of field_mapping: a small part of Python's, parsed with ``ast`` and compiled to closures.

What is not in the part is refused when the job is checked. The cost of one evaluation is bounded: no loops, no
powers, no repeats; results are bounded in digits and characters.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from etlmon.core.pipeline_values import brief, parse_number, written
from etlmon.core.text import hint

MAX_CHARS: Final = 4096
MAX_DEPTH: Final = 40
MAX_WHOLE: Final = 10**60
MAX_RESULT: Final = 1_000_000
"""Characters of a text that an expression may make."""

Closure = Callable[[Sequence[Any]], Any]


def as_number(value: Any) -> int | float:
    """A number, or a text that reads as one; ValueError otherwise."""
    if isinstance(value, str):
        return parse_number(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{'nothing' if value is None else written(value)} is not a number")
    return value


def _loosely(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return parse_number(value.strip())
        except ValueError:
            return value
    return written(value) if isinstance(value, bool) else value


def _bounded(value: int | float) -> int | float:
    if isinstance(value, int):
        if -MAX_WHOLE < value < MAX_WHOLE:
            return value
    elif math.isfinite(value):
        return value
    raise ValueError("the result is too large a number")


def _sized(text: str) -> str:
    if len(text) > MAX_RESULT:
        raise ValueError(f"the result is longer than {MAX_RESULT} characters")
    return text


def _add(left: Any, right: Any) -> Any:
    one, other = _loosely(left), _loosely(right)
    if isinstance(one, str) or isinstance(other, str):
        if isinstance(left, str) and isinstance(right, str):
            return _sized(left + right)
        raise ValueError("a number and a text cannot be added: use concat, or compare types")
    return _bounded(as_number(one) + as_number(other))


def _arithmetic(apply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def calculate(left: Any, right: Any) -> Any:
        try:
            return _bounded(apply(as_number(left), as_number(right)))
        except ZeroDivisionError:
            raise ValueError("division by zero") from None
        except OverflowError:
            raise ValueError("the result is too large a number") from None

    return calculate


def _compared(apply: Callable[[Any, Any], bool], *, equality: bool) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        one, other = _loosely(left), _loosely(right)
        if equality or (isinstance(one, str) == isinstance(other, str) and one is not None and other is not None):
            return apply(one, other)
        raise ValueError(f"{brief(written(left))} and {brief(written(right))} have no order: one is a text")

    return compare


def _round(value: Any, digits: Any = None) -> Any:
    if digits is None:
        return round(as_number(value))
    places = as_number(digits)
    if not isinstance(places, int) or not -30 <= places <= 30:
        raise ValueError("round takes from -30 to 30 places")
    return round(as_number(value), places)


def _replace(value: Any, old: Any, new: Any) -> str:
    text, gone, put = written(value), written(old), written(new)
    if len(text) + text.count(gone) * max(0, len(put) - len(gone)) > MAX_RESULT:
        raise ValueError(f"the result is longer than {MAX_RESULT} characters")
    return text.replace(gone, put)


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if value is not None and value != ""), None)


FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int, int]]] = {
    "round": (_round, 1, 2),
    "abs": (lambda value: abs(as_number(value)), 1, 1),
    "min": (lambda *values: min(map(as_number, values)), 1, 20),
    "max": (lambda *values: max(map(as_number, values)), 1, 20),
    "len": (lambda value: len(written(value)), 1, 1),
    "lower": (lambda value: _sized(written(value).lower()), 1, 1),
    "upper": (lambda value: _sized(written(value).upper()), 1, 1),
    "strip": (lambda value: written(value).strip(), 1, 1),
    "replace": (_replace, 3, 3),
    "coalesce": (_coalesce, 1, 20),
}
"""Name → what it does, its least and most arguments."""
_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: _add,
    ast.Sub: _arithmetic(operator.sub),
    ast.Mult: _arithmetic(operator.mul),
    ast.Div: _arithmetic(operator.truediv),
    ast.FloorDiv: _arithmetic(operator.floordiv),
    ast.Mod: _arithmetic(operator.mod),
}
_COMPARE: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: _compared(operator.eq, equality=True),
    ast.NotEq: _compared(operator.ne, equality=True),
    ast.Lt: _compared(operator.lt, equality=False),
    ast.LtE: _compared(operator.le, equality=False),
    ast.Gt: _compared(operator.gt, equality=False),
    ast.GtE: _compared(operator.ge, equality=False),
}


def names_of(text: str) -> tuple[str, ...]:
    """The columns that an expression reads, in order; ValueError says what in it is refused."""
    seen: dict[str, int] = {}
    _Compiler(lambda name: seen.setdefault(name, 0)).compile(_parsed(text), 0)
    return tuple(seen)


def compile_expression(text: str, places: Mapping[str, int]) -> Closure:
    """A function of a row. ``places`` is where each column stands in it; ValueError for a column that it has not."""

    def place(name: str) -> int:
        if name not in places:
            raise ValueError(f"there is no column {name!r}{hint(name, places)}")
        return places[name]

    return _Compiler(place).compile(_parsed(text), 0)


def _parsed(text: str) -> ast.expr:
    if len(text) > MAX_CHARS:
        raise ValueError(f"is longer than {MAX_CHARS} characters")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as fault:
        raise ValueError(f"cannot be read at column {fault.offset or 1}: {fault.msg}") from None
    except (RecursionError, MemoryError, ValueError):
        raise ValueError("cannot be read: it is nested too deeply, or holds what is no text") from None


class _Compiler:
    def __init__(self, place: Callable[[str], int]) -> None:
        self._place = place

    def compile(self, node: ast.expr, depth: int) -> Closure:
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested deeper than {MAX_DEPTH}")
        parts = [self.compile(each, depth + 1) for each in _parts(node)]
        match node:
            case ast.Constant(value=value):
                return self._constant(value)
            case ast.Name(id=name):
                return operator.itemgetter(self._place(name))
            case ast.BinOp(op=op) if type(op) in _BINARY:
                return _apply_two(_BINARY[type(op)], parts[0], parts[1])
            case ast.UnaryOp(op=op):
                return _unary(op, parts[0])
            case ast.BoolOp(op=op):
                return _chain(parts, is_and=isinstance(op, ast.And))
            case ast.Compare(ops=ops) if all(type(each) in _COMPARE for each in ops):
                return _comparison([_COMPARE[type(each)] for each in ops], parts)
            case ast.IfExp():
                test, then, other = parts
                return lambda row: then(row) if _true(test(row)) else other(row)
            case ast.Call(func=ast.Name(id=name), keywords=[]):
                return self._call(name, parts)
        raise ValueError(f"{_shown(node)} is not allowed in an expression")

    @staticmethod
    def _constant(value: object) -> Closure:
        if value is not None and not isinstance(value, str | int | float):
            raise ValueError(f"{value!r} is not allowed in an expression")
        if isinstance(value, int | float) and not isinstance(value, bool):
            _bounded(value)
        return lambda row: value

    @staticmethod
    def _call(name: str, parts: list[Closure]) -> Closure:
        if name not in FUNCTIONS:
            raise ValueError(
                f"{name}() is not a function here{hint(name, FUNCTIONS)}; there are {', '.join(FUNCTIONS)}"
            )
        function, least, most = FUNCTIONS[name]
        if not least <= len(parts) <= most:
            raise ValueError(f"{name}() takes {least if least == most else f'{least} to {most}'} values")
        if len(parts) == 1:
            only = parts[0]
            return lambda row: function(only(row))
        return lambda row: function(*[part(row) for part in parts])


def _parts(node: ast.expr) -> list[ast.expr]:
    called = node.func if isinstance(node, ast.Call) else None
    return [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr) and each is not called]


def _shown(node: ast.expr) -> str:
    try:
        return brief(ast.unparse(node))
    except (RecursionError, ValueError):
        return type(node).__name__


def _true(value: Any) -> bool:
    return bool(value)


def _apply_two(apply: Callable[[Any, Any], Any], left: Closure, right: Closure) -> Closure:
    return lambda row: apply(left(row), right(row))


def _unary(op: ast.unaryop, part: Closure) -> Closure:
    match op:
        case ast.Not():
            return lambda row: not _true(part(row))
        case ast.USub():
            return lambda row: -as_number(part(row))
        case ast.UAdd():
            return lambda row: as_number(part(row))
    raise ValueError("~ is not allowed in an expression")


def _chain(parts: list[Closure], *, is_and: bool) -> Closure:
    def chained(row: Sequence[Any]) -> Any:
        value: Any = None
        for part in parts:
            value = part(row)
            if _true(value) is not is_and:
                return value
        return value

    return chained


def _comparison(tests: list[Callable[[Any, Any], bool]], parts: list[Closure]) -> Closure:
    def compare(row: Sequence[Any]) -> bool:
        left = parts[0](row)
        for test, part in zip(tests, parts[1:], strict=True):
            right = part(row)
            if not test(left, right):
                return False
            left = right
        return True

    return compare
