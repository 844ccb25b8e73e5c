"""Pause, resume and cancel from the console against a real server: asked first, judged by the server, told after."""

from __future__ import annotations

import pytest
from console_world import Seat, console
from textual.widgets import Input

from etlmon.host.endpoint import Endpoint
from etlmon.tui.screens.confirm import ConfirmScreen
from world import ServerProcess, new_id, started


def cast(server: ServerProcess, *names: str, owner: str = "ana") -> dict[str, str]:
    """Running jobs."""
    ids = {name: new_id() for name in names}
    server.report(*[started(job, name, owner=owner) for name, job in ids.items()])
    return ids


def status(server: ServerProcess, job: str) -> str:
    """Where the job stands by the server's word."""
    return str(server.api("GET", f"/api/jobs/{job}")["status"])


def point(seat: Seat, job: str) -> None:
    """The cursor on a job."""
    seat.app.screen.table.point_at(job)  # type: ignore[attr-defined]


async def mark_all(seat: Seat) -> None:
    """Mark all jobs that are shown."""
    await seat.press("a")
    await seat.shows("marked")


async def test_several_are_cancelled_with_a_reason_the_rest_is_left_alone_and_the_marks_are_gone(
    server: ServerProcess,
) -> None:
    ids = cast(server, "orders_nightly", "crm_sync", "loyalty_points")
    server.report({"kind": "completed", "jobId": ids["loyalty_points"]})
    async with console(server) as seat:
        await mark_all(seat)
        await seat.press("x")
        await seat.shows(
            "2 of 3 marked jobs will be cancelled. This is final.", "1 is left alone:", "▸ Keep them running"
        )
        await seat.shows("loyalty_points      ended", "Cancel 2 jobs", "esc keeps them")
        await seat.press("tab")
        await seat.types("wrong source yn")
        await seat.press("enter")
        await seat.shows("▸ Cancel 2 jobs")
        await seat.press("enter")
        await seat.shows("✓ 2 jobs cancelled", "1 left alone · n shows who")
        await seat.hides("marked")
        await seat.press("n")
        await seat.shows("loyalty_points was left alone", "it ended")
    job = server.api("GET", f"/api/jobs/{ids['crm_sync']}")
    assert (job["status"], job["summary"]["cancelReason"]) == ("cancelled", "wrong source yn")


@pytest.mark.parametrize("key", ["n", "escape", "enter"])
async def test_n_esc_and_the_first_enter_leave_the_job_alone_and_y_does_it(server: ServerProcess, key: str) -> None:
    ids = cast(server, "crm_sync")
    async with console(server) as seat:
        await seat.press("x")
        await seat.shows("crm_sync will be cancelled. This is final.")
        await seat.press(key)
        await seat.hides("This is final")
        assert status(server, ids["crm_sync"]) == "running"
        await seat.press("x")
        await seat.shows("This is final")
        await seat.press("y")
        await seat.shows("✓ crm_sync cancelled")
    assert status(server, ids["crm_sync"]) == "cancelled"


async def test_more_than_twenty_are_only_cancelled_after_their_number_was_typed(server: ServerProcess) -> None:
    ids = cast(server, *(f"load_{n:02d}" for n in range(21)))
    async with console(server) as seat:
        await mark_all(seat)
        await seat.press("x")
        await seat.shows("and 16 more", "Type 21 to cancel 21 jobs")
        await seat.press("y")
        await seat.shows("Type 21 to cancel 21 jobs first")
        await seat.types("20")
        await seat.press("enter", "enter")
        await seat.shows("Type 21 to cancel 21 jobs first")
        assert {status(server, job) for job in ids.values()} == {"running"}
        seat.app.screen.query_one("#typed", Input).value = ""
        await seat.types("21")
        await seat.press("enter", "enter")
        await seat.shows("✓ 21 jobs cancelled")


async def test_on_a_profile_marked_prod_even_one_has_to_be_typed(server: ServerProcess) -> None:
    cast(server, "crm_sync")
    async with console(server, server="eu-prod") as seat:
        await seat.press("x")
        await seat.shows("Type 1 to cancel 1 job")


