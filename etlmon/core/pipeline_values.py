"""The types of a column: text → value, exactly and without guessing; ValueError says what a text is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

TYPES = ("string", "integer", "number", "boolean", "date", "datetime")
MAX_DIGITS = 400
"""Longer numbers are no numbers: reading them takes time that grows with the square of their length."""

INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TRUE = frozenset({"true", "t", "yes", "y", "1", "on"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "off"})
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

Value = str | int | float | bool


def reader_of(kind: str, form: str | None = None) -> Callable[[str], Value]:
    """What reads a trimmed text as ``kind``. ``form`` is a strptime format for dates and times; ISO 8601 without."""
    match kind:
        case "integer":
            return parse_integer
        case "number":
            return parse_number
        case "boolean":
            return parse_boolean
        case "date":
            return lambda text: parse_date(text, form)
        case "datetime":
            return lambda text: parse_datetime(text, form)
        case _:
            return str


def parse_integer(text: str) -> int:
    """Decimal digits with or without a sign."""
    if len(text) > MAX_DIGITS or not INTEGER.fullmatch(text):
        raise ValueError(f"{brief(text)} is not a whole number")
    return int(text)


def parse_number(text: str) -> float | int:
    """A decimal number; whole ones stay exact. No nan, no inf, no grouping."""
    if len(text) > MAX_DIGITS or not NUMBER.fullmatch(text):
        raise ValueError(f"{brief(text)} is not a number")
    if INTEGER.fullmatch(text):
        return int(text)
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{brief(text)} is too large for a number")
    return value


def parse_boolean(text: str) -> bool:
    """true/false, yes/no, t/f, y/n, on/off, 1/0 in any case."""
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"{brief(text)} is neither true nor false")


def parse_date(text: str, form: str | None = None) -> str:
    """A date as YYYY-MM-DD."""
    if form is not None:
        return _by_format(text, form).date().isoformat()
    if not _DATE.fullmatch(text):
        raise ValueError(f"{brief(text)} is not a date (YYYY-MM-DD)")
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError(f"{brief(text)} is not a day of the calendar") from None


def parse_datetime(text: str, form: str | None = None) -> str:
    """A point in time in ISO 8601, with the offset that it was given with, if any; Z stays Z."""
    if form is not None:
        return iso(_by_format(text, form))
    return iso(read_datetime(text))


def read_datetime(text: str) -> datetime:
    """ISO 8601 → datetime."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{brief(text)} is not a date and time (ISO 8601)") from None


def _by_format(text: str, form: str) -> datetime:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - the zone is in the format, or there is none
    except ValueError:
        raise ValueError(f"{brief(text)} is not of the form {form}") from None


def iso(value: datetime) -> str:
    """ISO 8601; UTC as Z."""
    return value.isoformat().replace("+00:00", "Z")


def check_format(form: str) -> None:
    """ValueError when ``form`` is no strptime format."""
    if "%" not in form:
        raise ValueError("must be a format such as %d.%m.%Y")
    try:
        datetime.strptime("", form)  # noqa: DTZ007
    except ValueError as fault:
        if "bad directive" in str(fault) or "stray" in str(fault):
            raise ValueError(f"is not a date format: {fault}") from None
    except re.error:
        raise ValueError("is not a date format: a part of it stands twice") from None


def written(value: Any) -> str:
    """A value as it stands in a CSV cell or in joined text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def brief(text: str) -> str:
    """A text in quotes, cut, for a message."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
