"""Toasts: how long, how many, many failures as one; and the notices behind them."""

from __future__ import annotations

from etlmon.tui.drawing.spans import line_width, plain
from etlmon.tui.jobs.state import Failure
from etlmon.tui.toasts import (
    BURST_MS,
    FAILURE_SHOWN_MS,
    KEPT,
    SHOWN_MS,
    Toasts,
    cause_of,
    more_line,
    notice_lines,
    toast_lines,
)


def make_failure(n: int, message: str = "HTTP 401: key revoked", worked_ms: int | None = 521_000) -> Failure:
    return Failure(f"id-{n}", f"load_{n:02d}", message, worked_ms)


def titles(toasts: Toasts, now: int) -> list[str]:
    return [notice.title for notice in toasts.shown(now)[0]]


def test_a_toast_lasts_five_seconds_and_a_failure_ten() -> None:
    toasts = Toasts()
    toasts.tell("3 jobs cancelled", "", "ok", now=0)
    toasts.tell_failures([make_failure(1)], 0)
    assert titles(toasts, SHOWN_MS - 1) == ["3 jobs cancelled", "load_01 failed after 8m41s"]
    assert titles(toasts, SHOWN_MS) == ["load_01 failed after 8m41s"]
    assert titles(toasts, FAILURE_SHOWN_MS) == []


def test_at_most_three_are_shown_the_newest_and_the_rest_is_counted() -> None:
    toasts = Toasts()
    for n in range(12):
        toasts.tell(f"toast {n}", now=n)
    shown, more = toasts.shown(20)
    assert [notice.title for notice in shown] == ["toast 9", "toast 10", "toast 11"]
    assert plain(more_line(more)).strip("▌ ") == "and 9 more · n shows all"


def test_one_is_dismissed_or_all_and_the_notices_stay() -> None:
    toasts = Toasts()
    first = toasts.tell("first", now=0)
    toasts.tell("second", now=0)
    toasts.dismiss(first.id)
    assert titles(toasts, 1) == ["second"]
    toasts.dismiss()
    assert titles(toasts, 1) == []
    assert [notice.title for notice in toasts.history] == ["first", "second"]


def test_ten_failures_within_five_seconds_are_one_toast_with_the_cause_that_most_share() -> None:
    toasts = Toasts()
    toasts.tell("3 jobs cancelled", now=0)
    for n in range(8):
        toasts.tell_failures([make_failure(n)], n * 100)
    assert toasts.shown(800)[1] == 6
    toasts.tell_failures([make_failure(8, "disk full"), make_failure(9, "connection refused")], 900)
    shown, more = toasts.shown(900)
    assert [(notice.title, notice.line) for notice in shown] == [
        ("3 jobs cancelled", ""),
        ("10 jobs failed, 8 with HTTP 401", "! shows them"),
    ]
    assert more == 0
    toasts.tell_failures([make_failure(10)], 1000)
    assert titles(toasts, 1000)[-1] == "11 jobs failed, 9 with HTTP 401"
    assert sum("failed after" in notice.title for notice in toasts.history) == 11


def test_after_a_quiet_while_a_failure_stands_alone_again() -> None:
    toasts = Toasts()
    toasts.tell_failures([make_failure(n) for n in range(10)], 0)
    assert titles(toasts, 0) == ["10 jobs failed, all with HTTP 401"]
    toasts.tell_failures([make_failure(11)], BURST_MS + 1)
    assert titles(toasts, BURST_MS + 1) == ["10 jobs failed, all with HTTP 401", "load_11 failed after 8m41s"]


def test_nine_failures_in_five_seconds_are_told_one_by_one() -> None:
    toasts = Toasts()
    for n in range(18):
        toasts.tell_failures([make_failure(n)], n * 600)
    assert not any("jobs failed" in title for title in titles(toasts, 18 * 600))


def test_the_cause_is_what_comes_before_the_particulars() -> None:
    assert cause_of("HTTP 401: key revoked (batch 5,910)") == "HTTP 401"
    assert cause_of("disk full (etl-2)\nmore") == "disk full"
    assert cause_of("") == ""


def test_a_toast_is_46_cells_wide_whatever_its_text_and_cuts_a_long_name_in_its_middle() -> None:
    toasts = Toasts()
    failure = Failure("id", "warehouse_copy_of_everything_there_ever_was_eu", "数据库" * 30, 521_000)
    toasts.tell_failures([failure], 0)
    lines = toast_lines(toasts.shown(0)[0][0])
    assert [line_width(line) for line in lines] == [46, 46]
    assert plain(lines[0]).startswith("▌ ✗ warehouse_copy")
    assert plain(lines[0]).rstrip().endswith("…_was_eu failed after 8m41s")
    assert plain(lines[1]).rstrip().endswith("…")


def test_text_from_outside_is_shown_and_never_obeyed() -> None:
    toasts = Toasts()
    toasts.tell("[bold]x\x1b[31m", "[link=http://evil]\x07", now=0)
    title, line = (plain(each) for each in toast_lines(toasts.shown(0)[0][0]))
    assert "[bold]x" in title
    assert "[link=http://evil]" in line
    assert "\x1b" not in title + line
    assert "\x07" not in title + line


def test_only_the_newest_notices_are_kept() -> None:
    toasts = Toasts()
    for n in range(KEPT + 5):
        toasts.tell(f"notice {n}", now=n)
    assert len(toasts.history) == KEPT
    assert toasts.history[0].title == "notice 5"


def test_the_list_shows_a_notice_whole_wrapped_under_its_title() -> None:
    toasts = Toasts()
    notice = toasts.tell("crm_sync was not paused", "it ended " * 12, "warn", now=0)
    lines = [plain(line) for line in notice_lines(notice, 60, "03:07:42")]
    assert lines[0] == "  03:07:42  ▲ crm_sync was not paused"
    assert len(lines) == 4
    assert all(line.startswith(" " * 14) and len(line) <= 60 for line in lines[1:])


def test_ascii_toasts_hold_nothing_else() -> None:
    toasts = Toasts()
    notice = toasts.tell("done " * 20, "2 left alone · n shows who", "ok", now=0)
    drawn = [*toast_lines(notice, ascii_only=True), more_line(3, ascii_only=True)]
    assert all(plain(line).isascii() for line in drawn)
    assert plain(drawn[0]).startswith("| + done")
