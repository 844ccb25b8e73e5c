"""What a program does with ``etlmon.job``, and what arrives at a server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

import etlmon
from etlmon.core import reports as core_reports
from etlmon.core.job import METRIC_KEYS
from etlmon.sdk import job as job_room
from etlmon.sdk import samples as samples_room
from etlmon.sdk.arguments import KNOWN_METRICS


def kinds(server: Any) -> list[str]:
    return [report["kind"] for report in server.reports]


def steps(server: Any) -> list[tuple[str, str]]:
    return [(report["kind"], report["step"]) for report in server.reports if report["kind"].startswith("step_")]


def divide(job: Any) -> None:
    job.step("divide")
    _ = 1 / 0


# -- the life of a job ----------------------------------------------------------------------------------------------


def test_a_job_tells_its_start_its_records_its_steps_and_its_end(server: Any, reporter: Any) -> None:
    with etlmon.job(
        "orders_nightly",
        type="csv_processing",
        owner="ana",
        tags={"env": "prod", "n": 3},
        steps=["load", "verify"],
        expected="10m",
        timeout=timedelta(hours=1),
        config={"file": "orders.csv"},
    ) as job:
        for _ in job.track(range(1000), step="load"):
            pass
        job.step("verify")
        job.metrics(rejected=3, records_failed=2)
        job.log.warning("three of %d", 1000, table="orders")
        job.summary(records_out=997)
    assert reporter.flush(10)
    assert (kinds(server)[0], kinds(server)[-1]) == ("job_started", "completed")
    started = server.reports[0]
    assert (started["name"], started["type"], started["owner"]) == ("orders_nightly", "csv_processing", "ana")
    assert (started["tags"], started["steps"]) == ({"env": "prod", "n": 3}, ["load", "verify"])
    assert (started["expectedDurationMs"], started["timeoutMs"]) == (600_000, 3_600_000)
    assert (started["source"], started["config"]) == ("sdk", {"file": "orders.csv"})
    assert {report["jobId"] for report in server.reports} == {job.id}
    assert steps(server) == [
        ("step_started", "load"),
        ("step_finished", "load"),
        ("step_started", "verify"),
        ("step_finished", "verify"),
    ]
    assert server.of("step_finished")[0]["metrics"] == {"recordsProcessed": 1000}
    last = server.of("progress")[-1]
    assert (last["recordsProcessed"], server.of("progress")[0]["recordsTotal"]) == (1000, 1000)
    measured: dict[str, Any] = {}
    for report in server.reports:
        measured.update(report.get("metrics") or {})
    assert (measured["recordsFailed"], measured["rejected"]) == (2, 3)
    line = server.of("log")[0]
    assert (line["message"], line["level"], line["step"]) == ("three of 1000", "warning", "verify")
    assert line["fields"] == {"table": "orders"}
    assert server.reports[-1]["summary"] == {"recordsOut": 997}


def test_every_report_is_one_that_the_core_takes(server: Any, reporter: Any) -> None:
    import msgspec

    with pytest.raises(ZeroDivisionError), etlmon.job("x", total=5, tags={"a": 1.5}) as job:  # noqa: PT012
        for _ in job.track([1, 2, 3]):
            job.progress(percent=50, step="half")
            job.metrics(cpu_usage=3, note="text", flag=True)
            job.log.info("line", key=[1, {"a": None}])
        with job.step("inner"):
            pass
        with etlmon.job("nested"):
            pass
        divide(job)
    assert reporter.flush(10)
    for report in server.reports:
        kind = core_reports.KINDS[report["kind"]]
        msgspec.convert({k: v for k, v in report.items() if k != "fields"}, kind)


def test_an_exception_fails_the_job_with_its_type_text_step_and_traceback(server: Any, reporter: Any) -> None:
    with pytest.raises(ZeroDivisionError), etlmon.job("crm_sync") as job:
        divide(job)
    assert reporter.flush(10)
    failure = server.of("failed")[0]["failure"]
    assert (failure["errorType"], failure["message"], failure["step"]) == (
        "ZeroDivisionError",
        "division by zero",
        "divide",
    )
    assert "_ = 1 / 0" in failure["traceback"]
    assert ("step_finished", "divide") not in steps(server)


def test_fail_ends_the_job_at_once_and_what_follows_is_ignored(server: Any, reporter: Any) -> None:
    with etlmon.job("x") as job:
        job.fail("no input file")
        job.step("never")
        job.progress(1, 2)
    assert reporter.flush(10)
    assert kinds(server) == ["job_started", "log", "failed"]
    assert server.of("failed")[0]["failure"]["message"] == "no input file"


def test_an_exception_in_the_consumer_of_a_cancelled_task_is_told_as_cancelled(server: Any, reporter: Any) -> None:
    async def work(began: asyncio.Event) -> None:
        async with etlmon.job("x"):
            began.set()
            await asyncio.sleep(60)

    async def main() -> None:
        began = asyncio.Event()
        task = asyncio.create_task(work(began))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert reporter.flush(10)
    assert server.of("cancelled")[0]["reason"] == "the asyncio task was cancelled"


def test_the_same_job_object_opens_another_job_when_it_is_entered_again(server: Any, reporter: Any) -> None:
    job = etlmon.job("x")
    with job:
        first = job.id
    with job:
        second = job.id
    assert first != second
    assert reporter.flush(10)
    assert [report["jobId"] for report in server.reports] == [first, first, second, second]


def test_a_job_inside_a_job_names_its_parent(server: Any, reporter: Any) -> None:
    with etlmon.job("outer") as outer, etlmon.job("inner"):
        pass
    assert reporter.flush(10)
    assert "parentId" not in server.of("job_started")[0]
    assert server.of("job_started")[1]["parentId"] == outer.id


def test_heartbeats_and_vitals_come_by_themselves(server: Any, reporter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_room, "HEARTBEAT_S", 0.3)
    monkeypatch.setattr(job_room, "VITALS_S", 0.2)
    with etlmon.job("x"):
        server.wait_for(lambda: [m for m in server.of("metrics") if {"memoryUsage", "cpuUsage"} <= m["metrics"].keys()])
        monkeypatch.setattr(job_room, "VITALS_S", 1e9)
        server.wait_for(lambda: server.of("heartbeat"))
    sample = server.of("metrics")[0]["metrics"]
    assert sample["memoryUsage"] > 1_000_000
    assert sample["cpuUsage"] >= 0


def test_where_the_jobs_stand_is_known_to_the_reporter(reporter: Any) -> None:
    with etlmon.job("x", type="t") as job:
        job.progress(current=25, total=100, step="load")
        job.metrics(records_failed=1)
        (state,) = reporter._live()
        assert state == {
            "id": job.id,
            "name": "x",
            "type": "t",
            "status": "running",
            "currentStep": "load",
            "progressPercent": 25.0,
            "metrics": {"recordsFailed": 1, "recordsProcessed": 25, "recordsTotal": 100},
        }


def test_known_metrics_are_those_of_the_core() -> None:
    assert sorted(KNOWN_METRICS.values()) == sorted(METRIC_KEYS)


# -- progress -------------------------------------------------------------------------------------------------------


def test_however_often_progress_is_told_about_ten_reports_a_second_go_out_and_the_last_counts(
    server: Any, reporter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_room, "SAMPLE_S", 1e9)
    with etlmon.job("x") as job:
        for n in range(10_000):
            job.progress(current=n, total=10_000)
            job.metrics(n=n)
    assert reporter.flush(10)
    (told,) = server.of("progress")
    assert (told["recordsProcessed"], told["recordsTotal"], told["metrics"]["n"]) == (9999, 10_000, 9999)


def test_a_sample_that_waits_is_sent_by_itself(server: Any, reporter: Any) -> None:
    with etlmon.job("x") as job:
        job.progress(current=1)
        job.progress(current=2)
        server.wait_for(lambda: [p for p in server.of("progress") if p["recordsProcessed"] == 2])


@pytest.mark.parametrize(("percent", "told"), [(-5, 0.0), (50, 50.0), (250, 100.0), (float("inf"), 100.0)])
def test_percent_is_clamped(server: Any, reporter: Any, percent: float, told: float) -> None:
    with etlmon.job("x") as job:
        job.progress(percent=percent)
    assert reporter.flush(10)
    assert server.of("progress")[0]["progressPercent"] == told


def test_track_counts_exactly_what_was_done(server: Any, reporter: Any) -> None:
    with etlmon.job("x") as job:
        for n in job.track(iter(range(100)), step="load"):
            if n == 41:
                break
        job.step("next")
    assert reporter.flush(10)
    assert server.of("step_finished")[0]["metrics"] == {"recordsProcessed": 41}
    assert "recordsTotal" not in server.of("progress")[0]


def test_a_loop_that_fails_keeps_its_step_open_for_the_failure(server: Any, reporter: Any) -> None:
    def rows() -> Iterator[int]:
        yield 1
        raise OSError("torn file")

    def consume(job: Any) -> None:
        for _ in job.track(rows(), step="read"):
            pass

    with pytest.raises(OSError, match="torn"), etlmon.job("x") as job:
        consume(job)
    assert reporter.flush(10)
    assert server.of("failed")[0]["failure"]["step"] == "read"


def test_of_loops_inside_each_other_the_outer_counts_and_the_next_total_replaces_the_last(
    server: Any, reporter: Any
) -> None:
    with etlmon.job("x") as job:
        for _ in job.track(range(3)):
            for _ in job.track(range(50)):
                pass
        assert job.live_state()["metrics"] == {"recordsProcessed": 3, "recordsTotal": 3}
        for _ in job.track(iter("abcd")):
            pass
        assert job.live_state()["metrics"] == {"recordsProcessed": 4}
    assert reporter.flush(10)
    assert any(report.get("recordsTotal", "absent") is None for report in server.of("progress"))


def test_a_loop_that_turns_slow_is_noticed_at_its_next_item(server: Any, reporter: Any) -> None:
    def rows() -> Iterator[int]:
        yield from range(1_000_000)
        yield -1
        yield -2
        server.wait_for(lambda: [p for p in server.of("progress") if p.get("recordsProcessed", 0) >= 1_000_000])

    with etlmon.job("x") as job:
        loop = job.track(rows())
        for row in loop:
            if row == -1:
                deadline = time.monotonic() + 20
                while job.loops.open[0].due[0] != 0:
                    assert time.monotonic() < deadline
                    threading.Event().wait(0.01)


async def test_track_goes_over_asynchronous_items_as_well(server: Any, reporter: Any) -> None:
    async def rows() -> AsyncIterator[int]:
        for n in range(10):
            yield n

    async with etlmon.job("x") as job:
        seen = [n async for n in job.track(rows(), step="load", total=10)]
    assert seen == list(range(10))
    assert await asyncio.to_thread(reporter.flush, 10)
    assert server.of("progress")[-1]["recordsProcessed"] == 10


def test_a_foreign_length_that_raises_is_no_length(reporter: Any) -> None:
    class Odd:
        def __len__(self) -> int:
            raise RuntimeError("ask later")

        def __iter__(self) -> Iterator[int]:
            return iter((1, 2))

    with etlmon.job("x") as job:
        assert list(job.track(Odd())) == [1, 2]


# -- decorators -----------------------------------------------------------------------------------------------------


def test_each_call_of_a_decorated_function_is_a_job(server: Any, reporter: Any) -> None:
    @etlmon.job("x", type="t")
    def add(a: int, b: int = 1) -> int:
        """Adds."""
        job = etlmon.current_job()
        assert job is not None
        job.log.info("adding")
        return a + b

    assert (add(1), add(2, b=3)) == (2, 5)
    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    assert reporter.flush(10)
    assert kinds(server) == ["job_started", "log", "completed"] * 2
    assert len({report["jobId"] for report in server.reports}) == 2


async def test_a_decorated_coroutine_is_a_job_and_tasks_do_not_mix_theirs(server: Any, reporter: Any) -> None:
    @etlmon.job("x")
    async def work(n: int) -> str:
        job = etlmon.current_job()
        assert job is not None
        await asyncio.sleep(0)
        assert etlmon.current_job() is job
        job.log.info(f"task {n}")
        return job.id

    ids = await asyncio.gather(*(work(n) for n in range(10)))
    assert await asyncio.to_thread(reporter.flush, 10)
    assert len(set(ids)) == 10
    assert {(r["jobId"], r["message"]) for r in server.of("log")} == {(i, f"task {n}") for n, i in enumerate(ids)}


def test_a_decorated_generator_is_one_job_while_it_is_iterated(server: Any, reporter: Any) -> None:
    @etlmon.job("x")
    def rows() -> Any:
        got = yield 1
        assert etlmon.current_job() is not None
        try:
            yield got
        except KeyError:
            yield "thrown"
        return "end"

    generator = rows()
    assert next(generator) == 1
    assert etlmon.current_job() is not None, "the only job of the process"
    assert job_room.process.current.get() is None, "but not the consumer's own"
    assert generator.send("sent") == "sent"
    assert generator.throw(KeyError()) == "thrown"
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == "end"
    early = rows()
    next(early)
    early.close()
    failing = rows()
    next(failing)
    with pytest.raises(ValueError, match="odd"):
        failing.throw(ValueError("odd"))
    assert reporter.flush(10)
    ended = ["job_started", "completed"]
    assert kinds(server) == [*ended, *ended, "job_started", "log", "failed"]


async def test_a_decorated_asynchronous_generator_is_one_job(server: Any, reporter: Any) -> None:
    @etlmon.job("x")
    async def rows() -> AsyncIterator[int]:
        for n in range(3):
            assert etlmon.current_job() is not None
            yield n

    assert [n async for n in rows()] == [0, 1, 2]
    assert await asyncio.to_thread(reporter.flush, 10)
    assert kinds(server) == ["job_started", "completed"]


# -- control --------------------------------------------------------------------------------------------------------


def command(server: Any, job_id: str, action: str, number: int, **more: Any) -> None:
    """An operator asks for something; repeated in every answer, as servers do, until it is taken back."""
    with server.changed:
        server.commands[:] = [{"id": f"c{number}", "jobId": job_id, "action": action, "by": "ana", **more}]
        server.changed.notify_all()


def test_pause_resume_and_cancel_are_obeyed_at_checkpoints_and_name_their_commands(server: Any, reporter: Any) -> None:
    passed = threading.Event()

    def operate(job_id: str) -> None:
        command(server, job_id, "pause", 1)
        server.wait_for(lambda: server.of("paused"))
        passed.clear()
        command(server, job_id, "resume", 2)
        server.wait_for(lambda: server.of("resumed"))
        assert passed.wait(20)
        command(server, job_id, "cancel", 3, reason="wrong file")

    with pytest.raises(etlmon.JobCancelled, match="wrong file") as cancelled, etlmon.job("x") as job:  # noqa: PT012
        operator = threading.Thread(target=operate, args=(job.id,))
        operator.start()
        while True:
            try:
                job.checkpoint()
            except Exception:  # noqa: BLE001 - what a loop that survives bad rows does
                continue
            passed.set()
    operator.join(20)
    assert cancelled.value.by == "ana"
    assert reporter.flush(10)
    told = [(r["kind"], r["commandId"]) for r in server.reports if "commandId" in r]
    assert told == [("paused", "c1"), ("resumed", "c2"), ("cancelled", "c3")]
    assert server.of("cancelled")[0]["reason"] == "wrong file"


def test_a_job_cancelled_while_it_is_paused_ends(server: Any, reporter: Any) -> None:

    def operate(job_id: str) -> None:
        command(server, job_id, "pause", 1)
        server.wait_for(lambda: server.of("paused"))
        command(server, job_id, "cancel", 2)

    def run_for_ever(job: Any) -> None:
        for _ in job.track(iter(int, 1)):
            assert not server.of("paused"), "it went on while it was paused"

    with pytest.raises(etlmon.JobCancelled), etlmon.job("x") as job:  # noqa: PT012
        operator = threading.Thread(target=operate, args=(job.id,))
        operator.start()
        run_for_ever(job)
    operator.join(20)
    assert reporter.flush(10)
    assert [r["kind"] for r in server.reports if "commandId" in r] == ["paused", "cancelled"]


async def test_a_paused_coroutine_does_not_hold_up_its_loop(server: Any, reporter: Any) -> None:
    async with etlmon.job("x") as job:
        command(server, job.id, "pause", 1)
        task = asyncio.create_task(_wait_until_paused_and_resumed(job))
        await asyncio.to_thread(server.wait_for, lambda: server.of("paused"))
        assert not task.done()
        job.checkpoint()  # the blocking one, in a loop: it must not block
        command(server, job.id, "resume", 2)
        await asyncio.wait_for(task, 20)
    assert await asyncio.to_thread(reporter.flush, 10)
    assert [(r["kind"], r["commandId"]) for r in server.reports if "commandId" in r] == [
        ("paused", "c1"),
        ("resumed", "c2"),
    ]


async def _wait_until_paused_and_resumed(job: Any) -> None:
    while not job.control.wanted:  # noqa: ASYNC110 - a program's own loop, which comes by now and then
        await asyncio.sleep(0.01)
    await job.acheckpoint()


async def test_a_task_cancelled_while_it_stands_still_leaves_the_job_to_go_on(server: Any, reporter: Any) -> None:
    async with etlmon.job("x") as job:
        command(server, job.id, "pause", 1)
        task = asyncio.create_task(_wait_until_paused_and_resumed(job))
        await asyncio.to_thread(server.wait_for, lambda: server.of("paused"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not job.control.paused


def test_a_command_nobody_knows_is_refused_by_name(server: Any, reporter: Any) -> None:
    with etlmon.job("x") as job:
        command(server, job.id, "dance", 1)
        refused = server.wait_for(lambda: server.of("control_refused"))[0]
    assert refused["commandId"] == "c1"
    assert "dance" in refused["reason"]


def test_resuming_before_the_pause_was_obeyed_takes_it_back(server: Any, reporter: Any) -> None:
    with etlmon.job("x") as job:
        command(server, job.id, "pause", 1)
        while not job.control.wanted:
            threading.Event().wait(0.01)
        command(server, job.id, "resume", 2)
        server.wait_for(lambda: server.of("resumed"))
        job.checkpoint()
    assert reporter.flush(10)
    assert server.of("paused") == []


def test_commands_are_asked_for_only_while_a_job_is_open(server: Any, reporter: Any) -> None:
    reporter.log("j", "info", "no job")
    assert reporter.flush(10)
    assert not server.polled.is_set()
    with etlmon.job("x"):
        assert server.polled.wait(20)
    polls = [path for method, path, _ in server.requests if method == "GET"]
    assert polls[0] == f"/api/commands?producer={reporter.producer}&wait=20s"


# -- joining a wrapper's job ----------------------------------------------------------------------------------------


@pytest.fixture
def wrapped(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setenv("ETLMON_JOB_ID", "wrapped-1")
    monkeypatch.setenv("ETLMON_FENCING_TOKEN", "7")
    return lambda: None


def test_under_a_wrapper_a_job_joins_and_leaves_start_and_end_to_it(server: Any, reporter: Any, wrapped: Any) -> None:
    with pytest.raises(ZeroDivisionError), etlmon.job("x", total=100) as job:  # noqa: PT012
        for _ in job.track(range(10), step="load"):
            pass
        job.log.info("hello")
        with etlmon.job("inner") as inner:
            inner.log.info("of my own")
        divide(job)
    assert reporter.flush(10)
    own = [report for report in server.reports if report["jobId"] == "wrapped-1"]
    assert {report["kind"] for report in own} == {"progress", "step_started", "step_finished", "log"}
    assert {report["fencingToken"] for report in own} == {7}
    assert own[0]["recordsTotal"] == 100
    others = [report for report in server.reports if report["jobId"] == inner.id]
    assert [report["kind"] for report in others] == ["job_started", "log", "completed"]
    assert others[0]["parentId"] == "wrapped-1"
    assert not any("fencingToken" in report for report in others)


def test_under_a_wrapper_commands_are_its_business(server: Any, reporter: Any, wrapped: Any) -> None:
    with etlmon.job("x") as job:
        job.log.info("hello")
        assert reporter.flush(10)
        assert job.joined
        assert reporter._on_command is None
    assert not server.polled.is_set()
