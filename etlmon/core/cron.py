"""Cron expressions: five fields as crontab(5) writes them, each turned into the numbers that it names.

Every fault of an expression is told, by field. What it means for the calendar beyond the days of a month is not asked.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(\*|[0-9]+|[A-Za-z]+)(?:-([0-9]+|[A-Za-z]+))?(?:/([0-9]+))?")


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def number(self, word: str) -> int:
        """The number that a word stands for; ValueError when it is none of this field's."""
        if word.isdigit():
            number = int(word[:9])
        elif word.lower() in self.names:
            number = self.names.index(word.lower()) + self.low
        else:
            known = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
            raise ValueError(f"{self.name} {word[:20]!r} is none of {self.low} to {self.high}{known}")
        if not self.low <= number <= self.high:
            raise ValueError(f"{self.name} {word[:20]} is not within {self.low} to {self.high}")
        return number


FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 7, _WEEKDAYS),
)


class Cron(NamedTuple):
    """The minutes, hours, days, months and weekdays (0 is Sunday) of an expression."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]


def parse_cron(text: str) -> Cron:
    """The expression in ``text``; ValueError with every fault, or because no such day ever comes."""
    words = text.split()
    if len(words) != len(FIELDS):
        raise ValueError('must be five cron fields (minute hour day month weekday), as "0 2 * * *"')
    read, faults = [], []
    for field, word in zip(FIELDS, words, strict=True):
        try:
            read.append(_read(field, word))
        except ValueError as fault:
            faults.append(str(fault))
    if faults:
        raise ValueError("; ".join(faults))
    minutes, hours, days, months, weekdays = read
    cron = Cron(minutes, hours, days, months, frozenset(day % 7 for day in weekdays))
    by_day_alone = words[4].startswith("*")  # else cron starts it on the weekdays too
    if by_day_alone and all(min(days) > _LONGEST[month - 1] for month in months):
        raise ValueError(f"never comes: no month that it names has a day {min(days)}")
    return cron


def _read(field: _Field, word: str) -> frozenset[int]:
    numbers: set[int] = set()
    for part in word.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise ValueError(f"{field.name} {part[:20]!r} is no number, range, list or step, as 1-5 or */10")
        first, last, step = found.groups()
        numbers |= set(range(*_span(field, first, last, step)))
    return frozenset(numbers)


def _span(field: _Field, first: str, last: str | None, step: str | None) -> tuple[int, int, int]:
    """Begin, end (not within) and step of one part; a number with a step goes on to the field's end."""
    pace = int(step[:9]) if step is not None else 1
    if not 1 <= pace <= field.high:
        raise ValueError(f"{field.name} step /{str(step)[:20]} is not within 1 to {field.high}")
    if first == "*":
        if last is not None:
            raise ValueError(f"{field.name} '*-{last[:20]}' is no range")
        return field.low, field.high + 1, pace
    begin = field.number(first)
    if last is None:
        return begin, field.high + 1 if step is not None else begin + 1, pace
    end = field.number(last)
    if end < begin:
        raise ValueError(f"{field.name} range {first[:20]}-{last[:20]} ends before it begins")
    return begin, end + 1, pace
