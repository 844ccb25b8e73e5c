"""A column's rules, compiled: whole columns are checked at once, and value by value only where something is found.

``texts`` is for a CSV sink (what passes stays as it was written), ``values`` for sinks with types.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from etlmon.core.pipeline_shapes import Column
from etlmon.core.pipeline_values import MAX_DIGITS, brief, reader_of, written
from etlmon.pipelines.ends import PipelineFailed

MAX_MEMO = 20_000
"""Distinct values remembered of a column; columns that repeat few values are the usual case."""
MAX_MEMO_CHARS = 100

Checked = tuple[Sequence[Any], dict[int, str]]
"""The column as it is to be written, and why the values at some places are refused."""


class Bad:
    """Why a value is refused."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why


class Memo(dict[str, Any]):
    """What ``one`` said of each text, kept within bounds."""

    def __init__(self, one: Callable[[str], Any]) -> None:
        super().__init__()
        self._one = one

    def __missing__(self, text: str) -> Any:
        found = self._one(text)
        if len(text) <= MAX_MEMO_CHARS:
            if len(self) >= MAX_MEMO:
                self.clear()
            self[text] = found
        return found


class Rule:
    """The rules of one column; ``typed`` says which of the two kinds of sink they serve."""

    def __init__(self, column: Column, *, typed: bool) -> None:
        self.column = column
        self._typed = typed
        self._nulls = frozenset(column.null)
        self._only_empty = self._nulls == {""}
        self._enum = frozenset(column.enum)
        self._read = reader_of(column.type, column.format)
        self._matches = compile_pattern(column.name, column.pattern)
        self._memo = Memo(self._one)
        self._good: set[str] = set()
        self._bounded = column.low is not None or column.high is not None
        self._null = column.default if typed else written(column.default)
        self._empty_passes = column.default is None and not column.required and self._only_empty and not typed
        self._free = column.type == "string" and not (column.pattern or column.enum or self._bounded)
        self._fast = self._choose_fast()

    def check(self, column: Sequence[Any], *, texts: bool) -> Checked:
        """Check a column; ``texts`` when all its values are texts, as in CSV."""
        if not texts:
            return _sorted_out([self._any(value) for value in column])
        if not self._typed:
            passed = self._fast(column)
            if passed is not None:
                return passed, {}
        memo = self._memo
        return _sorted_out([memo[text] for text in column])

    # -- one value ----------------------------------------------------------------------------------------------

    def _any(self, value: Any) -> Any:
        if value is None:
            return self._one_null()
        if isinstance(value, str | int | float):
            return self._one(written(value))
        return Bad("is a list or a table")

    def _one_null(self) -> Any:
        return Bad("is missing") if self.column.required else self._null

    def _one(self, text: str) -> Any:
        trimmed = text.strip() if self.column.trim else text
        if trimmed in self._nulls:
            return self._one_null()
        try:
            value = self._read(trimmed)
        except ValueError as fault:
            return Bad(str(fault))
        why = self._refused(value, trimmed)
        if why is not None:
            return Bad(why)
        if self._typed:
            return value
        return trimmed if self.column.type in ("integer", "number") else written(value)

    def _refused(self, value: Any, text: str) -> str | None:
        column = self.column
        size = len(text) if column.type == "string" else value
        unit = " characters" if column.type == "string" else ""
        if column.low is not None and size < column.low:
            return f"{brief(text)} is less than {column.low}{unit}"
        if column.high is not None and size > column.high:
            return f"{brief(text)} is more than {column.high}{unit}"
        if self._matches is not None and not self._matches(text):
            return f"{brief(text)} does not match {column.pattern}"
        if self._enum and value not in self._enum:
            return f"{brief(text)} is not one of {', '.join(map(written, column.enum[:10]))}"
        return None

    # -- whole columns ------------------------------------------------------------------------------------------

    def _choose_fast(self) -> Callable[[Sequence[str]], Sequence[str] | None]:
        """A check of a whole column that answers it as it is to be written, or None: look at each value."""
        plain = not self._enum and self._matches is None
        match self.column.type:
            case "string" if self._free:
                return self._fast_string
            case "integer" if plain:
                return self._fast_integer
            case "number" if plain:
                return self._fast_number
            case "datetime" if plain and self.column.format is None:
                return self._fast_datetime
            case _:
                return self._fast_known

    def _fast_string(self, column: Sequence[str]) -> Sequence[str] | None:
        stripped = list(map(str.strip, column)) if self.column.trim else column
        if not (self._empty_passes or self._nulls.isdisjoint(stripped)):
            return None
        return stripped

    def _fast_integer(self, column: Sequence[str]) -> Sequence[str] | None:
        joined = "".join(column)
        if not (joined.isascii() and joined.isdigit() and all(column)) or max(map(len, column)) > MAX_DIGITS:
            return None
        if not self._only_empty and not self._nulls.isdisjoint(column):
            return None
        return column if not self._bounded or self._in_bounds(list(map(int, column))) else None

    def _fast_number(self, column: Sequence[str]) -> Sequence[str] | None:
        if not column or "".join(column).strip("0123456789.+-eE") or max(map(len, column)) > MAX_DIGITS:
            return None
        if not all(column) or not (self._only_empty or self._nulls.isdisjoint(column)):
            return None
        try:
            values = list(map(float, column))
        except ValueError:
            return None
        return column if math.isfinite(sum(values)) and (not self._bounded or self._in_bounds(values)) else None

    def _fast_datetime(self, column: Sequence[str]) -> Sequence[str] | None:
        """All are written just as they would be; where few differ, those that are known are looked up instead."""
        if len(set(column)) * 4 < len(column):
            return self._fast_known(column)
        if not (self._only_empty or self._nulls.isdisjoint(column)):
            return None
        try:
            told = list(map(datetime.isoformat, map(datetime.fromisoformat, column)))
        except ValueError:
            return None
        if told != list(column) and "\n".join(told).replace("+00:00", "Z") != "\n".join(column):
            return None
        return column if not self._bounded or self._in_bounds(list(column)) else None

    def _in_bounds(self, values: list[Any]) -> bool:
        low, high = self.column.low, self.column.high
        return (low is None or min(values) >= low) and (high is None or max(values) <= high)

    def _fast_known(self, column: Sequence[str]) -> Sequence[str] | None:
        """All values are among those that were found to be written just as they are."""
        new = set(column) - self._good
        if not new:
            return column
        if len(self._good) > MAX_MEMO:
            self._good.clear()
        for text in new:
            if self._one(text) != text:
                return None
        self._good |= {text for text in new if len(text) <= MAX_MEMO_CHARS}
        return column


def _sorted_out(found: list[Any]) -> Checked:
    if Bad not in set(map(type, found)):
        return found, {}
    return found, {at: value.why for at, value in enumerate(found) if type(value) is Bad}


def compile_pattern(name: str, pattern: str | None) -> Callable[[str], Any] | None:
    """A check that the whole text matches, in time that grows only with its length."""
    if pattern is None:
        return None
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as fault:
        raise PipelineFailed(
            f"columns.{name}.pattern cannot be used: {fault}.",
            "Write it without look-arounds and back references (RE2 syntax).",
            kind="rejected",
        ) from None
    return compiled.fullmatch  # type: ignore[no-any-return]
