"""The table's columns and rows: what is drawn in screens of 80, 120 and more cells."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core.text import shown
from etlmon.tui.drawing.spans import line_width, plain
from etlmon.tui.jobs.cells import Scene
from etlmon.tui.jobs.columns import layout
from etlmon.tui.jobs.live import LiveJob, from_view
from etlmon.tui.jobs.row import header, row

NOW = 1_763_866_062_000  # 2025-11-23T02:47:42Z
SCENE = Scene(now=NOW, zone=UTC)


def ago(seconds: float) -> str:
    from etlmon.core.instants import format_instant

    return format_instant(round(NOW - seconds * 1000))


def job(name: str = "orders_nightly", status: str = "running", **more: Any) -> LiveJob:
    view = {
        "id": "0190f6a2-0000-7000-8000-000000000001", "name": name, "type": "csv_processing", "status": status,
        "createdAt": ago(299), "startedAt": ago(299), "updatedAt": ago(0), "executionTimeMs": 299_000,
        "currentStep": "Processing data", "progressPercent": 45.0, "owner": "ana", "seq": 7,
        "metrics": {"recordsProcessed": 4_500_000, "recordsFailed": 15, "processingRate": 15_100},
        "estimate": {"low": ago(-1458), "high": ago(-2238), "basis": "from 41 runs"},
    }  # fmt: skip
    return from_view({**view, **more}, NOW)


def keys(width: int) -> list[str]:
    return [column.key for column in layout(width)]


def test_columns_come_with_the_width() -> None:
    assert keys(80) == ["STATUS", "NAME", "PROGRESS", "ETA", "STEP"]
    assert keys(100) == ["STATUS", "NAME", "PROGRESS", "ETA", "TIME", "ROWS", "STEP"]
    assert keys(120) == ["STATUS", "NAME", "PROGRESS", "ETA", "TIME", "ROWS", "ERR", "RATE", "STEP", "AGE"]
    assert "TYPE" in keys(140)
    assert "OWNER" in keys(140)
    assert "HOST" in keys(160)


@given(st.integers(42, 400))
def test_the_columns_fill_any_width_exactly(width: int) -> None:
    columns = layout(width)
    assert columns[-1].left + columns[-1].width == width
    assert line_width(row(job(), columns, SCENE)) == width
    assert line_width(header(columns, "STATUS", descending=False)) == width


def test_a_running_row_reads_as_drawn_at_120() -> None:
    assert plain(row(job(), layout(120), SCENE, here=True)) == (
        "▌ ▸ running   orders_nightly     ███▋     45% 03:12–03:25  4m59s   4.5M     15 15.1k/s "
        "Processing data                4m"
    )


def test_a_row_at_80_reads_as_drawn() -> None:
    line = plain(row(job(), layout(80), SCENE, here=True))
    assert line == "▌ ▸ running   orders_nightly      ████      45% 03:12–03:25 Processing data     "


def test_the_reason_of_a_failed_job_covers_the_empty_rate() -> None:
    failed = job(
        "stripe_payouts", "failed", finishedAt=ago(60), failure={"kind": "error", "message": "HTTP 401: key revoked"}
    )
    columns = layout(120)
    rate = next(column for column in columns if column.key == "RATE")
    line = row(failed, columns, SCENE)
    assert plain(line)[rate.left :].startswith("HTTP 401: key revoked")
    assert next(span for span in line if "HTTP" in span.text).look == "fail"
    assert line_width(line) == 120


def test_an_unknown_total_shows_a_block_that_moves_and_no_percent() -> None:
    unknown = job(progressPercent=None)
    first, later = (plain(row(unknown, layout(80), SCENE, pulse=n)) for n in (0, 3))
    assert first[34:46] != later[34:46]
    assert first[34:46].count("█") == later[34:46].count("█") == 3
    assert first[34:47].endswith("– ")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"estimate": {"low": ago(900), "high": ago(720), "basis": "x"}}, "   12m late"),
        ({"estimate": {"low": None, "high": None, "basis": None}}, "          –"),
        ({"estimate": {"low": ago(-600), "high": ago(-610), "basis": "x"}}, "      02:57"),
        ({"estimate": {"low": ago(-172_800), "high": ago(-172_900), "basis": "x"}}, "  Tue 02:49"),
    ],
)
def test_the_end_is_told_as_an_instant_a_day_or_how_late(more: dict[str, Any], text: str) -> None:
    eta = next(column for column in layout(80) if column.key == "ETA")
    line = plain(row(job(**more), layout(80), SCENE))
    assert line[eta.left : eta.left + eta.width] == text


def test_reasons_say_who_when_and_why() -> None:
    def reason(live: LiveJob) -> str:
        from etlmon.tui.jobs import cells as job_cells

        return job_cells.reason(live, SCENE).text

    by = {"action": "pause", "by": "ana", "at": ago(370), "reason": "disk on etl-2"}
    assert reason(job(status="paused", pausedAt=ago(360), pausedBy=by)) == "by ana 6m ago: disk on etl-2"
    assert reason(job(status="paused", pausedAt=ago(360))) == "by itself 6m ago"
    asked = {"action": "cancel", "by": "ana", "at": ago(4), "reason": None}
    assert reason(job(controlPending=asked)) == "asked by ana 4s ago"
    last = {"kind": "error", "message": "connection refused"}
    again = job(status="pending", attempt=2, runAt=ago(-1300), lastFailure=last, startedAt=None)
    assert reason(again) == "try 2 at 03:09: connection refused"
    assert reason(job(status="pending", startedAt=None, runAt=ago(-2538))) == "starts 03:30"
    ended = {"recordsRejected": 381}
    assert reason(job(status="completed", outcome="warning", summary=ended)) == "381 of 4.5M rejected"
    cancelled = {"cancelledBy": "ana", "cancelReason": "wrong file"}
    assert reason(job(status="cancelled", summary=cancelled)) == "by ana: wrong file"


@given(st.text(max_size=60), st.text(max_size=80), st.integers(42, 200))
def test_any_name_and_step_keeps_the_row_in_its_width_and_harmless(name: str, step: str, width: int) -> None:
    line = row(job(name, currentStep=step), layout(width), SCENE)
    assert line_width(line) == width
    assert shown(plain(line)) == plain(line)


def test_ascii_draws_no_other_character() -> None:
    scene = Scene(now=NOW, zone=UTC, ascii=True)
    columns = layout(120)
    lines = [header(columns, "STATUS", descending=False, ascii_only=True)]
    for status in ("running", "failed", "paused", "pending", "completed", "cancelled"):
        lines.append(row(job("a" * 40, status), columns, scene, here=True, marked=True))
    lines.append(row(job(progressPercent=None, estimate={}), columns, scene))
    assert all(plain(line).isascii() for line in lines)
    assert "###..." in plain(lines[1])


def test_a_long_reason_uses_all_of_the_room_that_it_covers() -> None:
    message = "HTTP 401: key revoked (batch 5,910)"
    failed = job("stripe_payouts", "failed", failure={"kind": "error", "message": message})
    assert message in plain(row(failed, layout(120), SCENE))
    assert message[:28] in plain(row(failed, layout(80), SCENE))
