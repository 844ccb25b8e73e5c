"""The console as an operator uses it: find the failed job, read why, stop another, and trust what is shown."""

from __future__ import annotations

import pytest
from console_world import console

from world import ServerProcess, log, new_id, started


def cast(server: ServerProcess, n: int = 12) -> dict[str, str]:
    """Some jobs: one fails, one has ended, the others run."""
    ids = {"stripe_payouts": new_id(), "price_feed_load": new_id()}
    ids |= {f"load_{k:02d}": new_id() for k in range(n)}
    server.report(*[started(job, name, owner="ana" if "load_0" in name else "lena") for name, job in ids.items()])
    failed, done = ids["stripe_payouts"], ids["price_feed_load"]
    failure = {"kind": "error", "message": "HTTP 401: key revoked", "suggestedActions": ["Renew the key"]}
    server.report(
        log(failed, "401 Unauthorized", "error"),
        {"kind": "failed", "jobId": failed, "failure": failure},
        {"kind": "progress", "jobId": done, "recordsProcessed": 5_900_000},
        {"kind": "completed", "jobId": done},
        {"kind": "progress", "jobId": ids["load_03"], "progressPercent": 45, "currentStep": "Processing data"},
    )
    return ids


async def test_the_table_shows_what_runs_what_failed_and_why_and_what_ended(server: ServerProcess) -> None:
    cast(server)
    async with console(server, server="prod") as seat:
        await seat.shows("● LIVE", "✗ failed    stripe_payouts", "HTTP 401: key revoked", "5.9M rows", "14 jobs")
        await seat.shows("12 running", "1 failed")
        rows = [line for line in seat.lines if "running   load_" in line or "stripe" in line or "price_feed" in line]
        assert "stripe" in rows[0]
        assert "price_feed" in rows[-1]
        (row,) = [line for line in seat.lines if "load_03" in line]
        assert "45%" in row
        assert "Processing data" in row


async def test_a_change_is_seen_and_a_failure_is_told(server: ServerProcess) -> None:
    ids = cast(server)
    async with console(server) as seat:
        await seat.shows("load_07")
        server.report({"kind": "progress", "jobId": ids["load_07"], "progressPercent": 73})
        await seat.shows("73%")
        failure = {"kind": "error", "message": "disk full on etl-2"}
        server.report({"kind": "failed", "jobId": ids["load_07"], "failure": failure})
        await seat.shows("✗ load_07 failed", "disk full on etl-2", "2 failed")


async def test_a_filter_narrows_while_it_is_typed_says_what_is_wrong_and_esc_takes_it_back(
    server: ServerProcess,
) -> None:
    cast(server)
    async with console(server) as seat:
        await seat.press("slash")
        await seat.types("owner:lena")
        await seat.hides("load_03")
        await seat.types(" statsu:x")
        await seat.shows("did you mean 'status'?")
        await seat.press("escape")
        await seat.shows("load_03", "all jobs")
        await seat.press("slash")
        await seat.types("nothing_like_it")
        await seat.press("enter")
        await seat.shows("No job matches nothing_like_it", "esc shows all 14")
        await seat.press("escape")
        await seat.shows("load_03")


async def test_the_failed_job_is_found_opened_and_its_log_read(server: ServerProcess) -> None:
    cast(server)
    async with console(server) as seat:
        await seat.press("exclamation_mark")
        await seat.hides("load_03")
        await seat.press("enter")
        await seat.shows("Jobs › stripe_payouts", "▎ HTTP 401: key revoked", "TRY THIS", "1 Renew the key")
        await seat.shows("ERROR 401 Unauthorized")
        await seat.press("tab", "tab")
        await seat.shows("401 Unauthorized", "seq")
        for tab, told in (("Metrics", "no metrics"), ("Config", "neither config"), ("Events", "job_started")):
            await seat.press("tab")
            await seat.shows(told)
            assert tab in seat.text
        await seat.press("escape")
        await seat.shows("failed only")


async def test_a_cancel_asks_first_and_the_safe_button_has_the_focus(server: ServerProcess) -> None:
    ids = cast(server)
    async with console(server) as seat:
        seat.app.screen.table.point_at(ids["load_05"])  # type: ignore[attr-defined]
        await seat.press("x")
        await seat.shows("Cancel", "final", "load_05")
        await seat.press("enter")
        await seat.hides("final")
        assert server.api("GET", f"/api/jobs/{ids['load_05']}")["status"] == "running"
        await seat.press("x")
        await seat.shows("final")
        await seat.press("y")
        await seat.until(
            lambda: server.api("GET", f"/api/jobs/{ids['load_05']}")["status"] == "cancelled", "the job is cancelled"
        )
        await seat.shows("load_05", "cancelled")


async def test_logs_of_the_marked_jobs_are_followed_together_and_q_goes_back(server: ServerProcess) -> None:
    ids = cast(server)
    server.report(
        log(ids["load_01"], "first line"), log(ids["load_02"], "second line"), log(ids["load_03"], "not asked")
    )
    async with console(server) as seat:
        for name in ("load_01", "load_02"):
            seat.app.screen.table.point_at(ids[name])  # type: ignore[attr-defined]
            await seat.press("space")
        await seat.shows("2 marked")
        await seat.press("l")
        await seat.shows("first line", "second line", "FOLLOWING")
        assert "not asked" not in seat.text
        server.report(log(ids["load_02"], "a later line"))
        await seat.shows("a later line")
        await seat.press("q")
        await seat.shows("2 marked", "STATUS")


