"""Numbers and times: short, of a known width."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import width_of


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (None, ""), (0, "0"), (812, "812"), (9_999, "9,999"), (10_000, "10.0k"), (48_210, "48.2k"), (184_000, "184k"),
        (999_499, "999k"), (1_204_000, "1.2M"), (22_500_000, "22.5M"), (184_000_000, "184M"), (3_100_000_000, "3.1G"),
    ],
)  # fmt: skip
def test_counts_are_short(n: float | None, text: str) -> None:
    assert figures.count(n) == text


@given(st.integers(0, 10**15))
def test_a_count_takes_at_most_six_cells(n: int) -> None:
    assert width_of(figures.count(n)) <= 6


@given(st.floats(0, 10**9))
def test_a_rate_takes_at_most_eight_cells_and_is_never_blank(n: float) -> None:
    assert 3 <= width_of(figures.rate(n)) <= 8


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (27_999, "27s"), (252_000, "4m12s"), (5_400_000, "1h30m"), (187_200_000, "2d04h"), (-5, "0s")],
)
def test_times_worked_are_short(ms: int, text: str) -> None:
    assert figures.worked(ms) == text


@pytest.mark.parametrize(("ms", "text"), [(42_000, "42s"), (540_000, "9m"), (18_000_000, "5h"), (3 * 86_400_000, "3d")])
def test_ages_name_their_largest_unit(ms: int, text: str) -> None:
    assert figures.age(ms) == text


def test_another_day_is_named_and_a_far_one_dated() -> None:
    now = 1_763_866_062_000  # Sunday 2025-11-23 02:47:42 UTC
    assert figures.day_clock(now + 3_600_000, now, UTC) == "03:47"
    assert figures.day_clock(now + 2 * figures.DAY, now, UTC) == "Tue 02:47"
    assert figures.day_clock(now - 30 * figures.DAY, now, UTC) == "2025-10-24"


@given(st.floats(0, 100), st.integers(1, 40))
def test_a_bar_fills_its_width_and_is_full_only_at_the_end(value: float, width: int) -> None:
    fill, rest = figures.bar(value, width)
    assert len(fill) + len(rest) == width
    assert (fill == "█" * width) == (value >= 100)
    assert (fill == "") == (value <= 0)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e12)), max_size=30), st.integers(1, 20))
def test_a_sparkline_is_as_wide_as_asked_and_tallest_at_the_largest(values: list[float | None], width: int) -> None:
    drawn = figures.sparkline(values, width)
    assert len(drawn) == width
    newest = values[-width:]
    largest = max((value for value in newest if value), default=None)
    if largest is not None:
        assert drawn[width - len(newest) + newest.index(largest)] == "█"