async def test_one_pause_needs_no_dialog_and_tells_whether_it_was_obeyed(server: ServerProcess) -> None:
    job, agent = new_id(), new_id()
    server.report(started(job, "crm_sync"), producer=agent, seq=1)
    async with console(server) as seat:
        await seat.press("p")
        await seat.shows("✓ crm_sync asked to pause", "▸ pause…")
        server.report({"kind": "paused", "jobId": job}, producer=agent, seq=2)
        await seat.shows("‖ paused")
        await seat.press("p")
        await seat.shows("crm_sync was not paused", "it is paused already")


async def test_a_key_pressed_twice_acts_once(server: ServerProcess) -> None:
    ids = cast(server, "crm_sync")
    async with console(server) as seat:
        for _ in range(3):  # faster than the server answers
            seat.app.control("cancel", [seat.app.jobs.jobs[ids["crm_sync"]]])
        await seat.shows("This is final")
        assert sum(worker.name == "control" for worker in seat.app.workers) == 1
        assert sum(isinstance(screen, ConfirmScreen) for screen in seat.app.screen_stack) == 1


async def test_a_job_that_ended_is_not_asked_about_a_toast_says_why(server: ServerProcess) -> None:
    ids = cast(server, "crm_sync")
    server.report({"kind": "completed", "jobId": ids["crm_sync"]})
    async with console(server) as seat:
        await seat.shows("✓ completed")
        for key, done in (("x", "cancelled"), ("p", "paused"), ("u", "resumed")):
            await seat.press(key)
            await seat.shows(f"crm_sync was not {done}", "it ended")
        assert len(seat.app.screen_stack) == 1


async def test_a_viewer_may_control_what_it_owns_and_reads_why_not_of_the_rest(server: ServerProcess) -> None:
    mine, foreign = cast(server, "mine", owner="ana"), cast(server, "foreign", owner="lena")
    token = server.api("POST", "/api/tokens", {"name": "ana", "role": "viewer", "owner": "ana"})["token"]
    async with console(lambda: Endpoint(url=server.url, token=token, origin="test")) as seat:
        point(seat, foreign["foreign"])
        await seat.press("x")
        await seat.shows("You may read here, not cancel:", "this token is a viewer's.")
        await mark_all(seat)
        await seat.press("x")
        await seat.shows("1 of 2 marked jobs", "is lena's; you may read it")
        await seat.press("y")
        await seat.shows("✓ 1 job cancelled")
    assert status(server, mine["mine"]) == "cancelled"
    assert status(server, foreign["foreign"]) == "running"


async def test_a_read_only_console_asks_nothing(server: ServerProcess) -> None:
    ids = cast(server, "crm_sync")
    async with console(server, read_only=True) as seat:
        await seat.press("x")
        await seat.shows("You may read here, not cancel:", "this console is read-only.")
    assert status(server, ids["crm_sync"]) == "running"


async def test_a_server_that_is_gone_is_told_in_a_sentence(server: ServerProcess) -> None:
    cast(server, "crm_sync")
    async with console(server) as seat:
        server.kill()
        await seat.press("x")
        await seat.shows("✗ crm_sync was not cancelled")
        assert len(seat.app.screen_stack) == 1


async def test_rows_stand_still_under_a_dialog_and_go_on_living(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etlmon.tui.jobs.state.ORDER_EVERY_MS", 0)
    monkeypatch.setattr("etlmon.tui.jobs.state.ORDER_AFTER_KEY_MS", 200)  # the dialog alone holds the order
    ids = cast(server, "orders_nightly", "crm_sync")
    async with console(server) as seat:
        await mark_all(seat)
        await seat.press("x")
        await seat.shows("This is final")
        server.report({"kind": "progress", "jobId": ids["crm_sync"], "progressPercent": 73})
        server.report(started(new_id(), "newcomer"))
        await seat.shows("73%")
        await seat.until(lambda: seat.app.jobs.held_back == 1, "the newcomer waits")
        assert len(seat.app.jobs.order) == 2
