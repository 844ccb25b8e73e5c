"""Retry, priority, the queue and submitting, at the console's keys against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from console_world import console, soon

from etlmon.core.job import Failure, FailureKind, Job, Status
from etlmon.tui.drawing.spans import line_width, plain
from etlmon.tui.jobs.cells import Scene
from etlmon.tui.jobs.live import LiveJob
from etlmon.tui.queue import lines
from etlmon.tui.queue.state import Definition, Held, Pause, QueueState, Standing, Worker, standing_of
from etlmon.tui.steering.priority import wanted
from etlmon.tui.steering.submit import Order, offers, order_of
from world import ServerProcess, new_id, started

CONFIG = {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}}
DEFINED = """
[jobs.orders_nightly]
type = "csv_processing"
[jobs.orders_nightly.config]
source = {path = "in.csv"}
sink = {path = "out.csv"}

[jobs.ledger_close]
start = false
"""


@pytest.fixture
def server(data_dir: Path) -> Iterator[ServerProcess]:
    """A server that knows two names."""
    file = data_dir / "config.toml"
    file.write_text(DEFINED)
    file.chmod(0o600)
    running = ServerProcess(data_dir).start()
    yield running
    running.kill()


def queued(server: ServerProcess, name: str, **fields: Any) -> str:
    """A job that waits."""
    body = {"type": "csv_processing", "config": CONFIG, "name": name, **fields}
    return str(server.api("POST", "/api/jobs", body)["id"])


def claimed(server: ServerProcess, worker: str = "w1") -> dict[str, Any]:
    """The claim of the job that a worker gets."""
    body = {"worker": {"id": worker, "host": "etl-3", "pid": 7, "concurrency": 4}, "waitMs": 20_000}
    (item,) = server.api("POST", "/api/queue/claim", body)["items"]
    return {"jobId": item["job"]["id"], "fencingToken": item["fencingToken"]}


def failed(server: ServerProcess, name: str) -> str:
    """A managed job that has failed."""
    job_id = queued(server, name)
    server.report({"kind": "failed", **claimed(server), "failure": {"message": "HTTP 401"}})
    return job_id


def priority(server: ServerProcess, job_id: str) -> int:
    """The job's priority by the server's word."""
    return int(server.api("GET", f"/api/jobs/{job_id}")["priority"])


def retries_of(server: ServerProcess, job_id: str) -> list[str]:
    """The new jobs of a retried one."""
    jobs = server.api("GET", "/api/jobs")["items"]
    return [job["id"] for job in jobs if job["retryOf"] == job_id]


# -- retry and priority, from the table and the job's own screen


async def test_one_is_retried_without_a_question_and_tells_that_it_is_a_new_job(server: ServerProcess) -> None:
    job_id = failed(server, "crm_sync")
    async with console(server) as seat:
        await seat.press("R")
        await seat.shows("✓ crm_sync retried", "it waits in the queue as a new job", "○ pending")
    assert len(retries_of(server, job_id)) == 1


async def test_several_are_retried_after_a_question_that_counts_who_cannot_start_from_here(
    server: ServerProcess,
) -> None:
    ids = [failed(server, name) for name in ("crm_sync", "ledger_close")]
    seen = new_id()
    server.report(started(seen, "orders_nightly"), {"kind": "failed", "jobId": seen, "failure": {"message": "x"}})
    async with console(server) as seat:
        await seat.press("a", "R")
        await seat.shows("Retry 2 failed jobs? 1 cannot start from here.", "▸ Leave them", "Retry 2 jobs")
        await seat.shows("was only watched: it cannot start from here")
        await seat.press("escape")
        await seat.hides("cannot start from here")
        assert [retries_of(server, each) for each in ids] == [[], []]
        await seat.press("R")
        await seat.shows("▸ Leave them")
        await seat.press("y")
        await seat.shows("✓ 2 jobs retried", "1 left alone · n shows who")
    assert [len(retries_of(server, each)) for each in ids] == [1, 1]


async def test_a_watched_job_is_not_retried_and_its_command_is_told(server: ServerProcess) -> None:
    seen = new_id()
    server.report(started(seen, "orders_nightly", command=["sh", "load.sh"]), {"kind": "completed", "jobId": seen})
    async with console(server) as seat:
        await seat.press("enter")
        await seat.shows("Overview")
        await seat.press("R")
        await seat.shows("orders_nightly was not retried", "it was only watched: run sh load.sh")


async def test_plus_and_minus_move_the_priority_as_often_as_they_are_pressed(server: ServerProcess) -> None:
    job_id = queued(server, "crm_sync")
    async with console(server) as seat:
        await seat.press("plus", "plus", "plus", "plus", "minus")
        await soon(lambda: priority(server, job_id) == 3, "the priority")
        await seat.until(lambda: seat.app.jobs.jobs[job_id].job.priority == 3, "the console's word")
        for by in (1, 1, 1, -1):  # faster than the server answers
            seat.app.move_priority([seat.app.jobs.jobs[job_id]], by)
        await soon(lambda: priority(server, job_id) == 5, "the priority of presses without an answer between")
        await seat.press("enter")
        await seat.shows("Overview")
        await seat.press("minus")
        await soon(lambda: priority(server, job_id) == 4, "the priority from the job's screen")


def test_a_priority_stays_within_its_bounds() -> None:
    assert wanted(live("a", priority=1000), None, 1) == 1000
    assert wanted(live("a"), -1000, -1) == -1000


async def test_what_does_not_wait_keeps_its_priority_and_is_told(server: ServerProcess) -> None:
    job_id = new_id()
    server.report(started(job_id, "orders_nightly"))
    async with console(server) as seat:
        await seat.press("plus")
        await seat.shows("orders_nightly keeps its priority", "it is running: only queued jobs wait by it")
    assert priority(server, job_id) == 0


async def test_a_read_only_console_moves_nothing(server: ServerProcess) -> None:
    job_id = queued(server, "crm_sync")
    async with console(server, read_only=True) as seat:
        await seat.press("plus")
        await seat.shows("You may read here, not reorder:")
    assert priority(server, job_id) == 0


# -- the queue as a value, and its lines

NOW = 1_700_000_000_000
SCENE = Scene(now=NOW, zone=UTC)


def live(name: str, **fields: Any) -> LiveJob:
    """A queued job."""
    made = Job(
        **{
            "id": name,
            "name": name,
            "type": "csv_processing",
            "status": Status.PENDING,
            "created_at": NOW - 60_000,
            "updated_at": NOW,
            "source": "worker",
            **fields,
        }
    )
    return LiveJob(job=made)


def cast_of(*jobs: LiveJob) -> dict[str, LiveJob]:
    """Jobs by id."""
    return {each.id: each for each in jobs}


def told(jobs: dict[str, LiveJob]) -> dict[str, str]:
    """Why each waits, in the order in which they go."""
    state = QueueState()
    state.settle(jobs, NOW)
    nth = state.nth(jobs, NOW)
    return {each: lines.why(jobs[each], jobs, nth.get(each), SCENE).text for each in state.order}


def test_jobs_go_by_priority_then_age_then_their_time_and_each_says_why_it_waits() -> None:
    jobs = cast_of(
        live("late", created_at=NOW - 10_000),
        live("early", created_at=NOW - 90_000),
        live("first", priority=5, created_at=NOW),
        live("timed", run_at=NOW + 600_000),
        live("again", run_at=NOW + 60_000, attempt=2, last_failure=Failure(kind=FailureKind.ERROR, message="reset")),
        live("after_early", after=("early", "gone"), priority=900),
        live("watched", source="sdk"),
        live("runs", status=Status.RUNNING),
    )
    assert told(jobs) == {
        "first": "next",
        "early": "2nd in queue",
        "late": "3rd in queue",
        "again": "starts 22:14   try 2: reset",
        "timed": "starts 22:23",
        "after_early": "after early",
    }


def test_a_job_is_held_up_until_what_it_waits_for_has_completed() -> None:
    jobs = cast_of(live("b", after=("a",)), live("a", status=Status.RUNNING))
    assert told(jobs) == {"b": "after a"}
    jobs["a"] = live("a", status=Status.COMPLETED)
    assert told(jobs) == {"b": "next"}


def test_rows_hold_still_after_a_key_and_the_cursor_goes_with_its_job() -> None:
    jobs = cast_of(live("a", created_at=1), live("b", created_at=2))
    state = QueueState()
    assert state.settle(jobs, NOW)
    state.move(1)
    state.touch(NOW + 5000)
    jobs["b"] = live("b", priority=1)
    assert not state.settle(jobs, NOW + 6000)
    assert state.settle(jobs, NOW + 6000, at_once=True)
    assert (state.order, state.cursor) == (["b", "a"], "b")
    del jobs["b"]
    assert state.settle(jobs, NOW + 20_000)
    assert (state.order, state.cursor) == (["a"], "a")
    state.settle({}, NOW + 30_000)
    assert (state.order, state.cursor) == ([], None)


def test_places_are_counted_as_people_do() -> None:
    assert [lines.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 1111)] == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "1,111th")
    ]


def test_the_banner_names_every_pause_and_is_empty_without_one() -> None:
    by = Pause("*", "ana", NOW - 360_000, "disk on etl-2")
    standing = Standing(at=NOW, pauses=(by, Pause("slow", "bo", None, "")))
    assert lines.banner(standing, SCENE) == (
        " ‖ PAUSED by ana 6m ago: disk on etl-2   ‖ PAUSED slow by bo   Nothing is given out. "
    )
    assert lines.banner(Standing(at=NOW), SCENE) == ""


def test_what_comes_from_outside_is_made_safe() -> None:
    pause = {"queue": "*", "by": "a\x1b[2Jna", "reason": "x\ry", "at": "2026-01-01T00:00:00Z"}
    worker = {"id": "w\x9b1", "host": "h\u202e", "status": "busy", "running": [], "queues": ["q\n"]}
    standing = standing_of({"paused": [pause], "items": [{"name": "d\x1b"}]}, [worker], NOW)
    seen = lines.banner(standing, SCENE) + "".join(map(plain, lines.workers(standing, {}, 200, 9, SCENE)))
    assert seen.isprintable()


def test_workers_say_their_slots_beat_and_leases_and_what_does_not_fit_is_counted() -> None:
    held = (Held("a", NOW + 24_000), Held("unknown-0190f6b1", None))
    one = Worker("w1", "etl-3", 7, "busy", 4, ("default",), held, NOW - 2000)
    standing = Standing(at=NOW, depth=1, workers=(one,) * 9)
    drawn = [plain(line).rstrip() for line in lines.workers(standing, cast_of(live("a")), 160, 4, SCENE)]
    assert drawn[0] == "  WORKERS  9   18 of 36 slots"
    assert drawn[1] == "  busy   etl-3 7              ▮▮▯▯ 2/4  beat 2s ago  a lease 24s  0190f6b1 lease"
    assert (len(drawn), drawn[-1]) == (4, "  and 7 more: etlmon workers list")
    nobody = lines.workers(Standing(at=NOW, depth=1), {}, 100, 3, SCENE)
    assert "etlmon worker starts one" in plain(nobody[1])


@pytest.mark.parametrize("width", [40, 76, 100, 160])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    jobs = cast_of(live("orders_" * 9, after=("b" * 9,)), live("b" * 9, status=Status.RUNNING))
    standing = Standing(at=NOW, depth=10**6, oldest_at=1, priorities=tuple((n, 10**6) for n in range(40)))
    row = lines.row(jobs["orders_" * 9], jobs, None, 1, SCENE, width)
    for line in [row, lines.header(width), *lines.head(standing, width, SCENE)]:
        assert line_width(line) <= width


# -- the screen


async def test_the_queue_is_seen_in_its_order_with_workers_and_moves_with_the_stream(server: ServerProcess) -> None:
    first = queued(server, "orders_nightly")
    claimed(server)
    queued(server, "load_orders", after=[first])
    second = queued(server, "crm_sync")
    async with console(server) as seat:
        await seat.press("3")
        await seat.shows("3 Queue", "2 wait", "1 ready", "1 held up", "1 running", "after orders_nightly", "next")
        await seat.shows("WORKERS  1   1 of 4 slots", "busy   etl-3 7", "orders_nightly lease")
        queued(server, "stripe_payouts", priority=3)
        await seat.shows("stripe_payouts", "2nd in queue", "3 wait")
        assert [seat.app.jobs.jobs[each].job.name for each in seat.app.queue.order] == [
            *("stripe_payouts", "crm_sync", "load_orders")
        ]
        server.api("POST", f"/api/jobs/{second}/cancel")
        await seat.hides("crm_sync")


async def test_in_the_queue_plus_moves_the_job_up_at_once_and_the_cursor_with_it(server: ServerProcess) -> None:
    first, second = queued(server, "orders_nightly"), queued(server, "crm_sync")
    async with console(server) as seat:
        await seat.press("3")
        await seat.shows("next", "2nd in queue")
        await seat.press("j", "plus")
        await seat.until(lambda: seat.app.queue.order == [second, first], "the new order")
        assert (seat.app.queue.cursor, priority(server, second)) == (second, 1)
        await seat.press("x")
        await seat.shows("crm_sync will be cancelled. This is final.")
        await seat.press("y")
        await seat.shows("✓ crm_sync cancelled")
        await seat.press("enter")
        await seat.shows("Jobs › orders_nightly")
        await seat.press("q")
        await seat.shows("WORKERS")
        await seat.press("q")
        await seat.shows("STATUS↑")


async def test_the_queue_is_paused_with_a_reason_and_says_so_loudly_until_it_is_resumed(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etlmon.tui.screens.queue.READ_EVERY_MS", 10**9)  # what follows is told by the stream
    queued(server, "orders_nightly")
    async with console(server) as seat:
        await seat.press("3")
        await seat.shows("1 wait", "what waits, in the order in which it goes")
        await seat.press("P")
        await seat.shows("Pause the queue?", "1 job waits", "▸ Let it go on")
        await seat.press("escape")
        await seat.hides("Pause the queue?")
        assert server.api("GET", "/api/queue")["paused"] == []
        await seat.press("P")
        await seat.shows("▸ Let it go on")
        await seat.press("tab")
        await seat.types("disk")
        await seat.press("enter", "enter")
        await seat.shows("‖ PAUSED by", "ago: disk   Nothing is given out.", "P resumes")
        assert server.api("GET", "/api/queue")["paused"][0]["reason"] == "disk"
        await seat.press("P")
        await seat.shows("Resume the queue?", "▸ Leave it paused")
        await seat.press("y")
        await seat.hides("PAUSED")
        server.api("PUT", "/api/queue/pause", {"reason": "by another"})
        await seat.shows("ago: by another")


async def test_a_viewer_sees_the_queue_and_cannot_pause_it(server: ServerProcess) -> None:
    async with console(server, read_only=True) as seat:
        await seat.press("3")
        await seat.shows("No job waits.", "No worker was heard of within an hour")
        await seat.press("P")
        await seat.shows("You may read here, not pause the queue:")
        assert "P pause" not in seat.text


@pytest.mark.parametrize("size", [(80, 24), (40, 8), (200, 50)])
async def test_the_queue_is_drawn_at_every_size(server: ServerProcess, size: tuple[int, int]) -> None:
    queued(server, "orders_nightly")
    async with console(server, size=size) as seat:
        await seat.press("3")
        await seat.shows("orders_nigh")
        assert all(len(line) == size[0] for line in seat.lines)


# -- submitting


KNOWN = (Definition("orders_nightly", startable=True, type="csv_processing", owner="ana"), Definition("ledger", False))


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("orders_nightly", "", Order("orders_nightly")),
        (" orders_nightly ", " -5", Order("orders_nightly", -5)),
        ("", "", "Type the name of a definition."),
        ("orders_nightl", "", "orders_nightl is no definition: did you mean 'orders_nightly'?"),
        ("ledger", "", "ledger is only expected here: it is started elsewhere."),
        ("orders_nightly", "high", "A priority is a whole number from -1000 to 1000."),
        ("orders_nightly", "1001", "A priority is a whole number from -1000 to 1000."),
        ("orders_nightly", "9" * 5000, "A priority is a whole number from -1000 to 1000."),
        ("orders_nightly", "0000001234", "A priority is a whole number from -1000 to 1000."),
        ("orders_nightly", "-", "A priority is a whole number from -1000 to 1000."),
    ],
)
def test_what_was_typed_is_an_order_or_what_is_wrong_with_it(name: str, given: str, expected: object) -> None:
    assert order_of(name, given, KNOWN) == expected


def test_the_dialog_offers_what_can_be_started_and_holds_what_was_typed() -> None:
    assert [plain(line) for line in offers("ORD", KNOWN, 60)] == ["  orders_nightly  csv_processing  ana"]
    assert plain(offers("x", KNOWN, 60)[0]) == "  No definition has that in its name."
    assert plain(offers("", (), 60)[0]) == "  The server's config defines nothing to start."
    many = tuple(Definition(f"load_{n}", startable=True) for n in range(9))
    assert plain(offers("", many, 60)[-1]) == "  and 3 more"


async def test_a_definition_is_submitted_from_the_command_line_of_the_console(server: ServerProcess) -> None:
    async with console(server) as seat:
        await seat.until(lambda: seat.app.queue.definitions, "the definitions")
        await seat.press("colon")
        await seat.types("submit")
        await seat.press("enter")
        await seat.shows("Submit a job", "orders_nightly  csv_processing", "enter submits")
        await seat.types("ledger_close")
        await seat.press("enter")
        await seat.shows("ledger_close is only expected here")
        await seat.press("escape", "colon")
        await seat.types("submit orders_nightly")
        await seat.press("enter")
        await seat.shows("Submit a job")
        await seat.press("tab")
        await seat.types("7")
        await seat.press("enter")
        await seat.shows("✓ orders_nightly queued", "○ pending")
        (job,) = server.api("GET", "/api/jobs")["items"]
        assert (job["name"], job["priority"]) == ("orders_nightly", 7)
        server.api("PUT", "/api/queue/pause", {"reason": "disk"})
        await seat.press("colon")
        await seat.types("submit orders_nightly")
        await seat.press("enter")
        await seat.shows("Submit a job")
        await seat.press("enter")
        await seat.shows("orders_nightly queued, but the queue is", ": disk")


async def test_a_read_only_console_submits_nothing(server: ServerProcess) -> None:
    async with console(server, read_only=True) as seat:
        await seat.press("colon")
        await seat.types("submit")
        await seat.press("enter")
        await seat.shows("^ You may read here, not submit: this console is read-only.")
    assert server.api("GET", "/api/jobs")["items"] == []