async def test_the_cursor_stays_on_its_job_when_others_come_and_go(server: ServerProcess) -> None:
    ids = cast(server)
    async with console(server) as seat:
        table = seat.app.screen.table  # type: ignore[attr-defined]
        table.point_at(ids["load_06"])
        failure = {"kind": "error", "message": "boom"}
        server.report({"kind": "failed", "jobId": ids["load_01"], "failure": failure}, started(new_id(), "newcomer"))
        await seat.until(lambda: seat.app.jobs.order.index(ids["load_01"]) < 2, "the order follows")
        assert table.cursor == ids["load_06"]
        (here,) = [line for line in seat.lines if line.startswith("▌")]
        assert "load_06" in here


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 40), (160, 45), (200, 50), (60, 20), (300, 80)])
async def test_every_size_fills_the_screen_exactly(server: ServerProcess, size: tuple[int, int]) -> None:
    cast(server, 40)
    async with console(server, size=size) as seat:
        await seat.shows("stripe_p")
        for keys in ((), ("d",), ("w",), ("right",), ("enter",)):
            await seat.press(*keys)
            await seat.pilot.pause(0.1)
            from rich.cells import cell_len

            assert [cell_len(line) for line in seat.lines] == [size[0]] * size[1]


async def test_sorting_marks_ranges_and_freezing(server: ServerProcess) -> None:
    ids = cast(server)
    async with console(server) as seat:
        await seat.press("o")
        await seat.shows("NAME↑")
        names = [seat.app.jobs.jobs[job].job.name for job in seat.app.jobs.order]
        assert names == sorted(names)
        await seat.press("O")
        await seat.shows("NAME↓")
        await seat.press("home", "v", "j", "j")
        await seat.shows("3 marked", "RANGE")
        await seat.press("escape", "f")
        await seat.shows("FROZEN")
        server.report(started(new_id(), "zz_newcomer"))
        await seat.shows("FROZEN +1")
        assert "zz_newcomer" not in seat.text
        await seat.press("f")
        await seat.shows("zz_newcomer")
        assert len(ids) == 14


async def test_a_theme_changes_every_colour_at_once(server: ServerProcess) -> None:
    cast(server)
    async with console(server) as seat:
        await seat.shows("stripe_payouts")
        before = seat.app.export_screenshot()
        seat.app.theme = "etlmon-light"
        await seat.pilot.pause(0.3)
        light = seat.app.export_screenshot()
        assert "#0f1318" in before
        assert "#0f1318" not in light
        assert "#fcfcfb" in light


async def test_a_window_that_is_too_small_says_so_and_recovers(server: ServerProcess) -> None:
    cast(server)
    async with console(server) as seat:
        await seat.pilot.resize_terminal(39, 10)
        await seat.shows("Make this window larger.")
        await seat.hides("STATUS")
        await seat.pilot.resize_terminal(100, 24)
        await seat.shows("STATUS", "stripe_payouts")


async def test_after_one_jobs_log_the_logs_tab_shows_all_again_and_no_filter_is_left(server: ServerProcess) -> None:
    ids = cast(server)
    server.report(log(ids["load_01"], "of the first"), log(ids["load_02"], "of the second"))
    async with console(server) as seat:
        seat.app.screen.table.point_at(ids["load_01"])  # type: ignore[attr-defined]
        await seat.press("l")
        await seat.shows("of the first")
        assert "of the second" not in seat.text
        await seat.press("ampersand")
        await seat.types("nothing_like_it")
        await seat.press("enter")
        await seat.shows("No line matches")
        await seat.press("q")
        await seat.shows("STATUS")
        await seat.press("2")
        await seat.shows("of the first", "of the second", "401 Unauthorized")


async def test_after_a_filter_the_table_begins_at_its_top_and_says_what_is_above(server: ServerProcess) -> None:
    ids = cast(server, 60)
    async with console(server, size=(120, 20)) as seat:
        await seat.press("end")
        await seat.shows("above")
        seat.app.screen.table.point_at(ids["load_59"])  # type: ignore[attr-defined]
        await seat.press("slash")
        await seat.types("status:running")
        await seat.press("enter", "escape")
        await seat.shows("stripe_payouts", "all jobs")
        assert "above" not in seat.text


async def test_ascii_draws_ascii_alone(server: ServerProcess) -> None:
    cast(server)
    async with console(server, ascii_only=True, size=(170, 40)) as seat:
        await seat.shows("stripe_payouts", "LIVE")
        for keys in ((), ("enter",), ("tab", "tab"), ("escape",), ("question_mark",), ("escape",), ("x",), ("escape",)):
            await seat.press(*keys)
            await seat.pilot.pause(0.3)
            assert seat.text.isascii(), [char for char in seat.text if not char.isascii()]
