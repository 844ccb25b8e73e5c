"""A table read key by key: each fault is put down with its path, and reading goes on with the default.

What nobody asked for is told at the end, with the nearest key that somebody did ask for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from etlmon.core.config_leaf import unknown_key
from etlmon.core.durations import exact_duration, parse_duration
from etlmon.core.errors import Fault
from etlmon.core.text import hint

Scalar = str | int | float | bool | None
MAX_TEXT = 10_000


def kind_of(value: object) -> str:
    """What a JSON or TOML value is, for a message."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a table"}
    return "nothing" if value is None else names.get(type(value), "a date or time")


class Keys:
    """One table. Its methods answer the value of a key, or the default after a fault or when it is not there."""

    def __init__(self, value: object, path: str, faults: list[Fault]) -> None:
        self.path = path
        self.faults = faults
        self.table: dict[str, Any] = value if isinstance(value, dict) else {}
        self._asked: list[str] = []
        if not isinstance(value, dict):
            faults.append(Fault(path, f"must be a table, not {kind_of(value)}"))

    def at(self, name: str) -> str:
        """The dotted path of a key."""
        return f"{self.path}.{name}" if self.path else name

    def fault(self, name: str, message: str) -> None:
        """Put down what is wrong with a key."""
        self.faults.append(Fault(self.at(name), message))

    def has(self, name: str) -> bool:
        """Whether the key is given; null is not."""
        self._asked.append(name)
        return self.table.get(name) is not None

    def take(self, name: str, *, needed: bool = False) -> Any:
        """The value as it stands."""
        found = self.has(name)
        if needed and not found:
            self.fault(name, "is needed and missing")
        return self.table.get(name)

    def text(
        self, name: str, default: str = "", *, needed: bool = False, check: Callable[[str], object] | None = None
    ) -> str:
        """A text without NUL; ``check`` raises ValueError when it makes no sense."""
        value = self.take(name, needed=needed)
        if value is None:
            return default
        if not isinstance(value, str) or "\x00" in value or len(value) > MAX_TEXT:
            self.fault(name, f"must be a text of at most {MAX_TEXT} characters without NUL, not {kind_of(value)}")
            return default
        if needed and not value:
            self.fault(name, "must not be empty")
        if check is not None:
            try:
                check(value)
            except ValueError as fault:
                self.fault(name, str(fault))
                return default
        return str(value)

    def word(self, name: str, words: Iterable[str], default: str = "", *, needed: bool = False) -> str:
        """One of ``words``."""
        value, known = self.take(name, needed=needed), list(words)
        if value is None or value in known:
            return default if value is None else str(value)
        told = f"must be one of {', '.join(known)}"
        self.fault(name, told + (hint(value, known) if isinstance(value, str) else f", not {kind_of(value)}"))
        return default

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.take(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.fault(name, f"must be true or false, not {kind_of(value)}")
        return default

    def count(self, name: str, default: int | None, low: int = 0, high: int = 10**12) -> int | None:
        """A whole number within bounds."""
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fault(name, f"must be a whole number from {low} to {high}")
            return default
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number within bounds."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.fault(name, f"must be a number from {low:g} to {high:g}")
            return None
        return float(value)

    def duration(self, name: str, default: int, low: int, high: int) -> int:
        """A duration such as "30s", in ms."""
        value = self.take(name)
        if value is None:
            return default
        try:
            if not isinstance(value, str):
                raise ValueError(f'must be a duration in quotes, as "30s", not {kind_of(value)}')
            found = parse_duration(value)
        except ValueError as fault:
            self.fault(name, str(fault))
            return default
        if low <= found <= high:
            return found
        self.fault(name, f"must be from {exact_duration(low)} to {exact_duration(high)}")
        return default

    def texts(self, name: str, default: tuple[str, ...] = (), *, needed: bool = False) -> tuple[str, ...]:
        """A list of texts."""
        value = self.take(name, needed=needed)
        if value is None:
            return default
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self.fault(name, f"must be a list of texts, not {kind_of(value)}")
            return default
        if needed and not value:
            self.fault(name, "must not be empty")
        return tuple(value)

    def scalar(self, name: str) -> Scalar:
        """A text, a finite number, or true or false."""
        value = self.take(name)
        if is_scalar(value):
            return value  # type: ignore[no-any-return]
        self.fault(name, f"must be a text, a number, or true or false, not {kind_of(value)}")
        return None

    def scalars(self, name: str) -> tuple[Scalar, ...]:
        """A list of them."""
        value = self.take(name)
        if value is None:
            return ()
        if isinstance(value, list) and value and all(each is not None and is_scalar(each) for each in value):
            return tuple(value)
        self.fault(name, "must be a list of texts, numbers, true or false, and not empty")
        return ()

    def inner(self, name: str) -> Keys:
        """The table under a key; an empty one when it is not there."""
        value = self.take(name)
        return Keys({} if value is None else value, self.at(name), self.faults)

    def named(self, name: str) -> dict[str, Any]:
        """A table whose keys are names."""
        value = self.take(name)
        if value is None or isinstance(value, dict):
            return value or {}
        self.fault(name, f"must be a table, not {kind_of(value)}")
        return {}

    def close(self) -> None:
        """Tell of every key that was not asked for."""
        known = list(dict.fromkeys(self._asked))
        for name in self.table:
            if name not in known:
                self.fault(str(name)[:60], unknown_key(str(name), known))


def is_scalar(value: object) -> bool:
    """Whether it is null, a text, a boolean or a finite number."""
    if value is None or isinstance(value, str | bool | int):
        return True
    return isinstance(value, float) and math.isfinite(value)
