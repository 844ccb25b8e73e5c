"""Cron expressions: what they name, and every way in which one can be wrong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core.cron import FIELDS, Cron, parse_cron

EVERY = Cron(*(frozenset(range(low, high + 1)) for low, high in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))))


@pytest.mark.parametrize(
    ("text", "field", "numbers"),
    [
        ("* * * * *", "minutes", EVERY.minutes),
        ("*/20 * * * *", "minutes", {0, 20, 40}),
        ("5,10-14/2,50/4 * * * *", "minutes", {5, 10, 12, 14, 50, 54, 58}),
        ("0\t22-23  * * *", "hours", {22, 23}),
        ("0 0 31 * *", "days", {31}),
        ("0 0 29 feb *", "months", {2}),
        ("0 0 * JAN-mar,12 *", "months", {1, 2, 3, 12}),
        ("0 0 * * 7", "weekdays", {0}),
        ("0 0 * * mon-Fri", "weekdays", {1, 2, 3, 4, 5}),
        ("0 0 * * 5-7", "weekdays", {5, 6, 0}),
        ("0 0 30 2 mon", "days", {30}),
    ],
)
def test_an_expression_names_its_numbers(text: str, field: str, numbers: set[int]) -> None:
    assert getattr(parse_cron(text), field) == numbers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be five cron fields"),
        ("* * * *", "must be five cron fields"),
        ("0 0 * * * *", "must be five cron fields"),
        ("@daily", "must be five cron fields"),
        ("60 * * * *", "minute 60 is not within 0 to 59"),
        ("* 24 * * *", "hour 24 is not within 0 to 23"),
        ("* * 0 * *", "day 0 is not within 1 to 31"),
        ("* * * 13 *", "month 13 is not within 1 to 12"),
        ("* * * * 8", "weekday 8 is not within 0 to 7"),
        ("* * * foo *", "month 'foo' is none of 1 to 12 or jan to dec"),
        ("mon * * * *", "minute 'mon' is none of 0 to 59"),
        ("*/0 * * * *", "minute step /0 is not within 1 to 59"),
        ("5-1 * * * *", "minute range 5-1 ends before it begins"),
        ("*-5 * * * *", "minute '*-5' is no range"),
        ("1,,2 * * * *", "minute '' is no number, range, list or step"),
        ("-1 * * * *", "minute '-1' is no number"),
        ("99999999999999999999 * * * *", "minute 99999999999999999999 is not within 0 to 59"),
        ("\u0663 * * * *", "is no number"),
        ("0 0 31 2,4,6 *", "never comes: no month that it names has a day 31"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_field(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_cron(text)


def test_every_wrong_field_is_told() -> None:
    with pytest.raises(ValueError, match=r"minute 61 .*; hour 25 .*; weekday 9 "):
        parse_cron("61 25 1 1 9")


@given(st.text("0123456789*/-, \tjanmofri", max_size=30))
def test_no_text_makes_it_raise_anything_else(text: str) -> None:
    try:
        cron = parse_cron(text)
    except ValueError:
        return
    for field, numbers in zip(FIELDS, cron, strict=True):
        assert numbers
        assert field.low <= min(numbers) <= max(numbers) <= field.high
