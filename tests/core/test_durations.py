"""Durations and sizes: what is written can be read, and what cannot be read is refused with an example."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core import durations as d


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("90s", 90_000),
        ("25m", 1_500_000),
        ("1h30m", 5_400_000),
        ("30d", 2_592_000_000),
        ("500ms", 500),
        ("1.5h", 5_400_000),
        ("0", 0),
        (" 2H ", 7_200_000),
        ("1h 30m", 5_400_000),
        ("1w", 604_800_000),
        ("0.25s", 250),
    ],
)
def test_durations_are_read(text: str, ms: int) -> None:
    assert d.parse_duration(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "m",
        "-1s",
        "1x",
        "1h30",
        "1m1m",
        "1_000s",
        "١s",
        "1e9s",
        "nan",
        "inf",
        "1 h 3",
        "99999d",
        "9" * 16 + "s",
        "1s;",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="'"):
        d.parse_duration(text)


@given(st.integers(0, d.MAX_DURATION_MS))
def test_an_exact_duration_reads_back(ms: int) -> None:
    assert d.parse_duration(d.exact_duration(ms)) == ms


@given(st.integers(0, d.MAX_DURATION_MS))
def test_a_shown_duration_is_never_more_than_the_truth_and_close_to_it(ms: int) -> None:
    shown = d.parse_duration(d.format_duration(ms))
    assert shown <= ms
    assert ms - shown <= ms // 20 + 1000


def test_durations_for_people_have_two_units() -> None:
    shown = [d.format_duration(ms) for ms in (0, 350, 42_900, 274_000, 3_600_000, 5_430_000, 183_600_000, -1500)]
    assert shown == ["0s", "350ms", "42s", "4m34s", "1h", "1h30m", "2d3h", "-1s"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512B", 512),
        ("16KB", 16_000),
        ("16kib", 16_384),
        ("10GB", 10**10),
        ("10GiB", 10 * 2**30),
        ("1.5MB", 1_500_000),
        ("0", 0),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert d.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "12", "-1KB", "1XB", "KB", "1e3B", "٣KB", "99999999TB", "1GBs"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="'"):
        d.parse_size(text)


@given(st.integers(0, 10**17))
def test_an_exact_size_reads_back(size: int) -> None:
    assert d.parse_size(d.exact_size(size)) == size


def test_sizes_for_people_are_short() -> None:
    assert [d.format_size(n) for n in (0, 999, 1000, 71_300_000, 999_999, 3 * 10**12)] == [
        "0 B",
        "999 B",
        "1 KB",
        "71.3 MB",
        "1 MB",
        "3 TB",
    ]


def test_since_takes_an_age_or_a_timestamp() -> None:
    now = 1_763_865_407_123
    assert d.parse_age_or_instant("24h", now) == now - 86_400_000
    assert d.parse_age_or_instant("2025-11-23T02:36:47.123Z", now) == now
    assert d.parse_age_or_instant("2025-11-23T03:36:47.123+01:00", now) == now
    assert d.parse_age_or_instant("1970-01-02", now) == 86_400_000


@pytest.mark.parametrize("text", ["", "yesterday", "2025-13-01", "2025-11-23T02:36:47", "0001-01-01T00:00:00+23:59x"])
def test_what_is_neither_age_nor_timestamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither an age nor a timestamp"):
        d.parse_age_or_instant(text, 0)
