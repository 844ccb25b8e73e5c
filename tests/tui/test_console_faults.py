"""The console when things go wrong: a server that dies, refuses, or is none; rows stay, and what is shown is true."""

from __future__ import annotations

from pathlib import Path

from console_world import console

from etlmon.host.endpoint import Endpoint
from world import ServerProcess, log, new_id, started


async def test_a_killed_server_leaves_its_rows_dimmed_and_comes_back_with_nothing_missed(server: ServerProcess) -> None:
    job, other = new_id(), new_id()
    server.report(started(job, "orders_nightly"), started(other, "crm_sync"))
    async with console(server, server="prod") as seat:
        await seat.shows("● LIVE", "orders_nightly")
        server.kill()
        await seat.shows("RETRY", "No word from prod since", "What you see is from then", "orders_nightly")
        frozen = seat.app.now()
        await seat.pilot.pause(0.3)
        assert seat.app.now() == frozen
        server.start()
        failure = {"kind": "error", "message": "died meanwhile"}
        server.report({"kind": "failed", "jobId": job, "failure": failure}, started(new_id(), "newcomer"))
        await seat.shows("● LIVE", "died meanwhile", "newcomer", "Back after", "none missed")
        await seat.hides("No word from prod")


async def test_a_server_that_forgot_everything_is_shown_as_it_is_now(make_server: object, tmp_path: Path) -> None:
    first, second = make_server().start(), make_server()  # type: ignore[operator]
    first.report(started(new_id(), "of_the_old_store"))
    where = [first]

    def find() -> Endpoint:
        return Endpoint(url=where[0].url, token=where[0].token, origin="test")

    async with console(find) as seat:
        await seat.shows("of_the_old_store")
        second.start()
        second.report(started(new_id(), "of_the_new_store"))
        where[0] = second
        first.kill()
        await seat.shows("of_the_new_store", "● LIVE")
        await seat.hides("of_the_old_store")


async def test_a_refused_token_is_said_with_the_way_out(server: ServerProcess) -> None:
    def find() -> Endpoint:
        return Endpoint(url=server.url, token="wrong", origin="test")

    async with console(find, live=False) as seat:
        await seat.shows("✗ NO TOKEN", "etlmon tokens create --role operator")


async def test_without_a_server_it_offers_to_start_one(tmp_path: Path) -> None:
    def find() -> Endpoint:
        return Endpoint(url="http://127.0.0.1:9", token=None, origin="default")

    async with console(find, live=False) as seat:
        await seat.shows("No etlmon server runs here.", "s starts one", "d shows the demo", "q quits")


async def test_an_empty_server_says_how_to_begin(server: ServerProcess) -> None:
    async with console(server) as seat:
        await seat.shows("No jobs yet.", "etlmon run -- python load.py")
        server.report(started(new_id(), "the_first"))
        await seat.shows("the_first")


async def test_ten_thousand_jobs_that_end_at_once(server: ServerProcess) -> None:
    jobs = [new_id() for _ in range(10_000)]
    for at in range(0, len(jobs), 1000):
        server.report(*[started(job, f"load_{at + n:05d}") for n, job in enumerate(jobs[at : at + 1000])])
    async with console(server) as seat:
        await seat.shows("10,000 running", "10,000 jobs")
        for at in range(0, len(jobs), 1000):
            ends = [
                {"kind": "completed", "jobId": job} if n % 100 else
                {"kind": "failed", "jobId": job, "failure": {"kind": "error", "message": "HTTP 401"}}
                for n, job in enumerate(jobs[at : at + 1000])
            ]  # fmt: skip
            server.report(*ends)
        await seat.shows("✗ 100 failed", "0 running")
        await seat.until(lambda: seat.app.jobs.counts["completed"] == 9_900, "every end is known")
        await seat.press("exclamation_mark")
        await seat.shows("100 jobs of 10,000")


async def test_a_line_of_two_megabytes_is_one_line(server: ServerProcess) -> None:
    job = new_id()
    server.report(started(job, "big"), log(job, "x" * 2_000_000, "error"), log(job, "after it"))
    async with console(server) as seat:
        await seat.press("d")
        await seat.press("l")
        await seat.shows("after it", "xxxxxxxx")


async def test_a_viewer_is_told_what_it_may_not_do(server: ServerProcess) -> None:
    job = new_id()
    server.report(started(job, "orders_nightly"))
    made = server.api("POST", "/api/tokens", {"name": "eye", "role": "viewer"})

    def find() -> Endpoint:
        return Endpoint(url=server.url, token=made["token"], origin="test")

    async with console(find) as seat:
        await seat.shows("orders_nightly")
        await seat.press("p")
        await seat.shows("You may read here, not pause")
        assert server.api("GET", f"/api/jobs/{job}")["controlPending"] is None
