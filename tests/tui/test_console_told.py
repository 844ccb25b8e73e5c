"""What the console tells and hands out: toasts, notices, help, copies."""

from __future__ import annotations

import json

import pytest
from console_world import Seat, console

from etlmon.tui.widgets.toast_rack import Rack
from world import ServerProcess, new_id, started


def fail(server: ServerProcess, n: int, message: str = "HTTP 401: key revoked") -> list[str]:
    """So many jobs that have just failed."""
    jobs = [new_id() for _ in range(n)]
    server.report(*[started(job, f"load_{at:02d}") for at, job in enumerate(jobs)])
    failure = {"kind": "error", "message": message}
    server.report(*[{"kind": "failed", "jobId": job, "failure": failure} for job in jobs])
    return jobs


def rack_of(seat: Seat) -> Rack:
    """Where toasts are drawn."""
    return seat.app.screen.query_one(Rack)


async def test_a_failure_is_told_bottom_right_esc_takes_it_away_and_n_keeps_it(server: ServerProcess) -> None:
    server.report(started(new_id(), "orders_nightly"))
    async with console(server) as seat:
        fail(server, 1)
        await seat.shows("▌ ✗ load_00 failed after 0s", "▌ HTTP 401: key revoked")
        assert "load_00 failed after" in seat.lines[-3]
        assert [len(line) for line in seat.lines[-3:-1]] == [120, 120]
        assert rack_of(seat).region.right == 120
        await seat.press("escape")
        await seat.hides("load_00 failed after")
        await seat.press("n")
        await seat.shows("Notices", "✗ load_00 failed after 0s", "HTTP 401: key revoked")
        await seat.press("c")
        await seat.shows("Nothing was told yet.")
        await seat.press("escape")
        await seat.shows("orders_nightly")


async def test_ten_failures_at_once_are_one_toast_and_a_click_takes_it_away(server: ServerProcess) -> None:
    server.report(started(new_id(), "orders_nightly"))
    async with console(server) as seat:
        fail(server, 12)
        await seat.shows("✗ 12 jobs failed, all with HTTP 401", "! shows them")
        await seat.pilot.click(Rack, offset=(5, 0))
        await seat.hides("12 jobs failed, all")


async def test_toasts_stand_on_top_while_the_cursor_is_low_and_take_no_key(server: ServerProcess) -> None:
    server.report(*[started(new_id(), f"load_{n:02d}") for n in range(40)])
    async with console(server, size=(100, 30)) as seat:
        await seat.press("end", "y")
        await seat.shows("✓ Copied the id of")
        await seat.until(lambda: rack_of(seat).region.y == 4, "the toast is on top")
        table = seat.app.focused
        await seat.press("home")
        await seat.until(lambda: rack_of(seat).region.bottom == 29, "the toast is at the bottom")
        assert seat.app.focused is table


async def test_a_toast_shows_over_a_dialog_too(server: ServerProcess) -> None:
    server.report(started(new_id(), "orders_nightly"))
    async with console(server) as seat:
        await seat.press("x")
        await seat.shows("This is final")
        fail(server, 1)
        await seat.shows("✗ load_00 failed", "This is final")


async def test_help_holds_the_live_keys_of_the_place_typing_finds_and_enter_does_it(server: ServerProcess) -> None:
    server.report(started(new_id(), "orders_nightly"))
    async with console(server) as seat:
        await seat.press("question_mark")
        await seat.shows("MOVE", "FIND", "ACT ON JOBS", "TAKE AWAY", "LOOK", "CONSOLE", "◆ marked", "side pane")
        headings = next(line for line in seat.lines if "MOVE" in line)
        assert headings.index("MOVE") < headings.index("ACT ON JOBS") < headings.index("LOOK")
        await seat.types("canc")
        await seat.hides("clear marks")
        await seat.press("enter")
        await seat.shows("orders_nightly will be cancelled")
        await seat.press("escape")
        await seat.hides("This is final")
        await seat.press("question_mark")
        await seat.shows("MOVE")
        await seat.press("q")
        await seat.hides("ACT ON JOBS")
        assert seat.app.is_running


async def test_help_in_the_log_room_tells_the_log_keys(server: ServerProcess) -> None:
    server.report(started(new_id(), "orders_nightly"))
    async with console(server) as seat:
        await seat.press("2")
        await seat.press("question_mark")
        await seat.shows("next error", "follow", "CONSOLE")
        assert "mark all shown" not in seat.text


@pytest.mark.parametrize("size", [(80, 24), (60, 16)])
async def test_help_scrolls_where_it_does_not_fit(server: ServerProcess, size: tuple[int, int]) -> None:
    server.report(started(new_id(), "orders_nightly"))
    async with console(server, size=size) as seat:
        await seat.press("question_mark")
        await seat.shows("MOVE", "more lines below")
        await seat.press("up")
        await seat.press("up")
        await seat.shows("palette")


async def test_ids_are_copied_a_line_each_and_jobs_as_json(server: ServerProcess) -> None:
    jobs = [new_id() for _ in range(2)]
    server.report(*[started(job, f"load_{n}") for n, job in enumerate(jobs)])
    async with console(server) as seat:
        await seat.press("y")
        await seat.shows("✓ Copied the id of load_")
        assert seat.app.clipboard in jobs
        await seat.press("Y")
        await seat.shows("bytes of JSON")
        assert json.loads(seat.app.clipboard)["id"] in jobs
        await seat.press("a", "y")
        await seat.shows("✓ Copied 2 ids")
        assert sorted(seat.app.clipboard.split("\n")) == sorted(jobs)
        await seat.press("Y")
        await seat.shows("✓ Copied 2 jobs")
        assert {job["id"] for job in json.loads(seat.app.clipboard)} == set(jobs)
